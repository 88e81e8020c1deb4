package blame

import (
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/verdict"
)

// timedOut explains a call that its caller gave up on, by what the server side did meanwhile.
func (t *trial) timedOut(c, s int32) []finding {
	cn, sn := &t.f.Nodes[c], &t.f.Nodes[s]
	waitedNs, ranNs := cn.DurationNs(), sn.DurationNs()
	normal := t.cfg.Normal.Operation(t.f.ServiceOf(s).Name, sn.Name)
	o, known := t.offset(c, s)
	startLagNs, _ := t.legs(c, s, o)
	// Without bounds, times of two clocks are believed only as far as the call can contain its server side.
	comparable := !sn.NoDuration && !cn.NoDuration && (known || startLagNs >= -waitedNs && startLagNs <= 2*waitedNs)
	outlived := comparable && startLagNs+ranNs > waitedNs

	switch {
	case comparable && startLagNs*2 >= waitedNs && (normal == nil || ranNs <= 2*normal.QuantileNs(0.95)):
		f := t.base(c, "late-start", 0.75)
		f.site = t.edge(c, verdict.PhaseRequest)
		f.nodes = append(f.nodes, s)
		f.summary = t.sprintf("the request reached %s only after %s", t.serviceName(s), t.took(startLagNs))
		f.evidence = t.lines(
			t.sprintf("%s gave up on %s after %s", t.serviceName(c), t.callName(c), t.took(waitedNs)),
			t.sprintf("%s began %s after the call was made and then ran %s", t.operationWords(s), t.took(startLagNs), t.took(ranNs)),
		)
		f.runnerUp = t.candidate(t.serviceSite(s), 0.15)
		return t.one(f)
	case normal != nil && !sn.NoDuration && t.shortBudget(waitedNs, ranNs, normal.QuantileNs(0.5), normal.QuantileNs(0.95), outlived):
		if op := t.deadlinePassedOn(c); op != trace.None {
			return t.one(t.budgetSpent(c, op))
		}
		return t.one(t.budgetShort(c, s, normal.QuantileNs(0.5), normal.QuantileNs(0.95)))
	case outlived || sn.NoDuration || ranNs*10 >= waitedNs*8 || t.outcome[s].Class == "CANCELLED":
		return t.one(t.slowInside(c, s))
	}
	f := t.base(c, "late-answer", 0.7)
	f.site = t.edge(c, verdict.PhaseResponse)
	f.nodes = append(f.nodes, s)
	f.summary = t.sprintf("the answer of %s was ready after %s and never arrived", t.serviceName(s), t.took(startLagNs+ranNs))
	f.evidence = t.lines(
		t.sprintf("%s ended well after %s", t.operationWords(s), t.took(ranNs)),
		t.sprintf("%s waited %s for it and gave up", t.serviceName(c), t.took(waitedNs)),
	)
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseRequest), 0.2)
	return t.one(f)
}

// shortBudget: the callee took no longer than it normally does, and that is more than the caller waits.
// A callee that was cancelled with the call is only known to have run that long.
func (t *trial) shortBudget(waitedNs, ranNs, medianNs, p95Ns int64, outlived bool) bool {
	if ranNs > p95Ns+p95Ns/10 {
		return false
	}
	return waitedNs < medianNs || (outlived && waitedNs <= p95Ns)
}

// deadlinePassedOn is the operation that the call was made by, if that had a deadline of its own
// which ended with the call's: the call got what was left of it. Else None.
func (t *trial) deadlinePassedOn(c int32) int32 {
	op := t.operationOf(c)
	up := t.f.Nodes[op].Parent
	if up == trace.None || t.outcome[up].Class != "TIMEOUT" || t.f.Nodes[up].NoDuration {
		return trace.None
	}
	n, p := &t.f.Nodes[c], &t.f.Nodes[op]
	apartNs := max(5_000_000, t.f.Nodes[up].DurationNs()/50)
	if n.StartNs-p.StartNs > n.DurationNs() && t.f.Nodes[up].DurationNs()-(n.EndNs-p.StartNs) <= apartNs {
		return op
	}
	return trace.None
}

// budgetSpent: the deadline was long enough; what came before the call used it up.
func (t *trial) budgetSpent(c, op int32) finding {
	f := t.slowInside(c, op)
	f.rule = "budget-spent"
	f.evidence[0] = t.sprintf("%s had only %s left of the deadline: %s had passed in %s before",
		t.callWords(c), t.took(t.f.Nodes[c].DurationNs()), t.took(t.f.Nodes[c].StartNs-t.f.Nodes[op].StartNs), t.serviceName(op))
	return f
}

func (t *trial) budgetShort(c, s int32, medianNs, p95Ns int64) finding {
	f := t.byCaller(t.base(c, "budget-short", 0.85), c)
	f.site = t.edge(c, verdict.PhaseBudget)
	f.summary = t.sprintf("it waits %s for what normally takes %s", t.took(t.f.Nodes[c].DurationNs()), t.took(medianNs))
	f.evidence = t.lines(t.sprintf("%s gave up on %s after %s", t.serviceName(c), t.callName(c), t.took(t.f.Nodes[c].DurationNs())))
	if s != trace.None {
		f.nodes = append(f.nodes, s)
		f.evidence = append(f.evidence, t.sprintf("%s ran %s; normal is %s, 95 in 100 take no more than %s",
			t.operationWords(s), t.took(t.f.Nodes[s].DurationNs()), t.took(medianNs), t.took(p95Ns)))
		f.runnerUp = t.candidate(t.serviceSite(s), 0.1)
	} else {
		f.evidence = append(f.evidence, t.sprintf("%s normally answers in %s, 95 in 100 times in no more than %s", t.target(c), t.took(medianNs), t.took(p95Ns)))
		f.runnerUp = t.candidate(t.peerSite(c), 0.1)
	}
	return f
}

// slowInside follows the time that an operation took down to where most of it went. What is normal is
// not to blame, as far as it is known.
func (t *trial) slowInside(c, s int32) finding {
	n := &t.f.Nodes[s]
	ns := n.DurationNs()
	normal := t.cfg.Normal.Operation(t.f.ServiceOf(s).Name, n.Name)
	if over := ns - normal.MeanNs(); over > 0 {
		ns = over
	}
	f := t.spread(s, max(1, ns), spreading{})[0]
	f.rule, f.class, f.excessNs = "slow-callee", verdict.ClassTimeout, 0
	f.evidence = append([]string{t.gaveUp(c)}, f.evidence...)
	f.nodes = append([]int32{c}, f.nodes...)
	f.weight, f.confidence = 1, min(f.confidence, 0.75)
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseBudget), 0.15)
	if normal == nil {
		// It may always take that long, and the wait be too short.
		f.confidence, f.runnerUp.Confidence = 0.6, 0.3
		f.evidence = append(f.evidence, "what it normally takes is not known yet")
	}
	return f
}

// timedOutSilent explains a call that timed out and has no server side.
func (t *trial) timedOutSilent(c int32) finding {
	n := &t.f.Nodes[c]
	callee := n.Facts.CalleeKey()
	if sends, _ := t.sendsSpans(c); sends {
		f := t.lost(c)
		if f.rule == "lost-request" {
			f.rule, f.confidence = "timeout-silent", 0.55
		}
		return f
	}
	if d := t.cfg.Normal.Call(t.f.ServiceOf(c).Name, callee, n.Name); d != nil && n.DurationNs() < d.QuantileNs(0.5) {
		return t.budgetShort(c, trace.None, d.QuantileNs(0.5), d.QuantileNs(0.95))
	}
	f := t.base(c, "timeout-peer", 0.7)
	f.site = t.peerSite(c)
	f.accountable = f.site.Peer
	f.summary = t.sprintf("%s did not answer within %s", t.target(c), t.took(n.DurationNs()))
	f.evidence = t.lines(t.sprintf("%s: no answer within %s%s%s; it sends no spans, so nothing is known of what happened inside",
		t.callWords(c), t.took(n.DurationNs()), t.normalCall(c), t.quoted(c)))
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseRequest), 0.2)
	return f
}

func (t *trial) gaveUp(c int32) string {
	return t.sprintf("%s gave up on %s after %s", t.serviceName(c), t.callName(c), t.took(t.f.Nodes[c].DurationNs()))
}

func (t *trial) normalOperation(i int32) string {
	d := t.cfg.Normal.Operation(t.f.ServiceOf(i).Name, t.f.Nodes[i].Name)
	if d == nil {
		return ""
	}
	return t.sprintf(" (normal is %s)", t.took(d.QuantileNs(0.5)))
}

func (t *trial) normalCall(c int32) string {
	n := &t.f.Nodes[c]
	d := t.cfg.Normal.Call(t.f.ServiceOf(c).Name, n.Facts.CalleeKey(), n.Name)
	if d == nil {
		return ""
	}
	return t.sprintf(" (normal is %s)", t.took(d.QuantileNs(0.5)))
}
