package baseline

import (
	"maps"
	"slices"
)

// Merge adds all of another baseline.
func (b *Baseline) Merge(o *Baseline) { o.Cells(func(c Cell) { b.Add(&c) }) }

// With is the sum of b and o. Both stay as they are, so that whoever reads b can go on. What o does not
// touch the sum has in common with b, which is what makes it cheap; therefore add to a sum by With alone.
func (b *Baseline) With(o *Baseline) *Baseline {
	sum := &Baseline{
		operations: maps.Clone(b.operations), edges: maps.Clone(b.edges), calls: maps.Clone(b.calls),
		queues: maps.Clone(b.queues), services: maps.Clone(b.services),
		recent:   recent{routes: maps.Clone(b.recent.routes), order: slices.Clone(b.recent.order)},
		clocks:   clocks{pairs: maps.Clone(b.clocks.pairs)},
		keysMost: b.keysMost, leftOut: b.leftOut,
	}
	sum.ownOperations(o)
	own(sum.calls, o.calls, func(c *calls) *calls {
		mine := *c
		mine.durations = c.durations.clone()
		return &mine
	})
	own(sum.queues, o.queues, func(d *Durations) *Durations {
		mine := d.clone()
		return &mine
	})
	own(sum.services, o.services, func(s *service) *service {
		return &service{lastSeenNs: s.lastSeenNs, versions: maps.Clone(s.versions)}
	})
	for key := range o.recent.routes {
		if shared := sum.recent.routes[key]; shared != nil {
			mine := *shared
			mine.panes = slices.Clone(shared.panes)
			at, _ := sum.recent.at(shared)
			sum.recent.routes[key], sum.recent.order[at] = &mine, &mine
		}
	}
	own(sum.clocks.pairs, o.clocks.pairs, slices.Clone[[]clockPane])
	sum.Merge(o)
	return sum
}

// ownOperations makes copies of the operations and edges that o has as well.
func (b *Baseline) ownOperations(o *Baseline) {
	moved := make(map[*Operation]*Operation, len(o.operations))
	own(b.operations, o.operations, func(shared *Operation) *Operation {
		mine := &Operation{Durations: shared.Durations.clone(), Self: shared.Self.clone(), runs: shared.runs}
		moved[shared] = mine
		return mine
	})
	own(b.edges, o.edges, func(shared *Edge) *Edge {
		mine := *shared
		for _, d := range []*Durations{&mine.Durations, &mine.Gap, &mine.Server, &mine.Before} {
			*d = d.clone()
		}
		return &mine
	})
	if len(moved) == 0 {
		return
	}
	for key, e := range b.edges {
		if to := moved[e.operation]; to != nil {
			mine := *e
			mine.operation = to
			b.edges[key] = &mine
		}
	}
}

// own replaces the values of the keys that others have by copies.
func own[K comparable, V, W any](values map[K]V, others map[K]W, copyOf func(V) V) {
	for key := range others {
		if shared, known := values[key]; known {
			values[key] = copyOf(shared)
		}
	}
}

func (d *Durations) clone() Durations {
	return Durations{count: d.count, buckets: slices.Clone(d.buckets)}
}
