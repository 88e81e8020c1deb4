package blame

import (
	"strings"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// stepSelf explains a failed server, consumer or internal span that no failed call explains; others
// are its calls that ended well.
func (t *trial) stepSelf(it item, others []int32) ([]item, []finding) {
	i := it.node
	n, o := &t.f.Nodes[i], t.outcome[i]
	op := t.operationOf(i)
	if call := t.undecodable(i, others); call != trace.None {
		return nil, t.one(t.contract(i, call))
	}
	switch {
	case isPoolTimeout(&n.Facts):
		return nil, t.one(t.pool(i))
	case o.Class == "BREAKER" || trace.TextClass(n.Facts.ExceptionType) == "BREAKER":
		return nil, t.one(t.breakerOpen(i))
	case o.Class == "CANCELLED":
		return nil, t.one(t.cancelled(it))
	case o.Class == "TIMEOUT" && n.FirstChild != trace.None:
		f := t.slowInside(i, i)
		f.evidence[0] = t.sprintf("%s ran out of time after %s", t.operationWords(i), t.took(n.DurationNs()))
		return nil, t.one(f)
	case o.Level == trace.Soft && n.Parent == trace.None:
		return nil, t.one(t.userAsked(i))
	case o.Class == "OVERLOAD" && n.Kind == spans.KindServer:
		return nil, t.one(t.overload(i, i))
	}
	if n.Kind == spans.KindConsumer {
		if found := t.poison(i); found != nil {
			return nil, found
		}
	}
	rule, confidence := "self-error", 0.8
	f := t.base(i, rule, confidence)
	f.site, f.accountable, f.service = t.serviceSite(i), t.serviceName(i), n.Service
	switch {
	case t.f.Nodes[op].Kind == spans.KindConsumer:
		f.rule = "consumer"
	case o.Class == "UNAVAILABLE" && n.Kind == spans.KindServer:
		f.rule, f.confidence = "shedding", 0.75
	case o.Class == "BAD_GATEWAY" && n.Kind == spans.KindServer:
		f.rule, f.confidence = "proxy", 0.5
	}
	if n.Facts.HasException() {
		f.confidence += 0.1
	}
	if n.Phantom() {
		f.confidence = 0.4
	}
	f.summary = t.sprintf("%s failed by itself with %s", t.f.Nodes[op].Name, t.selfSaid(i))
	f.evidence = t.lines(t.sprintf("%s ended with %s after %s and none of its own calls explains it%s",
		t.operationWords(i), t.said(i), t.took(n.DurationNs()), t.quoted(i)))
	if len(others) > 0 {
		f.evidence = append(f.evidence, t.sprintf("%s below it ended well", t.plural(len(others), "span")))
	}
	if call := n.Parent; call != trace.None && t.f.Nodes[call].Kind == spans.KindClient {
		f.runnerUp = t.candidate(t.edge(call, verdict.PhaseRequest), round(1-f.confidence))
	}
	return nil, t.one(f)
}

// undecodable finds the good answer that the node could not read: the call that ended last before
// an exception of decoding. It must have ended just before.
func (t *trial) undecodable(i int32, others []int32) int32 {
	const withinNs = 50_000_000
	n := &t.f.Nodes[i]
	class := trace.TextClass(n.Facts.ExceptionType)
	if class == "" && !isClientError(n.Facts.ExceptionType) {
		class = trace.TextClass(n.Facts.ExceptionMessage)
	}
	if class == "" && !n.Facts.HasException() {
		class = t.outcome[i].Class
	}
	if class != "DECODE" {
		return trace.None
	}
	atNs := n.Facts.ExceptionNs
	if atNs == 0 {
		atNs = n.EndNs
	}
	call := trace.None
	for _, o := range others {
		c := &t.f.Nodes[o]
		if c.Kind != spans.KindClient || c.Facts.DBSystem != "" || c.EndNs > atNs+1_000_000 || atNs-c.EndNs > withinNs {
			continue
		}
		if call == trace.None || c.EndNs > t.f.Nodes[call].EndNs {
			call = o
		}
	}
	return call
}

// contract: the callee answered well, and the caller could not read it. at is where that shows.
func (t *trial) contract(at, call int32) finding {
	f := t.byCallee(t.base(at, "contract", 0.45), call, t.f.ServerSide(call))
	f.site = t.edge(call, verdict.PhaseContract)
	f.class = verdict.ClassDecode
	f.nodes = append(f.nodes, call)
	f.summary = t.sprintf("%s could not read the answer of %s", t.serviceName(call), t.calleeName(call))
	f.evidence = t.lines(
		t.sprintf("%s was answered well after %s", t.callWords(call), t.took(t.f.Nodes[call].DurationNs())),
		t.sprintf("%s then failed to read it%s", t.operationWords(at), t.quoted(at)),
	)
	f.runnerUp = t.candidate(t.serviceSite(call), 0.35)
	t.decideContract(&f, call, "nothing says which of the two has changed")
	return f
}

// decideContract holds a broken contract against the side whose version has changed, if one has.
func (t *trial) decideContract(f *finding, call int32, otherwise string) {
	callee := t.changed(t.serviceNamed(t.calleeName(call)), call)
	caller := t.changed(t.f.Nodes[call].Service, call)
	switch {
	case callee != "" && caller == "":
		f.accountable, f.service = t.calleeName(call), t.serviceNamed(t.calleeName(call))
		f.confidence, f.runnerUp.Confidence, otherwise = 0.75, 0.15, callee
	case caller != "" && callee == "":
		f.accountable, f.service = t.serviceName(call), t.f.Nodes[call].Service
		f.runnerUp.Site = verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(call)}
		f.confidence, f.runnerUp.Confidence, otherwise = 0.75, 0.15, caller
	}
	f.evidence = append(f.evidence, otherwise)
}

// refusal climbs from a call that was answered with a 4xx or its like: part D of the rules. s is the
// server side or None.
func (t *trial) refusal(c, s int32) finding {
	o := t.outcome[c]
	answer := c
	if s != trace.None {
		answer = s
		if t.outcome[s].Failed() {
			o = t.outcome[s]
		}
	}
	switch {
	case o.Class == "OVERLOAD":
		return t.overload(c, s)
	case o.Class == "UNIMPLEMENTED", o.Class == "NOT_FOUND" && s != trace.None && t.f.Nodes[s].Facts.Route == "" && t.f.Nodes[s].Facts.HTTPStatus == 404:
		return t.noSuchMethod(c, s)
	case o.Class == "CONFLICT":
		if entry := t.refusedUpTo(c); entry != trace.None {
			f := t.userAsked(entry)
			f.rule = "conflict"
			return f
		}
		return t.conflict(c, s)
	}
	rule := "bad-request"
	if o.Class == "AUTH" {
		rule = "auth"
	}
	if why := t.rejectsOfLate(c); why != "" {
		f := t.byCallee(t.base(answer, rule, 0.8), c, s)
		f.site = verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}
		if s != trace.None {
			f.site = t.serviceSite(s)
		}
		f.nodes = []int32{c, answer}
		f.summary = "it refuses what it took before, with " + t.said(answer)
		f.evidence = t.lines(t.sprintf("%s was refused with %s%s", t.callWords(c), t.said(answer), t.quoted(answer)), why)
		f.runnerUp = t.candidate(t.serviceSite(c), 0.15)
		return f
	}
	// Whoever passed the same answer on is not the one who made it a failure.
	op := t.operationOf(c)
	for t.outcome[op].Level == trace.Soft {
		t.onPath[op] = true
		call := t.f.Nodes[op].Parent
		if call == trace.None {
			f := t.userAsked(op)
			f.rule = rule
			return f
		}
		c, op = call, t.operationOf(call)
	}
	if t.f.Nodes[op].Parent == trace.None && t.f.Nodes[op].Kind == spans.KindClient {
		op = c
	}
	f := t.base(answer, rule, 0.75)
	f.site, f.accountable, f.service = t.serviceSite(op), t.serviceName(op), t.f.Nodes[op].Service
	f.nodes = []int32{op, c, answer}
	f.summary = t.sprintf("%s refused what it sent with %s", t.calleeName(c), t.said(answer))
	f.evidence = t.lines(
		t.sprintf("%s was refused with %s after %s%s", t.callWords(c), t.said(answer), t.took(t.f.Nodes[c].DurationNs()), t.quoted(answer)),
		t.sprintf("%s made of that %s: its request, or how it deals with the refusal, is at fault", t.operationWords(op), t.said(op)),
	)
	if rule == "auth" {
		f.summary = t.sprintf("%s did not accept its credentials (%s)", t.calleeName(c), t.said(answer))
	}
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseContract), 0.2)
	return f
}

// refusedUpTo is the entry, if the refusal of a call was passed on all the way up to it; else None.
func (t *trial) refusedUpTo(c int32) int32 {
	for {
		op := t.operationOf(c)
		switch up := t.f.Nodes[op].Parent; {
		case t.outcome[op].Level != trace.Soft || t.f.Nodes[op].Kind == spans.KindClient:
			return trace.None
		case up == trace.None:
			return op
		default:
			c = up
		}
	}
}

// rejectsOfLate says why a callee's refusals are its own doing: they rose for several callers at once,
// or with its version. Empty where they are not.
func (t *trial) rejectsOfLate(c int32) string {
	callee := t.calleeName(c)
	rose, own := 0, false
	for _, r := range t.cfg.Normal.RoutesTo(callee, t.f.Nodes[c].StartNs) {
		// One refusal is no rise; and what was refused before is refused still.
		if r.Late.Rejected < 2 || r.Before.Calls < 3 || r.Late.Rejected*r.Before.Calls < 4*r.Before.Rejected*r.Late.Calls {
			continue
		}
		rose++
		own = own || r.Caller == t.f.ServiceOf(c).Name
	}
	if rose >= 2 {
		return t.sprintf("%s now refuses %d callers that it answered well before: they did not all break at once", callee, rose)
	}
	if change := t.changed(t.serviceNamed(callee), c); change != "" && own {
		return change + ", and refuses since what it took before"
	}
	return ""
}

// freshNs is how long after a deployment what breaks is held against it.
const freshNs = 24 * 3600 * 1_000_000_000

// changed says that a service runs another version than before, empty where it does not.
func (t *trial) changed(service, at int32) string {
	if service == trace.None {
		return ""
	}
	s := &t.f.Services[service]
	nowNs := t.f.Nodes[at].StartNs
	from, sinceNs, ok := t.cfg.Normal.VersionChange(s.Name, s.Version, nowNs)
	if !ok || nowNs-sinceNs > freshNs {
		return ""
	}
	return t.sprintf("%s went from version %s to %s", s.Name, from, s.Version)
}

// userAsked: the refusal went up to the entry unchanged.
func (t *trial) userAsked(entry int32) finding {
	f := t.base(entry, "bad-request", 0.75)
	if t.outcome[entry].Class == "CANCELLED" {
		f.rule = "user-left"
	}
	f.site = verdict.Site{Kind: verdict.SiteUser}
	f.summary = "the request itself was refused with " + t.said(entry)
	f.evidence = t.lines(t.sprintf("%s was answered with %s, and nothing below it failed: the request itself was refused", t.operationWords(entry), t.said(entry)))
	return f
}

func (t *trial) noSuchMethod(c, s int32) finding {
	f := t.byCaller(t.base(c, "no-such-method", 0.5), c)
	f.site = t.edge(c, verdict.PhaseContract)
	f.class = verdict.ClassUnimplemented
	f.summary = t.sprintf("%s does not have what %s calls", t.calleeName(c), t.serviceName(c))
	f.evidence = t.lines(t.sprintf("%s was answered with %s", t.callWords(c), t.said(c)))
	if s != trace.None {
		f.nodes = append(f.nodes, s)
	}
	f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}, 0.4)
	t.decideContract(&f, c, "nothing says which of the two has changed")
	return f
}

func (t *trial) conflict(c, s int32) finding {
	f := t.base(c, "conflict", 0.5)
	f.class = verdict.ClassConflict
	if s == trace.None {
		f.site = t.peerSite(c)
		f = t.byCaller(f, c)
	} else {
		f.site = t.serviceSite(s)
		f = t.byCallee(f, c, s)
		f.nodes = append(f.nodes, s)
	}
	f.summary = t.sprintf("%s answered %s", t.calleeName(c), t.said(c))
	f.evidence = t.lines(t.sprintf("%s: %s after %s%s; concurrent work of its callers is against each other",
		t.callWords(c), f.summary, t.took(t.f.Nodes[c].DurationNs()), t.quoted(c)))
	f.runnerUp = t.candidate(t.serviceSite(c), 0.35)
	return f
}

// overload: the callee had too much. s is its server span, or None; at may be that span itself.
func (t *trial) overload(at, s int32) finding {
	f := t.base(at, "overload", 0.55)
	call := at
	if p := t.f.Nodes[at].Parent; s == at && p != trace.None {
		call = p
	}
	if tooLarge(&t.f.Nodes[at].Facts) || tooLarge(&t.f.Nodes[call].Facts) {
		f = t.byCaller(f, call)
		f.site = t.edge(call, verdict.PhaseContract)
		f.confidence = 0.75
		f.summary = "its message is larger than " + t.calleeName(call) + " takes"
		f.evidence = t.lines(t.callWords(call) + ": " + f.summary + t.quoted(call))
		return f
	}
	switch {
	case s != trace.None:
		f.site, f.accountable, f.service = t.serviceSite(s), t.serviceName(s), t.f.Nodes[s].Service
	default:
		f.site = t.peerSite(at)
		f.accountable = f.site.Peer
	}
	f.summary = "it refused the call as one too many"
	f.evidence = t.lines(t.sprintf("%s ended with %s after %s%s", t.spanWords(at), t.said(at), t.took(t.f.Nodes[at].DurationNs()), t.quoted(at)))
	if t.f.Nodes[call].Kind != spans.KindClient {
		return f
	}
	f.runnerUp = t.candidate(t.serviceSite(call), 0.35)
	r := t.route(call)
	now, before := r.Late.RatePerMinute(), r.Before.RatePerMinute()
	switch {
	case r.Before.Calls < 3 || r.Late.Calls < 2:
		f.evidence = append(f.evidence, "whether its callers ask more than usual is not known")
	case now >= surge*before:
		f = t.byCaller(f, call)
		f.site, f.runnerUp.Site = f.runnerUp.Site, f.site
		f.confidence, f.runnerUp.Confidence = 0.8, 0.15
		f.summary = t.sprintf("it calls %s %.1f times a minute, normal is %.1f", t.calleeName(call), now, before)
		f.evidence = append(f.evidence, t.sprintf("%s: %s; the limit did what it is for", t.serviceName(call), f.summary))
	default:
		f.confidence, f.runnerUp.Confidence = 0.75, 0.15
		f.evidence = append(f.evidence, t.sprintf("%s asks no more than usual: %.1f times a minute, normal is %.1f", t.serviceName(call), now, before))
	}
	return f
}

// surge is how many times its usual rate makes a caller the cause of being throttled.
const surge = 3

// tooLarge: the message, not the load, was more than the callee takes.
func tooLarge(f *trace.Facts) bool {
	for _, text := range [...]string{f.StatusMessage, f.ExceptionMessage} {
		text = strings.ToLower(text)
		if strings.Contains(text, "larger than max") || strings.Contains(text, "message too large") || strings.Contains(text, "exceeds maximum message size") {
			return true
		}
	}
	return false
}

// poisonTries is how often a message must have failed to be what is wrong.
const poisonTries = 3

// poison: one message fails again and again, while others are handled well. Producer and consumer
// share it: one made the message, the other cannot deal with it.
func (t *trial) poison(consumer int32) []finding {
	n := &t.f.Nodes[consumer]
	producer := n.Parent
	if producer == trace.None || t.f.Nodes[producer].Kind != spans.KindProducer {
		return nil
	}
	tries, nodes := 0, []int32{producer}
	for c := t.f.Nodes[producer].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
		m := &t.f.Nodes[c]
		if m.Kind != spans.KindConsumer || m.Service != n.Service || m.Facts.MsgID != n.Facts.MsgID {
			continue
		}
		if !t.outcome[c].Failed() {
			return nil // it went through in the end
		}
		tries++
		nodes = append(nodes, c)
	}
	dead := t.deadLettered(consumer)
	if tries < poisonTries && !dead {
		return nil
	}
	for _, r := range t.cfg.Normal.RoutesTo(t.f.Services[n.Service].Name, n.StartNs) {
		if r.Caller == t.f.ServiceOf(producer).Name && (r.Late.Failed-tries)*2 > r.Late.Calls-tries {
			return nil // most messages fail: it is not this one
		}
	}
	why := t.sprintf("the same message failed %d times at %s%s", tries, t.operationWords(consumer), t.quoted(consumer))
	if dead {
		why = t.sprintf("%s gave the message up as a dead letter%s", t.operationWords(consumer), t.quoted(consumer))
	}
	by := t.byCaller(t.base(consumer, "poison", 0.55), producer)
	by.site, by.nodes, by.weight = t.serviceSite(producer), nodes, 0.5
	by.summary = "one message of it cannot be handled"
	by.evidence = t.lines(why, "other messages are handled well, so it is this one, or how it is read")
	to := t.byCaller(t.base(consumer, "poison", 0.45), consumer)
	to.site, to.nodes, to.weight = t.serviceSite(consumer), nodes, 0.4
	to.summary = "it fails again and again at one message"
	to.evidence = by.evidence
	by.runnerUp = t.candidate(to.site, 0.4)
	to.runnerUp = t.candidate(by.site, 0.5)
	return []finding{by, to}
}

// deadLettered: the consumer put the message where those go that nobody can handle.
func (t *trial) deadLettered(consumer int32) bool {
	for c := t.f.Nodes[consumer].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
		n := &t.f.Nodes[c]
		to := strings.ToLower(n.Facts.MsgDestination + " " + n.Name)
		if n.Kind == spans.KindProducer && (strings.Contains(to, "dlq") || strings.Contains(to, "dead-letter") || strings.Contains(to, "dead_letter") || strings.Contains(to, "deadletter")) {
			return true
		}
	}
	return false
}

func (t *trial) breakerOpen(i int32) finding {
	f := t.base(i, "breaker-open", 0.55)
	f.site, f.accountable, f.service = t.serviceSite(i), t.serviceName(i), t.f.Nodes[i].Service
	f.class = verdict.ClassBreaker
	f.summary = "its circuit breaker refused the call"
	f.evidence = t.lines(t.sprintf("%s ended with %s%s; no call was made", t.operationWords(i), t.said(i), t.quoted(i)))
	return f
}

// database explains a failed call to a database by what that answered.
func (t *trial) database(c int32) finding {
	n, o := &t.f.Nodes[c], t.outcome[c]
	state := trace.SQLState(&n.Facts)
	peer := func(rule string, confidence float64, what string) finding {
		f := t.base(c, rule, confidence)
		f.site = t.peerSite(c)
		f.accountable = f.site.Peer
		f.summary = what
		f.evidence = t.lines(t.sprintf("%s: %s (%s)%s", t.callWords(c), what, t.said(c), t.quoted(c)))
		f.runnerUp = t.candidate(t.serviceSite(c), 0.2)
		return f
	}
	switch {
	case isPoolTimeout(&n.Facts):
		return t.pool(c)
	case exhausted(state, &n.Facts):
		return peer("db-exhausted", 0.8, "the database has no room left")
	case state == "57014" || (state == "" && o.Class == "TIMEOUT"):
		return t.timedOutSilent(c)
	case state != "" && o.Class == "CONFLICT":
		return t.conflict(c, trace.None)
	case state != "" && (o.Class == "BAD_REQUEST" || o.Class == "AUTH"):
		f := t.byCaller(t.base(c, "bad-query", 0.85), c)
		f.site = t.serviceSite(c)
		f.summary = "its statement was refused by the database" + with(t.said(c))
		f.evidence = t.lines(t.sprintf("%s: the database answered %s%s, so it works and the statement or its data does not fit it",
			t.callWords(c), t.said(c), t.quoted(c)))
		f.runnerUp = t.candidate(t.peerSite(c), 0.1)
		return f
	}
	switch o.Class {
	case "DNS":
		return t.connect(c, "dns", "the name %s could not be resolved", 0.8)
	case "TLS":
		return t.tls(c)
	case "REFUSED":
		return t.connect(c, "refused", "nothing accepted the connection to %s", 0.7)
	}
	return t.peerFailed(c)
}

// exhausted: states of class 53 and their like, and Redis without memory or still loading.
func exhausted(state string, f *trace.Facts) bool {
	switch {
	case strings.HasPrefix(state, "53"), state == "57P01", state == "57P02", state == "57P03", state == "1040", state == "1203", state == "1226":
		return true
	}
	for _, text := range [...]string{f.ErrorType, f.DBCode, f.StatusMessage, f.ExceptionMessage} {
		if text == "OOM" || text == "LOADING" || strings.HasPrefix(text, "OOM ") || strings.HasPrefix(text, "LOADING ") ||
			strings.Contains(text, "too many clients") || strings.Contains(text, "Too many connections") {
			return true
		}
	}
	return false
}

// isPoolTimeout: the span waited in vain for a connection or a slot of its own process.
func isPoolTimeout(f *trace.Facts) bool {
	return poolWords.In(f.ErrorType) || poolWords.In(f.ExceptionType) || poolWords.In(f.ExceptionMessage) || poolWords.In(f.StatusMessage)
}

var poolWords = trace.NewWords([]string{
	"connection is not available", "hikaripool", "pool exhausted", "poolexhausted", "pooltimeout", "pool timeout", "queuepool limit",
	"could not get a connection from the pool", "timeout waiting for connection", "timeout waiting for idle object", "connectionpooltimeout",
	"timed out acquiring", "timeout acquiring", "timeout exceeded when trying to connect", "the connection pool has been exhausted", "connection pool is full", "pool is exhausted", "acquiretimeout",
})

// pool: the caller ran out of connections; at is the call that waited, or the span it waited in.
func (t *trial) pool(at int32) finding {
	call := at
	if t.f.Nodes[at].Kind != spans.KindClient {
		for c := t.f.Nodes[at].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
			if t.f.Nodes[c].Facts.DBSystem != "" {
				call = c
			}
		}
	}
	f := t.byCaller(t.base(at, "pool", 0.75), at)
	if slow := t.holdsPool(at, call); slow != trace.None {
		f.site = t.peerSite(slow)
		f.accountable, f.service = f.site.Peer, trace.None
		f.nodes = append(f.nodes, slow)
		f.summary = t.sprintf("its calls are slow, so that %s ran out of connections to it", t.serviceName(at))
		f.evidence = t.lines(
			t.sprintf("%s waited %s for a connection of its own pool%s", t.spanWords(at), t.took(t.f.Nodes[at].DurationNs()), t.quoted(at)),
			t.sprintf("%s took %s%s: what is slow holds its connection", t.callWords(slow), t.took(t.f.Nodes[slow].DurationNs()), t.normalCall(slow)))
		f.runnerUp = t.candidate(t.edge(slow, verdict.PhasePool), 0.2)
		return f
	}
	f.site = t.edge(call, verdict.PhasePool)
	if call == at && t.f.Nodes[at].Kind != spans.KindClient {
		f.site.Callee = ""
	}
	f.summary = t.sprintf("it had no free connection for %s", t.took(t.f.Nodes[at].DurationNs()))
	f.evidence = t.lines(t.sprintf("%s waited %s for a connection of its own pool%s", t.spanWords(at), t.took(t.f.Nodes[at].DurationNs()), t.quoted(at)))
	f.runnerUp = t.candidate(t.peerSite(call), 0.2)
	return f
}

// holdsPool finds a call from the operation of at, to where call went, that took much longer than it
// does: what is slow holds its connection. None where there is no such call.
func (t *trial) holdsPool(at, call int32) int32 {
	callee := t.f.Nodes[call].Facts.CalleeKey()
	looked := 0
	for c := t.f.Nodes[t.operationOf(at)].FirstChild; c != trace.None && looked < siblingsMost; c = t.f.Nodes[c].NextSib {
		looked++
		n := &t.f.Nodes[c]
		if n.Kind != spans.KindClient || t.outcome[c].Failed() || call != at && n.Facts.CalleeKey() != callee || n.Facts.CalleeKey() == "" {
			continue
		}
		if normal := t.cfg.Normal.Call(t.f.ServiceOf(c).Name, n.Facts.CalleeKey(), n.Name); normal != nil && n.DurationNs() > heldRatio*normal.QuantileNs(0.95) {
			return c
		}
	}
	return trace.None
}

// heldRatio is how much longer than usual a call must take to be why others wait for its connection.
const heldRatio = 3

func expired(f *trace.Facts) bool {
	for _, text := range [...]string{f.ErrorType, f.ExceptionType, f.ExceptionMessage, f.StatusMessage} {
		text = strings.ToLower(text)
		if strings.Contains(text, "expired") || strings.Contains(text, "notafter") {
			return true
		}
	}
	return false
}
