package baseline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// Cell is a part of a baseline that adds up: what several analyzers have learnt, in whatever order and
// however often it is merged, is the sum of their cells. It is how a baseline is stored.
type Cell struct {
	Kind CellKind
	// Key says what it is about; what stands where depends on the kind.
	Key    [4]string
	Failed bool // of runs of operations that failed
	// Minute is the Unix minute of what is kept by the minute, 0 of all else.
	Minute int64
	// Counts is what is summed: a histogram by its buckets, or counters by their number.
	Counts map[int32]int64
	// Low and High are what the least and the most of are kept. Zero stands for nothing.
	Low, High int64
}

// CellKind is what a cell holds.
type CellKind uint8

// The kinds of cells. Their numbers are stored.
const (
	CellOperation  CellKind = 1  // service, operation: durations
	CellSelf       CellKind = 2  // service, operation: own time
	CellRuns       CellKind = 3  // service, operation: how often
	CellEdge       CellKind = 4  // service, operation, callee, name: durations
	CellGap        CellKind = 5  // likewise: gaps
	CellServer     CellKind = 6  // likewise: the server side
	CellBefore     CellKind = 7  // likewise: the time before
	CellEdgeCounts CellKind = 8  // likewise: on the path, ended well, failed
	CellCall       CellKind = 9  // caller, callee, name: durations
	CellCallCounts CellKind = 10 // caller, callee, name, service: ended well, with a server side
	CellQueue      CellKind = 11 // producer, consumer, name: waits
	CellSeen       CellKind = 12 // service: High is when last
	CellVersion    CellKind = 13 // service, version: Low and High are when first and last
	CellRoute      CellKind = 20 // caller, callee: the counters of Counts
	CellClock      CellKind = 21 // from, to: High is the lower bound, Low the upper one, both with clockShift
)

// KindsByMinute are the kinds from which on cells are kept by the minute, and not for long.
const KindsByMinute = CellRoute

// Histograms are the kinds of which the counts are histograms of durations.
func Histograms() []uint8 {
	return []uint8{
		uint8(CellOperation), uint8(CellSelf), uint8(CellEdge), uint8(CellGap), uint8(CellServer), uint8(CellBefore), uint8(CellCall), uint8(CellQueue),
	}
}

// What the numbers of counters mean. They are stored.
const (
	countRuns = 0

	countOnPath    = 0
	countEndedWell = 1
	countFailed    = 2

	countSucceeded  = 0
	countWithServer = 1

	routeCalls    = 0
	routeFailed   = 1
	routeRefused  = 2
	routeRejected = 3
	routeGaps     = 4
	routeGapNs    = 5
	routeMade     = 6
)

// clockShift keeps the bounds of clocks above zero, which stands for nothing.
const clockShift = 1 << 61

func (d *Durations) counts() map[int32]int64 {
	counts := make(map[int32]int64, len(d.buckets))
	for _, b := range d.buckets {
		counts[int32(b.index)] = int64(b.count)
	}
	return counts
}

func (d *Durations) addCounts(counts map[int32]int64) {
	for _, index := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[index]; index >= 0 && n > 0 {
			d.add(min(int(index), len(middles)-1), int(n))
		}
	}
}

// Cells gives all of the baseline to yield, in no order.
func (b *Baseline) Cells(yield func(Cell)) {
	hist := func(kind CellKind, failed bool, d *Durations, key ...string) {
		if d.count > 0 {
			c := Cell{Kind: kind, Failed: failed, Counts: d.counts()}
			copy(c.Key[:], key)
			yield(c)
		}
	}
	for k, o := range b.operations {
		hist(CellOperation, k.failed, &o.Durations, k.service, k.name)
		hist(CellSelf, k.failed, &o.Self, k.service, k.name)
		yield(Cell{Kind: CellRuns, Failed: k.failed, Key: [4]string{k.service, k.name}, Counts: map[int32]int64{countRuns: int64(o.runs)}})
	}
	for k, e := range b.edges {
		hist(CellEdge, k.failed, &e.Durations, k.service, k.operation, k.callee, k.name)
		hist(CellGap, k.failed, &e.Gap, k.service, k.operation, k.callee, k.name)
		hist(CellServer, k.failed, &e.Server, k.service, k.operation, k.callee, k.name)
		hist(CellBefore, k.failed, &e.Before, k.service, k.operation, k.callee, k.name)
		yield(Cell{Kind: CellEdgeCounts, Failed: k.failed, Key: [4]string{k.service, k.operation, k.callee, k.name}, Counts: map[int32]int64{
			countOnPath: int64(e.OnPath), countEndedWell: int64(e.calls[0]), countFailed: int64(e.calls[1]),
		}})
	}
	for k, c := range b.calls {
		hist(CellCall, false, &c.durations, k.caller, k.callee, k.name)
		yield(Cell{Kind: CellCallCounts, Key: [4]string{k.caller, k.callee, k.name, c.service}, Counts: map[int32]int64{
			countSucceeded: int64(c.succeeded), countWithServer: int64(c.withServer),
		}})
	}
	for k, d := range b.queues {
		hist(CellQueue, false, d, k.caller, k.callee, k.name)
	}
	for name, s := range b.services {
		yield(Cell{Kind: CellSeen, Key: [4]string{name}, High: s.lastSeenNs})
		for v, seen := range s.versions {
			yield(Cell{Kind: CellVersion, Key: [4]string{name, v}, Low: seen.firstNs, High: seen.lastNs})
		}
	}
	for _, r := range b.recent.order {
		for i := range r.panes {
			p := &r.panes[i]
			yield(Cell{Kind: CellRoute, Key: [4]string{r.caller, r.callee}, Minute: p.minute, Counts: map[int32]int64{
				routeCalls: int64(p.Calls), routeFailed: int64(p.Failed), routeRefused: int64(p.Refused), routeRejected: int64(p.Rejected),
				routeGaps: int64(p.Gaps), routeGapNs: p.GapNs, routeMade: int64(p.Made),
			}})
		}
	}
	for pair, panes := range b.clocks.pairs {
		for _, p := range panes {
			yield(Cell{Kind: CellClock, Key: [4]string{pair[0], pair[1]}, Minute: p.minute, High: p.low + clockShift, Low: p.high + clockShift})
		}
	}
}

// Add adds a cell.
func (b *Baseline) Add(c *Cell) {
	k := c.Key
	switch c.Kind {
	case CellOperation:
		b.operationOf(operationKey{k[0], k[1], c.Failed}).Durations.addCounts(c.Counts)
	case CellSelf:
		b.operationOf(operationKey{k[0], k[1], c.Failed}).Self.addCounts(c.Counts)
	case CellRuns:
		b.operationOf(operationKey{k[0], k[1], c.Failed}).runs += int(c.Counts[countRuns])
	case CellEdge, CellGap, CellServer, CellBefore, CellEdgeCounts:
		e := b.edgeOf(edgeKey{k[0], k[1], k[2], k[3], c.Failed})
		switch c.Kind {
		case CellEdge:
			e.Durations.addCounts(c.Counts)
		case CellGap:
			e.Gap.addCounts(c.Counts)
		case CellServer:
			e.Server.addCounts(c.Counts)
		case CellBefore:
			e.Before.addCounts(c.Counts)
		default:
			e.OnPath += int(c.Counts[countOnPath])
			e.calls[0] += int(c.Counts[countEndedWell])
			e.calls[1] += int(c.Counts[countFailed])
		}
	case CellCall:
		b.callsOf(callKey{k[0], k[1], k[2]}).durations.addCounts(c.Counts)
	case CellCallCounts:
		of := b.callsOf(callKey{k[0], k[1], k[2]})
		of.succeeded += int(c.Counts[countSucceeded])
		of.withServer += int(c.Counts[countWithServer])
		of.service = max(of.service, k[3])
	case CellQueue:
		b.queueOf(callKey{k[0], k[1], k[2]}).addCounts(c.Counts)
	case CellSeen:
		s := b.serviceOf(k[0])
		s.lastSeenNs = max(s.lastSeenNs, c.High)
	case CellVersion:
		b.serviceOf(k[0]).saw(k[1], c.Low, c.High)
	case CellRoute:
		b.route(k[0], k[1]).at(c.Minute).add(&Counts{
			Calls: int(c.Counts[routeCalls]), Failed: int(c.Counts[routeFailed]), Refused: int(c.Counts[routeRefused]),
			Rejected: int(c.Counts[routeRejected]), Gaps: int(c.Counts[routeGaps]), GapNs: c.Counts[routeGapNs],
			Made: int(c.Counts[routeMade]),
		})
	case CellClock:
		b.bound(k[0], k[1], c.Minute, c.High-clockShift, c.Low-clockShift)
	}
}

// Slow gives the operations of which it is known what they hardly ever exceed, those that run most
// first, no more than most.
func (b *Baseline) Slow(most int, yield func(service, name string, overNs int64)) {
	keys := make([]operationKey, 0, len(b.operations))
	for k, o := range b.operations {
		if o.runs >= learntMin && !k.failed {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y operationKey) int {
		return cmp.Or(cmp.Compare(b.operations[y].runs, b.operations[x].runs), cmp.Compare(x.service, y.service), cmp.Compare(x.name, y.name))
	})
	for _, k := range keys[:min(most, len(keys))] {
		yield(k.service, k.name, b.operations[k].Durations.HighNs())
	}
}

// LearnFailed adds a trace that failed: all of it to what was seen, its failed runs and how often a
// failed call fails its caller to what is known of failures, and nothing to what is normal.
func (b *Baseline) LearnFailed(f *trace.Forest) {
	b.Witness(f)
	for i := range f.Nodes {
		i := int32(i)
		n := &f.Nodes[i]
		if n.Phantom() {
			continue
		}
		if n.Kind == spans.KindClient && n.Parent != trace.None {
			b.edge(f, n.Parent, i).calls[bit(n.Outcome.Level == trace.Fail)]++
		}
		if n.Outcome.Failed() && isOperation(f, i) {
			b.learnOperation(f, i)
		}
	}
}
