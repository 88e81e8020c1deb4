package blame

import (
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// hop gathers what one service did in the tree of an entry.
type hop struct {
	there      bool
	first      int32 // its first node in the walk
	caller     int32 // the service that called it first, None for the entry's
	failedNode int32 // its first failed operation or call, None if all ended well
	folded     bool  // all its failures were folded away
	cancelled  bool  // all its failures are cancellations
	masked     int32 // an operation of it that ended well over a failure
	passed     int32 // the failed call below it that is on the path
	attempts   int32 // of a retry group of its own that failed in the end
	calls      int   // its server side was called so often
	waited     int32 // its first operation on the path, down which the time was followed
	phantom    bool
}

// hops says for every service of an entry's tree what part it played, in the order of the walk.
func (t *trial) hops(entry int32, findings []finding) []verdict.Hop {
	hops := zeroed(t.hopOf, len(t.f.Services))
	t.hopOf = hops
	order := t.children[:0]
	for _, i := range t.order {
		n := &t.f.Nodes[i]
		h := &hops[n.Service]
		if !h.there {
			*h = hop{there: true, first: i, caller: trace.None, failedNode: trace.None, masked: trace.None, passed: trace.None, waited: trace.None, folded: true, cancelled: true}
			if n.Parent != trace.None {
				h.caller = t.f.Nodes[n.Parent].Service
			}
			order = append(order, n.Service)
		}
		t.note(h, i)
	}
	start := t.f.Nodes[entry].StartNs
	list := make([]verdict.Hop, 0, len(order)+1)
	for _, s := range order {
		h := &hops[s]
		n := &t.f.Nodes[h.first]
		at := t.namedNode(h.first)
		role, why := t.role(h, s, findings)
		out := verdict.Hop{
			Service: t.own(t.f.Services[s].Name), Operation: t.own(t.f.Nodes[at].Name), Role: role, Why: why, Owner: t.serviceOwner(s, ownership.Question{Operation: t.f.Nodes[at].Name}),
			OffsetNs: n.StartNs - start, DurationNs: n.DurationNs(), SpanIDs: t.spanIDs([]int32{at}, 1),
		}
		if h.caller != trace.None {
			out.Caller = t.own(t.f.Services[h.caller].Name)
		}
		list = append(list, out)
	}
	t.children = order
	return append(list, t.peerHops(entry, findings)...)
}

// note adds what a node shows to the hop of its service.
func (t *trial) note(h *hop, i int32) {
	n, o := &t.f.Nodes[i], t.outcome[i]
	if n.Phantom() {
		h.phantom = true
	}
	served := n.Kind == spans.KindServer || n.Kind == spans.KindConsumer || n.Parent == trace.None
	if served {
		h.calls++
		if t.onPath[i] && h.waited == trace.None {
			h.waited = i
		}
	}
	if a := t.fold[i].attempts; a > h.attempts && t.fold[i].state == foldNone {
		h.attempts = a
	}
	if t.onPath[i] && o.Failed() && n.Kind == spans.KindClient && h.passed == trace.None {
		h.passed = i
	}
	if o.Level == trace.Fail && n.Parent != trace.None && t.f.Nodes[n.Parent].Service == n.Service && !t.outcome[n.Parent].Failed() &&
		t.fold[i].state == foldNone && h.masked == trace.None {
		h.masked = i
	}
	if !o.Failed() || (!served && n.Kind != spans.KindInternal) {
		return
	}
	if h.failedNode == trace.None || (t.onPath[i] && !t.onPath[h.failedNode]) {
		h.failedNode = i
	}
	h.folded = h.folded && t.folded[i]
	h.cancelled = h.cancelled && o.Class == "CANCELLED"
}

// originOf is the finding that makes a service answerable for what happened, nil where none does.
func originOf(findings []finding, service string) *finding {
	for k := range findings {
		f := &findings[k]
		if f.site.Kind == verdict.SiteService && f.site.Service == service || f.site.Kind == verdict.SiteEdge && f.accountable == service {
			return f
		}
	}
	return nil
}

func (t *trial) role(h *hop, s int32, findings []finding) (verdict.Role, string) {
	name := t.f.Services[s].Name
	n := &t.f.Nodes[h.first]
	failed := h.failedNode != trace.None
	if failed && h.folded && h.passed == trace.None {
		fn := &t.f.Nodes[h.failedNode]
		return verdict.RoleAbsorbed, t.sprintf("%s ended with %s after %s, and its caller made up for it", t.own(fn.Name), t.said(h.failedNode), t.took(fn.DurationNs()))
	}
	if f := originOf(findings, name); f != nil {
		if t.symptom == verdict.SymptomLatency {
			return verdict.RoleSlow, f.summary
		}
		return verdict.RoleOrigin, f.summary
	}
	if h.waited != trace.None && !failed && (t.symptom == verdict.SymptomLatency || ranOutOfTime(findings)) {
		return verdict.RolePropagated, t.sprintf("took %s because it waited for what it called", t.took(t.f.Nodes[h.waited].DurationNs()))
	}
	because := "because of a failure elsewhere"
	if len(findings) > 0 && findings[0].site.Kind == verdict.SiteUser {
		because = "because the sender left"
	}
	switch {
	case failed && h.cancelled && h.passed == trace.None:
		return verdict.RoleVictim, t.sprintf("cancelled by its caller after %s, %s", t.took(t.f.Nodes[h.failedNode].DurationNs()), because)
	case h.passed != trace.None && failed && h.attempts > 1:
		return verdict.RoleAmplified, t.sprintf("failed because its call to %s failed, which it tried %d times", t.calledAs(h.passed), h.attempts)
	case h.passed != trace.None && failed:
		return verdict.RolePropagated, t.sprintf("failed because its call to %s failed", t.calledAs(h.passed))
	case h.masked != trace.None || (h.passed != trace.None && !failed):
		at := h.masked
		if at == trace.None {
			at = h.passed
		}
		return verdict.RoleMasked, t.sprintf("answered well although its call to %s failed with %s", t.calledAs(at), t.said(at))
	case h.phantom:
		return verdict.RoleCleared, "its own span was never received; nothing that was says it failed"
	case failed && h.cancelled:
		return verdict.RoleVictim, "cancelled, " + because
	case failed && t.couldNotRead(name, findings):
		return verdict.RolePropagated, t.sprintf("ended with %s because it could not read an answer", t.said(h.failedNode))
	case failed && len(findings) > 0 && findings[0].rule == "pool" && t.onPath[h.failedNode]:
		return verdict.RolePropagated, t.sprintf("ended with %s because it got no connection", t.said(h.failedNode))
	case failed && t.outcome[h.failedNode].Class == "UNIMPLEMENTED":
		return verdict.RoleCleared, "does not have what it was asked for"
	case failed && t.failsBelow(h.failedNode):
		return verdict.RolePropagated, t.sprintf("ended with %s because a call of its own failed", t.said(h.failedNode))
	case failed && t.outcome[h.failedNode].Level == trace.Soft:
		return verdict.RoleCleared, t.sprintf("refused what it was asked with %s", t.said(h.failedNode))
	case failed:
		return verdict.RoleCleared, t.sprintf("ended with %s, but that is not why the request failed", t.said(h.failedNode))
	}
	why := "answered well"
	if n.Facts.HTTPStatus > 0 {
		why = t.sprintf("answered %d", n.Facts.HTTPStatus)
	}
	if !n.NoDuration {
		why += " in " + t.took(n.DurationNs())
	}
	if n.Kind == spans.KindServer {
		if d := t.cfg.Normal.Operation(name, n.Name); d != nil {
			why += t.sprintf(", normal is up to %s", t.took(d.QuantileNs(0.95)))
		}
	}
	if h.calls > 1 {
		why += t.sprintf(", and %s well too", t.plural(h.calls-1, "further call"))
	}
	return verdict.RoleCleared, why
}

// calledAs names whom a call went to, or what it is called where that is not known.
func (t *trial) calledAs(c int32) string {
	if name := t.calleeName(c); name != "" {
		return name
	}
	return t.own(t.f.Nodes[c].Name)
}

// ranOutOfTime: the trace failed, and it is the time it took that was looked into.
func ranOutOfTime(findings []finding) bool {
	return slices.ContainsFunc(findings, func(f finding) bool { return f.rule == "slow-callee" || f.rule == "budget-spent" })
}

// couldNotRead: a service failed over a good answer, for which another one has to answer.
func (t *trial) couldNotRead(service string, findings []finding) bool {
	return slices.ContainsFunc(findings, func(f finding) bool {
		return f.site.Kind == verdict.SiteEdge && f.site.Phase == verdict.PhaseContract && f.site.Caller == service
	})
}

func (t *trial) failsBelow(i int32) bool {
	for c := t.f.Nodes[i].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
		if t.outcome[c].Failed() {
			return true
		}
	}
	return false
}

// peerHops are the hops of peers that are to blame: they send no spans, but belong on the path.
func (t *trial) peerHops(entry int32, findings []finding) []verdict.Hop {
	var hops []verdict.Hop
	for k := range findings {
		f := &findings[k]
		if f.site.Kind != verdict.SitePeer || len(f.nodes) == 0 {
			continue
		}
		call := f.nodes[len(f.nodes)-1]
		n := &t.f.Nodes[call]
		hops = append(hops, verdict.Hop{
			Service: f.site.Peer, Operation: t.own(n.Name), Role: verdict.RoleOrigin, Why: f.summary, Owner: t.ownerOf(f),
			Caller: t.serviceName(call), OffsetNs: n.StartNs - t.f.Nodes[entry].StartNs, DurationNs: n.DurationNs(),
		})
	}
	return hops
}
