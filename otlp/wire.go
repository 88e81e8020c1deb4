package otlp

import (
	"encoding/binary"
	"fmt"
)

// Error says where a request stops being protobuf.
type Error struct {
	At     int // the offset in the request
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("not OTLP protobuf at byte %d: %s", e.At, e.Reason)
}

// The wire types of protobuf.
const (
	wireVarint = 0
	wireI64    = 1
	wireLen    = 2
	wireStart  = 3
	wireEnd    = 4
	wireI32    = 5
)

// reader walks over the fields of a message. data is never copied.
type reader struct {
	data []byte
	at   int
	base int // the offset of data in the request
}

// field is one field of a message; for wireLen, body is its content.
type field struct {
	number int
	wire   int
	value  uint64 // of varints and fixed numbers
	body   []byte
	base   int // the offset of body in the request
}

func (r *reader) fail(reason string) error { return &Error{At: r.base + r.at, Reason: reason} }

func (r *reader) varint() (uint64, error) {
	// Nearly all tags and lengths are one byte long.
	if r.at < len(r.data) && r.data[r.at] < 0x80 {
		v := uint64(r.data[r.at])
		r.at++
		return v, nil
	}
	v, n := binary.Uvarint(r.data[r.at:])
	switch {
	case n == 0:
		return 0, r.fail("a number is cut off")
	case n < 0:
		return 0, r.fail("a number is longer than 64 bits")
	}
	r.at += n
	return v, nil
}

// next reads one field; ok is false at the end. Groups are skipped: OTLP has none.
func (r *reader) next(f *field) (ok bool, err error) {
	for r.at < len(r.data) {
		tag, err := r.varint()
		if err != nil {
			return false, err
		}
		number := tag >> 3
		if number == 0 || number > 1<<29-1 {
			return false, r.fail("a field has an impossible number")
		}
		f.number, f.wire = int(number), int(tag&7)
		switch f.wire {
		case wireVarint:
			f.value, err = r.varint()
			return err == nil, err
		case wireI64:
			if len(r.data)-r.at < 8 {
				return false, r.fail("a fixed number is cut off")
			}
			f.value = binary.LittleEndian.Uint64(r.data[r.at:])
			r.at += 8
			return true, nil
		case wireI32:
			if len(r.data)-r.at < 4 {
				return false, r.fail("a fixed number is cut off")
			}
			f.value = uint64(binary.LittleEndian.Uint32(r.data[r.at:]))
			r.at += 4
			return true, nil
		case wireLen:
			n, err := r.varint()
			if err != nil {
				return false, err
			}
			if n > uint64(len(r.data)-r.at) {
				return false, r.fail("a field is longer than what holds it")
			}
			f.base = r.base + r.at
			f.body = r.data[r.at : r.at+int(n) : r.at+int(n)]
			r.at += int(n)
			return true, nil
		case wireStart:
			if err := r.skipGroup(f.number); err != nil {
				return false, err
			}
		default:
			return false, r.fail("a field has an unknown wire type")
		}
	}
	return false, nil
}

// groupDepthMax bounds groups within groups.
const groupDepthMax = 64

func (r *reader) skipGroup(number int) error {
	var open [groupDepthMax]int
	open[0] = number
	for depth := 1; depth > 0; {
		if r.at >= len(r.data) {
			return r.fail("a group is cut off")
		}
		tag, err := r.varint()
		if err != nil {
			return err
		}
		switch tag & 7 {
		case wireVarint:
			_, err = r.varint()
		case wireI64:
			err = r.skip(8)
		case wireI32:
			err = r.skip(4)
		case wireLen:
			var n uint64
			if n, err = r.varint(); err == nil {
				if n > uint64(len(r.data)) {
					return r.fail("a field is longer than what holds it")
				}
				err = r.skip(int(n))
			}
		case wireStart:
			if depth == groupDepthMax {
				return r.fail("groups are nested too deep")
			}
			open[depth] = int(tag >> 3)
			depth++
		case wireEnd:
			depth--
			if open[depth] != int(tag>>3) {
				return r.fail("a group ends that was not begun")
			}
		default:
			return r.fail("a field has an unknown wire type")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) skip(n int) error {
	if n > len(r.data)-r.at {
		return r.fail("a field is cut off")
	}
	r.at += n
	return nil
}

// The tags of a span's commonest fields, as the one byte that they are on the wire.
const (
	tagTraceID   = 1<<3 | wireLen
	tagSpanID    = 2<<3 | wireLen
	tagParentID  = 4<<3 | wireLen
	tagName      = 5<<3 | wireLen
	tagAttribute = 9<<3 | wireLen
	tagStart     = 7<<3 | wireI64
	tagEnd       = 8<<3 | wireI64
)

// short reads the next field if it is one of the tags above, whole, and of a length of up to two bytes;
// otherwise tag is 0 and nothing was read.
func (r *reader) short() (body []byte, tag byte) {
	data := r.data[r.at:]
	if len(data) < 2 {
		return nil, 0
	}
	tag = data[0]
	from, n := 2, int(data[1])
	switch tag {
	case tagTraceID, tagSpanID, tagParentID, tagName, tagAttribute:
		if n >= 0x80 {
			if len(data) < 3 || data[2] >= 0x80 {
				return nil, 0
			}
			from, n = 3, n&0x7f|int(data[2])<<7
		}
	case tagStart, tagEnd:
		from, n = 1, 8
	default:
		return nil, 0
	}
	if from+n > len(data) {
		return nil, 0
	}
	r.at += from + n
	return data[from : from+n : from+n], tag
}
