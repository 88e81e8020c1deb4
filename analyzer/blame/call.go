package blame

import (
	"strings"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// stepCall explains a failed call: part B of the rules. What the server side says comes first, what
// the caller alone can say after it.
func (t *trial) stepCall(it item) ([]item, []finding) {
	c := it.node
	if t.refusedByPolicy(c) {
		return nil, t.one(t.breaker(c))
	}
	s := t.f.ServerSide(c)
	switch {
	case s != trace.None && t.f.Nodes[s].Phantom():
		return nil, t.one(t.crash(c, s))
	case s != trace.None && t.f.Nodes[s].Kind == spans.KindServer:
		return t.stepServed(it, s)
	}
	// Spans of the same process below the call: attempts, or the layers of a client library.
	if candidates, _ := t.candidates(c); len(candidates) > 0 {
		return t.stepOperation(it)
	}
	return nil, t.one(t.unserved(it))
}

// one is a list of one finding, good until the next one.
func (t *trial) one(f finding) []finding {
	t.found[0] = f
	return t.found[:]
}

// stepServed explains a failed call whose server side is there.
func (t *trial) stepServed(it item, s int32) ([]item, []finding) {
	c := it.node
	co, so := t.outcome[c], t.outcome[s]
	switch {
	case co.Class == "TIMEOUT" && (!so.Failed() || so.Class == "CANCELLED" || (so.Class == "TIMEOUT" && t.nothingFailedBelow(s))):
		t.onPath[s] = true
		return nil, t.timedOut(c, s)
	case co.Class == "CANCELLED" || (so.Class == "CANCELLED" && co.Level == trace.Soft):
		return nil, t.one(t.cancelled(it))
	case so.Class == "UNIMPLEMENTED" && t.nothingFailedBelow(s):
		t.onPath[s] = true
		return nil, t.one(t.noSuchMethod(c, s))
	case so.Level == trace.Fail:
		return t.handOn(it.down(s)), nil
	case so.Level == trace.Soft:
		if candidates, _ := t.candidates(s); hasFailure(t, candidates) {
			return t.handOn(it.down(s)), nil
		}
		t.onPath[s] = true
		return nil, t.one(t.refusal(c, s))
	case co.Class == "DECODE":
		return nil, t.one(t.contract(c, c))
	case co.Level == trace.Soft && co.Answered:
		// The two sides disagree on the code: a proxy between them answered.
		return nil, t.one(t.refusal(c, s))
	}
	return nil, t.one(t.responseLost(c, s))
}

func (t *trial) nothingFailedBelow(i int32) bool {
	candidates, _ := t.candidates(i)
	return len(candidates) == 0
}

func hasFailure(t *trial, candidates []candidate) bool {
	for _, c := range candidates {
		if t.outcome[c.node].Level == trace.Fail {
			return true
		}
	}
	return false
}

// unserved explains a failed call without a server side, from what the caller saw.
func (t *trial) unserved(it item) finding {
	c := it.node
	n, o := &t.f.Nodes[c], t.outcome[c]
	if n.Facts.DBSystem != "" {
		return t.database(c)
	}
	switch o.Class {
	case "DNS":
		return t.connect(c, "dns", "the name %s could not be resolved", 0.8)
	case "TLS":
		return t.tls(c)
	case "REFUSED":
		return t.connect(c, "refused", "nothing accepted the connection to %s", 0.75)
	case "CANCELLED":
		return t.cancelled(it)
	case "TIMEOUT":
		return t.timedOutSilent(c)
	case "DECODE":
		return t.contract(c, c)
	case "POOL":
		return t.pool(c)
	case "RESET", "UNAVAILABLE", "BAD_GATEWAY":
		if sends, _ := t.sendsSpans(c); sends {
			return t.lost(c)
		}
	}
	if o.Level == trace.Soft || o.Class == "UNIMPLEMENTED" {
		return t.refusal(c, trace.None)
	}
	if o.Class == "OVERLOAD" {
		return t.overload(c, trace.None)
	}
	return t.peerFailed(c)
}

// sendsSpans: does the callee of a call normally send a span of its own? Learnt, or seen in this
// trace: another call to the same place has its server side.
func (t *trial) sendsSpans(c int32) (sends, known bool) {
	n := &t.f.Nodes[c]
	if sends, known := t.cfg.Normal.SendsSpans(t.f.ServiceOf(c).Name, n.Facts.CalleeKey(), n.Name); known {
		return sends, true
	}
	if n.Facts.Address == "" {
		return false, false
	}
	if t.answering == nil {
		t.answering = make(map[string]bool)
		for i := range t.f.Nodes {
			o := &t.f.Nodes[i]
			if s := t.f.ServerSide(int32(i)); o.Kind == spans.KindClient && s != trace.None && !t.f.Nodes[s].Phantom() {
				t.answering[o.Facts.Address+":"+o.Facts.Port] = true
			}
		}
	}
	seen := t.answering[n.Facts.Address+":"+n.Facts.Port]
	return seen, seen
}

func (t *trial) edge(c int32, phase verdict.Phase) verdict.Site {
	return verdict.Site{Kind: verdict.SiteEdge, Caller: t.serviceName(c), Callee: t.calleeName(c), Phase: phase}
}

// base fills in what all findings about a call have in common.
func (t *trial) base(c int32, rule string, confidence float64) finding {
	n := &t.f.Nodes[c]
	return finding{
		rule: rule, class: verdict.Class(t.own(string(t.outcome[c].Class))), errorType: t.own(errorType(&n.Facts)),
		nodes: []int32{c}, weight: 1, confidence: confidence, service: trace.None,
	}
}

// byCaller makes the caller's service accountable; byCallee the callee's, whose server side is s.
func (t *trial) byCaller(f finding, c int32) finding {
	f.accountable, f.service = t.serviceName(c), t.f.Nodes[c].Service
	return f
}

func (t *trial) byCallee(f finding, c, s int32) finding {
	f.accountable = t.calleeName(c)
	if s != trace.None {
		f.service = t.f.Nodes[s].Service
		return f
	}
	f.service = t.serviceNamed(f.accountable)
	return f
}

// serviceNamed is the service of that name in the trace, None where it has no span in it.
func (t *trial) serviceNamed(name string) int32 {
	for i := range t.f.Services {
		if t.f.Services[i].Name == name {
			return int32(i)
		}
	}
	return trace.None
}

func (t *trial) connect(c int32, rule, what string, confidence float64) finding {
	f := t.byCaller(t.base(c, rule, confidence), c)
	f.site = t.edge(c, verdict.PhaseConnect)
	f.summary = t.sprintf(what, t.target(c))
	f.evidence = t.lines(t.sprintf("%s: %s after %s%s", t.callWords(c), f.summary, t.took(t.f.Nodes[c].DurationNs()), t.quoted(c)))
	if rule != "tls" {
		if callers := t.alsoRefused(c); len(callers) > 0 {
			f = t.byCallee(f, c, trace.None)
			f.site = verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}
			f.runnerUp = t.candidate(t.edge(c, verdict.PhaseConnect), 0.15)
			f.confidence = 0.85
			f.evidence = append(f.evidence, t.sprintf("%s cannot reach it either, and nobody has of late", strings.Join(callers, ", ")))
			return f
		}
	}
	f.evidence = append(f.evidence, "no other caller of it is known to suffer, so the caller's side of the connection is suspect first")
	f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}, round((1-confidence)*0.8))
	return f
}

// alsoRefused are the other callers that could not connect to the callee of late; none where one could.
func (t *trial) alsoRefused(c int32) []string {
	var callers []string
	for _, r := range t.cfg.Normal.RoutesTo(t.calleeName(c), t.f.Nodes[c].StartNs) {
		if r.Caller == t.f.ServiceOf(c).Name || r.Late.Calls == 0 {
			continue
		}
		if r.Late.Refused*2 <= r.Late.Calls {
			return nil
		}
		callers = append(callers, r.Caller)
	}
	return callers
}

func (t *trial) tls(c int32) finding {
	if expired(&t.f.Nodes[c].Facts) {
		f := t.byCallee(t.base(c, "tls", 0.9), c, trace.None)
		f.site = t.edge(c, verdict.PhaseConnect)
		f.summary = "the certificate of " + t.target(c) + " has expired"
		f.evidence = t.lines(t.callWords(c) + ": " + f.summary + t.quoted(c))
		return f
	}
	return t.connect(c, "tls", "the TLS connection to %s was not trusted", 0.75)
}

// crash: the callee's own calls are there, its server span is not: it died while it was at work.
func (t *trial) crash(c, s int32) finding {
	f := t.byCallee(t.base(c, "crash", 0.85), c, s)
	f.site = verdict.Site{Kind: verdict.SiteService, Service: t.serviceName(s)}
	count := 0
	for o := t.f.Nodes[s].FirstChild; o != trace.None; o = t.f.Nodes[o].NextSib {
		f.nodes = append(f.nodes, o)
		count++
	}
	f.summary = "it went away in the middle of the request"
	f.evidence = t.lines(
		t.sprintf("%s ended with %s after %s", t.callWords(c), t.outcome[c].Class, t.took(t.f.Nodes[c].DurationNs())),
		t.sprintf("%s had begun to work: %s of its own within that call %s there, its server span was never sent",
			t.serviceName(s), t.plural(count, "span"), isAre(count)),
	)
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseResponse), 0.1)
	if t.outcome[c].Class == "TIMEOUT" {
		f.confidence = 0.6 // it may hang as well
		f.summary = "it began and never finished"
	}
	return f
}

// lost: the callee sends spans whenever it gets a request, and sent none for this one.
func (t *trial) lost(c int32) finding {
	callee := t.calleeName(c)
	if silentNs := t.silenceNs(c, callee); silentNs > silenceMinNs && silentNs > silenceRatio*t.betweenCallsNs(c, callee) {
		f := t.byCallee(t.base(c, "callee-down", 0.75), c, trace.None)
		f.site = verdict.Site{Kind: verdict.SiteService, Service: callee}
		f.summary = "it is down"
		f.evidence = t.lines(t.sprintf("%s ended with %s; %s, which normally sends a span for every call, has sent none for %s",
			t.callWords(c), t.outcome[c].Class, callee, t.took(silentNs)))
		return f
	}
	f := t.base(c, "lost-request", 0.65)
	f.site = t.edge(c, verdict.PhaseRequest)
	f.summary = "the request never reached " + callee
	f.evidence = t.lines(t.sprintf("%s ended with %s; %s is alive and normally sends a span for every call, but none for this one",
		t.callWords(c), t.outcome[c].Class, callee))
	f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: callee}, 0.25)
	return f
}

// silenceMinNs is how long a service that normally sends spans must have sent none to count as down.
const silenceMinNs = 60_000_000_000

// silenceRatio is how much longer than usual it must have been silent: who is hardly ever asked
// has nothing to say.
const silenceRatio = 3

// betweenCallsNs is how far apart the calls to a callee are that end well, on average.
func (t *trial) betweenCallsNs(c int32, callee string) int64 {
	calls, minutes := 0, 0
	for _, r := range t.cfg.Normal.RoutesTo(callee, t.f.Nodes[c].StartNs) {
		calls += r.Late.Calls - r.Late.Failed + r.Before.Calls - r.Before.Failed
		minutes = max(minutes, r.Late.Minutes+r.Before.Minutes)
	}
	if calls == 0 {
		return 0
	}
	return int64(minutes) * 60_000_000_000 / int64(calls)
}

func (t *trial) silenceNs(c int32, callee string) int64 {
	for i := range t.f.Services {
		if t.f.Services[i].Name == callee {
			return 0
		}
	}
	if last := t.cfg.Normal.LastSeenNs(callee); last > 0 {
		return t.f.Nodes[c].StartNs - last
	}
	return 0
}

func (t *trial) responseLost(c, s int32) finding {
	f := t.base(c, "response-lost", 0.7)
	f.site = t.edge(c, verdict.PhaseResponse)
	f.nodes = append(f.nodes, s)
	f.summary = t.sprintf("the answer of %s never arrived", t.serviceName(s))
	f.evidence = t.lines(
		t.sprintf("%s: the server side ended well after %s", t.operationWords(s), t.took(t.f.Nodes[s].DurationNs())),
		t.sprintf("%s saw %s after %s%s", t.serviceName(c), t.outcome[c].Class, t.took(t.f.Nodes[c].DurationNs()), t.quoted(c)),
	)
	f.runnerUp = t.candidate(t.serviceSite(c), 0.15)
	return f
}

func (t *trial) cancelled(it item) finding {
	c := it.node
	entry := t.f.Entries[t.f.Nodes[c].Entry]
	f := t.base(c, "user-left", 0.75)
	if t.outcome[entry].Class == "CANCELLED" {
		f.site = verdict.Site{Kind: verdict.SiteUser}
		f.nodes = []int32{entry, c}
		f.summary = t.sprintf("the sender left after %s", t.took(t.f.Nodes[entry].DurationNs()))
		f.evidence = t.lines(f.summary + "; what was still running was cancelled, and nothing had failed")
		return f
	}
	f = t.byCaller(t.base(c, "cancelled", 0.5), c)
	f.site = t.serviceSite(c)
	f.summary = "it cancelled its own call to " + t.calleeName(c)
	f.evidence = t.lines(t.sprintf("%s was cancelled by its caller after %s, and no failure before it says why", t.callWords(c), t.took(t.f.Nodes[c].DurationNs())))
	f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteUnknown}, 0.3)
	return f
}

func (t *trial) peerFailed(c int32) finding {
	f := t.base(c, "peer-failed", 0.75)
	f.site = t.peerSite(c)
	f.accountable = f.site.Peer
	if f.site.Peer == "" {
		f.site = verdict.Site{Kind: verdict.SiteUnknown, Candidates: []string{t.serviceName(c)}}
		f.rule, f.confidence = "unknown", 0.4
	}
	f.summary = t.sprintf("%s failed with %s", t.target(c), t.said(c))
	f.evidence = t.lines(t.sprintf("%s: %s after %s%s; it sends no spans, so nothing is known of what happened inside",
		t.callWords(c), f.summary, t.took(t.f.Nodes[c].DurationNs()), t.quoted(c)))
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseRequest), 0.1)
	return f
}

func (t *trial) peerSite(c int32) verdict.Site {
	facts := &t.f.Nodes[c].Facts
	return verdict.Site{Kind: verdict.SitePeer, Peer: t.own(facts.PeerName()), System: t.own(facts.System())}
}

// refusedByPolicy: the call was ended by the caller's own breaker or limit, before anybody was asked.
func (t *trial) refusedByPolicy(c int32) bool {
	return t.outcome[c].Class == "BREAKER" && t.f.ServerSide(c) == trace.None
}

// breaker: what opened it is to blame, where that was seen; else the policy that it is part of.
func (t *trial) breaker(c int32) finding {
	callee := t.calleeName(c)
	f := t.byCaller(t.base(c, "breaker-open", 0.55), c)
	f.site = t.serviceSite(c)
	f.summary = "its circuit breaker or limit refused the call to " + callee
	f.evidence = t.lines(t.sprintf("%s was refused on the caller's side after %s%s; %s never saw it",
		t.callWords(c), t.took(t.f.Nodes[c].DurationNs()), t.quoted(c), callee))
	f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: callee}, 0.35)
	r := t.route(c)
	switch {
	case r.Late.Failed >= 3 && r.Late.Failed*2 >= r.Late.Calls:
		f = t.byCallee(f, c, trace.None)
		f.site, f.runnerUp.Site = f.runnerUp.Site, f.site
		f.confidence, f.runnerUp.Confidence = 0.85, 0.1
		f.summary = t.sprintf("it failed so often that %s stopped calling it", t.serviceName(c))
		f.evidence = append(f.evidence, t.sprintf("%d of the last %d calls to %s had failed before", r.Late.Failed, r.Late.Calls, callee))
	case r.Late.Calls >= 3 && r.Late.Failed*5 <= r.Late.Calls:
		f.confidence, f.runnerUp.Confidence = 0.8, 0.1
		f.evidence = append(f.evidence, t.sprintf("only %d of the last %d calls to %s had failed before", r.Late.Failed, r.Late.Calls, callee))
	}
	return f
}

// route is what was seen of the calls of the caller to the callee.
func (t *trial) route(c int32) baseline.Route {
	callee := t.calleeName(c)
	for _, r := range t.cfg.Normal.RoutesTo(callee, t.f.Nodes[c].StartNs) {
		if r.Caller == t.f.ServiceOf(c).Name {
			return r
		}
	}
	return baseline.Route{}
}
