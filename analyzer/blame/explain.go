package blame

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// item is a failed node that is still to be explained.
type item struct {
	node       int32
	weight     float64
	confidence float64
	attempts   int
	runnerUp   *verdict.Candidate
}

// explain follows failures down to the sites that made them. It walks with a stack of its own: a
// trace may be a hundred thousand calls deep.
func (t *trial) explain(items []item) []finding {
	var findings []finding
	slices.Reverse(items)
	for len(items) > 0 {
		it := items[len(items)-1]
		items = items[:len(items)-1]
		t.onPath[it.node] = true
		if a := t.fold[it.node].attempts; a > 1 {
			it.attempts *= int(a)
		}
		next, found := t.step(it)
		if t.cfg.Explain {
			t.told(it, next, found)
		}
		for i := range found {
			f := &found[i]
			f.weight *= it.weight
			f.confidence *= it.confidence
			f.attempts = max(f.attempts, 1) * it.attempts
			if f.runnerUp == nil {
				f.runnerUp = it.runnerUp
			}
		}
		findings = append(findings, found...)
		slices.Reverse(next)
		items = append(items, next...)
	}
	return findings
}

// step explains one node by others below it, or by a site.
func (t *trial) step(it item) (next []item, found []finding) {
	n := &t.f.Nodes[it.node]
	if n.Kind == spans.KindClient || n.Kind == spans.KindProducer {
		return t.stepCall(it)
	}
	return t.stepOperation(it)
}

// down is the item at another node, whole.
func (it item) down(node int32) item {
	it.node = node
	return it
}

// handOn is a list of one item, good until the next one.
func (t *trial) handOn(it item) []item {
	t.next = append(t.next[:0], it)
	return t.next
}

// candidate is a failed node that may be why its parent failed: part C of the rules.
type candidate struct {
	node  int32
	score float64
}

// stepOperation explains a server, consumer or internal span by its failed calls, or by itself.
func (t *trial) stepOperation(it item) ([]item, []finding) {
	candidates, others := t.candidates(it.node)
	if len(candidates) == 0 {
		return t.stepSelf(it, others)
	}
	if t.outcome[it.node].Class == "TIMEOUT" && t.allCancelled(candidates) {
		f := t.slowInside(it.node, it.node)
		f.evidence[0] = t.sprintf("%s ran out of time after %s, and what was still running was cancelled", t.operationWords(it.node), t.took(t.f.Nodes[it.node].DurationNs()))
		return nil, t.one(f)
	}
	own, ownScore := t.ownFault(it.node, candidates)
	total := math.Exp(ownScore)
	best, bestScore := -1, ownScore
	for k, c := range candidates {
		total += math.Exp(c.score)
		if c.score > bestScore {
			best, bestScore = k, c.score
		}
	}
	if best < 0 && own {
		next, found := t.stepSelf(it, others)
		for i := range found {
			found[i].confidence *= math.Exp(ownScore) / total
			found[i].runnerUp = t.runnerUp(candidates, -1, total)
		}
		return next, found
	}
	if best >= 0 && math.Exp(bestScore)/total > 0.5 {
		p := math.Exp(bestScore) / total
		next := t.handOn(it.down(candidates[best].node))
		next[0].confidence = min(it.confidence, 0.5+0.5*p) // a chain is as sure as its weakest link
		if r := t.runnerUp(candidates, best, total); r != nil {
			next[0].runnerUp = r
		} else if it.runnerUp == nil {
			next[0].runnerUp = t.candidate(t.serviceSite(it.node), round(math.Exp(ownScore)/total))
		}
		return next, nil
	}
	// None stands out: those that count share the blame.
	var next []item
	sum := 0.0
	for _, c := range candidates {
		if p := math.Exp(c.score) / total; p >= 0.1 {
			sum += p
		}
	}
	for _, c := range candidates {
		if p := math.Exp(c.score) / total; p >= 0.1 {
			split := it.down(c.node)
			split.weight *= p / sum
			split.confidence *= 0.7
			next = append(next, split)
		}
	}
	if len(next) == 0 { // very many alike
		for _, c := range candidates {
			split := it.down(c.node)
			split.weight /= float64(len(candidates))
			split.confidence *= 0.7
			next = append(next, split)
		}
	}
	return next, nil
}

// allCancelled: nothing below failed of itself; it was cut off.
func (t *trial) allCancelled(candidates []candidate) bool {
	for _, c := range candidates {
		if t.outcome[c.node].Class != "CANCELLED" {
			return false
		}
	}
	return true
}

func (t *trial) runnerUp(candidates []candidate, best int, total float64) *verdict.Candidate {
	second := -1
	for k := range candidates {
		if k != best && (second < 0 || candidates[k].score > candidates[second].score) {
			second = k
		}
	}
	if second < 0 {
		return nil
	}
	node := candidates[second].node
	if s := t.f.ServerSide(node); s != trace.None {
		node = s
	}
	return t.candidate(t.serviceSite(node), round(math.Exp(candidates[second].score)/total))
}

// open is the first of siblings that are still to be looked at.
type open struct {
	node   int32
	masked bool // below an internal span that ended well
}

// candidates are the failed, unabsorbed calls below a node within its own process, with their
// scores; others are the nodes that ended well. Both are good until it is asked again.
func (t *trial) candidates(parent int32) (found []candidate, others []int32) {
	p := &t.f.Nodes[parent]
	found, others = t.candidateList[:0], t.others[:0]
	var cancelled []candidate
	stack := append(t.open[:0], open{node: p.FirstChild})
	defer func() { t.open, t.others = stack, others }()
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for c := at.node; c != trace.None; c = t.f.Nodes[c].NextSib {
			n := &t.f.Nodes[c]
			if n.Async && n.Kind == spans.KindConsumer {
				continue
			}
			if !t.outcome[c].Failed() {
				others = append(others, c)
				if n.Kind == spans.KindInternal && n.FirstChild != trace.None {
					stack = append(stack, open{n.FirstChild, true})
				}
				continue
			}
			if s := t.fold[c].state; s != foldNone {
				continue
			}
			if t.wrapsFailedSibling(c) || n.Async || t.endedAfter(c, parent) {
				continue
			}
			cand := candidate{node: c}
			if at.masked {
				cand.score = -1.5
			}
			if t.outcome[c].Class == "CANCELLED" {
				cancelled = append(cancelled, cand)
				continue
			}
			found = append(found, cand)
		}
	}
	t.candidateList = found
	if len(found) == 0 {
		found = cancelled
	}
	slices.SortFunc(found, func(a, b candidate) int { return int(a.node - b.node) })
	after := t.whatCameAfter(found, others)
	for k := range found {
		found[k].score += t.score(parent, found[k].node, &after)
	}
	return found, others
}

// cameAfter says when the last of the calls below a node began, so that each can be asked whether
// anything came after it without looking at all the others.
type cameAfter struct {
	failedNs int64   // the last failed call
	goodNs   int64   // the last call that ended well
	good     []int32 // the calls that ended well
	sameNs   map[sameCall]int64
}

func (t *trial) whatCameAfter(failed []candidate, good []int32) cameAfter {
	a := cameAfter{good: good}
	for _, c := range failed {
		a.failedNs = max(a.failedNs, t.f.Nodes[c.node].StartNs)
	}
	for _, o := range good {
		if n := &t.f.Nodes[o]; n.Kind != spans.KindInternal {
			a.goodNs = max(a.goodNs, n.StartNs)
		}
	}
	return a
}

// same says when the last call began that ended well and was the same request to the same place.
func (a *cameAfter) same(t *trial, c int32) int64 {
	place := func(i int32) sameCall {
		key := callKey(&t.f.Nodes[i])
		key.address = t.f.Nodes[i].Facts.Address
		return key
	}
	if a.sameNs == nil && len(a.good) > pairwiseMost {
		a.sameNs = make(map[sameCall]int64)
		for _, o := range a.good {
			key := place(o)
			a.sameNs[key] = max(a.sameNs[key], t.f.Nodes[o].StartNs)
		}
	}
	want, at := place(c), int64(0)
	if a.sameNs != nil {
		return a.sameNs[want]
	}
	for _, o := range a.good {
		if t.f.Nodes[o].Kind != spans.KindInternal && place(o) == want {
			at = max(at, t.f.Nodes[o].StartNs)
		}
	}
	return at
}

// endedAfter: a call that went on after its parent had ended cannot be why it failed, unless the
// parent gave up on it.
func (t *trial) endedAfter(c, parent int32) bool {
	n, p := &t.f.Nodes[c], &t.f.Nodes[parent]
	if !t.f.SameClock(c, parent) || p.NoDuration || n.NoDuration || p.Phantom() {
		return false
	}
	slackNs := max(1_000_000, p.DurationNs()/100)
	class := t.outcome[parent].Class
	return n.EndNs > p.EndNs+slackNs && class != "TIMEOUT" && class != "CANCELLED"
}

// score: how well does the failed call explain the failure of its parent?
func (t *trial) score(parent, c int32, after *cameAfter) float64 {
	n, p := &t.f.Nodes[c], &t.f.Nodes[parent]
	po, co := t.outcome[parent], t.outcome[c]
	s := 1.0
	if co.Level == trace.Soft {
		s = -0.5
	}
	if t.quotes(parent, c) {
		s += 3
	}
	if sameKindOfFailure(po, co) {
		s++
	}
	if after.failedNs < n.EndNs {
		s++ // no other failure came later
	}
	if p.EndNs-n.EndNs <= max(5_000_000, p.DurationNs()/10) {
		s += 0.5
	}
	if after.goodNs >= n.EndNs {
		s-- // it went on with something else
		if after.same(t, c) >= n.EndNs {
			s-- // and even with the same
		}
	}
	if learnt, known := t.cfg.Normal.FailsParent(t.f, n.Parent, c); known {
		s += min(learntMost, max(-learntMost, learnt))
	}
	return s
}

// learntMost bounds what history may say against what the trace itself shows.
const learntMost = 3

func sameKindOfFailure(p, c trace.Outcome) bool {
	if p.Class == c.Class {
		return true
	}
	switch p.Class {
	case "BAD_GATEWAY", "UNAVAILABLE":
		switch c.Class {
		case "UNAVAILABLE", "REFUSED", "RESET", "DNS", "TLS", "BREAKER", "BAD_GATEWAY", "TIMEOUT", "OVERLOAD":
			return true
		}
	}
	return false
}

// ownFault: does the node say of itself that it failed, for a reason that none of its calls gives?
func (t *trial) ownFault(i int32, candidates []candidate) (bool, float64) {
	f := &t.f.Nodes[i].Facts
	if !f.HasException() && !looksLikeType(f.ErrorType) {
		return false, -1
	}
	for _, c := range candidates {
		if t.quotes(i, c.node) {
			return false, -1
		}
	}
	class := trace.TextClass(f.ExceptionType)
	if class == "" {
		class = trace.TextClass(f.ErrorType)
	}
	for _, c := range candidates {
		if class != "" && class == t.outcome[c.node].Class {
			return false, -1
		}
	}
	if isClientError(f.ExceptionType) || (f.ExceptionType == "" && isClientError(f.ErrorType)) {
		return true, 0
	}
	return true, 4.5
}

// looksLikeType: an error type that names an exception, and not a status code.
func looksLikeType(s string) bool {
	if s == "" || s == "_OTHER" {
		return false
	}
	if _, err := strconv.Atoi(s); err == nil {
		return false
	}
	return strings.ToUpper(s) != s
}

// isClientError: exceptions of this kind are thrown by client libraries to report what a callee
// answered; they do not by themselves speak for a fault of the code that lets them through.
func isClientError(kind string) bool { return clientErrorWords.In(kind) }

var clientErrorWords = trace.NewWords([]string{
	"http", "grpc", "rpc", "axios", "fetch", "feign", "restclient", "webclient", "statusruntime", "statuserror", "remote",
	"upstream", "requests.", "requesterror", "urlerror", "*status.error", "*url.error", "*fmt.wraperror", "*errors.errorstring", "*errors.joinerror", "ioexception",
	"executionexception", "completionexception", "invocationtarget", "gateway", "clienterror", "servererror", "responseerror", "apierror",
})

// quotes: the parent's own words repeat what the failed call said, so it speaks of that failure.
func (t *trial) quotes(parent, c int32) bool {
	p, n := &t.f.Nodes[parent].Facts, &t.f.Nodes[c].Facts
	text := p.ExceptionMessage
	if text == "" {
		text = p.StatusMessage
	}
	if text == "" && p.ExceptionType == "" {
		return false
	}
	// Thrown the moment the call ended: it is that call's error, whatever it is called.
	const atOnceNs = 1_000_000
	if afterNs := p.ExceptionNs - t.f.Nodes[c].EndNs; p.ExceptionNs > 0 && t.f.SameClock(parent, c) && afterNs >= -atOnceNs/10 && afterNs <= atOnceNs {
		return true
	}
	server := n
	if s := t.f.ServerSide(c); s != trace.None && !t.f.Nodes[s].Phantom() {
		server = &t.f.Nodes[s].Facts
	}
	if p.ExceptionType != "" && !isClientError(p.ExceptionType) && (p.ExceptionType == n.ExceptionType || p.ExceptionType == server.ExceptionType) &&
		(text == n.ExceptionMessage || text == server.ExceptionMessage) {
		return true
	}
	for _, said := range [...]string{n.ExceptionMessage, n.StatusMessage, server.ExceptionMessage, server.StatusMessage} {
		if len(said) >= 6 && text != "" && strings.Contains(text, said) {
			return true
		}
	}
	if p.ExceptionType != "" && p.ExceptionType == n.ExceptionType && n.ExceptionType != "" {
		return true
	}
	mentions := func(word string, least int) bool { return len(word) >= least && strings.Contains(text, word) }
	code := ""
	if n.HTTPStatus >= 400 {
		code = strconv.Itoa(n.HTTPStatus)
	}
	name := trace.GRPCName(n.GRPCCode)
	codeSaid := (code != "" && containsWord(text, code)) || (n.GRPCCode > 0 && mentionsCode(text, name))
	placeSaid := mentions(n.Address, 3) || mentions(t.calleeName(c), 3) || mentions(n.RPCService, 3)
	return codeSaid || (placeSaid && isClientError(p.ExceptionType+" "+text))
}

// mentionsCode: INVALID_ARGUMENT as it is, or as Go and JavaScript spell it, InvalidArgument.
func mentionsCode(text, name string) bool {
	return strings.Contains(text, name) || strings.Contains(strings.ToUpper(text), "CODE = "+strings.ReplaceAll(name, "_", "")) ||
		strings.Contains(strings.ToUpper(text), "STATUS(STATUSCODE=\""+strings.ReplaceAll(name, "_", "")+"\"")
}

func containsWord(text, word string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], word)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(word)
		if (at == 0 || !digit(text[at-1])) && (end == len(text) || !digit(text[end])) {
			return true
		}
		from = end
	}
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// wrapsFailedSibling: an internal span recorded beside a call, around it in time, that only repeats
// the call's error.
func (t *trial) wrapsFailedSibling(i int32) bool {
	n := &t.f.Nodes[i]
	if n.Kind != spans.KindInternal || n.Parent == trace.None || n.FirstChild != trace.None {
		return false
	}
	const slackNs = 500_000
	looked := 0
	for s := t.f.Nodes[n.Parent].FirstChild; s != trace.None && looked < siblingsMost; s = t.f.Nodes[s].NextSib {
		looked++
		o := &t.f.Nodes[s]
		if s != i && o.Kind == spans.KindClient && t.outcome[s].Failed() &&
			n.StartNs <= o.StartNs+slackNs && n.EndNs+slackNs >= o.EndNs {
			return true
		}
	}
	return false
}

// siblingsMost bounds how many siblings a span is compared with.
const siblingsMost = 1000

func (t *trial) serviceSite(i int32) verdict.Site {
	return verdict.Site{Kind: verdict.SiteService, Service: t.serviceName(i), Operation: t.own(t.f.Nodes[t.operationOf(i)].Name)}
}

// operationOf is the server, consumer or entry span within which a node of the same service ran.
func (t *trial) operationOf(i int32) int32 {
	for {
		n := &t.f.Nodes[i]
		if n.Kind == spans.KindServer || n.Kind == spans.KindConsumer || n.Parent == trace.None ||
			t.f.Nodes[n.Parent].Service != n.Service {
			return i
		}
		i = n.Parent
	}
}

func (t *trial) serviceName(i int32) string { return t.own(t.f.ServiceOf(i).Name) }

// calleeName names who a call went to: the service of its server side, or what the call itself says.
func (t *trial) calleeName(c int32) string {
	if s := t.f.ServerSide(c); s != trace.None {
		return t.own(t.f.ServiceOf(s).Name)
	}
	facts := &t.f.Nodes[c].Facts
	for i := range t.f.Services {
		if t.f.Services[i].Name != t.f.ServiceOf(c).Name && facts.NamesService(t.f.Services[i].Name) {
			return t.own(t.f.Services[i].Name)
		}
	}
	if learnt := t.cfg.Normal.CalleeService(t.f.ServiceOf(c).Name, facts.CalleeKey(), t.f.Nodes[c].Name); learnt != "" {
		return learnt
	}
	return t.own(facts.CalleeName())
}
