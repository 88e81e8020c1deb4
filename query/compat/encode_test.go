package compat

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage/spans"
)

// tenThousand is a trace of as many spans, of ten services.
func tenThousand() *query.Trace {
	b := &spans.Block{}
	t := &query.Trace{ID: spans.TraceID{1}, Spans: b}
	for r := range 10 {
		b.Resources.Services.Append(fmt.Sprint("service-", r))
		for k := range 8 {
			b.Resources.Attrs.Pair(fmt.Sprint("resource.key.", k), fmt.Sprint("value ", r))
		}
		b.Resources.Attrs.EndRow()
		b.Resources.SchemaURLs.Append("")
		b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, 0)
	}
	b.Scopes.Names.Append("otelhttp")
	b.Scopes.Versions.Append("0.7")
	b.Scopes.Attrs.EndRow()
	b.Scopes.SchemaURLs.Append("")
	b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 0)
	for i := range 10_000 {
		b.TraceIDs, b.SpanIDs = append(b.TraceIDs, t.ID), append(b.SpanIDs, spans.SpanID{6: byte(i >> 8), 7: byte(i)})
		b.ParentIDs = append(b.ParentIDs, spans.SpanID{7: byte(i / 2)})
		b.StartNs, b.EndNs = append(b.StartNs, int64(i)*1000), append(b.EndNs, int64(i)*1000+500_000)
		b.Kinds, b.Statuses, b.Flags = append(b.Kinds, spans.KindServer), append(b.Statuses, spans.StatusUnset), append(b.Flags, 1)
		b.Names.Append("GET /things/{id}")
		b.TraceStates.Append("")
		b.StatusMessages.Append("")
		for k := range 12 {
			b.Attrs.Pair(fmt.Sprint("some.attribute.", k), fmt.Sprint("value ", i))
		}
		b.Attrs.EndRow()
		b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, 0), append(b.DroppedEvents, 0), append(b.DroppedLinks, 0)
		b.EventEnds, b.LinkEnds = append(b.EventEnds, 0), append(b.LinkEnds, 0)
		b.ResourceOf, b.ScopeOf = append(b.ResourceOf, uint32(i%10)), append(b.ScopeOf, 0)
		t.Rows = append(t.Rows, i)
	}
	return t
}

func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain <text> & more": "plain <text> & more", "\"\\/\x00\x1f\n\t\x7f": "\"\\/\x00\x1f\n\t\x7f", "é日本\u2028😀": "é日本\u2028😀", "a\xffb": "a\ufffdb",
	} {
		var got string
		if err := json.Unmarshal(appendText(nil, text), &got); err != nil || got != want {
			t.Errorf("%q came to be %q, %v", text, got, err)
		}
	}
}

// BenchmarkTenThousandSpans in each form: a page of a viewer waits for it.
func BenchmarkTenThousandSpans(b *testing.B) {
	t := tenThousand()
	for name, encode := range map[string]func() error{
		"Jaeger": func() error {
			writeJaegerTraces(httptest.NewRecorder(), []*query.Trace{t}, nil)
			return nil
		},
		"Jaeger v3": func() error {
			raw, err := otlpJSON([]*query.Trace{t})
			if err != nil {
				return err
			}
			return json.NewEncoder(io.Discard).Encode(v3TracesAnswer{raw})
		},
		"Tempo, protobuf": func() error { _, err := tempoTrace(t); return err },
		"Tempo, JSON":     func() error { _, err := protoJSON(t); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
