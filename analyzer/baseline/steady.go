package baseline

import "github.com/whosehop/whosehop/analyzer/trace"

const (
	// slicesMost is into how many parts, by time, a history is cut to look whether it was steady.
	slicesMost = 8
	// shiftRatio is how much slower a part must be than the fastest one not to be normal, beside lying
	// clearly above it.
	shiftRatio = 1.5
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
		steady(&o.Durations, func(p *Baseline) *Durations {
			return fieldOf(p.operations[key], func(o *Operation) *Durations { return &o.Durations })
		})
		steady(&o.Self, func(p *Baseline) *Durations {
			return fieldOf(p.operations[key], func(o *Operation) *Durations { return &o.Self })
		})
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
		steady(&c.durations, func(p *Baseline) *Durations {
			return fieldOf(p.calls[key], func(c *calls) *Durations { return &c.durations })
		})
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
	// Parts that follow each other are put together until they hold enough to tell.
	var told []Durations
	var fastest *Durations
	for k, p := range parts {
		if k == 0 || told[len(told)-1].count >= learntMin {
			told = append(told, Durations{})
		}
		told[len(told)-1].merge(p)
	}
	for k := range told {
		if d := &told[k]; d.count >= learntMin && (fastest == nil || d.QuantileNs(0.5) < fastest.QuantileNs(0.5)) {
			fastest = d
		}
	}
	if fastest == nil {
		return *all
	}
	var sum Durations
	limitNs := int64(shiftRatio * float64(max(fastest.QuantileNs(0.5), 1_000_000))) // below a millisecond a ratio says little
	for k := range told {
		if d := &told[k]; d.QuantileNs(0.5) <= limitNs || d.QuantileNs(0.25) <= fastest.QuantileNs(0.9) {
			sum.merge(d)
		}
	}
	return sum
}
