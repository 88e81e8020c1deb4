package rank

import (
	"bytes"
	"cmp"
	"slices"
)

const (
	// slicesMost is into how many parts, by time, the history is cut to look whether it was steady, and
	// shiftRatio how much slower than the fastest one a part must be not to be normal, beside lying
	// clearly above it.
	slicesMost = 8
	shiftRatio = 1.5
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
	for id := range samples {
		together(&samples[id])
	}
	r.base = make([]moments, len(r.comps))
	for id := range samples {
		times := r.comps[id].kind <= kindResponse
		var fastest []int64
		for _, s := range samples[id] {
			slices.Sort(s)
			if len(s) >= sliceMin && times && (fastest == nil || quantile(s, 0.5) < quantile(fastest, 0.5)) {
				fastest = s
			}
		}
		for _, s := range samples[id] {
			if fastest != nil && len(s) > 0 && shifted(s, fastest) {
				continue
			}
			for _, ns := range s {
				r.base[id].add(ns)
			}
		}
	}
}

// shifted: one part lies clearly above the fastest one. Both are sorted.
func shifted(s, fastest []int64) bool {
	const leastNs = 1_000_000 // below, a ratio says little
	return float64(quantile(s, 0.5)) > shiftRatio*float64(max(leastNs, quantile(fastest, 0.5))) &&
		quantile(s, 0.25) > quantile(fastest, 0.9)
}

func quantile(sorted []int64, q float64) int64 { return sorted[int(q*float64(len(sorted)-1))] }

// together puts parts that follow each other together until they hold enough to tell.
func together(parts *[slicesMost][]int64) {
	open := -1
	for k := range parts {
		if len(parts[k]) == 0 {
			continue
		}
		if open >= 0 && len(parts[open]) < sliceMin {
			parts[open] = append(parts[open], parts[k]...)
			parts[k] = nil
			continue
		}
		open = k
	}
}
