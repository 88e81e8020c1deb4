package baseline

import (
	"cmp"
	"math"
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

const minuteNs = 60_000_000_000

// panesMost is how many minutes of a route are kept: enough to tell what is new from what is usual.
const panesMost = RecentMinutes

// Counts is what was seen of the calls, or messages, of one service to another. Calls that a breaker
// of the caller stopped were never made.
type Counts struct {
	Calls int
	// Made is how many calls there were, as far as the ones that were looked at tell.
	Made     int
	Failed   int
	Refused  int // nothing accepted the connection, or the name is not known
	Rejected int // answered with a 4xx or its like
	// GapNs sums what the calls took beyond their server side, Gaps counts those where that is known.
	GapNs int64
	Gaps  int
	// Minutes is how long a time the counts are from.
	Minutes int
}

func (c *Counts) add(o *Counts) {
	c.Calls += o.Calls
	c.Made += o.Made
	c.Failed += o.Failed
	c.Refused += o.Refused
	c.Rejected += o.Rejected
	c.GapNs += o.GapNs
	c.Gaps += o.Gaps
}

// GapMeanNs is the mean gap of a call, 0 where none is known.
func (c *Counts) GapMeanNs() int64 {
	if c.Gaps == 0 {
		return 0
	}
	return c.GapNs / int64(c.Gaps)
}

type pane struct {
	minute int64
	Counts
}

type route struct {
	caller, callee string
	panes          []pane // in order of their minutes
}

// recent is what was seen of late between services, minute by minute.
type recent struct {
	routes map[[2]string]*route
	order  []*route // by caller, callee
}

// Witness adds a trace to what was seen of late, and nothing to what is normal: the trace may be
// under trial itself.
func (b *Baseline) Witness(f *trace.Forest) {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Phantom() {
			continue
		}
		i := int32(i)
		b.sawService(f, i)
		if n.Kind == spans.KindConsumer && n.Parent != trace.None && f.Nodes[n.Parent].Kind == spans.KindProducer && n.StartNs > 0 {
			c := Counts{Calls: 1, Made: b.each(), Failed: bit(n.Outcome.Level == trace.Fail)}
			b.route(f.ServiceOf(n.Parent).Name, f.ServiceOf(i).Name).at(n.StartNs / minuteNs).add(&c)
		}
		if n.Kind != spans.KindClient || n.StartNs <= 0 || n.Outcome.Class == "BREAKER" {
			continue
		}
		s := f.ServerSide(i)
		callee := ""
		if s != trace.None {
			callee = f.ServiceOf(s).Name
			b.see(f, i, s)
		} else if callee = b.serviceCalled(f.ServiceOf(i).Name, n.Facts.CalleeKey(), n.Name); callee == "" {
			callee = n.Facts.CalleeName()
		}
		c := Counts{
			Calls: 1, Made: b.each(), Failed: bit(n.Outcome.Level == trace.Fail),
			Refused:  bit(n.Outcome.Class == "REFUSED" || n.Outcome.Class == "DNS"),
			Rejected: bit(n.Outcome.Level == trace.Soft && n.Outcome.Answered),
		}
		if s != trace.None && !n.NoDuration && !f.Nodes[s].NoDuration && !f.Nodes[s].Phantom() && !n.Outcome.Failed() {
			c.Gaps, c.GapNs = 1, max(0, n.DurationNs()-f.Nodes[s].DurationNs())
		}
		b.route(f.ServiceOf(i).Name, callee).at(n.StartNs / minuteNs).add(&c)
	}
}

func (b *Baseline) sawService(f *trace.Forest, i int32) {
	of := f.ServiceOf(i)
	at := f.Nodes[i].StartNs
	s := b.serviceOf(of.Name)
	s.lastSeenNs = max(s.lastSeenNs, at)
	if of.Version != "" && at > 0 {
		s.saw(of.Version, at, at)
	}
}

func (b *Baseline) serviceOf(name string) *service {
	s := b.services[name]
	if s == nil {
		s = &service{}
		put(b, &b.services, clone(name), s)
	}
	return s
}

// saw widens the time in which a version was seen.
func (s *service) saw(name string, firstNs, lastNs int64) {
	v, known := s.versions[name]
	switch {
	case known && firstNs >= v.firstNs && lastNs <= v.lastNs:
	case known:
		// A map takes the key of the last write: it must not point into a block.
		s.versions[clone(name)] = version{min(v.firstNs, firstNs), max(v.lastNs, lastNs)}
	case len(s.versions) < versionsMost:
		if s.versions == nil {
			s.versions = make(map[string]version)
		}
		s.versions[clone(name)] = version{firstNs, lastNs}
	}
}

func (b *Baseline) route(caller, callee string) *route {
	r := &b.recent
	found := r.routes[[2]string{caller, callee}]
	if found == nil {
		found = &route{caller: clone(caller), callee: clone(callee)}
		if len(r.routes) >= routesMost {
			b.leftOut++
			return found // which nobody keeps
		}
		if r.routes == nil {
			r.routes = make(map[[2]string]*route)
		}
		r.routes[[2]string{found.caller, found.callee}] = found
		at, _ := r.at(found)
		r.order = slices.Insert(r.order, at, found)
	}
	return found
}

// at is where a route stands in the order, or would.
func (r *recent) at(of *route) (at int, found bool) {
	return slices.BinarySearchFunc(r.order, of, func(a, b *route) int {
		return cmp.Or(cmp.Compare(a.caller, b.caller), cmp.Compare(a.callee, b.callee))
	})
}

func (r *route) at(minute int64) *pane {
	at, found := slices.BinarySearchFunc(r.panes, minute, func(p pane, m int64) int { return cmp.Compare(p.minute, m) })
	if !found {
		r.panes = slices.Insert(r.panes, at, pane{minute: minute})
		if len(r.panes) > panesMost {
			if at == 0 {
				old := r.panes[0] // too old to be kept
				r.panes = slices.Delete(r.panes, 0, 1)
				return &old
			}
			r.panes = slices.Delete(r.panes, 0, 1)
			at--
		}
	}
	return &r.panes[at]
}

// lateMinutes is how far back something counts as happening now.
const lateMinutes = 5

// split parts a route's counts into those of the last minutes up to now, and those before.
func (r *route) split(nowNs int64) (late, before Counts) {
	now := nowNs / minuteNs
	for i := range r.panes {
		p := &r.panes[i]
		switch {
		case p.minute > now:
		case p.minute > now-lateMinutes:
			late.add(&p.Counts)
			late.Minutes = max(late.Minutes, int(now-p.minute)+1)
		default:
			before.add(&p.Counts)
			if before.Minutes == 0 {
				before.Minutes = int(now - lateMinutes - p.minute + 1)
			}
		}
	}
	return late, before
}

// Route is what was seen of one service's calls to another.
type Route struct {
	Caller, Callee string
	// Late is what was seen in the last five minutes, Before in those that came earlier.
	Late, Before Counts
}

// RoutesTo are the routes to a callee as they were at a moment, by caller.
func (b *Baseline) RoutesTo(callee string, nowNs int64) []Route {
	return b.routes(nowNs, func(r *route) bool { return r.callee == callee })
}

// RoutesFrom are the routes from a caller as they were at a moment, by callee.
func (b *Baseline) RoutesFrom(caller string, nowNs int64) []Route {
	return b.routes(nowNs, func(r *route) bool { return r.caller == caller })
}

func (b *Baseline) routes(nowNs int64, want func(*route) bool) []Route {
	if b == nil {
		return nil
	}
	var found []Route
	for _, r := range b.recent.order {
		if want(r) {
			late, before := r.split(nowNs)
			found = append(found, Route{r.caller, r.callee, late, before})
		}
	}
	return found
}

// RatePerMinute of the calls.
func (c *Counts) RatePerMinute() float64 {
	if c.Minutes == 0 {
		return 0
	}
	return float64(c.Made) / float64(c.Minutes)
}

// smoothedLogRatio is log((a/n) / (b/m)) with one half added to every count.
func smoothedLogRatio(a, n, b, m int) float64 {
	return math.Log((float64(a) + 0.5) / (float64(n) + 1) * (float64(m) + 1) / (float64(b) + 0.5))
}
