// Package tracefile reads files of traces. The format is told by the content, not by the name.
package tracefile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// taken is what Read takes, for errors.
const taken = "OTLP (JSON or protobuf), Jaeger JSON, Zipkin v2 JSON or Tempo JSON, gzipped or not"

// Read appends all spans of a file to b. It takes OTLP JSON (one object, or one after the other), OTLP
// protobuf, the JSON that Jaeger's UI and API give, Zipkin v2 JSON and Tempo's JSON, all gzipped or not.
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
		return errors.New("the file is empty: want " + taken)
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case first == '{' || first == '[':
		return readJSON(in, b)
	case first == 0x0a: // the tag of the field resource_spans
		return readProto(in, b)
	case first == '<':
		return errors.New("the file is a web page or XML: want " + taken)
	}
	return fmt.Errorf("the file begins with byte 0x%02x: want %s", first, taken)
}

// firstByte looks at the first byte that is no white space, which JSON may begin with. A line feed is
// also the first byte of OTLP protobuf: it counts when no JSON follows.
func firstByte(in *bufio.Reader) (byte, error) {
	head, err := in.Peek(64)
	if len(head) == 0 {
		return 0, err
	}
	if trimmed := bytes.TrimLeft(head, " \t\r\n\ufeff"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '<') {
		return trimmed[0], nil
	}
	return head[0], nil
}

func readJSON(in *bufio.Reader, b *spans.Block) error {
	if mark, _ := in.Peek(3); bytes.Equal(mark, []byte("\ufeff")) {
		_, _ = in.Discard(len(mark)) // which editors put there, and JSON does not know
	}
	d := json.NewDecoder(in)
	for number := 1; ; number++ {
		var value json.RawMessage
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("value %d of the file is not JSON: %w", number, err)
		}
		if err := readValue(value, b); err != nil {
			return fmt.Errorf("value %d of the file: %w", number, err)
		}
	}
}

// readValue tells the format of a value by its keys.
func readValue(value []byte, b *spans.Block) error {
	if value[0] == '[' {
		return readZipkin(value, b)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(value, &keys); err != nil {
		return fmt.Errorf("want %s: %w", taken, err)
	}
	has := func(key string) bool { _, ok := keys[key]; return ok }
	switch {
	case has("resourceSpans") || has("resource_spans"):
		if foreignIDs.Match(value[:min(len(value), 64<<10)]) {
			return readTempo(value, b)
		}
		_, err := otlp.DecodeJSON(value, b)
		return err
	case has("batches") || has("trace"):
		return readTempo(value, b)
	case has("data"):
		return readJaeger(value, b)
	case has("traceID") && has("spans"):
		return readJaeger(append(append([]byte(`{"data":[`), value...), "]}"...), b)
	case has("traceId") && has("id"):
		return readZipkin(append(append([]byte("["), value...), ']'), b)
	}
	names := slices.Sorted(maps.Keys(keys))
	return fmt.Errorf("it is an object with the keys %q: want %s", names[:min(len(names), 8)], taken)
}

func readProto(in io.Reader, b *spans.Block) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	_, err = otlp.Decode(data, b)
	return err
}

// add appends traces that another format was turned into.
func add(traces ptrace.Traces, b *spans.Block) error {
	wire, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		return fmt.Errorf("turn into OTLP: %w", err)
	}
	_, err = otlp.Decode(wire, b)
	return err
}

// parseID reads an id of up to len(id) bytes in hexadecimal digits; a shorter one has zeros before it.
func parseID(id []byte, text string) error {
	if len(text) > 2*len(id) {
		return fmt.Errorf("id %q is longer than %d hexadecimal digits", text, 2*len(id))
	}
	text = strings.Repeat("0", 2*len(id)-len(text)) + text
	if _, err := hex.Decode(id, []byte(text)); err != nil {
		return fmt.Errorf("id %q: %w", text, err)
	}
	return nil
}

// micros is a time or duration in microseconds as nanoseconds, 0 for what no clock says.
func micros(us float64) pcommon.Timestamp {
	if !(us > 0 && us < math.MaxInt64/1000) {
		return 0
	}
	whole := int64(us) // apart, for a float has no room for nanoseconds
	return pcommon.Timestamp(whole*1000 + int64((us-float64(whole))*1000))
}
