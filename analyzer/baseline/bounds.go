package baseline

import (
	"cmp"
	"slices"
)

const (
	// learntKeysMost bounds each map: what has no room is not learnt. Some 200 MB, if all are full.
	learntKeysMost = 50_000
	// routesMost bounds the routes, which hold a lot each.
	routesMost = 10_000
	// versionsMost bounds the versions of one service.
	versionsMost = 100

	// RecentMinutes is how long what was seen minute by minute is of use.
	RecentMinutes = 180
	// aheadMinutes is how far a span's clock may be ahead of the moment that it came in at for its calls
	// to count as made about then.
	aheadMinutes = 5
	// astrayMinutes is how far it may be off for the clock to be compared with others: by a time zone, and
	// not by years.
	astrayMinutes = 26 * 60
)

// Bound limits each map of the baseline to so many keys; 0 is for the most that there can be.
func (b *Baseline) Bound(keys int) { b.keysMost = keys }

// KeysMost is what a baseline is bounded by if nothing else is said.
const KeysMost = learntKeysMost

// LeftOut counts how often something had no room.
func (b *Baseline) LeftOut() int { return b.leftOut }

// room says whether a map of n keys takes one more.
func (b *Baseline) room(n int) bool {
	if n < cmp.Or(b.keysMost, learntKeysMost) {
		return true
	}
	b.leftOut++
	return false
}

// StandFor makes each trace that is added from now on stand for n traces, of which it is a sample:
// so that it can be told how often calls are made. Everything else is counted as it was seen.
func (b *Baseline) StandFor(n int) { b.standFor = n }

func (b *Baseline) each() int { return max(1, b.standFor) }

// Knowing makes calls that reached nobody count as made to whom o knows them to reach; what is added to
// before it knows that by itself asks o.
func (b *Baseline) Knowing(o *Baseline) { b.names = o }

func (b *Baseline) serviceCalled(caller, callee, name string) string {
	if service := b.CalleeService(caller, callee, name); service != "" {
		return service
	}
	return b.names.CalleeService(caller, callee, name)
}

// CameInAt says when the traces that were added came in, roughly. What their spans say of times after
// that cannot be: it is forgotten, so that it does not hide what happens now. Times long before may be of
// traces that are sent again; what is newer has precedence over them anyway.
func (b *Baseline) CameInAt(ns int64) {
	now := ns / minuteNs
	for key, panes := range b.clocks.pairs {
		if panes = slices.DeleteFunc(panes, func(p clockPane) bool { return p.minute > now+astrayMinutes }); len(panes) == 0 {
			delete(b.clocks.pairs, key)
		} else {
			b.clocks.pairs[key] = panes
		}
	}
	b.recent.order = slices.DeleteFunc(b.recent.order, func(r *route) bool {
		r.panes = slices.DeleteFunc(r.panes, func(p pane) bool { return p.minute > now+aheadMinutes })
		if len(r.panes) == 0 {
			delete(b.recent.routes, [2]string{r.caller, r.callee})
		}
		return len(r.panes) == 0
	})
	latestNs := (now + aheadMinutes) * minuteNs
	for _, s := range b.services {
		s.lastSeenNs = min(s.lastSeenNs, latestNs)
		for name, v := range s.versions {
			s.versions[name] = version{min(v.firstNs, latestNs), min(v.lastNs, latestNs)}
		}
	}
}

// Has says whether what a cell is about has a place in the baseline.
func (b *Baseline) Has(c *Cell) bool {
	k := c.Key
	has := false
	switch c.Kind {
	case CellOperation, CellSelf, CellRuns:
		_, has = b.operations[operationKey{k[0], k[1], c.Failed}]
	case CellEdge, CellGap, CellServer, CellBefore, CellEdgeCounts:
		_, has = b.edges[edgeKey{k[0], k[1], k[2], k[3], c.Failed}]
	case CellCall, CellCallCounts:
		_, has = b.calls[callKey{k[0], k[1], k[2]}]
	case CellQueue:
		_, has = b.queues[callKey{k[0], k[1], k[2]}]
	case CellSeen:
		_, has = b.services[k[0]]
	case CellVersion:
		if s := b.services[k[0]]; s != nil {
			_, has = s.versions[k[1]]
		}
	case CellRoute:
		_, has = b.recent.routes[[2]string{k[0], k[1]}]
	case CellClock:
		_, has = b.clocks.pairs[[2]string{k[0], k[1]}]
	}
	return has
}
