package load

import (
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func TestPayload(t *testing.T) {
	p := New(512)
	bytes, spans, attrs := 0, 0, 0
	ids := make(map[[8]byte]bool)
	traces := make(map[[16]byte]int)
	var buffer []byte
	for i := range 2 * p.Len() {
		buffer = p.Fresh(buffer, i)
		bytes += len(buffer)
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(buffer); err != nil {
			t.Fatal(err)
		}
		for _, rs := range request.Traces().ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					spans++
					attrs += s.Attributes().Len()
					if ids[s.SpanID()] {
						t.Fatalf("span id %s is there twice", s.SpanID())
					}
					ids[s.SpanID()] = true
					traces[s.TraceID()]++
					if age := time.Since(s.StartTimestamp().AsTime()); age < 0 || age > time.Minute || s.EndTimestamp() < s.StartTimestamp() {
						t.Fatalf("span from %s to %s", s.StartTimestamp(), s.EndTimestamp())
					}
				}
			}
		}
	}
	t.Logf("%d requests, %d spans, %d B and %.1f attributes a span, %d traces", p.Len(), spans, bytes/spans, float64(attrs)/float64(spans), len(traces))
	if size := bytes / spans; size < 450 || size > 600 {
		t.Errorf("%d bytes a span", size)
	}
}
