package otlp

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/storage/spans"
)

// DecodeJSON is Decode for OTLP/JSON; the error says what is wrong with the text.
func DecodeJSON(request []byte, b *spans.Block) (Rejected, error) {
	wire, rejected, err := FromJSON(request)
	if err != nil {
		return Rejected{}, err
	}
	more, err := Decode(wire, b)
	if err != nil {
		return Rejected{}, err
	}
	rejected.Add(more)
	return rejected, nil
}

// FromJSON is OTLP/JSON as protobuf, for Decode, so that there is one decoder to trust. It costs many
// times what Decode costs, in time and in memory. Spans whose parent id is no id are left out here
// and counted; spans with other bad ids come out without them, and Decode counts those.
//
// Names may be written in camelCase or in snake_case, enums as numbers or as names, 64-bit numbers as
// text or as numbers.
func FromJSON(request []byte) (wire []byte, rejected Rejected, err error) {
	if deeperThan(request, jsonDepthMax) {
		return nil, Rejected{}, fmt.Errorf("not OTLP/JSON: it is nested deeper than %d", jsonDepthMax)
	}
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(request)
	if err != nil {
		// One span with a bad id must not fail its neighbours: repair and read again.
		var repaired []byte
		if repaired, rejected, err = repairIDs(request); err != nil {
			return nil, Rejected{}, fmt.Errorf("not OTLP/JSON: %w", err)
		}
		if traces, err = (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(repaired); err != nil {
			return nil, Rejected{}, fmt.Errorf("not OTLP/JSON: %w", err)
		}
	}
	if wire, err = ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto(); err != nil {
		return nil, Rejected{}, fmt.Errorf("OTLP/JSON as protobuf: %w", err)
	}
	return wire, rejected, nil
}

// jsonDepthMax bounds the nesting of objects and arrays. pdata reads them by recursion without a
// bound: 32 MiB of brackets took it 3.6 s, and a stack that overflows ends the process.
const jsonDepthMax = 1000

// deeperThan looks at brackets only; whether the rest is JSON is for others to say.
func deeperThan(text []byte, most int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// repairIDs empties every id in a request that is not hex of its length, and takes out the spans
// whose parent id is not.
func repairIDs(request []byte) (repaired []byte, rejected Rejected, err error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(request))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, rejected, err
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
				case "traceId", "trace_id":
					v[key] = hexOrNothing(value, 32)
				case "spanId", "span_id":
					v[key] = hexOrNothing(value, 16)
				case "spans":
					if list, ok := value.([]any); ok {
						kept := withGoodParents(list)
						rejected.BadParentID += len(list) - len(kept)
						v[key], value = kept, kept
					}
					stack = append(stack, value)
				default:
					stack = append(stack, value)
				}
			}
		}
	}
	repaired, err = json.Marshal(doc)
	return repaired, rejected, err
}

// withGoodParents keeps the spans whose own ids are bad: Decode counts them, by what comes first.
func withGoodParents(list []any) []any {
	kept := make([]any, 0, len(list))
	for _, item := range list {
		if span, ok := item.(map[string]any); ok {
			id, text := parentID(span)
			if !text || (id != "" && hexOrNothing(id, 16) == "") {
				if hexOrNothing(either(span, "traceId", "trace_id"), 32) != "" && hexOrNothing(either(span, "spanId", "span_id"), 16) != "" {
					continue
				}
				delete(span, "parentSpanId")
				delete(span, "parent_span_id")
			}
		}
		kept = append(kept, item)
	}
	return kept
}

// parentID is a span's parent id, if what stands there is text; nothing and null are empty.
func parentID(span map[string]any) (id string, text bool) {
	value := either(span, "parentSpanId", "parent_span_id")
	if value == nil {
		return "", true
	}
	id, text = value.(string)
	return id, text
}

func either(span map[string]any, key, other string) any {
	if value, ok := span[key]; ok {
		return value
	}
	return span[other]
}

// hexOrNothing is value if it is that many hex digits, and empty if it is anything else.
func hexOrNothing(value any, digits int) string {
	s, _ := value.(string)
	if len(s) != digits {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return ""
		}
	}
	return s
}
