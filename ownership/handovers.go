package ownership

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Handover is a change of the owner of something. Before or After may be Unowned.
type Handover struct {
	About         string // what changed hands
	Record        *catalog.Record
	At            time.Time
	Before, After string
}

// Handovers lists what changed hands within [from, to), the newest first. What was first written down within that time was
// nobody's before as far as the registry knows, and is not one of them, unless a record that says less spoke of it.
func (r *Registry) Handovers(from, to time.Time) (list []Handover) {
	return r.handovers(from, to, func() *Registry { return r })
}

// handovers lists those of its records. Around knows whose a thing is while none of them speaks of it.
func (r *Registry) handovers(from, to time.Time, around func() *Registry) (list []Handover) {
	of := make(map[subject][]*entry)
	all := r.entriesOf(r.records)
	for i := range all {
		e := &all[i]
		// Under the other names of a thing the same happens again.
		if e.about == services && e.name != plain(e.record.Name) {
			continue
		}
		of[e.subject] = append(of[e.subject], e)
	}
	for _, entries := range of {
		if only := entries[0].record; len(entries) == 1 && only.From.IsZero() && only.Until.IsZero() {
			continue
		}
		list = append(list, handovers(entries, from, to, around)...)
	}
	slices.SortFunc(list, func(a, b Handover) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(a.About, b.About)) })
	return list
}

// handovers goes through the times at which one of the entries begins or ends to hold, all of one thing and in their order.
func handovers(entries []*entry, from, to time.Time, around func() *Registry) (list []Handover) {
	thing := entries[0].subject
	var changes []time.Time
	for _, e := range entries {
		changes = append(changes, e.record.From, e.record.Until)
	}
	changes = append(changes, time.Time{}) // before all that has a beginning
	slices.SortFunc(changes, time.Time.Compare)
	changes = slices.CompactFunc(changes, time.Time.Equal)
	slices.SortStableFunc(entries, func(a, b *entry) int { return a.record.From.Compare(b.record.From) })

	var now holding
	before, known, last := Unowned, false, entries[0].record
	for _, at := range changes {
		for len(entries) > 0 && !entries[0].record.From.After(at) {
			heap.Push(&now, entries[0])
			entries = entries[1:]
		}
		for len(now) > 0 && !now[0].record.Until.IsZero() && !now[0].record.Until.After(at) {
			heap.Pop(&now)
		}
		after := Unowned
		if len(now) > 0 {
			last = now[0].record
			after = cmp.Or(now[0].ownerAt(nanoseconds(at, 0)), last.Accountable)
		}
		if after != before && !at.IsZero() && !at.Before(from) && at.Before(to) {
			h := Handover{About: Subject(last), Record: last, At: at, Before: before, After: after}
			switch ns := nanoseconds(at, 0); Unowned {
			case before:
				h.Before = around().holder(thing, ns-1)
			case after:
				h.After = around().holder(thing, ns)
			}
			if h.Before != h.After && (known || h.Before != Unowned) {
				list = append(list, h)
			}
		}
		before, known = after, known || after != Unowned
	}
	return list
}

// holder is who has what is called like this, in the words of records: a pattern is what those say that fit it as it is
// written. It may be a side, or Unowned.
func (r *Registry) holder(s subject, atNs int64) string {
	if s.about == everything {
		return Unowned
	}
	a := r.Resolve(s.question(atNs))
	return cmp.Or(a.Owner, a.Side)
}

func (s *subject) question(atNs int64) *Question {
	q := &Question{Service: s.name, Namespace: s.namespace, Environment: s.environment, Phase: s.phase, AtNs: atNs}
	switch s.about {
	case operations:
		q.Operation = s.second
	case edges:
		q.Callee = s.second
	case namespaces:
		q.Service, q.Namespace = "", s.name
	case services, everything:
	}
	return q
}

// holding are entries of which the first in their order is on top.
type holding []*entry

func (h holding) Len() int           { return len(h) }
func (h holding) Less(i, j int) bool { return h[i].order < h[j].order }
func (h holding) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *holding) Push(e any)        { *h = append(*h, e.(*entry)) }
func (h *holding) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
