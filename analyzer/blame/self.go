package blame

import (
	"fmt"
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
	case o.Class == "BREAKER":
		return nil, t.one(t.breakerOpen(i))
	case o.Class == "CANCELLED":
		return nil, t.one(t.cancelled(it))
	case o.Class == "TIMEOUT" && n.FirstChild != trace.None:
		f := t.slowInside(i, i)
		f.evidence[0] = fmt.Sprintf("%s ran out of time after %s", t.operationWords(i), verdict.Took(n.DurationNs()))
		return nil, t.one(f)
	case o.Level == trace.Soft && n.Parent == trace.None:
		return nil, t.one(t.userAsked(i))
	case o.Class == "OVERLOAD" && n.Kind == spans.KindServer:
		return nil, t.one(t.overload(i, i))
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
	f.summary = own(t.f.Nodes[op].Name) + " failed by itself" + with(t.selfSaid(i))
	f.evidence = []string{fmt.Sprintf("%s ended with %s after %s and none of its own calls explains it%s",
		t.operationWords(i), t.said(i), verdict.Took(n.DurationNs()), t.quoted(i))}
	if len(others) > 0 {
		f.evidence = append(f.evidence, fmt.Sprintf("%s below it ended well", plural(len(others), "span")))
	}
	if call := n.Parent; call != trace.None && t.f.Nodes[call].Kind == spans.KindClient {
		f.runnerUp = &verdict.Candidate{Site: t.edge(call, verdict.PhaseRequest), Confidence: round(1 - f.confidence)}
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
	f.summary = fmt.Sprintf("%s could not read the answer of %s", t.serviceName(call), t.calleeName(call))
	f.evidence = []string{
		fmt.Sprintf("%s was answered well after %s", t.callWords(call), verdict.Took(t.f.Nodes[call].DurationNs())),
		fmt.Sprintf("%s then failed to read it%s", t.operationWords(at), t.quoted(at)),
		"nothing says which of the two has changed",
	}
	f.runnerUp = &verdict.Candidate{Site: t.serviceSite(call), Confidence: 0.35}
	return f
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
		return t.conflict(c, s)
	}
	rule := "bad-request"
	if o.Class == "AUTH" {
		rule = "auth"
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
	f.summary = fmt.Sprintf("%s refused what it sent with %s", t.calleeName(c), t.said(answer))
	f.evidence = []string{
		fmt.Sprintf("%s was refused with %s after %s%s", t.callWords(c), t.said(answer), verdict.Took(t.f.Nodes[c].DurationNs()), t.quoted(answer)),
		fmt.Sprintf("%s made of that %s: its request, or how it deals with the refusal, is at fault", t.operationWords(op), t.said(op)),
	}
	if rule == "auth" {
		f.summary = fmt.Sprintf("%s did not accept its credentials (%s)", t.calleeName(c), t.said(answer))
	}
	f.runnerUp = &verdict.Candidate{Site: t.edge(c, verdict.PhaseContract), Confidence: 0.2}
	return f
}

// userAsked: the refusal went up to the entry unchanged.
func (t *trial) userAsked(entry int32) finding {
	f := t.base(entry, "bad-request", 0.75)
	if t.outcome[entry].Class == "CANCELLED" {
		f.rule = "user-left"
	}
	f.site = verdict.Site{Kind: verdict.SiteUser}
	f.summary = "the request itself was refused with " + t.said(entry)
	f.evidence = []string{fmt.Sprintf("%s was answered with %s, and nothing below it failed: the request itself was refused", t.operationWords(entry), t.said(entry))}
	return f
}

func (t *trial) noSuchMethod(c, s int32) finding {
	f := t.byCaller(t.base(c, "no-such-method", 0.5), c)
	f.site = t.edge(c, verdict.PhaseContract)
	f.class = verdict.ClassUnimplemented
	f.summary = fmt.Sprintf("%s does not have what %s calls", t.calleeName(c), t.serviceName(c))
	f.evidence = []string{fmt.Sprintf("%s was answered with %s; nothing says which of the two has changed", t.callWords(c), t.said(c))}
	if s != trace.None {
		f.nodes = append(f.nodes, s)
	}
	f.runnerUp = &verdict.Candidate{Site: verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}, Confidence: 0.4}
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
	f.summary = fmt.Sprintf("%s answered %s", t.calleeName(c), t.said(c))
	f.evidence = []string{fmt.Sprintf("%s: %s after %s%s; concurrent work of its callers is against each other",
		t.callWords(c), f.summary, verdict.Took(t.f.Nodes[c].DurationNs()), t.quoted(c))}
	f.runnerUp = &verdict.Candidate{Site: t.serviceSite(c), Confidence: 0.35}
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
		f.evidence = []string{t.callWords(call) + ": " + f.summary + t.quoted(call)}
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
	f.evidence = []string{fmt.Sprintf("%s ended with %s after %s%s; whether its callers ask more than usual is not known",
		t.spanWords(at), t.said(at), verdict.Took(t.f.Nodes[at].DurationNs()), t.quoted(at))}
	if p := t.f.Nodes[at].Parent; p != trace.None {
		f.runnerUp = &verdict.Candidate{Site: t.serviceSite(p), Confidence: 0.35}
	}
	return f
}

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

func (t *trial) breakerOpen(i int32) finding {
	f := t.base(i, "breaker-open", 0.55)
	f.site, f.accountable, f.service = t.serviceSite(i), t.serviceName(i), t.f.Nodes[i].Service
	f.summary = "its circuit breaker refused the call"
	f.evidence = []string{fmt.Sprintf("%s ended with %s%s; no call was made", t.operationWords(i), t.said(i), t.quoted(i))}
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
		f.evidence = []string{fmt.Sprintf("%s: %s (%s)%s", t.callWords(c), what, t.said(c), t.quoted(c))}
		f.runnerUp = &verdict.Candidate{Site: t.serviceSite(c), Confidence: 0.2}
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
		f.evidence = []string{fmt.Sprintf("%s: the database answered %s%s, so it works and the statement or its data does not fit it",
			t.callWords(c), t.said(c), t.quoted(c))}
		f.runnerUp = &verdict.Candidate{Site: t.peerSite(c), Confidence: 0.1}
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
	for _, text := range [...]string{f.ErrorType, f.ExceptionType, f.ExceptionMessage, f.StatusMessage} {
		text = strings.ToLower(text)
		for _, w := range [...]string{
			"connection is not available", "hikaripool", "pool exhausted", "poolexhausted", "pooltimeout", "pool timeout", "queuepool limit",
			"could not get a connection from the pool", "timeout waiting for connection", "timeout waiting for idle object", "connectionpooltimeout",
			"timed out acquiring", "timeout acquiring", "timeout exceeded when trying to connect", "the connection pool has been exhausted", "connection pool is full", "pool is exhausted", "acquiretimeout",
		} {
			if strings.Contains(text, w) {
				return true
			}
		}
	}
	return false
}

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
	f.site = t.edge(call, verdict.PhasePool)
	if call == at && t.f.Nodes[at].Kind != spans.KindClient {
		f.site.Callee = ""
	}
	f.summary = fmt.Sprintf("it had no free connection for %s", verdict.Took(t.f.Nodes[at].DurationNs()))
	f.evidence = []string{fmt.Sprintf("%s waited %s for a connection of its own pool%s", t.spanWords(at), verdict.Took(t.f.Nodes[at].DurationNs()), t.quoted(at))}
	f.runnerUp = &verdict.Candidate{Site: t.peerSite(call), Confidence: 0.2}
	return f
}

func expired(f *trace.Facts) bool {
	for _, text := range [...]string{f.ErrorType, f.ExceptionType, f.ExceptionMessage, f.StatusMessage} {
		text = strings.ToLower(text)
		if strings.Contains(text, "expired") || strings.Contains(text, "notafter") {
			return true
		}
	}
	return false
}
