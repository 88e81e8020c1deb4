package blame

import (
	"fmt"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// need is what a rule of the table asks of a failed span, as far as it can be said in a line. The rules
// themselves are code; this is for people who ask why one did not fit.
type need struct {
	rule    string
	kinds   []spans.Kind // nil: any
	classes []verdict.Class
	server  presence
}

type presence uint8

const (
	anyServer  presence = iota
	withServer          // the server side sent its span
	noServer            // it sent none
)

var (
	calls      = []spans.Kind{spans.KindClient, spans.KindProducer}
	operations = []spans.Kind{spans.KindServer, spans.KindConsumer, spans.KindInternal, spans.KindUnspecified}
	goneAway   = []verdict.Class{verdict.ClassReset, verdict.ClassUnavailable, verdict.ClassBadGateway, verdict.ClassTimeout}
	timeouts   = []verdict.Class{verdict.ClassTimeout}
)

// needs are in the order in which the rules are asked.
var needs = []need{
	{"breaker-open", nil, []verdict.Class{verdict.ClassBreaker}, noServer},
	{"dns", calls, []verdict.Class{verdict.ClassDNS}, noServer},
	{"tls", calls, []verdict.Class{verdict.ClassTLS}, noServer},
	{"refused", calls, []verdict.Class{verdict.ClassRefused}, noServer},
	{"crash", calls, goneAway, noServer},
	{"lost-request", calls, goneAway, noServer},
	{"callee-down", calls, goneAway, noServer},
	{"cancelled", nil, []verdict.Class{verdict.ClassCancelled}, anyServer},
	{"user-left", nil, []verdict.Class{verdict.ClassCancelled}, anyServer},
	{"budget-spent", calls, timeouts, withServer},
	{"budget-short", calls, timeouts, anyServer},
	{"slow-callee", nil, timeouts, anyServer},
	{"late-start", calls, timeouts, withServer},
	{"late-answer", calls, timeouts, withServer},
	{"timeout-silent", calls, timeouts, noServer},
	{"timeout-peer", calls, timeouts, noServer},
	{"overload", nil, []verdict.Class{verdict.ClassOverload}, anyServer},
	{"shedding", operations, []verdict.Class{verdict.ClassUnavailable}, anyServer},
	{"auth", nil, []verdict.Class{verdict.ClassAuth}, anyServer},
	{"no-such-method", nil, []verdict.Class{verdict.ClassUnimplemented, verdict.ClassNotFound}, anyServer},
	{"bad-request", nil, []verdict.Class{verdict.ClassBadRequest, verdict.ClassNotFound}, anyServer},
	{"conflict", nil, []verdict.Class{verdict.ClassConflict}, anyServer},
	{"bad-query", calls, []verdict.Class{verdict.ClassBadRequest, verdict.ClassAuth}, noServer},
	{"db-exhausted", calls, nil, noServer},
	{"pool", nil, nil, noServer},
	{"contract", nil, []verdict.Class{verdict.ClassDecode}, anyServer},
	{"self-error", operations, nil, anyServer},
	{"consumer", []spans.Kind{spans.KindConsumer}, nil, anyServer},
	{"poison", []spans.Kind{spans.KindConsumer}, nil, anyServer},
	{"response-lost", calls, nil, withServer},
	{"peer-failed", calls, nil, noServer},
	{"proxy", operations, []verdict.Class{verdict.ClassBadGateway}, anyServer},
}

// told adds to the explanation of a verdict what was tried on a failed span: the spans below that it was
// handed to, or the rule that fitted, and why the others did not.
func (t *trial) told(it item, next []item, found []finding) {
	if !t.asksFor(it.node) {
		return
	}
	at := t.triedAt(it.node)
	for _, x := range next {
		at.Fits, at.Rule, at.Why = true, "passed-on", fmt.Sprintf("%s explains it, with %.2f of the blame", t.spanWords(x.node), x.weight/max(it.weight, 1e-9))
		t.tried = append(t.tried, at)
	}
	for k := range found {
		at.Fits, at.Rule, at.Why = true, found[k].rule, strings.Join(found[k].evidence, "; ")
		t.tried = append(t.tried, at)
	}
	if len(next) > 0 {
		return
	}
	at.Fits = false
	for k := range needs {
		rule := &needs[k]
		if slices.ContainsFunc(found, func(f finding) bool { return f.rule == rule.rule }) {
			continue
		}
		at.Rule, at.Why = rule.rule, t.whyNot(rule, it.node)
		t.tried = append(t.tried, at)
	}
}

// explainedMost bounds what is told of one service, which may have failed a hundred thousand times.
const explainedMost = 1000

// asksFor: what was tried on a span is to be told.
func (t *trial) asksFor(i int32) bool {
	of := t.cfg.ExplainOf
	return of == "" || len(t.tried) < explainedMost && (t.f.ServiceOf(i).Name == of || t.isCall(i) && t.calleeName(i) == of)
}

func (t *trial) isCall(i int32) bool {
	return t.f.Nodes[i].Kind == spans.KindClient || t.f.Nodes[i].Kind == spans.KindProducer
}

func (t *trial) triedAt(i int32) verdict.Tried {
	return verdict.Tried{Span: fmt.Sprintf("%x", t.f.Nodes[i].SpanID[:]), Of: t.spanWords(i)}
}

func (t *trial) whyNot(rule *need, i int32) string {
	n, o := &t.f.Nodes[i], t.outcome[i]
	s := t.f.ServerSide(i)
	there := s != trace.None && !t.f.Nodes[s].Phantom()
	switch {
	case rule.kinds != nil && !slices.Contains(rule.kinds, n.Kind):
		if n.Kind == spans.KindClient || n.Kind == spans.KindProducer {
			return "it is a call"
		}
		return "it is no call"
	case rule.classes != nil && !slices.Contains(rule.classes, o.Class):
		names := make([]string, len(rule.classes))
		for k, c := range rule.classes {
			names[k] = string(c)
		}
		return fmt.Sprintf("it ended with %s, not %s", orNone(string(o.Class)), strings.Join(names, " or "))
	case rule.server == withServer && !there:
		return "the server side sent no span"
	case rule.server == noServer && there:
		return "the server side sent its span"
	case o.Class == verdict.ClassTimeout && there:
		offset, _ := t.offset(i, s)
		lagNs, _ := t.legs(i, s, offset)
		return fmt.Sprintf("the caller waited %s; the server began after %s and ran %s%s", verdict.Took(n.DurationNs()), verdict.Took(lagNs),
			verdict.Took(t.f.Nodes[s].DurationNs()), t.normalOperation(s))
	}
	return "what the spans say fits another rule better"
}

func orNone(class string) string {
	if class == "" {
		return "a failure without a class"
	}
	return class
}

// toldLatency adds why an entry is slow, or is not.
func (t *trial) toldLatency(i int32, excessNs int64) {
	n := &t.f.Nodes[i]
	if !t.asksFor(i) {
		return
	}
	at := t.triedAt(i)
	at.Rule, at.Fits = "latency", excessNs > 0
	normal := t.cfg.Normal.Operation(t.f.ServiceOf(i).Name, n.Name)
	if normal == nil {
		at.Why = "what it normally takes is not known"
	} else {
		at.Why = fmt.Sprintf("it took %s; normal is %s, and hardly ever more than %s, over %d runs", verdict.Took(n.DurationNs()),
			verdict.Took(normal.MeanNs()), verdict.Took(normal.HighNs()), normal.Count())
	}
	if slo := t.sloOf(i); slo > 0 {
		at.Why += fmt.Sprintf("; its SLO is %s", verdict.Took(slo))
	}
	t.tried = append(t.tried, at)
}

// toldTerms adds where an operation's excess went.
func (t *trial) toldTerms(i int32, ns int64, terms []term) {
	if !t.asksFor(i) {
		return
	}
	names := [...]string{termSelf: "slow-self", termCalls: "too-many-calls", termBackoff: "backoff", termPool: "pool-wait", termCall: "passed-on"}
	for k := range terms {
		m := &terms[k]
		at := t.triedAt(i)
		at.Rule, at.Fits, at.Why = names[m.kind], m.ns > 0, fmt.Sprintf("%s of its excess of %s", verdict.Took(m.ns), verdict.Took(ns))
		if m.call != trace.None {
			at.Why += " by " + t.spanWords(m.call)
		}
		t.tried = append(t.tried, at)
	}
}
