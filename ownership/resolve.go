// Package ownership says who owns a hop, at a time, and why: by the records of package catalog, compiled into a registry.
package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Unowned is the owner of what nobody owns.
const Unowned = "unowned"

// Rule is how an owner was found. The rules are tried in this order, and the first that finds one decides.
type Rule string

// The rules.
const (
	ByEdge      Rule = "edge"
	ByOperation Rule = "operation"
	ByService   Rule = "service"
	ByPath      Rule = "code path"
	ByAttribute Rule = "attribute"
	ByNamespace Rule = "namespace"
	ByCatchAll  Rule = "catch-all"
	ByNobody    Rule = "nobody"
)

// The sides of an edge.
const (
	Caller = "caller"
	Callee = "callee"
)

// Question is what is asked who owns it. A question with a Callee is about the edge from Service to it, and only what is
// said of edges answers it.
type Question struct {
	Service, Namespace, Environment string
	Operation                       string // a span's name
	Callee, Phase                   string // a verdict's phase, empty for any
	CodePath, Stack                 string // code.file.path, and a stack trace
	// Attr looks resource attributes up; nil knows none.
	Attr func(key string) (string, bool)
	// AtNs is when it happened, in Unix nanoseconds; 0 is now.
	AtNs int64
}

// Answer is who owns it, and why.
type Answer struct {
	// Owner is a team. It is empty where Side says whose owner it is.
	Owner string
	// Side of an edge, Caller or Callee, the owner of which is accountable.
	Side string
	Rule Rule
	// Record is what the rule found, nil for an attribute and for nobody.
	Record *catalog.Record
	// Attribute is the resource attribute that named the owner.
	Attribute string
}

// Why says in a line where the owner comes from.
func (a *Answer) Why() string {
	switch {
	case a.Rule == ByAttribute:
		return fmt.Sprintf("the resource attribute %s names %s", a.Attribute, a.Owner)
	case a.Record == nil:
		return "nothing names an owner"
	case a.Owner == Unowned:
		return fmt.Sprintf("%s says that nobody owns it", a.Record.Source)
	}
	return fmt.Sprintf("%s, by %s", Subject(a.Record), a.Record.Source)
}

// DefaultSide is the side of an edge that is accountable for a phase where nothing else is said or known, and why; empty
// where that is for the facts of a trace to decide.
func DefaultSide(phase string) (side, why string) {
	switch phase {
	case "pool":
		return Caller, "a connection pool belongs to the caller"
	case "budget":
		return Caller, "a timeout belongs to the caller that sets it"
	case "backoff":
		return Caller, "the wait between attempts belongs to the caller"
	case "queue":
		return Callee, "what waits in a queue waits for its consumer"
	}
	return "", "which side of the " + cmp.Or(phase, "edge") + " must act is for the facts of a trace to decide"
}

// Step is a rule that was tried.
type Step struct {
	Rule  Rule   `json:"rule"`
	Found bool   `json:"found"`
	Note  string `json:"note"`
}

// trail is the rules that were tried; nil keeps none.
type trail []Step

// tried notes what a rule found, and says whether it did; otherwise is why not.
func (t *trail) tried(rule Rule, found *catalog.Record, otherwise string) bool {
	if t != nil {
		note := otherwise
		if found != nil {
			note = Subject(found) + ", by " + found.Source.String()
		}
		*t = append(*t, Step{Rule: rule, Found: found != nil, Note: note})
	}
	return found != nil
}

// Resolve says who owns what was asked about.
func (r *Registry) Resolve(q *Question) Answer { return r.resolve(q, nil) }

// Explain is Resolve, with the rules that were tried.
func (r *Registry) Explain(q *Question) (Answer, []Step) {
	var t trail
	answer := r.resolve(q, &t)
	return answer, t
}

// asked is a question while it is answered.
type asked struct {
	*Question
	atNs  int64
	thing *sayings // what is said of the service's name
	// kubernetes is the namespace that Kubernetes knows, once it was looked up.
	kubernetes string
	lookedUp   bool
}

func (r *Registry) resolve(q *Question, t *trail) Answer {
	a := &asked{Question: q, atNs: orNow(q.AtNs), thing: r.said(q.Service)}
	if q.Callee != "" {
		found := r.edge(a)
		if !t.tried(ByEdge, found.of(), "no record of this edge") {
			return Answer{Owner: Unowned, Rule: ByNobody}
		}
		return found.answer(ByEdge, a)
	}
	if q.Operation != "" {
		if found := r.operation(a); t.tried(ByOperation, found.of(), "no record of this operation") {
			return found.answer(ByOperation, a)
		}
	}
	if found, note := r.service(a); t.tried(ByService, found.of(), note) {
		return found.answer(ByService, a)
	}
	return r.orElse(a, t)
}

// orElse are the rules behind that for the service itself.
func (r *Registry) orElse(a *asked, t *trail) Answer {
	if a.CodePath != "" || a.Stack != "" {
		if found := r.ofCode(a); t.tried(ByPath, found, "no path fits the code") {
			return Answer{Owner: cmp.Or(r.team(found.Owner, a.atNs), Unowned), Rule: ByPath, Record: found}
		}
	}
	namespace := r.ofNamespace(a)
	if key, owner := r.ofAttributes(a); key != "" {
		if namespace == nil || !isNamespace(key) {
			if t != nil {
				*t = append(*t, Step{ByAttribute, true, key})
			}
			return Answer{Owner: r.team(owner, a.atNs), Rule: ByAttribute, Attribute: key}
		}
		t.tried(ByAttribute, nil, "the namespace that "+key+" names has a record")
	} else if a.Attr != nil {
		t.tried(ByAttribute, nil, "no resource attribute names an owner")
	}
	if t.tried(ByNamespace, namespace.of(), "no record of the namespace") {
		return namespace.answer(ByNamespace, a)
	}
	if found := first(r.everything, a); t.tried(ByCatchAll, found.of(), "there is no record for all that nothing else speaks of") {
		return found.answer(ByCatchAll, a)
	}
	return Answer{Owner: Unowned, Rule: ByNobody}
}

var nothing sayings

// answer is what an entry says.
func (e *entry) answer(rule Rule, a *asked) Answer {
	if e.owner == "" {
		return Answer{Side: e.record.Accountable, Rule: rule, Record: e.record}
	}
	return Answer{Owner: e.ownerAt(a.atNs), Rule: rule, Record: e.record}
}

// of is the record of an entry, nil of none.
func (e *entry) of() *catalog.Record {
	if e == nil {
		return nil
	}
	return e.record
}

// first is the first entry that speaks of what is asked about; a list is in the order of its entries.
func first(list []entry, a *asked) *entry {
	for i := range list {
		if a.isAbout(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// earlier is the one of two entries that counts; one may be nil.
func earlier(a, b *entry) *entry {
	if a == nil || b != nil && b.order < a.order {
		return b
	}
	return a
}

// find is the entry for a name: exactly this, or else the first whose pattern fits it.
func find(x *patterns[[]entry], name string, a *asked) *entry {
	if list := x.exact[name]; list != nil {
		if found := first(*list, a); found != nil {
			return found
		}
	}
	var found *entry
	x.eachPattern(shortened(name), func(list *[]entry) {
		if found == nil || (*list)[0].order < found.order {
			found = earlier(found, first(*list, a))
		}
	})
	return found
}

// operation is the entry for an operation of a service.
func (r *Registry) operation(a *asked) *entry {
	found := within(&r.operations, a.Service, a.Operation, find(&a.thing.operations, a.Operation, a), a)
	if name := a.thing.name; name != "" {
		if own := r.things[name]; own != nil {
			found = earlier(found, find(&own.operations, a.Operation, a))
		}
		found = within(&r.operations, name, a.Operation, found, a)
	}
	return found
}

// edge is the entry for an edge, under any name of its sides.
func (r *Registry) edge(a *asked) *entry {
	found := r.edgeTo(a.Callee, a)
	if callee := r.things[a.Callee]; callee != nil && callee.name != "" {
		found = earlier(found, r.edgeTo(callee.name, a))
	}
	return found
}

func (r *Registry) edgeTo(callee string, a *asked) *entry {
	found := within(&r.edges, a.Service, callee, find(&a.thing.edges, callee, a), a)
	if name := a.thing.name; name != "" {
		if own := r.things[name]; own != nil {
			found = earlier(found, find(&own.edges, callee, a))
		}
		found = within(&r.edges, name, callee, found, a)
	}
	return found
}

// within is the entry for two names, the first of which has a pattern that fits, or the one found before.
func within(x *patterns[patterns[[]entry]], name, second string, found *entry, a *asked) *entry {
	x.eachPattern(shortened(name), func(under *patterns[[]entry]) { found = earlier(found, find(under, second, a)) })
	return found
}

// service is the entry for a service. Where it is not known in which namespace or environment the service runs, one of
// exactly its name counts even if it is about only one, unless others of that name have another owner.
func (r *Registry) service(a *asked) (found *entry, note string) {
	note = "no record of this service"
	if found = first(a.thing.services, a); found != nil {
		return found, ""
	}
	for i := range a.thing.services {
		e := &a.thing.services[i]
		if !a.mayBeAbout(e) {
			continue
		}
		if found != nil && found.ownerAt(a.atNs) != e.ownerAt(a.atNs) && !a.isCovered(e, a.thing.services[:i]) {
			found, note = nil, "several services of this name have different owners, and the namespace or the environment is not known"
			break
		}
		found = earlier(found, e)
	}
	if found != nil {
		return found, ""
	}
	return find(&r.services, a.Service, a), note
}

// isAbout says whether an entry that fits by its names speaks of what is asked about.
func (a *asked) isAbout(e *entry) bool {
	return e.anywhere || e.fromNs <= a.atNs && a.atNs < e.untilNs && (e.namespace == "" || a.inNamespace(e.namespace)) &&
		(e.environment == "" || fits(e.environment, shortened(a.Environment))) && ofPhase(e.phase, a.Phase)
}

// mayBeAbout is isAbout where what is not known of the question counts as fitting.
func (a *asked) mayBeAbout(e *entry) bool {
	return e.fromNs <= a.atNs && a.atNs < e.untilNs && (e.namespace == "" || a.Namespace == "" && a.inKubernetes() == "" || a.inNamespace(e.namespace)) &&
		(e.environment == "" || a.Environment == "" || fits(e.environment, shortened(a.Environment)))
}

// isCovered says whether an entry before speaks of the same, and so in its place.
func (a *asked) isCovered(e *entry, before []entry) bool {
	return slices.ContainsFunc(before, func(b entry) bool { return b.subject == e.subject && a.mayBeAbout(&b) })
}

func (a *asked) inNamespace(pattern string) bool {
	return fits(pattern, shortened(a.Namespace)) || fits(pattern, shortened(a.inKubernetes()))
}

// inKubernetes is the namespace that Kubernetes knows.
func (a *asked) inKubernetes() string {
	if !a.lookedUp && a.Attr != nil {
		a.kubernetes, _ = a.Attr(kubernetesNamespace)
	}
	a.lookedUp = true
	return a.kubernetes
}

// framesMost bounds the lines of a stack trace that are looked at.
const framesMost = 64

// ofCode is the record of the code that ran: of its file, or else of the first frame of a stack trace of which one speaks.
func (r *Registry) ofCode(a *asked) *catalog.Record {
	repository := r.repository(a)
	if a.CodePath != "" {
		if c, ok := r.paths.Owner(a.CodePath, repository, a.atNs); ok {
			return c
		}
	}
	stack := a.Stack
	for range framesMost {
		line, rest, more := strings.Cut(stack, "\n")
		if c, ok := r.paths.Frame(line, repository, a.atNs); ok {
			return c
		}
		if !more {
			break
		}
		stack = rest
	}
	return nil
}

// repository is where the code of the service is, as its span says or a record of it, or nothing.
func (r *Registry) repository(a *asked) string {
	if a.Attr != nil {
		if url, ok := a.Attr("vcs.repository.url.full"); ok && url != "" && len(url) <= nameBytesMax {
			return url
		}
	}
	for _, c := range r.described(a) {
		if c.Repository != "" {
			return c.Repository
		}
	}
	return ""
}

// ofAttributes is the first resource attribute that names an owner, and the owner.
func (r *Registry) ofAttributes(a *asked) (key, owner string) {
	if a.Attr == nil {
		return "", ""
	}
	for _, key := range r.cfg.Attributes {
		if v, ok := a.Attr(key); ok && len(v) <= nameBytesMax {
			if v = strings.TrimSpace(v); !catalog.Nobody(v) {
				return key, v
			}
		}
	}
	return "", ""
}

// Attributes that name a namespace.
const (
	serviceNamespace    = "service.namespace"
	kubernetesNamespace = "k8s.namespace.name"
)

func isNamespace(key string) bool { return key == serviceNamespace || key == kubernetesNamespace }

// ofNamespace is the entry for the namespace that the service says it is in, or else that Kubernetes knows.
func (r *Registry) ofNamespace(a *asked) *entry {
	if r.namespaces.exact == nil {
		return nil
	}
	if a.Namespace != "" {
		if found := find(&r.namespaces, a.Namespace, a); found != nil {
			return found
		}
	}
	if name := a.inKubernetes(); name != "" {
		return find(&r.namespaces, name, a)
	}
	return nil
}

// ofPhase says whether what is said of a phase, in the registry's words, is about a verdict's phase.
func ofPhase(said, phase string) bool {
	return said == "" || said == phase || slices.Contains(phasesOf(said), phase)
}

// orNow is a time in Unix nanoseconds, where 0 is now.
func orNow(atNs int64) int64 {
	if atNs == 0 {
		return time.Now().UnixNano()
	}
	return atNs
}

// Subject is what a record is about, in a few words.
func Subject(c *catalog.Record) string {
	switch c.Kind {
	case catalog.Edge:
		return (&subject{about: edges, name: c.Caller, second: c.Callee, namespace: c.Namespace, environment: c.Environment, phase: c.Phase}).String()
	case catalog.Path:
		return "code " + c.Pattern
	default:
		return (&subject{name: strings.TrimSpace(cmp.Or(c.Name, "*") + " " + c.Operation), namespace: c.Namespace, environment: c.Environment}).words(string(c.Kind))
	}
}

// String is what an entry is about, in a few words.
func (s *subject) String() string {
	switch s.about {
	case edges:
		name := s.name + "->" + s.second
		if s.phase != "" {
			name += ":" + s.phase
		}
		return (&subject{name: name, namespace: s.namespace, environment: s.environment}).words("edge")
	case operations:
		return (&subject{name: s.name + " " + s.second, namespace: s.namespace, environment: s.environment}).words("operation")
	case namespaces:
		return s.words("namespace")
	default:
		return s.words("service")
	}
}

func (s *subject) words(kind string) string {
	words := kind + " " + s.name
	if s.namespace != "" {
		words += " in namespace " + s.namespace
	}
	if s.environment != "" {
		words += " in " + s.environment
	}
	return words
}
