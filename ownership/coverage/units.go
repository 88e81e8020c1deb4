package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/verdict"
)

// unit is something of which it is asked who owns it. All of a service that has one answer is one unit.
type unit struct {
	subject    Subject
	question   ownership.Question
	answer     ownership.Answer
	listed     bool   // of an edge: it is among the units
	gone       string // why its owner is none any more
	attributes map[string]string
	spans      uint64
	lastNs     int64
	failed     float64
	excessNs   int64
}

// owner is the one that is written down, empty where there is none.
func (u *unit) owner() string {
	if u.answer.Owner == ownership.Unowned {
		return ""
	}
	return u.answer.Owner
}

// real is the owner, empty where there is none any more.
func (u *unit) real() string {
	if u.gone != "" {
		return ""
	}
	return u.owner()
}

// assessment is what is known while a report is made.
type assessment struct {
	registry   *ownership.Registry
	now        time.Time
	reviewDays int
	reviews    bool // somebody was reviewed, so that who was not stands out
	units      []*unit
	byName     map[string][]*unit // services and peers
	seen       map[string][]Service
	teams      map[string]*catalog.Record
	failed     float64
	excessNs   int64
	nobody     Harm
	hints      hints
}

func newAssessment(registry *ownership.Registry, seen *Traffic, now time.Time) *assessment {
	a := &assessment{registry: registry, now: now, byName: make(map[string][]*unit), seen: make(map[string][]Service), teams: make(map[string]*catalog.Record)}
	records := registry.Records()
	for i := range records {
		c := &records[i]
		a.reviews = a.reviews || !c.Reviewed.IsZero()
		if c.Kind != catalog.Team {
			continue
		}
		for _, name := range append([]string{c.Name}, c.Aliases...) {
			name = strings.ToLower(name)
			if before := a.teams[name]; before == nil || cmp.Or(c.Until.Compare(before.Until), strings.Compare(before.Source.String(), c.Source.String())) > 0 {
				a.teams[name] = c // the last of those that ended
			}
		}
	}
	a.addServices(slices.SortedFunc(slices.Values(seen.Services), compareServices))
	calls := a.withPorts(seen.Calls, seen.Harm)
	a.addPeers(calls)
	a.addHarm(slices.SortedFunc(slices.Values(seen.Harm), compareHarm))
	for _, u := range a.units {
		u.gone = a.gone(&u.answer)
	}
	a.hints = a.newHints(calls)
	return a
}

// ports are whole names by what stands before the port in them.
type ports map[string]string

func (p ports) add(name string) {
	host, port, ok := strings.Cut(name, ":")
	if ok && port != "" && strings.Trim(port, "0123456789") == "" && (p[host] == "" || name < p[host]) {
		p[host] = name
	}
}

// withPorts are calls, in order. They name a third party without its port; verdicts, and so what is written down for them, with it.
func (a *assessment) withPorts(calls []Call, harm []Harm) []Call {
	broken, written := make(ports), make(ports)
	for i := range harm {
		broken.add(harm[i].Site.Peer)
	}
	records := a.registry.Records()
	for i := range records {
		if isThing(&records[i]) {
			written.add(records[i].Name)
		}
	}
	calls = slices.Clone(calls)
	for i := range calls {
		if c := &calls[i]; a.byName[c.Callee] == nil {
			c.Callee = cmp.Or(broken[c.Callee], written[c.Callee], c.Callee)
		}
	}
	slices.SortFunc(calls, compareCalls)
	return calls
}

func compareServices(x, y Service) int {
	if c := cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Spans, y.Spans), cmp.Compare(x.LastNs, y.LastNs)); c != 0 {
		return c
	}
	return cmp.Compare(fmt.Sprintf("%q", x.Attributes), fmt.Sprintf("%q", y.Attributes)) // a map is printed in the order of its keys
}

func compareCalls(x, y Call) int {
	return cmp.Or(cmp.Compare(x.Callee, y.Callee), cmp.Compare(x.Caller, y.Caller), cmp.Compare(x.Calls, y.Calls))
}

// compareHarm gives harm an order: sums of fractions depend on theirs.
func compareHarm(x, y Harm) int {
	s, t := &x.Site, &y.Site
	return cmp.Or(cmp.Compare(s.Kind, t.Kind), cmp.Compare(s.Service, t.Service), cmp.Compare(s.Operation, t.Operation), cmp.Compare(s.Caller, t.Caller),
		cmp.Compare(s.Callee, t.Callee), cmp.Compare(s.Phase, t.Phase), cmp.Compare(s.Peer, t.Peer), cmp.Compare(x.Accountable, y.Accountable),
		cmp.Compare(x.Failed, y.Failed), cmp.Compare(x.ExcessNs, y.ExcessNs))
}

// The attributes that say where a service runs, and where its code is.
const (
	namespaceKey   = "service.namespace"
	kubernetesKey  = "k8s.namespace.name"
	environmentKey = "deployment.environment.name"
	environmentOld = "deployment.environment"

	repositoryURLKey  = "vcs.repository.url.full"
	repositoryNameKey = "vcs.repository.name"
)

// Attributes are the resource attributes that an assessment looks at, beside those that name an owner.
func Attributes() []string {
	return []string{namespaceKey, kubernetesKey, environmentKey, environmentOld, repositoryURLKey, repositoryNameKey}
}

func (a *assessment) question(s *Service) ownership.Question {
	return ownership.Question{
		Service: s.Name, Namespace: s.Attributes[namespaceKey], Environment: cmp.Or(s.Attributes[environmentKey], s.Attributes[environmentOld]), AtNs: a.now.UnixNano(),
		Attr: func(key string) (string, bool) {
			v, ok := s.Attributes[key]
			return v, ok
		},
	}
}

// addServices makes units of what was seen. Where a service runs in several environments that have one answer, they are one.
func (a *assessment) addServices(seen []Service) {
	type key struct {
		name, namespace, owner string
		record                 *catalog.Record
	}
	units := make(map[key]*unit)
	environments := make(map[*unit]map[string]bool)
	for i := range seen {
		s := &seen[i]
		a.seen[s.Name] = append(a.seen[s.Name], *s)
		q := a.question(s)
		answer := a.registry.Resolve(&q)
		k := key{s.Name, cmp.Or(q.Namespace, s.Attributes[kubernetesKey]), answer.Owner, answer.Record}
		u := units[k]
		if u == nil {
			u = &unit{subject: Subject{Kind: OfService, Name: s.Name, Namespace: k.namespace}, question: q, answer: answer, attributes: make(map[string]string)}
			units[k] = u
			environments[u] = make(map[string]bool)
			a.add(u)
		}
		for name, value := range s.Attributes {
			if _, known := u.attributes[name]; !known {
				u.attributes[name] = value
			}
		}
		environments[u][q.Environment] = true
		u.spans += s.Spans
		u.lastNs = max(u.lastNs, s.LastNs)
	}
	for _, u := range a.units {
		u.question = a.question(&Service{Name: u.subject.Name, Attributes: u.attributes})
		others := slices.ContainsFunc(a.byName[u.subject.Name], func(o *unit) bool { return o != u && o.subject.Namespace == u.subject.Namespace })
		if others && len(environments[u]) == 1 {
			for name := range environments[u] {
				u.subject.Environment = name
			}
		}
	}
}

func (a *assessment) add(u *unit) {
	a.units = append(a.units, u)
	if u.subject.Kind != OfEdge && u.subject.Operation == "" {
		a.byName[u.subject.Name] = append(a.byName[u.subject.Name], u)
	}
}

// addPeers makes units of what was called and sends no spans.
func (a *assessment) addPeers(calls []Call) {
	for _, c := range calls {
		if c.Callee == "" || slices.ContainsFunc(a.byName[c.Callee], func(u *unit) bool { return u.subject.Kind == OfService }) {
			continue
		}
		a.peer(c.Callee).spans += c.Calls
	}
}

// peer is the unit of what sends no spans, or was not seen to.
func (a *assessment) peer(name string) *unit {
	if known := a.byName[name]; len(known) > 0 {
		return known[0]
	}
	u := &unit{subject: Subject{Kind: OfPeer, Name: name}, question: ownership.Question{Service: name, AtNs: a.now.UnixNano()}}
	u.answer = a.registry.Resolve(&u.question)
	a.add(u)
	return u
}

// addHarm gives each harm to one unit, as blame does, but by the registry of today.
func (a *assessment) addHarm(harm []Harm) {
	apart, edges := make(map[Subject]*unit), make(map[edgeKey]*unit)
	for i := range harm {
		h := &harm[i]
		a.failed += h.Failed
		a.excessNs += h.ExcessNs
		switch h.Site.Kind {
		case verdict.SiteUser, verdict.SiteUnknown:
			a.nobody.Failed += h.Failed
			a.nobody.ExcessNs += h.ExcessNs
		case verdict.SiteEdge:
			a.edgeHarm(h, edges)
		case verdict.SitePeer:
			a.spread(cmp.Or(h.Accountable, h.Site.Peer), h)
		case verdict.SiteService:
			if u := a.operation(h, apart); u != nil {
				u.suffers(h.Failed, h.ExcessNs)
			} else {
				a.spread(h.Site.Service, h)
			}
		}
	}
}

func (u *unit) suffers(failed float64, excessNs int64) {
	u.failed += failed
	u.excessNs += excessNs
}

// edgeKey tells edges apart, where a caller runs in several places also by what is said of them there.
type edgeKey struct {
	caller, callee, phase string
	owner, side           string
	record                *catalog.Record
}

// edgeHarm gives the harm of an edge to the places where its caller runs, by their spans, and so to what is said of the edge there.
func (a *assessment) edgeHarm(h *Harm, edges map[edgeKey]*unit) {
	places := a.seen[h.Site.Caller]
	if len(places) == 0 {
		places = []Service{{Name: h.Site.Caller}}
	}
	var order []*unit
	of, spans, total := make(map[edgeKey]*unit), make(map[*unit]uint64), uint64(0)
	for i := range places {
		q := a.question(&places[i])
		q.Callee, q.Phase = h.Site.Callee, string(h.Site.Phase)
		where := Subject{
			Kind: OfEdge, Caller: q.Service, Callee: q.Callee, Phase: q.Phase,
			Namespace: cmp.Or(q.Namespace, places[i].Attributes[kubernetesKey]), Environment: q.Environment,
		}
		answer := a.registry.Resolve(&q)
		k := edgeKey{q.Service, q.Callee, q.Phase, answer.Owner, answer.Side, answer.Record}
		u := of[k]
		if u == nil {
			if u = edges[k]; u == nil {
				u = &unit{subject: where, question: q, answer: answer}
				edges[k] = u
			}
			of[k] = u
			order = append(order, u)
		}
		u.subject.within(&where)
		spans[u] += places[i].Spans
		total += places[i].Spans
	}
	if len(order) == 1 {
		order[0].subject.Namespace, order[0].subject.Environment = "", ""
	}
	rest := *h
	for _, u := range order[1:] {
		if total == 0 {
			break
		}
		part := *h
		share := float64(spans[u]) / float64(total)
		part.Failed, part.ExcessNs = h.Failed*share, int64(float64(h.ExcessNs)*share)
		rest.Failed, rest.ExcessNs = rest.Failed-part.Failed, rest.ExcessNs-part.ExcessNs
		a.edgePart(&part, u)
	}
	a.edgePart(&rest, order[0])
}

// within leaves of where something is what holds of another place as well.
func (s *Subject) within(other *Subject) {
	if s.Namespace != other.Namespace {
		s.Namespace = ""
	}
	if s.Environment != other.Environment {
		s.Environment = ""
	}
}

// edgePart is the edge's where it has an owner of its own, or nobody is accountable.
func (a *assessment) edgePart(h *Harm, u *unit) {
	accountable := h.Accountable
	switch u.answer.Side {
	case ownership.Caller:
		accountable = u.subject.Caller
	case ownership.Callee:
		accountable = u.subject.Callee
	}
	if accountable != "" && u.owner() == "" || u.answer.Side != "" {
		a.spread(accountable, h)
		return
	}
	if !u.listed {
		u.listed = true
		a.add(u)
	}
	u.suffers(h.Failed, h.ExcessNs)
}

// operation is the unit of operations that have an owner of their own; nil for those that are their service's.
func (a *assessment) operation(h *Harm, apart map[Subject]*unit) *unit {
	q := ownership.Question{Service: h.Site.Service, Operation: h.Site.Operation, AtNs: a.now.UnixNano()}
	if known := a.byName[h.Site.Service]; len(known) > 0 {
		q = known[0].question
		q.Operation = h.Site.Operation
	}
	answer := a.registry.Resolve(&q)
	if answer.Rule != ownership.ByOperation {
		return nil
	}
	s := Subject{Kind: OfService, Name: h.Site.Service, Namespace: answer.Record.Namespace, Operation: answer.Record.Operation}
	if apart[s] == nil {
		apart[s] = &unit{subject: s, question: q, answer: answer}
		a.add(apart[s])
	}
	return apart[s]
}

// spread gives harm to the units of a name, by their spans: a verdict does not say in which namespace or environment it was.
func (a *assessment) spread(name string, h *Harm) {
	units := a.byName[name]
	if len(units) == 0 {
		units = []*unit{a.peer(name)}
		if h.Site.Kind == verdict.SiteService {
			units[0].subject.Kind = OfService // its spans are gone, and its verdicts are not
		}
	}
	units = slices.SortedFunc(slices.Values(units), func(x, y *unit) int {
		return cmp.Or(cmp.Compare(x.spans, y.spans), compareSubjects(&x.subject, &y.subject), cmp.Compare(x.answer.Owner, y.answer.Owner))
	})
	total := uint64(0)
	for _, u := range units {
		total += u.spans
	}
	failed, excessNs := h.Failed, h.ExcessNs
	for _, u := range units[:len(units)-1] {
		if total == 0 {
			break
		}
		part := float64(u.spans) / float64(total)
		f, e := h.Failed*part, int64(float64(h.ExcessNs)*part)
		u.suffers(f, e)
		failed, excessNs = failed-f, excessNs-e
	}
	units[len(units)-1].suffers(failed, excessNs)
}

// share is the part of all harm: the mean of the parts of failed requests and of time.
func (a *assessment) share(failed float64, excessNs int64) float64 {
	sum, of := 0.0, 0.0
	if a.failed > 0 {
		sum, of = sum+failed/a.failed, of+1
	}
	if a.excessNs > 0 {
		sum, of = sum+float64(excessNs)/float64(a.excessNs), of+1
	}
	return sum / max(of, 1)
}

func (a *assessment) totals() Totals {
	t := Totals{Failed: a.failed, ExcessNs: a.excessNs, NobodyFailed: a.nobody.Failed, NobodyExcessNs: a.nobody.ExcessNs, Findings: make(map[Kind]int)}
	for _, kind := range Kinds() {
		t.Findings[kind] = 0
	}
	for _, u := range a.units {
		owned := u.real() != ""
		if seen := u.subject.Kind == OfService && u.subject.Operation == "" && u.spans > 0; seen {
			t.Services++
			t.Spans += u.spans
			if owned {
				t.OwnedServices++
				t.OwnedSpans += u.spans
			}
		}
		if owned {
			t.OwnedFailed += u.failed
			t.OwnedExcessNs += u.excessNs
		}
	}
	if can := 1 - a.share(t.NobodyFailed, t.NobodyExcessNs); a.failed > 0 || a.excessNs > 0 {
		t.OwnedHarm = a.share(t.OwnedFailed, t.OwnedExcessNs) / max(can, 1e-9)
	}
	return t
}
