package rank

import (
	"bytes"
	"cmp"
	"slices"
)

const (
	// slicesMost is into how many parts, by time, the history is cut to look whether it was steady, and
	// shiftRatio how much slower than the fastest one a part must be not to be normal.
	slicesMost = 8
	shiftRatio = 3
	// sliceMin is how many observations tell what a part is like.
	sliceMin = 5
)

// learn makes the base of the history. A slowdown that began within the history is not normal from
// there on: of each component, parts in which it took much longer than in its fastest part are left out.
func (r *Ranker) learn() {
	byTime := make([]int32, len(r.before))
	for k := range byTime {
		byTime[k] = int32(k)
	}
	slices.SortFunc(byTime, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.before[a].ns, r.before[b].ns), bytes.Compare(r.before[a].id[:], r.before[b].id[:]))
	})
	part := make([]int, len(byTime))
	for at, trace := range byTime {
		part[trace] = at * slicesMost / len(byTime)
	}
	samples := make([][slicesMost][]int64, len(r.comps))
	for _, o := range r.history {
		s := &samples[o.comp][part[o.trace]]
		*s = append(*s, o.ns)
	}
	r.base = make([]moments, len(r.comps))
	for id := range samples {
		limit := int64(1<<63 - 1)
		if r.comps[id].kind <= kindResponse {
			limit = steadyLimit(&samples[id])
		}
		for k := range samples[id] {
			if s := samples[id][k]; len(s) > 0 && median(s) <= limit {
				for _, ns := range s {
					r.base[id].add(ns)
				}
			}
		}
	}
}

// steadyLimit is the median that a part must not exceed to be normal.
func steadyLimit(parts *[slicesMost][]int64) int64 {
	limit := int64(1<<63 - 1)
	for _, s := range parts {
		if len(s) >= sliceMin {
			const leastNs = 1_000_000 // below, a ratio says little
			limit = min(limit, shiftRatio*max(leastNs, median(s)))
		}
	}
	return limit
}

// median of a list, which it sorts.
func median(s []int64) int64 {
	slices.Sort(s)
	return s[len(s)/2]
}
