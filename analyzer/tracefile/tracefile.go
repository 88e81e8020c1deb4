// Package tracefile reads files of traces. The format is told by the content, not by the name.
package tracefile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// Read appends all spans of a file to b: OTLP JSON (one object, or one after the other) or OTLP
// protobuf, either of them gzipped or not.
func Read(r io.Reader, b *spans.Block) error {
	in := bufio.NewReaderSize(r, 64<<10)
	if head, _ := in.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		in = bufio.NewReaderSize(unpacked, 64<<10)
	}
	first, err := firstByte(in)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty: want OTLP JSON or OTLP protobuf")
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case first == '{':
		return readJSON(in, b)
	case first == 0x0a: // the tag of the field resource_spans
		return readProto(in, b)
	}
	return fmt.Errorf("the file begins with byte 0x%02x: want OTLP JSON (which begins with '{') or OTLP protobuf", first)
}

// firstByte looks at the first byte that is no white space, which JSON may begin with. A line feed is
// also the first byte of OTLP protobuf: it counts when no JSON follows.
func firstByte(in *bufio.Reader) (byte, error) {
	head, err := in.Peek(64)
	if len(head) == 0 {
		return 0, err
	}
	if trimmed := bytes.TrimLeft(head, " \t\r\n\ufeff"); len(trimmed) > 0 && trimmed[0] == '{' {
		return '{', nil
	}
	return head[0], nil
}

func readJSON(in io.Reader, b *spans.Block) error {
	d := json.NewDecoder(in)
	for number := 1; ; number++ {
		var object json.RawMessage
		err := d.Decode(&object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("object %d of the file is not JSON: %w", number, err)
		}
		if !bytes.Contains(object, []byte(`"resourceSpans"`)) {
			return fmt.Errorf("object %d of the file has no resourceSpans: want OTLP JSON", number)
		}
		if _, err := otlp.DecodeJSON(object, b); err != nil {
			return fmt.Errorf("object %d of the file: %w", number, err)
		}
	}
}

func readProto(in io.Reader, b *spans.Block) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	_, err = otlp.Decode(data, b)
	return err
}
