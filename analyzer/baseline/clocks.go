package baseline

import (
	"cmp"
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
)

// A synchronous call bounds how far its callee's clock is ahead of its caller's, for the server side
// lies within the call: server.end - client.end <= offset <= server.start - client.start. Many calls
// bound it tightly. Clocks drift, and are set: bounds are kept by the minute, and are carried from
// one to another no further than they agree.

const (
	// driftPerNs is how fast two clocks part at worst: 50 parts per million.
	driftPerNs = 50e-6
	// clockSlackNs is how far apart bounds may be that still say the same: timestamps are rounded.
	clockSlackNs = 100_000
	clockPanes   = 120
)

// Offset is how far one clock is ahead of another, as an interval in nanoseconds.
type Offset struct {
	LowNs, HighNs int64
	// Stepped: within the minutes that were looked at the clock was set.
	Stepped bool
}

// MiddleNs is the middle of the interval: a guess.
func (o Offset) MiddleNs() int64 { return o.LowNs + (o.HighNs-o.LowNs)/2 }

// WidthNs says how sure the offset is.
func (o Offset) WidthNs() int64 { return o.HighNs - o.LowNs }

type clockPane struct {
	minute int64
	low    int64
	high   int64
}

type clocks struct {
	pairs map[[2]string][]clockPane // first the caller's clock, then the callee's
}

func (b *Baseline) see(f *trace.Forest, call, server int32) {
	c, s := &f.Nodes[call], &f.Nodes[server]
	from, to := f.Instances[c.Instance].Clock, f.Instances[s.Instance].Clock
	if from == to || c.NoDuration || s.NoDuration || s.Phantom() || s.Async || c.Outcome.Failed() || s.DurationNs() > c.DurationNs() {
		return
	}
	b.bound(from, to, c.StartNs/minuteNs, s.EndNs-c.EndNs, s.StartNs-c.StartNs)
}

func (b *Baseline) bound(from, to string, minute, low, high int64) {
	if from > to { // one entry for both directions
		from, to, low, high = to, from, -high, -low
	}
	key := [2]string{from, to}
	panes, known := b.clocks.pairs[key]
	at, found := slices.BinarySearchFunc(panes, minute, func(p clockPane, m int64) int { return cmp.Compare(p.minute, m) })
	if found {
		p := &panes[at]
		p.low, p.high = max(p.low, low), min(p.high, high)
		return
	}
	panes = slices.Insert(panes, at, clockPane{minute, low, high})
	if len(panes) > clockPanes {
		panes = slices.Delete(panes, 0, 1)
	}
	if known {
		b.clocks.pairs[key] = panes
		return
	}
	put(b, &b.clocks.pairs, [2]string{clone(from), clone(to)}, panes)
}

// ClockOffset is how far the clock named to was ahead of the one named from at a moment. Known only
// where calls between them were seen, or of both with a third.
func (b *Baseline) ClockOffset(from, to string, nowNs int64) (Offset, bool) {
	if b == nil || from == to {
		return Offset{}, from == to
	}
	direct, ok := b.clocks.offset(from, to, nowNs)
	if ok {
		return direct, true
	}
	var best Offset
	for _, pair := range b.clocks.sharing(from) {
		between := pair[0]
		if between == from {
			between = pair[1]
		}
		first, ok1 := b.clocks.offset(from, between, nowNs)
		second, ok2 := b.clocks.offset(between, to, nowNs)
		if !ok1 || !ok2 {
			continue
		}
		sum := Offset{first.LowNs + second.LowNs, first.HighNs + second.HighNs, first.Stepped || second.Stepped}
		if !ok {
			best, ok = sum, true
			continue
		}
		if low, high := max(best.LowNs, sum.LowNs), min(best.HighNs, sum.HighNs); low <= high {
			best.LowNs, best.HighNs = low, high
		}
	}
	return best, ok
}

func (k *clocks) sharing(name string) [][2]string {
	var found [][2]string
	for pair := range k.pairs {
		if pair[0] == name || pair[1] == name {
			found = append(found, pair)
		}
	}
	slices.SortFunc(found, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	return found
}

func (k *clocks) offset(from, to string, nowNs int64) (Offset, bool) {
	if from > to {
		o, ok := k.offset(to, from, nowNs)
		return Offset{-o.HighNs, -o.LowNs, o.Stepped}, ok
	}
	panes := k.pairs[[2]string{from, to}]
	now := nowNs / minuteNs
	// The latest first: what is now holds, what was before only as far as it agrees.
	end := len(panes)
	for end > 0 && panes[end-1].minute > now {
		end--
	}
	o, ok := Offset{}, false
	for i := end - 1; i >= 0; i-- {
		p := panes[i]
		if p.low > p.high+clockSlackNs { // it was set within that minute
			o.Stepped = ok
			if ok {
				return o, true
			}
			continue
		}
		drift := int64(float64(now-p.minute) * minuteNs * driftPerNs)
		low, high := p.low-drift, p.high+drift
		if !ok {
			o, ok = Offset{LowNs: low, HighNs: max(low, high)}, true
			continue
		}
		low, high = max(o.LowNs, low), min(o.HighNs, high)
		if low > high+clockSlackNs {
			o.Stepped = true
			return o, true
		}
		o.LowNs, o.HighNs = low, max(low, high)
	}
	return o, ok
}
