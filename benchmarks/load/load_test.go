package load

import (
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/storage/spans"
)

func TestPayload(t *testing.T) {
	p := New(Config{SpansPerRequest: 512})
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

func TestTracesAreWhole(t *testing.T) {
	type seen struct {
		spans, roots int
		failed       bool
	}
	for _, cfg := range []Config{
		{SpansPerRequest: 512, Whole: true},
		{SpansPerRequest: 512, SpansPerTrace: 200, FailingEvery: 1, Whole: true},
		{SpansPerRequest: 512, Traces: 100, FailingEvery: 20, Whole: true},
	} {
		p := New(cfg)
		traces := make(map[spans.TraceID]*seen)
		ends := make(map[spans.SpanID][2]int64)
		type child struct {
			parent     spans.SpanID
			start, end int64
		}
		var children []child
		source := p.Source()
		var block spans.Block
		stored := 0
		for source.Taken() < 2*p.Len() {
			stored += p.Spans(source.Taken())
			if err := source.Fill(&block, 1); err != nil {
				t.Fatal(err)
			}
			for i, id := range block.TraceIDs {
				if traces[id] == nil {
					traces[id] = new(seen)
				}
				traces[id].spans++
				traces[id].failed = traces[id].failed || block.Statuses[i] == spans.StatusError
				ends[block.SpanIDs[i]] = [2]int64{block.StartNs[i], block.EndNs[i]}
				if block.ParentIDs[i] == (spans.SpanID{}) {
					traces[id].roots++
				} else {
					children = append(children, child{block.ParentIDs[i], block.StartNs[i], block.EndNs[i]})
				}
			}
		}
		size, failed := max(cfg.SpansPerTrace, 25), 0
		for id, s := range traces {
			if s.spans != size || s.roots != 1 {
				t.Fatalf("trace %x has %d spans, %d roots", id, s.spans, s.roots)
			}
			if s.failed {
				failed++
			}
		}
		all, failing := p.Traces()
		if len(traces) != 2*all || failed != 2*failing || stored != len(traces)*size {
			t.Errorf("%d traces, %d fail; said were %d and %d a round, and %d spans", len(traces), failed, all, failing, stored)
		}
		for _, c := range children {
			if p, ok := ends[c.parent]; !ok || c.start < p[0] || c.end < c.start {
				t.Fatalf("a span from %d to %d, its parent from %d to %d", c.start, c.end, p[0], p[1])
			}
		}
		t.Logf("%d spans a trace: %d traces, %d fail", size, len(traces), failed)
	}
}
