package blame

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func (t *trial) plural(n int, what string) string {
	if n == 1 {
		return t.sprintf("1 %s", what)
	}
	return t.sprintf("%d %ss", n, what)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func with(what string) string {
	if what == "" {
		return ""
	}
	return " with " + what
}

// callName is what a call asked for.
func (t *trial) callName(c int32) string {
	n := &t.f.Nodes[c]
	name := n.Name
	if s := t.f.ServerSide(c); s != trace.None && !t.f.Nodes[s].Phantom() {
		name = t.f.Nodes[s].Name
	}
	if callee := t.calleeName(c); callee != "" && !strings.Contains(name, callee) {
		return t.sprintf("%s %s", callee, name)
	}
	return t.own(name)
}

func (t *trial) callWords(c int32) string {
	return t.sprintf("%s's call to %s", t.f.ServiceOf(c).Name, t.callName(c))
}

func (t *trial) operationWords(i int32) string {
	return t.sprintf("%s %s", t.f.ServiceOf(i).Name, t.f.Nodes[i].Name)
}

func (t *trial) spanWords(i int32) string {
	if t.f.Nodes[i].Kind == spans.KindClient {
		return t.callWords(i)
	}
	return t.operationWords(i)
}

// target names who was called, with address and port where they are known.
func (t *trial) target(c int32) string {
	f := &t.f.Nodes[c].Facts
	if f.PeerService == "" && f.DBSystem == "" && f.MsgSystem == "" && f.Address != "" && f.Port != "" {
		return t.own(f.Address + ":" + f.Port)
	}
	if f.PeerService == "" && f.Address != "" && f.DBSystem == "" && f.MsgSystem == "" {
		return t.own(f.Address)
	}
	if name := f.PeerName(); name != "" {
		return t.own(name)
	}
	return t.calledAs(c)
}

// said is the code that a span ended with, as its protocol spells it.
func (t *trial) said(i int32) string {
	f := &t.f.Nodes[i].Facts
	switch {
	case f.HTTPStatus > 0:
		return strconv.Itoa(f.HTTPStatus)
	case f.GRPCCode > 0:
		return trace.GRPCName(f.GRPCCode)
	case trace.SQLState(f) != "":
		return t.own(trace.SQLState(f))
	case t.outcome[i].Class != "":
		return string(t.outcome[i].Class)
	}
	return "an error"
}

// selfSaid is the exception of a span, or its code where it has none that tells something.
func (t *trial) selfSaid(i int32) string {
	f := &t.f.Nodes[i].Facts
	switch kind := shortType(f.ExceptionType); kind {
	case "":
		return t.said(i)
	case "errorString", "wrapError", "joinError", "Error", "Exception", "RuntimeException":
		if f.ExceptionMessage == "" {
			return t.said(i)
		}
		return t.said(i) + " (" + cut(t.own(f.ExceptionMessage), 80) + ")"
	default:
		return t.own(kind)
	}
}

func shortType(s string) string {
	if at := strings.LastIndexAny(s, ".$"); at >= 0 && at < len(s)-1 && !strings.ContainsAny(s, " /") {
		return s[at+1:]
	}
	return s
}

func errorType(f *trace.Facts) string {
	switch {
	case f.ExceptionType != "":
		return f.ExceptionType
	case looksLikeType(f.ErrorType):
		return f.ErrorType
	}
	return trace.SQLState(f)
}

// quoted is what a span says of its error, ready to be put behind a sentence; empty if nothing.
func (t *trial) quoted(i int32) string {
	f := &t.f.Nodes[i].Facts
	text := f.ExceptionMessage
	if text == "" {
		text = f.StatusMessage
	}
	if text == "" && looksLikeType(f.ErrorType) {
		text = f.ErrorType
	}
	if kind := shortType(f.ExceptionType); kind != "" && text != "" && !strings.Contains(text, kind) {
		text = t.sprintf("%s: %s", kind, text)
	}
	if text == "" {
		return ""
	}
	return t.sprintf(": %q", cut(text, 160))
}

// cut shortens a text to so many bytes, at the border of a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// sloWords says of an operation that it broke its SLO.
func (t *trial) sloWords(i int32) string {
	return t.sprintf("%s took %s, slower than its SLO of %s", t.operationWords(i), t.took(t.f.Nodes[i].DurationNs()), t.took(t.sloOf(i)))
}

// summary is the one sentence that says whose hop it was.
func (t *trial) summary(v *verdict.Verdict, findings []finding) string {
	entry := t.sprintf("%s %s", v.Entry.Service, v.Entry.Operation)
	if len(findings) == 0 {
		return entry + " is fine: nothing failed that was not dealt with."
	}
	f := &findings[0]
	who := "nobody that the spans can name"
	switch f.site.Kind {
	case verdict.SiteService:
		who = f.site.Service
	case verdict.SiteEdge:
		who = t.sprintf("the %s between %s and %s", string(f.site.Phase), f.site.Caller, f.site.Callee)
		if f.site.Callee == "" {
			who = t.sprintf("the %s of %s", string(f.site.Phase), f.site.Caller)
		}
	case verdict.SitePeer, verdict.SiteUser:
		who = f.site.String()
	case verdict.SiteUnknown:
	}
	owner := v.Shares[0].Owner
	switch {
	case owner == verdict.OwnerUser || owner == verdict.OwnerUnknown:
		owner = ""
	case f.site.Kind == verdict.SiteEdge && f.accountable != "":
		owner = t.sprintf(" (%s, %s)", f.accountable, owner)
	default:
		owner = t.sprintf(" (%s)", owner)
	}
	verb := "broke"
	switch v.Symptom {
	case verdict.SymptomDegraded:
		verb = "failed inside"
	case verdict.SymptomLatency:
		verb = "slowed"
	}
	others, passedOn, tried := "", "", ""
	switch len(findings) {
	case 1:
	case 2:
		others = "; 1 other site shares the blame"
	default:
		others = t.sprintf("; %d other sites share the blame", len(findings)-1)
	}
	if v.Symptom == verdict.SymptomLatency {
		passedOn = t.sprintf("; %s of %s too long", t.took(f.excessNs), t.took(excess(findings)))
		if i := t.overSLO; i != trace.None {
			who := ""
			if t.f.Nodes[i].Parent != trace.None { // behind the entry
				who = t.operationWords(i) + " is "
			}
			passedOn += t.sprintf(", %sslower than its SLO of %s", who, t.took(t.sloOf(i)))
		}
	} else if passed := count(v.Hops, verdict.RolePropagated, verdict.RoleAmplified); passed > 0 {
		passedOn = t.sprintf("; %s passed it on", t.plural(passed, "hop"))
	}
	if f.attempts > 1 {
		tried = t.sprintf("; it was tried %d times", f.attempts)
	}
	return t.sprintf("%s%s %s %s: %s%s%s%s.", who, owner, verb, entry, f.summary, others, passedOn, tried)
}

func excess(findings []finding) int64 {
	sum := int64(0)
	for k := range findings {
		sum += findings[k].excessNs
	}
	return sum
}

func count(hops []verdict.Hop, roles ...verdict.Role) int {
	n := 0
	for _, h := range hops {
		for _, r := range roles {
			if h.Role == r {
				n++
			}
		}
	}
	return n
}
