package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-faster/city"
	"github.com/pierrec/lz4/v4"

	"github.com/whosehop/whosehop/storage/spans"
)

// stream is bytes as they come: what has come and was not read yet is buf[pos:], and more appends what comes next.
type stream struct {
	buf  []byte
	pos  int
	more func(buf []byte) ([]byte, error)
}

// readBytes is what is asked of a connection at once.
const readBytes = 128 << 10

// from is the stream of a connection.
func from(r io.Reader) *stream {
	return &stream{more: func(buf []byte) ([]byte, error) {
		buf = slices.Grow(buf, readBytes)
		n, err := r.Read(buf[len(buf):cap(buf)])
		if n > 0 {
			err = nil
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return buf[:len(buf)+n], err
	}}
}

// The most that a frame or a text may hold: what is larger is not what ClickHouse sends.
const (
	frameMax = 256 << 20
	textMax  = 1 << 30
	// columnMax is what the texts of a column may hold together before another one comes: their ends have 32 bits.
	columnMax = 2 << 30
	// lz4Most is how many bytes LZ4 makes of one at most: a frame must have come before memory is taken for it.
	lz4Most = 255
)

var errBroken = errors.New("the answer is not what the protocol says")

// unpacked is the stream within compressed frames.
func unpacked(s *stream) *stream {
	return &stream{more: func(buf []byte) ([]byte, error) {
		head, err := s.peek(frameHeader)
		if err != nil {
			return buf, err
		}
		method := head[frameChecksum]
		size := int(binary.LittleEndian.Uint32(head[frameChecksum+1:]))
		raw := int(binary.LittleEndian.Uint32(head[frameChecksum+5:]))
		if size < frameHeader-frameChecksum || size > frameMax || raw > frameMax || raw > lz4Most*size || method != methodLZ4 {
			return buf, fmt.Errorf("%w: a frame of method %#x, %d bytes for %d", errBroken, method, size, raw)
		}
		frame, err := s.take(frameChecksum + size)
		if err != nil {
			return buf, err
		}
		sum := city.CH128(frame[frameChecksum:])
		if binary.LittleEndian.Uint64(frame) != sum.Low || binary.LittleEndian.Uint64(frame[8:]) != sum.High {
			return buf, fmt.Errorf("%w: a frame's checksum is wrong", errBroken)
		}
		at := len(buf)
		buf = slices.Grow(buf, raw)[:at+raw]
		if n, err := lz4.UncompressBlock(frame[frameHeader:], buf[at:]); err != nil || n != raw {
			return buf[:at], errors.Join(err, fmt.Errorf("%w: a frame of %d bytes holds %d", errBroken, raw, n))
		}
		return buf, nil
	}}
}

// peek is the next n bytes; they are valid until the next call.
func (s *stream) peek(n int) ([]byte, error) {
	for len(s.buf)-s.pos < n {
		if s.pos > 0 {
			s.buf = s.buf[:copy(s.buf, s.buf[s.pos:])]
			s.pos = 0
		}
		buf, err := s.more(s.buf)
		if err != nil {
			return nil, err
		}
		s.buf = buf
	}
	return s.buf[s.pos : s.pos+n], nil
}

// take is peek, and goes on behind.
func (s *stream) take(n int) ([]byte, error) {
	b, err := s.peek(n)
	s.pos += len(b)
	return b, err
}

func (s *stream) byte() (byte, error) {
	b, err := s.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (s *stream) uvarint() (n uint64, err error) {
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: a number has no end", errBroken)
}

func (s *stream) skipUvarints(n int) error {
	for range n {
		if _, err := s.uvarint(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) uint64() (uint64, error) {
	b, err := s.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// text is the next text; it is valid until the next call.
func (s *stream) text() ([]byte, error) {
	if b := s.buf[s.pos:]; len(b) > 0 && b[0] < 0x80 && len(b) > int(b[0]) {
		s.pos += 1 + int(b[0])
		return b[1 : 1+int(b[0])], nil
	}
	n, err := s.uvarint()
	if err != nil {
		return nil, err
	}
	if n > textMax {
		return nil, fmt.Errorf("%w: a text of %d bytes", errBroken, n)
	}
	return s.take(int(n))
}

func (s *stream) string() (string, error) {
	b, err := s.text()
	return string(b), err
}

func (s *stream) texts(dst *spans.Text, rows int) error {
	for range rows {
		b, err := s.text()
		if err != nil {
			return err
		}
		if full(dst) {
			return errFull
		}
		dst.AppendBytes(b)
	}
	return nil
}

// sharedTexts is texts for a column whose rows share them.
func (s *stream) sharedTexts(dst *spans.Text, recent *spans.Recent, rows int) error {
	for range rows {
		b, err := s.text()
		if err != nil {
			return err
		}
		if full(dst) {
			return errFull
		}
		dst.Of = append(dst.Of, dst.Number(recent, b))
	}
	return nil
}

var errFull = fmt.Errorf("a column of more than %d bytes", columnMax)

// full says whether a column has no room for another text.
func full(t *spans.Text) bool { return len(t.Bytes) > columnMax }

// numbers appends rows of a fixed width to dst.
func numbers[T any](s *stream, dst []T, rows, width int, number func([]byte) T) ([]T, error) {
	const most = 8192 // rows at once: a column need not fit the buffer
	for rows > 0 {
		n := min(rows, most)
		b, err := s.take(n * width)
		if err != nil {
			return dst, err
		}
		for i := range n {
			dst = append(dst, number(b[i*width:]))
		}
		rows -= n
	}
	return dst, nil
}

func (s *stream) uint64s(dst []uint64, rows int) ([]uint64, error) {
	return numbers(s, dst, rows, 8, binary.LittleEndian.Uint64)
}

func (s *stream) uint32s(dst []uint32, rows int) ([]uint32, error) {
	return numbers(s, dst, rows, 4, binary.LittleEndian.Uint32)
}

// ends reads where the rows of an array end, counted from 0 for the block, and gives how many elements there are.
func (s *stream) ends(dst []uint32, rows int) (ends []uint32, elements int, err error) {
	from, high := uint32(0), uint32(0)
	ends, err = numbers(s, dst[:0], rows, 8, func(b []byte) uint32 {
		high |= binary.LittleEndian.Uint32(b[4:])
		return binary.LittleEndian.Uint32(b)
	})
	if high != 0 {
		return ends, 0, fmt.Errorf("%w: an array of more than 32 bits", errBroken)
	}
	for _, end := range ends {
		if end < from {
			return ends, 0, fmt.Errorf("%w: an array ends before it begins", errBroken)
		}
		from = end
	}
	return ends, int(from), err
}

// texts of a LowCardinality column: the distinct ones, and which a row has.
type words struct {
	texts   spans.Text
	rows    []uint32
	numbers []uint32 // of the texts, in the column that they go to
}

func (d *words) at(i int) []byte { return d.texts.At(int(d.rows[i])) }

func (d *words) read(s *stream, rows int) error {
	d.texts.Reset()
	d.rows = d.rows[:0]
	if rows == 0 {
		return nil
	}
	flags, err := s.uint64()
	if err != nil {
		return err
	}
	if flags&^0xff != dictionaryFlags && flags&^0xff != dictionaryFlags&^(1<<10) {
		return fmt.Errorf("%w: a dictionary of flags %#x", errBroken, flags)
	}
	n, err := s.uint64()
	if err != nil {
		return err
	}
	if n > uint64(rows)+2 { // one for the default and one for NULL may come unused
		return fmt.Errorf("%w: %d words for %d rows", errBroken, n, rows)
	}
	if err := s.texts(&d.texts, int(n)); err != nil {
		return err
	}
	if got, err := s.uint64(); err != nil || got != uint64(rows) {
		return errors.Join(err, fmt.Errorf("%w: a dictionary has %d rows of %d", errBroken, got, rows))
	}
	switch flags & 0xff {
	case 0:
		d.rows, err = numbers(s, d.rows, rows, 1, func(b []byte) uint32 { return uint32(b[0]) })
	case 1:
		d.rows, err = numbers(s, d.rows, rows, 2, func(b []byte) uint32 { return uint32(binary.LittleEndian.Uint16(b)) })
	case 2:
		d.rows, err = s.uint32s(d.rows, rows)
	default:
		err = fmt.Errorf("%w: a dictionary of width %d", errBroken, flags&0xff)
	}
	for _, w := range d.rows {
		if uint64(w) >= n {
			return fmt.Errorf("%w: word %d of %d", errBroken, w, n)
		}
	}
	return err
}

// spread appends the text of each row.
func (d *words) spread(dst *spans.Text) error {
	for i := range d.rows {
		if full(dst) {
			return errFull
		}
		dst.AppendBytes(d.at(i))
	}
	return nil
}

// share appends the text of each row to a column whose rows share texts.
func (d *words) share(dst *spans.Text, recent *spans.Recent) error {
	d.numbers = d.numbers[:0]
	for w := range d.texts.Len() {
		if full(dst) {
			return errFull
		}
		d.numbers = append(d.numbers, dst.Number(recent, d.texts.At(w)))
	}
	for _, w := range d.rows {
		dst.Of = append(dst.Of, d.numbers[w])
	}
	return nil
}

// version reads what stands before all rows of a LowCardinality column.
func (d *words) version(s *stream) error {
	v, err := s.uint64()
	if err == nil && v != dictionaryVersion {
		err = fmt.Errorf("%w: a dictionary of version %d", errBroken, v)
	}
	return err
}
