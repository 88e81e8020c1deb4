package otlp

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/storage/spans"
)

// DecodeJSON is Decode for OTLP/JSON. JSON is read by pdata and then takes the way of protobuf, so
// that there is one decoder to trust.
func DecodeJSON(request []byte, b *spans.Block) (Rejected, error) {
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(request)
	if err != nil {
		// One span with a bad id must not fail its neighbours: blank such ids and read again.
		repaired, repairErr := blankBadIDs(request)
		if repairErr != nil {
			return Rejected{}, fmt.Errorf("not OTLP/JSON: %w", repairErr)
		}
		if traces, err = (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(repaired); err != nil {
			return Rejected{}, fmt.Errorf("not OTLP/JSON: %w", err)
		}
	}
	wire, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		return Rejected{}, fmt.Errorf("OTLP/JSON as protobuf: %w", err)
	}
	return Decode(wire, b)
}

// blankBadIDs empties every id in a request that is not hex of its length.
func blankBadIDs(request []byte) ([]byte, error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(request))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	stack := []any{doc}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch v := at.(type) {
		case []any:
			stack = append(stack, v...)
		case map[string]any:
			for key, value := range v {
				switch key {
				case "traceId":
					v[key] = hexOrNothing(value, 32)
				case "spanId", "parentSpanId":
					v[key] = hexOrNothing(value, 16)
				default:
					stack = append(stack, value)
				}
			}
		}
	}
	return json.Marshal(doc)
}

func hexOrNothing(value any, length int) string {
	s, _ := value.(string)
	if len(s) != length {
		return ""
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return s
}
