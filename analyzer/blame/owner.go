package blame

import (
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/verdict"
)

// ownerOf is who owns what a finding blames. Who owns an edge may be written down: that counts more than whose side it is
// on, and is told in the evidence. Then no service is accountable, unless it says that one side is.
func (t *trial) ownerOf(f *finding) string {
	switch f.site.Kind {
	case verdict.SiteUser:
		return verdict.OwnerUser
	case verdict.SiteUnknown:
		return verdict.OwnerUnknown
	case verdict.SiteEdge:
		if owner := t.edgeOwner(f); owner != "" {
			return owner
		}
	case verdict.SiteService, verdict.SitePeer:
	}
	switch {
	case f.accountable == "":
		return verdict.OwnerUnowned
	case f.service == trace.None:
		return t.owner(ownership.Question{Service: f.accountable, AtNs: t.begun()}, nil)
	case f.site.Kind == verdict.SiteService:
		return t.serviceOwner(f.service, t.codeOf(f))
	}
	return t.serviceOwner(f.service, ownership.Question{})
}

// codeOf is what a finding tells of the code that is to blame.
func (t *trial) codeOf(f *finding) ownership.Question {
	q := ownership.Question{Operation: f.site.Operation}
	if len(f.nodes) == 0 || t.f.Nodes[f.nodes[0]].Phantom() {
		return q
	}
	q.Stack = t.stackTrace(f.nodes[0])
	for _, key := range [...]string{"code.file.path", "code.filepath"} {
		if path, ok := t.f.Block().Attrs.Get(int(t.f.Nodes[f.nodes[0]].Row), key); ok {
			q.CodePath = string(path)
			break
		}
	}
	return q
}

// edgeOwner is who owns an edge by what is written down of it; empty if nothing is, or only whose side must act.
func (t *trial) edgeOwner(f *finding) string {
	if t.cfg.Owners == nil {
		return ""
	}
	// What is said of all of a caller's edges is said of one to nobody knows whom.
	callee, name := f.site.Callee, t.sprintf("the edge %s->%s", f.site.Caller, f.site.Callee)
	if callee == "" {
		callee, name = "*", t.sprintf("the %s of %s", string(f.site.Phase), f.site.Caller)
	}
	q := ownership.Question{Service: f.site.Caller, Callee: callee, Phase: string(f.site.Phase), AtNs: t.begun()}
	var caller *trace.Service
	if s := t.serviceNamed(f.site.Caller); s != trace.None {
		caller = &t.f.Services[s]
		q.Namespace = caller.Namespace
	}
	switch answer := t.ask(q, caller); {
	case answer.Side == ownership.Caller:
		f.accountable, f.service = f.site.Caller, t.serviceNamed(f.site.Caller)
		f.evidence = append(f.evidence, t.sprintf("%s is its caller's by %s", name, answer.Record.Source.String()))
	case answer.Side == ownership.Callee && f.site.Callee != "":
		f.accountable, f.service = f.site.Callee, t.serviceNamed(f.site.Callee)
		f.evidence = append(f.evidence, t.sprintf("%s is its callee's by %s", name, answer.Record.Source.String()))
	case answer.Rule == ownership.ByEdge && answer.Owner == ownership.Unowned:
		f.evidence = append(f.evidence, t.sprintf("nobody owns %s by %s", name, answer.Record.Source.String()))
		return verdict.OwnerUnowned
	case answer.Rule == ownership.ByEdge && answer.Owner != "":
		f.accountable, f.service = "", trace.None
		f.evidence = append(f.evidence, t.sprintf("%s is owned by %s by %s", name, answer.Owner, answer.Record.Source.String()))
		return t.own(answer.Owner)
	default:
		side, why := ownership.DefaultSide(string(f.site.Phase))
		if side == ownership.Caller && f.accountable == f.site.Caller || side == ownership.Callee && f.accountable == f.site.Callee {
			f.evidence = append(f.evidence, why)
		}
	}
	return ""
}

// serviceOwner is who owns a service of the trace; q says more of what it is asked for.
func (t *trial) serviceOwner(s int32, q ownership.Question) string {
	service := &t.f.Services[s]
	q.Service, q.Namespace, q.AtNs = service.Name, service.Namespace, t.begun()
	return t.owner(q, service)
}

// owner is who the registry says owns something.
func (t *trial) owner(q ownership.Question, of *trace.Service) string {
	if t.cfg.Owners == nil {
		return verdict.OwnerUnowned
	}
	answer := t.ask(q, of)
	return t.own(answer.Owner)
}

// ask asks the registry. Of a service of the trace it knows the resource.
func (t *trial) ask(q ownership.Question, of *trace.Service) ownership.Answer {
	t.question = q
	if of != nil {
		if t.attr == nil {
			t.attr = func(key string) (string, bool) { return t.f.ResourceAttr(t.asked, key) }
		}
		t.asked, t.question.Attr = of, t.attr
		if t.question.Environment, _ = t.attr("deployment.environment.name"); t.question.Environment == "" {
			t.question.Environment, _ = t.attr("deployment.environment")
		}
	}
	return t.cfg.Owners.Resolve(&t.question)
}

// begun is when the trace began, in Unix nanoseconds; 0 would be now.
func (t *trial) begun() int64 { return max(1, t.f.Nodes[t.f.Entries[0]].StartNs) }
