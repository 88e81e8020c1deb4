package blame

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Timeline lays the spans of a forest out as they are drawn, with what is known of each. Exceptions are kept of the spans
// that verdicts blame.
func Timeline(f *trace.Forest, cfg Config, verdicts []verdict.Verdict) *verdict.Timeline {
	blamed := blamedSpans(verdicts)
	l := &layout{
		trial: trial{cfg: cfg, keepRuns: true}, at: make([]int32, len(f.Nodes)), words: make(map[string]string), normals: make(map[*baseline.Durations][2]int64),
		line: &verdict.Timeline{
			Spans: make([]verdict.TimelineSpan, 0, len(f.Nodes)), Gaps: make(map[int]verdict.Gap), Often: make(map[int][]verdict.Often), Logs: make(map[int][]verdict.Log),
		},
	}
	l.start(f)
	for _, entry := range f.Entries {
		l.walk(entry)
		for _, i := range l.order {
			l.add(i)
		}
		l.path(entry)
	}
	for i, s := range slices.Backward(l.line.Spans) {
		if s.Parent >= 0 {
			l.line.Spans[s.Parent].Below += 1 + l.line.Spans[i].Below
		}
	}
	for i := range f.Nodes {
		l.gap(int32(i))
		if blamed[f.Nodes[i].SpanID] && !f.Nodes[i].Phantom() {
			l.logs(int32(i))
		}
	}
	l.retries()
	return l.line
}

// blamedSpans are the spans that carry a share.
func blamedSpans(verdicts []verdict.Verdict) map[spans.SpanID]bool {
	ids := make(map[spans.SpanID]bool)
	for i := range verdicts {
		for k := range verdicts[i].Shares {
			for _, text := range verdicts[i].Shares[k].SpanIDs {
				var id spans.SpanID
				if n, err := hex.Decode(id[:], []byte(text)[:min(len(text), 2*len(id))]); err == nil && n == len(id) {
					ids[id] = true
				}
			}
		}
	}
	return ids
}

// layout is a timeline in the making.
type layout struct {
	trial
	line    *verdict.Timeline
	at      []int32 // where a node is in it
	words   map[string]string
	normals map[*baseline.Durations][2]int64
}

// word is a text that does not point into the block, held once.
func (l *layout) word(s string) string {
	if known, ok := l.words[s]; ok {
		return known
	}
	s = strings.Clone(s)
	l.words[s] = s
	return s
}

var kindNames = [...]string{spans.KindUnspecified: "", spans.KindInternal: "internal", spans.KindServer: "server", spans.KindClient: "client", spans.KindProducer: "producer", spans.KindConsumer: "consumer"}

func (l *layout) add(i int32) {
	n, o := &l.f.Nodes[i], l.outcome[i]
	s := verdict.TimelineSpan{
		ID: n.SpanID, Parent: -1, Service: l.word(l.f.ServiceOf(i).Name), Name: l.word(n.Name), Kind: kindNames[min(int(n.Kind), len(kindNames)-1)],
		StartNs: n.StartNs, EndNs: n.EndNs, Failed: o.Level == trace.Fail, Missing: n.Phantom(),
	}
	switch {
	case o.Failed():
		s.Status = l.word(l.said(i))
	case n.Facts.HTTPStatus > 0:
		s.Status = l.word(l.sprintf("%d", n.Facts.HTTPStatus))
	}
	if n.Parent != trace.None {
		s.Parent = l.at[n.Parent]
	}
	if !n.NoDuration && !n.Phantom() {
		s.NormalNs, s.NormalToNs = l.normal(i)
	}
	l.at[i] = int32(len(l.line.Spans))
	l.line.Spans = append(l.line.Spans, s)
}

// normal is what a span normally takes: a call of its caller's operation, anything else by itself.
func (l *layout) normal(i int32) (fromNs, toNs int64) {
	n, caller := &l.f.Nodes[i], l.f.ServiceOf(i).Name
	var d *baseline.Durations
	if n.Kind != spans.KindClient && n.Kind != spans.KindProducer {
		d = l.cfg.Normal.Operation(caller, n.Name)
	} else if d = l.cfg.Normal.Call(caller, n.Facts.CalleeKey(), n.Name); n.Parent != trace.None {
		if edge := l.cfg.Normal.EdgeOf(l.f, n.Parent, i); edge != nil && edge.Durations.Count() > 0 {
			d = &edge.Durations
		}
	}
	if d == nil {
		return 0, 0
	}
	const low, high = 0.05, 0.95
	known, ok := l.normals[d]
	if !ok {
		known = [2]int64{d.QuantileNs(low), d.QuantileNs(high)}
		l.normals[d] = known
	}
	return known[0], known[1]
}

// path marks the critical path of an entry, and finds what was called too often on it.
func (l *layout) path(entry int32) {
	stack := []int32{entry}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		l.line.Spans[l.at[at]].OnPath = true
		l.steps, _ = l.f.PathOf(at, l.steps)
		counted := make(map[*baseline.Edge]int)
		var edges []*baseline.Edge
		var first []int32
		for k := range l.steps {
			c := l.steps[k].Node
			stack = append(stack, c)
			edge := l.cfg.Normal.EdgeOf(l.f, at, c)
			if edge == nil || l.outcome[c].Failed() {
				continue
			}
			if counted[edge] == 0 {
				edges, first = append(edges, edge), append(first, c)
			}
			counted[edge]++
		}
		for k, edge := range edges {
			usual := edge.CallsMean()
			if n := counted[edge]; float64(n) >= 2*usual && float64(n) >= usual+2 {
				i := int(l.at[at])
				l.line.Often[i] = append(l.line.Often[i], verdict.Often{Name: l.word(l.callName(first[k])), Calls: n, Usual: usual})
			}
		}
	}
}

// gap bounds the time between the two sides of a call. Stored times are not changed: it is the offset of the clocks that is an interval.
func (l *layout) gap(c int32) {
	n := &l.f.Nodes[c]
	s := l.f.ServerSide(c)
	if n.Kind != spans.KindClient || s == trace.None || n.NoDuration {
		return
	}
	m := &l.f.Nodes[s]
	if m.Phantom() || m.Async || m.NoDuration {
		return
	}
	from, to := l.f.Instances[n.Instance].Clock, l.f.Instances[m.Instance].Clock
	o, known := l.cfg.Normal.ClockOffset(from, to, n.StartNs)
	if from == to {
		o, known = baseline.Offset{}, true
	}
	// The server side begins within its call, and ends within it unless the caller left before.
	low, high := m.EndNs-n.EndNs, m.StartNs-n.StartNs
	gaveUp := low > high || l.outcome[c].Class == verdict.ClassTimeout || l.outcome[c].Class == verdict.ClassCancelled
	if gaveUp {
		low = m.StartNs - n.EndNs
	}
	if !known || o.LowNs > high || o.HighNs < low {
		o, known = baseline.Offset{LowNs: low, HighNs: high}, false
	}
	o.LowNs, o.HighNs = max(o.LowNs, low), min(o.HighNs, high)
	g := verdict.Gap{Server: l.at[s], RequestLowNs: high - o.HighNs, RequestHighNs: high - o.LowNs, Known: known}
	restNs := n.DurationNs() - m.DurationNs()
	g.ResponseLowNs, g.ResponseHighNs = max(0, restNs-g.RequestHighNs), max(0, restNs-g.RequestLowNs)
	l.line.Gaps[int(l.at[c])] = g
}

// logs keeps the exceptions of a span.
func (l *layout) logs(i int32) {
	b, at := l.f.Block(), int(l.f.Nodes[i].Row)
	from, to := b.EventRange(at)
	var logs []verdict.Log
	for k := from; k < to && len(logs) < verdict.LogsMost; k++ {
		if string(b.Events.Names.At(k)) != "exception" {
			continue
		}
		text := func(key string, most int) string {
			v, _ := b.Events.Attrs.Get(k, key)
			return cut(string(v), most)
		}
		logs = append(logs, verdict.Log{
			TimeNs: b.Events.TimeNs[k], Type: text("exception.type", verdict.LogMessageBytes),
			Message: text("exception.message", verdict.LogMessageBytes), Stack: text("exception.stacktrace", verdict.LogStackBytes),
		})
	}
	if len(logs) > 0 {
		l.line.Logs[int(l.at[i])] = logs
	}
}

// retries numbers the requests that were made more than once.
func (l *layout) retries() {
	for _, run := range l.runs {
		r := verdict.Retry{}
		for _, i := range run {
			at := l.at[i]
			if l.line.Spans[at].Retry != 0 {
				continue
			}
			if l.outcome[i].Failed() {
				r.Failed++
			}
			r.Attempts = append(r.Attempts, at)
			l.line.Spans[at].Retry = int32(len(l.line.Retries) + 1)
		}
		l.line.Retries = append(l.line.Retries, r)
	}
}
