package otlp

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/whosehop/whosehop/storage/spans"
)

// valueDepthMax bounds arrays and maps within each other; what lies deeper is written as null.
const valueDepthMax = 32

// appendText appends s to a column's bytes; what is not UTF-8 becomes U+FFFD, because verdicts and
// pages quote these texts and must be able to.
func appendText(dst, s []byte) []byte {
	if utf8.Valid(s) {
		return append(dst, s...)
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		dst = utf8.AppendRune(dst, r)
		s = s[n:]
	}
	return dst
}

// attribute appends a KeyValue to the open row of attrs.
func attribute(attrs *spans.Attrs, body []byte, base int) error {
	var key, value []byte
	valueBase := base
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if f.wire != wireLen {
			continue
		}
		switch f.number {
		case 1:
			key = f.body
		case 2:
			value, valueBase = f.body, f.base
		}
	}
	attrs.Keys.Bytes = appendText(attrs.Keys.Bytes, key)
	var err error
	if attrs.Values.Bytes, err = plainValue(attrs.Values.Bytes, value, valueBase); err != nil {
		// The row stays whole; the caller gives up the request.
		attrs.Keys.EndRow()
		attrs.Values.EndRow()
		return err
	}
	attrs.Keys.EndRow()
	attrs.Values.EndRow()
	return nil
}

// anyValue finds the field of an AnyValue that is set: the last one, as for every oneof.
func anyValue(body []byte, base int) (field, error) {
	r := reader{data: body, base: base}
	var f, set field
	for {
		ok, err := r.next(&f)
		if err != nil || !ok {
			return set, err
		}
		switch {
		case (f.number == 1 || f.number == 5 || f.number == 6 || f.number == 7) && f.wire == wireLen,
			(f.number == 2 || f.number == 3) && f.wire == wireVarint,
			f.number == 4 && f.wire == wireI64:
			set = f
		}
	}
}

// plainValue appends an AnyValue as text: strings as they are, numbers and booleans in their usual
// spelling, bytes in base64, arrays and maps as JSON.
func plainValue(dst, body []byte, base int) ([]byte, error) {
	f, err := anyValue(body, base)
	if err != nil {
		return dst, err
	}
	switch f.number {
	case 1:
		return appendText(dst, f.body), nil
	case 2:
		return strconv.AppendBool(dst, f.value != 0), nil
	case 3:
		return strconv.AppendInt(dst, int64(f.value), 10), nil
	case 4:
		return appendDouble(dst, math.Float64frombits(f.value)), nil
	case 5, 6:
		return jsonValue(dst, f, 1)
	case 7:
		return base64.StdEncoding.AppendEncode(dst, f.body), nil
	}
	return dst, nil
}

// jsonValue appends an AnyValue's set field as JSON. The depth is bounded, so is the recursion.
func jsonValue(dst []byte, f field, depth int) ([]byte, error) {
	if depth > valueDepthMax {
		return append(dst, "null"...), nil
	}
	switch f.number {
	case 1:
		return jsonString(dst, f.body), nil
	case 2:
		return strconv.AppendBool(dst, f.value != 0), nil
	case 3:
		return strconv.AppendInt(dst, int64(f.value), 10), nil
	case 4:
		v := math.Float64frombits(f.value)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return jsonString(dst, appendDouble(nil, v)), nil // JSON has no word for them
		}
		return appendDouble(dst, v), nil
	case 5:
		return jsonArray(dst, f, depth)
	case 6:
		return jsonMap(dst, f, depth)
	case 7:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, f.body)
		return append(dst, '"'), nil
	}
	return append(dst, "null"...), nil
}

func jsonArray(dst []byte, of field, depth int) ([]byte, error) {
	dst = append(dst, '[')
	r := reader{data: of.body, base: of.base}
	var f field
	for first := true; ; {
		ok, err := r.next(&f)
		if err != nil {
			return dst, err
		}
		if !ok {
			return append(dst, ']'), nil
		}
		if f.number != 1 || f.wire != wireLen {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		v, err := anyValue(f.body, f.base)
		if err != nil {
			return dst, err
		}
		if dst, err = jsonValue(dst, v, depth+1); err != nil {
			return dst, err
		}
	}
}

func jsonMap(dst []byte, of field, depth int) ([]byte, error) {
	dst = append(dst, '{')
	r := reader{data: of.body, base: of.base}
	var f field
	for first := true; ; {
		ok, err := r.next(&f)
		if err != nil {
			return dst, err
		}
		if !ok {
			return append(dst, '}'), nil
		}
		if f.number != 1 || f.wire != wireLen {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if dst, err = jsonPair(dst, f, depth); err != nil {
			return dst, err
		}
	}
}

func jsonPair(dst []byte, of field, depth int) ([]byte, error) {
	var key []byte
	var value field
	r := reader{data: of.body, base: of.base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return dst, err
		}
		if !ok {
			break
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			key = f.body
		case f.number == 2 && f.wire == wireLen:
			if value, err = anyValue(f.body, f.base); err != nil {
				return dst, err
			}
		}
	}
	dst = append(jsonString(dst, key), ':')
	return jsonValue(dst, value, depth+1)
}

// appendDouble spells a number as JavaScript does.
func appendDouble(dst []byte, v float64) []byte {
	if math.IsInf(v, 0) {
		if v < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, format, -1, 64)
	if n := len(dst); format == 'e' && n-start >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 is e-9
		dst = dst[:n-1]
	}
	return dst
}

func jsonString(dst, s []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for len(s) > 0 {
		c := s[0]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s)
			dst = utf8.AppendRune(dst, r)
			s = s[n:]
			continue
		}
		s = s[1:]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
