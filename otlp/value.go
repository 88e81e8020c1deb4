package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
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
	key, value, err := keyValue(body, base)
	if err != nil {
		return err
	}
	attrs.Keys.Bytes = appendText(attrs.Keys.Bytes, key)
	attrs.Keys.EndRow()
	attrs.Values.Bytes, err = plainValue(attrs.Values.Bytes, value)
	attrs.Values.EndRow() // the row stays whole; after an error the caller gives up the request
	return err
}

// plainAttribute is attribute for the shape that senders write: a key of ASCII, then a value that is a string of
// ASCII or an integer, and nothing else. It says whether it was that; if not, nothing was appended.
func plainAttribute(attrs *spans.Attrs, body []byte) bool {
	const tagKey, tagValue, tagString, tagInt = 1<<3 | wireLen, 2<<3 | wireLen, 1<<3 | wireLen, 3<<3 | wireVarint
	if len(body) < 2 || body[0] != tagKey || body[1] >= 0x80 {
		return false
	}
	n := 2 + int(body[1])
	if n+4 > len(body) || body[n] != tagValue {
		return false
	}
	key, rest := body[2:n], body[n+1:]
	if rest = shortBody(rest); len(rest) < 2 {
		return false
	}
	if rest[0] == tagInt {
		v, n := binary.Uvarint(rest[1:])
		if n != len(rest)-1 || !ascii(key) {
			return false
		}
		attrs.Values.Bytes = strconv.AppendInt(attrs.Values.Bytes, int64(v), 10)
	} else {
		value := shortBody(rest[1:])
		if rest[0] != tagString || value == nil || !ascii(key) || !ascii(value) {
			return false
		}
		attrs.Values.Bytes = append(attrs.Values.Bytes, value...)
	}
	attrs.Values.EndRow()
	attrs.Keys.AppendBytes(key)
	return true
}

// shortBody is what follows a length of one or two bytes, nil unless it ends where data does.
func shortBody(data []byte) []byte {
	if len(data) > 0 && data[0] < 0x80 {
		if int(data[0]) == len(data)-1 {
			return data[1:]
		}
	} else if len(data) > 1 && data[1] < 0x80 && int(data[0]&0x7f)|int(data[1])<<7 == len(data)-2 {
		return data[2:]
	}
	return nil
}

func ascii(s []byte) bool {
	for len(s) >= 8 {
		if binary.LittleEndian.Uint64(s)&0x8080808080808080 != 0 {
			return false
		}
		s = s[8:]
	}
	all := byte(0)
	for _, c := range s {
		all |= c
	}
	return all < 0x80
}

// keyValue reads a KeyValue; the value is the field of its AnyValue that is set.
func keyValue(body []byte, base int) (key []byte, value field, err error) {
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil || !ok {
			return key, value, err
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			key = f.body
		case f.number == 2 && f.wire == wireLen:
			set, err := anyValue(f.body, f.base)
			if err != nil {
				return key, value, err
			}
			if set.number != 0 {
				value = set
			}
		}
	}
}

// endRow closes a row of attributes in which of every key only the last pair stays: the
// specification wants keys to be unique, and ClickHouse, asked for one, gives the first.
//
// Nearly all rows have no key twice, so this is made cheap for them: only keys whose bit in seen is
// taken are looked for among those before.
func endRow(attrs *spans.Attrs) {
	from, to := 0, attrs.Keys.Len()
	if n := attrs.Len(); n > 0 {
		from = int(attrs.Ends[n-1])
	}
	if to-from > rowScannedMax {
		lastOfEach(attrs, from, to)
		attrs.EndRow()
		return
	}
	var seen [4]uint64
	for i := from; i < to; i++ {
		key := attrs.Keys.At(i)
		h := len(key)
		if h > 0 {
			h = h*31 + int(key[h-1])*7 + int(key[h/2])
		}
		word, bit := h>>6&3, uint64(1)<<(h&63)
		if seen[word]&bit != 0 && hasKey(attrs, key, from, i) {
			lastOfEach(attrs, from, to)
			break
		}
		seen[word] |= bit
	}
	attrs.EndRow()
}

// rowScannedMax is the length of a row up to which searching it costs less than a map.
const rowScannedMax = 256

func hasKey(attrs *spans.Attrs, key []byte, from, to int) bool {
	for i := from; i < to; i++ {
		if bytes.Equal(attrs.Keys.At(i), key) {
			return true
		}
	}
	return false
}

// lastOfEach keeps, of the pairs from..to at the columns' end, the last of every key.
func lastOfEach(attrs *spans.Attrs, from, to int) {
	last := make(map[string]int, to-from)
	for i := from; i < to; i++ {
		last[attrs.Keys.Str(i)] = i
	}
	if len(last) == to-from {
		return
	}
	kept := from
	for i := from; i < to; i++ {
		key, value := attrs.Keys.At(i), attrs.Values.At(i)
		if last[string(key)] == i {
			move(&attrs.Keys, kept, key)
			move(&attrs.Values, kept, value)
			kept++
		}
	}
	attrs.Keys.Truncate(kept)
	attrs.Values.Truncate(kept)
}

// move makes row i of a column text, which stands in the column at or behind that row.
func move(column *spans.Text, i int, text []byte) {
	at := 0
	if i > 0 {
		at = int(column.Ends[i-1])
	}
	column.Ends[i] = uint32(at + copy(column.Bytes[at:], text))
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

// plainValue appends the set field of an AnyValue as text, byte for byte as the OpenTelemetry
// exporters spell it (pdata's Value.AsString): strings as they are, numbers and booleans in their
// usual spelling, bytes in base64, arrays and maps as JSON. Two differences: NaN and the infinities
// within JSON are strings and do not empty the whole value; what lies deeper than valueDepthMax is null.
func plainValue(dst []byte, f field) ([]byte, error) {
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
		if len(f.body) == 0 {
			break // so does pdata
		}
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

// pair is one pair of a map that was written as JSON, as it stands in the buffer.
type pair struct {
	key      []byte
	from, to int
}

// jsonMap writes the pairs in the order of their keys, the last one of each, as encoding/json does.
func jsonMap(dst []byte, of field, depth int) ([]byte, error) {
	var few [8]pair // larger maps are rare
	pairs := few[:0]
	sorted := true
	dst = append(dst, '{')
	start := len(dst)
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
		if f.number != 1 || f.wire != wireLen {
			continue
		}
		key, value, err := keyValue(f.body, f.base)
		if err != nil {
			return dst, err
		}
		if n := len(pairs); n > 0 {
			sorted = sorted && bytes.Compare(pairs[n-1].key, key) < 0
			dst = append(dst, ',')
		}
		from := len(dst)
		dst = append(jsonString(dst, key), ':')
		if dst, err = jsonValue(dst, value, depth+1); err != nil {
			return dst, err
		}
		pairs = append(pairs, pair{key: key, from: from, to: len(dst)})
	}
	if !sorted {
		dst = sortPairs(dst, start, pairs)
	}
	return append(dst, '}'), nil
}

// sortPairs rewrites dst[start:] with the pairs sorted: it writes them behind, then moves them down.
func sortPairs(dst []byte, start int, pairs []pair) []byte {
	slices.SortStableFunc(pairs, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
	end := len(dst)
	for i, p := range pairs {
		if i+1 < len(pairs) && bytes.Equal(p.key, pairs[i+1].key) {
			continue // a later one has this key
		}
		if len(dst) > end {
			dst = append(dst, ',')
		}
		dst = append(dst, dst[p.from:p.to]...)
	}
	return dst[:start+copy(dst[start:], dst[end:])]
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

// jsonString escapes what encoding/json escapes when HTML is left alone.
func jsonString(dst, s []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for len(s) > 0 {
		c := s[0]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s)
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, hexDigits[r&15])
			default:
				dst = append(dst, s[:n]...)
			}
			s = s[n:]
			continue
		}
		s = s[1:]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
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
