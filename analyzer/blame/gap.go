package blame

import (
	"slices"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/verdict"
)

// offset is how far the clock of a call's server side is ahead of the caller's: what many calls say
// of the two clocks, no wider than this call itself allows. known is false where nothing but this
// call was seen.
func (t *trial) offset(c, s int32) (o baseline.Offset, known bool) {
	n, m := &t.f.Nodes[c], &t.f.Nodes[s]
	from, to := t.f.Instances[n.Instance].Clock, t.f.Instances[m.Instance].Clock
	low, high := m.EndNs-n.EndNs, m.StartNs-n.StartNs
	if class := t.outcome[c].Class; class == "TIMEOUT" || class == "CANCELLED" {
		low = min(low, 0, high) // nobody waited for its end
	}
	fits := low <= high // the server side is no longer than the call
	if o, known = t.cfg.Normal.ClockOffset(from, to, n.StartNs); known {
		// The server side begins within its call, and ends within it unless the caller left before.
		if high >= o.LowNs {
			o.HighNs = min(o.HighNs, high)
		}
		if low <= o.HighNs && !t.outcome[c].Failed() {
			o.LowNs = max(o.LowNs, low)
		}
		return o, true
	}
	// Clocks are taken to agree as far as the call allows it.
	switch {
	case !fits || low <= 0 && high >= 0:
		return baseline.Offset{}, false
	case low > 0:
		return baseline.Offset{LowNs: low, HighNs: low}, false
	default:
		return baseline.Offset{LowNs: high, HighNs: high}, false
	}
}

// clockNotes says which clocks on the path disagree, as far as it is known.
func (t *trial) clockNotes() []string {
	var notes []string
	for _, c := range t.order {
		s := t.f.ServerSide(c)
		if !t.onPath[c] || s == trace.None || t.f.Nodes[s].Phantom() || t.f.Nodes[s].Async || t.f.Nodes[c].Instance == t.f.Nodes[s].Instance {
			continue
		}
		o, known := t.offset(c, s)
		const worthSayingNs = 5_000_000
		if at := o.MiddleNs(); !known || max(at, -at) < worthSayingNs || o.LowNs < 0 && o.HighNs > 0 {
			continue
		}
		from, to := t.f.Instances[t.f.Nodes[c].Instance].Clock, t.f.Instances[t.f.Nodes[s].Instance].Clock
		way, at := "ahead of", o.MiddleNs()
		if at < 0 {
			way, at = "behind", -at
		}
		note := t.sprintf("the clock of %s is %s %s that of %s, ±%s", to, t.took(at), way, from, t.took(o.WidthNs()/2))
		if o.Stepped {
			note += "; it was set of late"
		}
		if !slices.Contains(notes, note) && len(notes) < 8 {
			notes = append(notes, note)
		}
	}
	return notes
}

// legs are the times that a call spent before and after its server side: request and response. Each
// is right within the width of the offset.
func (t *trial) legs(c, s int32, o baseline.Offset) (requestNs, responseNs int64) {
	n, m := &t.f.Nodes[c], &t.f.Nodes[s]
	requestNs = m.StartNs - o.MiddleNs() - n.StartNs
	return requestNs, n.DurationNs() - m.DurationNs() - requestNs
}

// slowGap: the time went between the two sides of a call.
func (t *trial) slowGap(c, s int32, ns int64) finding {
	o, known := t.offset(c, s)
	requestNs, responseNs := t.legs(c, s, o)
	f := t.base(c, "slow-gap", 0.65)
	f.class, f.errorType = "", ""
	f.nodes = []int32{c, s}
	f.excessNs = ns
	phase, other := verdict.PhaseResponse, verdict.PhaseRequest
	if requestNs > responseNs {
		phase, other = other, phase
	}
	f.site = t.edge(c, phase)
	caller, callee := f.site.Caller, f.site.Callee
	f.summary = t.sprintf("%s went between %s and %s, outside of both", t.took(ns), caller, callee)
	f.evidence = t.lines(t.sprintf("%s took %s, %s itself ran %s of it: %s before it began, %s after it had ended", t.callWords(c),
		t.took(t.f.Nodes[c].DurationNs()), callee, t.took(t.f.Nodes[s].DurationNs()), t.took(max(0, requestNs)), t.took(max(0, responseNs))))
	f.runnerUp = t.candidate(t.edge(c, other), 0.2)
	switch apart := requestNs - responseNs; {
	case !known && t.f.Nodes[c].Instance != t.f.Nodes[s].Instance:
		f.confidence = 0.5
		f.evidence = append(f.evidence, "how the two clocks agree is not known, so the side of it is a guess")
	case o.WidthNs() > max(apart, -apart):
		f.confidence = 0.45
		f.evidence = append(f.evidence, t.sprintf("the two clocks are known to ±%s only, so the side of it is a guess", t.took(o.WidthNs()/2)))
	}
	t.decideGap(&f, caller, callee, t.f.Nodes[c].StartNs, ns)
	return f
}

// decideGap asks the edges beside this one whose side the gap is on: gap tomography. Each edge's
// excess over its own normal has a part of its caller, one of its callee, and one of the path between
// them; the medians of the edges that share a side tell the parts apart (Tukey's median polish, one
// sweep). It decides only where both sides have other partners, or all partners agree.
func (t *trial) decideGap(f *finding, caller, callee string, nowNs, ns int64) {
	excess := func(r *baseline.Route) (int64, bool) {
		if r.Late.Gaps < 2 || r.Before.Gaps < 3 {
			return 0, false
		}
		return r.Late.GapMeanNs() - r.Before.GapMeanNs(), true
	}
	slow := func(routes []baseline.Route, self func(*baseline.Route) bool) (grown, others int) {
		for k := range routes {
			if self(&routes[k]) {
				continue
			}
			if x, ok := excess(&routes[k]); ok {
				others++
				if x*3 > ns {
					grown++
				}
			}
		}
		return grown, others
	}
	isThis := func(r *baseline.Route) bool { return r.Caller == caller && r.Callee == callee }
	toGrown, to := slow(t.cfg.Normal.RoutesTo(callee, nowNs), isThis)
	fromGrown, from := slow(t.cfg.Normal.RoutesFrom(caller, nowNs), isThis)
	calleeSide, callerSide := to > 0 && toGrown*2 > to, from > 0 && fromGrown*2 > from
	switch {
	case calleeSide && !callerSide:
		f.accountable, f.service = callee, t.serviceNamed(callee)
		f.confidence = min(0.85, f.confidence+0.15)
		f.evidence = append(f.evidence, t.sprintf("the gap has grown on %d of the %d edges from other callers of %s as well: it is on that side", toGrown, to, callee))
	case callerSide && !calleeSide:
		f.accountable, f.service = caller, t.serviceNamed(caller)
		f.confidence = min(0.85, f.confidence+0.15)
		f.evidence = append(f.evidence, t.sprintf("the gap has grown on %d of the %d edges from %s to others as well: it is on that side", fromGrown, from, caller))
	case to > 0 && from > 0:
		f.evidence = append(f.evidence, t.sprintf("%s is as fast as ever for its other callers, and %s with its other callees: only the path between the two is slow", callee, caller))
	default:
		f.evidence = append(f.evidence, "no other edge of the two was seen that would tell whose side it is on")
	}
}
