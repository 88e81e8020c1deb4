package trace

import (
	"cmp"
	"slices"

	"github.com/whosehop/whosehop/storage/spans"
)

// Step is a child that its parent waited for: a part of the critical path.
type Step struct {
	Node int32
	// BeforeNs is how long the parent worked by itself right before the child began.
	BeforeNs int64
	// OnNs is how much of the parent's time only this child accounts for.
	OnNs int64
	// FromNs and ToNs bound that time on the parent's clock.
	FromNs, ToNs int64
}

// PathOf finds the children of a node that lie on its critical path, the first one first, and the
// time that the node spent with none of them running. The steps' OnNs and selfNs sum to the node's
// duration. It walks the children by their ends, the last first, as Jaeger's critical path does
// (github.com/jaegertracing/jaeger-ui, criticalPath). buf is used for the answer.
func (f *Forest) PathOf(i int32, buf []Step) (steps []Step, selfNs int64) {
	p := &f.Nodes[i]
	steps = buf[:0]
	if p.NoDuration {
		return steps, 0
	}
	for c := p.FirstChild; c != None; c = f.Nodes[c].NextSib {
		if from, to, ok := f.blocking(i, c); ok {
			steps = append(steps, Step{Node: c, FromNs: from, ToNs: to})
		}
	}
	if len(steps) == 0 {
		return steps, p.DurationNs()
	}
	slices.SortFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(b.ToNs, a.ToNs), cmp.Compare(a.FromNs, b.FromNs), cmp.Compare(a.Node, b.Node))
	})
	// A little overlap of two calls that follow each other is how clocks and code are.
	toleranceNs := min(1_000_000, p.DurationNs()/100)
	cursor, taken := p.EndNs, 0
	for _, s := range steps {
		if s.ToNs > cursor+toleranceNs {
			continue // beside the one on the path
		}
		to := min(s.ToNs, cursor)
		if to <= s.FromNs {
			continue
		}
		if f.repeats(i, s.Node) {
			continue
		}
		s.OnNs, s.ToNs = to-s.FromNs, to
		cursor = s.FromNs
		steps[taken] = s
		taken++
	}
	steps = steps[:taken]
	slices.Reverse(steps)
	at := p.StartNs
	for k := range steps {
		steps[k].BeforeNs = steps[k].FromNs - at
		selfNs += steps[k].BeforeNs
		at = steps[k].ToNs
	}
	return steps, selfNs + p.EndNs - at
}

// blocking says when, on its parent's clock, a child ran that its parent waited for.
func (f *Forest) blocking(parent, child int32) (from, to int64, ok bool) {
	p, c := &f.Nodes[parent], &f.Nodes[child]
	if c.Async || c.NoDuration || c.Phantom() && p.Kind != spans.KindClient {
		return 0, 0, false
	}
	from, to = c.StartNs, c.EndNs
	if p.Kind == spans.KindClient && c.Kind == spans.KindServer {
		// The server side of a call: what lies around it is the gap, whatever the clocks say.
		return p.StartNs, p.EndNs, true
	}
	slackNs := max(1_000_000, p.DurationNs()/20)
	if p.Instance != c.Instance && (from < p.StartNs || to > p.EndNs) {
		// Two clocks: put it where it fits, if it does.
		if to-from > p.DurationNs()+slackNs {
			return 0, 0, false
		}
		shift := max(0, p.StartNs-from)
		if to+shift > p.EndNs {
			shift = p.EndNs - to
		}
		return max(p.StartNs, from+shift), min(p.EndNs, to+shift), true
	}
	if to > p.EndNs+slackNs && !p.gaveUp() {
		return 0, 0, false // it outlived a parent that ended in peace, so nobody waited for it
	}
	return max(from, p.StartNs), min(to, p.EndNs), true
}

// gaveUp: the node ended before its work did.
func (n *Node) gaveUp() bool {
	return n.Outcome.Class == "TIMEOUT" || n.Outcome.Class == "CANCELLED"
}

// repeatsMost bounds how many siblings a span is compared with.
const repeatsMost = 64

// repeats: an internal span without children that lies around a call beside it says the same as the call.
func (f *Forest) repeats(parent, child int32) bool {
	n := &f.Nodes[child]
	if n.Kind != spans.KindInternal || n.FirstChild != None {
		return false
	}
	looked := 0
	for s := f.Nodes[parent].FirstChild; s != None && looked < repeatsMost; s = f.Nodes[s].NextSib {
		o := &f.Nodes[s]
		if o.StartNs > n.EndNs {
			break
		}
		looked++
		if s != child && o.Kind == spans.KindClient && o.StartNs >= n.StartNs && o.EndNs <= n.EndNs && o.DurationNs()*2 > n.DurationNs() {
			return true
		}
	}
	return false
}
