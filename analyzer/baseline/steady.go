package baseline

import "github.com/whosehop/whosehop/analyzer/trace"

const (
	// slicesMost is into how many parts, by time, a history is cut to look whether it was steady.
	slicesMost = 8
	// shiftRatio is how much slower a part must be than the fastest one not to be normal: more than load
	// does over a day.
	shiftRatio = 3
)

// LearnSteady learns normal from a history whose traces are in the order of their time. A slowdown
// that began within the history is not normal from there on: of every operation and call, the parts
// of the history in which it was much slower than in its fastest part are left out.
func LearnSteady(history []*trace.Forest) *Baseline {
	whole := new(Baseline)
	for _, f := range history {
		whole.Learn(f)
	}
	var parts []*Baseline
	for k := range slicesMost {
		part := new(Baseline)
		for _, f := range history[k*len(history)/slicesMost : (k+1)*len(history)/slicesMost] {
			part.Learn(f)
		}
		parts = append(parts, part)
	}
	hists := make([]*Durations, 0, slicesMost)
	steady := func(to *Durations, of func(*Baseline) *Durations) {
		hists = hists[:0]
		for _, p := range parts {
			if d := of(p); d != nil {
				hists = append(hists, d)
			}
		}
		*to = steadyOf(hists, to)
	}
	for key, o := range whole.operations {
		steady(&o.Durations, func(p *Baseline) *Durations { return fieldOf(p.operations[key], func(o *Operation) *Durations { return &o.Durations }) })
		steady(&o.Self, func(p *Baseline) *Durations { return fieldOf(p.operations[key], func(o *Operation) *Durations { return &o.Self }) })
	}
	for key, e := range whole.edges {
		for _, field := range [...]func(*Edge) *Durations{
			func(e *Edge) *Durations { return &e.Durations },
			func(e *Edge) *Durations { return &e.Gap },
			func(e *Edge) *Durations { return &e.Server },
			func(e *Edge) *Durations { return &e.Before },
		} {
			steady(field(e), func(p *Baseline) *Durations { return fieldOf(p.edges[key], field) })
		}
	}
	for key, c := range whole.calls {
		steady(&c.durations, func(p *Baseline) *Durations { return fieldOf(p.calls[key], func(c *calls) *Durations { return &c.durations }) })
	}
	for key, d := range whole.queues {
		steady(d, func(p *Baseline) *Durations { return p.queues[key] })
	}
	return whole
}

func fieldOf[T any](of *T, field func(*T) *Durations) *Durations {
	if of == nil {
		return nil
	}
	return field(of)
}

// steadyOf adds up the parts that are not much slower than the fastest one; all is what it is without.
func steadyOf(parts []*Durations, all *Durations) Durations {
	fastest := int64(-1)
	for _, p := range parts {
		if p.count >= learntMin && (fastest < 0 || p.QuantileNs(0.5) < fastest) {
			fastest = p.QuantileNs(0.5)
		}
	}
	if fastest < 0 {
		return *all
	}
	var sum Durations
	limit := shiftRatio * max(fastest, 1_000_000) // below a millisecond a ratio says little
	for _, p := range parts {
		if p.QuantileNs(0.5) <= limit {
			sum.merge(p)
		}
	}
	return sum
}
