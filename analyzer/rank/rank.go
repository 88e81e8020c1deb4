// Package rank says over many traces what is breaking them, and whose it is: it compares a window with
// what was normal before, and takes the suspects apart until each trace is explained by one.
// docs/blame.md says where the formulas come from.
package rank

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Owners says who owns what is asked about, as *ownership.Registry does.
type Owners interface {
	Resolve(q *ownership.Question) ownership.Answer
}

// Ranker gathers what normal traces and those of a window show. The order in which they are added does
// not matter. Not safe for concurrent use.
type Ranker struct {
	// Owners says who owns a service. Nil: nobody is known.
	Owners Owners

	ids   map[component]int32
	comps []component
	order []int32 // of the components, once all is added
	base  []moments
	// history holds what every trace of before shows, base what is steady of it, by component.
	history []observation
	before  []start
	// window holds what every trace of the window shows, one observation after the other.
	window []observation
	traces []spans.TraceID
	normal moments          // durations of the normal entries
	owners map[string]owned // by service
	votes  map[int32]vote   // of kindVote
	lastNs int64            // when the newest span was sent

	steps []trace.Step
	stack []int32
	seen  map[int32]bool // components of the operation under way
}

// vote is what verdicts blame, and whose that is.
type vote struct {
	site  verdict.Site
	owner string
	atNs  int64 // of the newest entry
}

// component is something that can go wrong at one place.
type component struct {
	kind kind
	// service is where it is measured: the caller's with legs; other is the callee or the peer.
	service, other string
	// operation is the callee's with legs.
	operation string
	// child is what operation calls or does, with kindChild and kindLast; the site, with kindVote, where
	// other and operation are the entry's.
	child string
}

type kind uint8

const (
	kindSelf     kind = iota // an operation's own time
	kindPeer                 // the time of calls to something that sends no spans
	kindRequest              // the time between a call's start and that of its server side
	kindResponse             // the time between the end of the server side and that of the call
	kindRuns                 // an operation was called; its value counts what it called and did
	kindChild                // an operation called or did something
	kindLast                 // something was the last that an operation called or did
	kindVote                 // a verdict blames the service for an error
)

// start places a trace in time.
type start struct {
	ns int64
	id spans.TraceID
}

type observation struct {
	trace int32
	comp  int32
	ns    int64
}

// Normal adds a trace of before; verdicts are those on it.
func (r *Ranker) Normal(f *trace.Forest, verdicts []verdict.Verdict) {
	if len(f.Entries) == 0 {
		return
	}
	at := int32(len(r.before))
	r.before = append(r.before, start{f.Nodes[f.Entries[0]].StartNs, f.ID})
	r.observe(f, verdicts, func(comp int32, ns int64) { r.history = append(r.history, observation{at, comp, ns}) })
	for _, e := range f.Entries {
		r.normal.add(f.Nodes[e].DurationNs())
	}
}

// Window adds a trace of the window; verdicts are those on it.
func (r *Ranker) Window(f *trace.Forest, verdicts []verdict.Verdict) {
	at := int32(len(r.traces))
	r.traces = append(r.traces, f.ID)
	r.observe(f, verdicts, func(comp int32, ns int64) { r.window = append(r.window, observation{at, comp, ns}) })
}

func (r *Ranker) component(c component) int32 {
	id, ok := r.ids[c]
	if !ok {
		if r.ids == nil {
			r.ids = make(map[component]int32)
		}
		c = component{
			kind: c.kind, service: own(c.service), other: own(c.other), operation: own(c.operation), child: own(c.child),
		}
		id = int32(len(r.comps))
		r.ids[c] = id
		r.comps = append(r.comps, c)
	}
	return id
}

// own makes a string independent of the block that it points into.
func own(s string) string { return string([]byte(s)) }

func (r *Ranker) observe(f *trace.Forest, verdicts []verdict.Verdict, add func(comp int32, ns int64)) {
	for i := range f.Nodes {
		i := int32(i)
		n := &f.Nodes[i]
		if n.Phantom() {
			continue
		}
		if isOperation(f, i) {
			r.owner(f, i)
		}
		if n.Kind == spans.KindClient {
			r.legs(f, i, add)
		} else if isOperation(f, i) {
			r.operation(f, i, add)
		}
	}
	for k := range verdicts {
		v := &verdicts[k]
		if v.Symptom != verdict.SymptomError && v.Symptom != verdict.SymptomDegraded || len(v.Shares) == 0 {
			continue
		}
		s := &v.Shares[0]
		if service := cmp.Or(s.Accountable, s.Site.Service, s.Site.Caller); service != "" {
			id := r.component(component{kind: kindVote, service: service, other: v.Entry.Service, operation: v.Entry.Operation, child: s.Site.String()})
			r.vote(id, s, v.Entry.Start.UnixNs)
			add(id, 1)
		}
	}
}

// vote keeps what a share blames, with the owner that the newest of its verdicts names.
func (r *Ranker) vote(id int32, s *verdict.Share, atNs int64) {
	if r.votes == nil {
		r.votes = make(map[int32]vote)
	}
	if known, ok := r.votes[id]; ok && cmp.Or(cmp.Compare(known.atNs, atNs), cmp.Compare(known.owner, s.Owner)) >= 0 {
		return
	}
	r.votes[id] = vote{site: s.Site, owner: s.Owner, atNs: atNs}
}

// isOperation: the span with which a request came into a service.
func isOperation(f *trace.Forest, i int32) bool {
	n := &f.Nodes[i]
	return n.Kind == spans.KindServer || n.Kind == spans.KindConsumer || n.Parent == trace.None || f.Nodes[n.Parent].Service != n.Service
}

// owned is who owns a service by the newest of its spans, and what that says of where it runs.
type owned struct {
	owner                              string
	atNs                               int64
	namespace, environment, kubernetes string
}

func (r *Ranker) owner(f *trace.Forest, i int32) {
	if r.Owners == nil {
		return
	}
	s, atNs := f.ServiceOf(i), f.Nodes[i].StartNs
	r.lastNs = max(r.lastNs, atNs)
	if known, ok := r.owners[s.Name]; ok && atNs <= known.atNs {
		return
	}
	if r.owners == nil {
		r.owners = make(map[string]owned)
	}
	attr := func(key string) string {
		v, _ := f.ResourceAttr(s, key)
		return v
	}
	o := owned{
		atNs: atNs, namespace: own(s.Namespace), environment: own(cmp.Or(attr("deployment.environment.name"), attr("deployment.environment"))),
		kubernetes: own(attr(kubernetesNamespace)),
	}
	answer := r.Owners.Resolve(&ownership.Question{
		Service: s.Name, Namespace: o.namespace, Environment: o.environment, AtNs: atNs,
		Attr: func(key string) (string, bool) { return f.ResourceAttr(s, key) },
	})
	o.owner = own(answer.Owner)
	r.owners[own(s.Name)] = o
}

const kubernetesNamespace = "k8s.namespace.name"

// ask asks who owns something of a service, where it runs by the newest of its spans.
func (r *Ranker) ask(q ownership.Question) ownership.Answer {
	o := r.owners[q.Service]
	q.Namespace, q.Environment, q.AtNs = o.namespace, o.environment, cmp.Or(o.atNs, r.lastNs)
	q.Attr = func(key string) (string, bool) { return o.kubernetes, key == kubernetesNamespace && o.kubernetes != "" }
	return r.Owners.Resolve(&q)
}

// legs adds the two ways of a call: what lies before its server side, and what after.
func (r *Ranker) legs(f *trace.Forest, c int32, add func(int32, int64)) {
	s := f.ServerSide(c)
	if s == trace.None || f.Nodes[s].Phantom() || f.Nodes[s].NoDuration || f.Nodes[c].NoDuration || f.Nodes[s].Async {
		return
	}
	n, m := &f.Nodes[c], &f.Nodes[s]
	key := component{kind: kindRequest, service: f.ServiceOf(c).Name, other: f.ServiceOf(s).Name, operation: m.Name}
	add(r.component(key), m.StartNs-n.StartNs)
	key.kind = kindResponse
	add(r.component(key), n.EndNs-m.EndNs)
}

// operation adds an operation's own time, over all spans of its process, and what it called.
func (r *Ranker) operation(f *trace.Forest, op int32, add func(int32, int64)) {
	n := &f.Nodes[op]
	service := f.ServiceOf(op).Name
	if !n.NoDuration {
		selfNs := int64(0)
		r.stack = append(r.stack[:0], op)
		for len(r.stack) > 0 {
			at := r.stack[len(r.stack)-1]
			r.stack = r.stack[:len(r.stack)-1]
			var own int64
			r.steps, own = f.PathOf(at, r.steps)
			selfNs += own
			for _, s := range r.steps {
				c := &f.Nodes[s.Node]
				switch {
				case c.Kind != spans.KindClient && c.Service == n.Service:
					r.stack = append(r.stack, s.Node)
				case c.Kind == spans.KindClient && f.ServerSide(s.Node) == trace.None:
					add(r.component(component{kind: kindPeer, service: service, other: c.Facts.PeerName(), operation: c.Name}), s.OnNs)
				}
			}
		}
		add(r.component(component{kind: kindSelf, service: service, operation: n.Name}), selfNs)
	}
	r.structure(f, op, add)
}

// structure adds which calls an operation made and which spans of its own it had, and which was last.
func (r *Ranker) structure(f *trace.Forest, op int32, add func(int32, int64)) {
	n := &f.Nodes[op]
	service := f.ServiceOf(op).Name
	clear(r.seen)
	if r.seen == nil {
		r.seen = make(map[int32]bool)
	}
	last, lastNs := int32(-1), int64(math.MinInt64)
	r.stack = append(r.stack[:0], op)
	for len(r.stack) > 0 {
		at := r.stack[len(r.stack)-1]
		r.stack = r.stack[:len(r.stack)-1]
		for c := f.Nodes[at].FirstChild; c != trace.None; c = f.Nodes[c].NextSib {
			m := &f.Nodes[c]
			key := component{kind: kindChild, service: service, operation: n.Name, child: m.Name}
			if s := f.ServerSide(c); s != trace.None {
				key.other, key.child = f.ServiceOf(s).Name, f.Nodes[s].Name
			} else if m.Service != n.Service {
				key.other = f.ServiceOf(c).Name
			}
			id := r.component(key)
			if !r.seen[id] {
				r.seen[id] = true
				add(id, 1)
			}
			if key.other != "" && m.EndNs > lastNs {
				last, lastNs = id, m.EndNs
			}
			if m.Service == n.Service && m.Kind != spans.KindClient {
				r.stack = append(r.stack, c)
			}
		}
	}
	add(r.component(component{kind: kindRuns, service: service, operation: n.Name}), int64(len(r.seen)))
	if last >= 0 {
		key := r.comps[last]
		key.kind = kindLast
		add(r.component(key), 1)
	}
}

// moments are the count, the sum and the sum of squares of durations: whole numbers, so that their
// order does not matter. Squares are of microseconds.
type moments struct {
	n     int64
	sumNs int64
	// sum of squares
	squares uint128
}

func (m *moments) add(ns int64) {
	m.n++
	m.sumNs += ns
	us := ns / 1000
	if us < 0 {
		us = -us
	}
	m.squares.addSquare(uint64(us))
}

func (m *moments) mean() float64 {
	if m.n == 0 {
		return 0
	}
	return float64(m.sumNs) / float64(m.n)
}

// variance of the samples, in square nanoseconds.
func (m *moments) variance() float64 {
	if m.n == 0 {
		return 0
	}
	mean := m.mean() / 1000
	return 1e6 * max(0, m.squares.float()/float64(m.n)-mean*mean)
}

// ownerOf is who owns a suspect: as the verdicts say that vote for it, or else by the registry, at the time of its newest spans.
func (r *Ranker) ownerOf(service string, comp int32, site verdict.Site) string {
	if comp >= 0 && r.comps[comp].kind == kindVote && r.votes[comp].owner != "" {
		return r.votes[comp].owner
	}
	switch {
	case site.Kind == verdict.SiteUser:
		return verdict.OwnerUser
	case site.Kind == verdict.SiteUnknown:
		return verdict.OwnerUnknown
	case r.Owners == nil:
		return verdict.OwnerUnowned
	case site.Kind == verdict.SiteEdge:
		switch answer := r.ask(ownership.Question{Service: site.Caller, Callee: site.Callee, Phase: string(site.Phase)}); {
		case answer.Side == ownership.Caller:
			return r.serviceOwner(site.Caller)
		case answer.Side == ownership.Callee:
			return r.serviceOwner(site.Callee)
		case answer.Rule == ownership.ByEdge:
			return answer.Owner
		}
	case site.Operation != "":
		if answer := r.ask(ownership.Question{Service: site.Service, Operation: site.Operation}); answer.Rule == ownership.ByOperation {
			return answer.Owner
		}
	}
	return r.serviceOwner(service)
}

func (r *Ranker) serviceOwner(service string) string {
	if o, known := r.owners[service]; known {
		return o.owner
	}
	answer := r.ask(ownership.Question{Service: service})
	return answer.Owner
}

// exemplarsMost traces are named for each suspect.
const exemplarsMost = 3

// Suspects names who may be breaking the window's requests, the likeliest first, no more than most.
// Each is taken with the traces that it explains, and the next is sought among the others.
func (r *Ranker) Suspects(most int) []verdict.Suspect {
	r.sort()
	r.learn()
	explained := make([]bool, len(r.traces))
	var suspects []verdict.Suspect
	named := make(map[string]bool)
	for len(suspects) < most {
		s := r.score(explained, named)
		best := s.best(named)
		if best == "" {
			// Everything is explained: the others only stand in line.
			s = r.score(make([]bool, len(r.traces)), named)
			if best = s.best(named); best == "" {
				break
			}
		}
		named[best] = true
		suspects = append(suspects, r.suspect(s, best, explained))
	}
	for k := range suspects {
		suspects[k].Rank = k + 1
	}
	return suspects
}

// sort puts the components into an order that does not depend on that of the traces.
func (r *Ranker) sort() {
	r.order = r.order[:0]
	for id := range r.comps {
		r.order = append(r.order, int32(id))
	}
	slices.SortFunc(r.order, func(a, b int32) int {
		x, y := &r.comps[a], &r.comps[b]
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.service, y.service), cmp.Compare(x.other, y.other),
			cmp.Compare(x.operation, y.operation), cmp.Compare(x.child, y.child))
	})
}

func (r *Ranker) suspect(s *scores, service string, explained []bool) verdict.Suspect {
	comp, why := s.leading(service)
	out := verdict.Suspect{Service: service, Score: math.Round(s.total[service]*1e6) / 1e6, Why: why, Site: r.siteOf(service, comp), Exemplars: []string{}}
	out.Owner = r.ownerOf(service, comp, out.Site)
	mine, all := s.explains(service)
	examples := make([]int, 0, len(mine))
	for t := range mine {
		if mine[t] > 0 {
			examples = append(examples, t)
		}
	}
	slices.SortFunc(examples, func(a, b int) int {
		return cmp.Or(cmp.Compare(mine[b], mine[a]), slices.Compare(r.traces[a][:], r.traces[b][:]))
	})
	for k, t := range examples {
		if k < exemplarsMost {
			out.Exemplars = append(out.Exemplars, fmt.Sprintf("%x", r.traces[t][:]))
		}
		if mine[t] >= explainedShare*all[t] {
			explained[t] = true
		}
	}
	return out
}

// explainedShare is how much of a trace's trouble must be one suspect's for the trace to be explained.
const explainedShare = 0.8

func (r *Ranker) siteOf(service string, comp int32) verdict.Site {
	if comp < 0 {
		return verdict.Site{Kind: verdict.SiteService, Service: service}
	}
	c := &r.comps[comp]
	switch c.kind {
	case kindVote:
		return r.votes[comp].site
	case kindPeer:
		if service == c.other {
			return verdict.Site{Kind: verdict.SitePeer, Peer: c.other}
		}
	case kindRequest:
		return verdict.Site{Kind: verdict.SiteEdge, Caller: c.service, Callee: c.other, Phase: verdict.PhaseRequest}
	case kindResponse:
		return verdict.Site{Kind: verdict.SiteEdge, Caller: c.service, Callee: c.other, Phase: verdict.PhaseResponse}
	}
	if c.service != service {
		return verdict.Site{Kind: verdict.SiteService, Service: service}
	}
	return verdict.Site{Kind: verdict.SiteService, Service: service, Operation: c.operation}
}
