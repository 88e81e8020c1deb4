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
		return fmt.Sprintf("the resource attribute %s is %q", a.Attribute, a.Owner)
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
	Rule  Rule
	Found bool
	Note  string
}

// Resolve says who owns what was asked about.
func (r *Registry) Resolve(q *Question) Answer { return r.resolve(q, func(Rule, bool, string) {}) }

// Explain is Resolve, with the rules that were tried.
func (r *Registry) Explain(q *Question) (answer Answer, trail []Step) {
	answer = r.resolve(q, func(rule Rule, found bool, note string) { trail = append(trail, Step{rule, found, note}) })
	return answer, trail
}

func (r *Registry) resolve(q *Question, tell func(Rule, bool, string)) Answer {
	if q.Callee != "" {
		found := r.edges.find(q.Service, func(c *catalog.Record) bool {
			return fits(c.Callee, q.Callee) && ofPhase(c.Phase, q.Phase) && (c.Owner != "" || c.Accountable != "") && holds(c, q.AtNs)
		})
		if found == nil {
			tell(ByEdge, false, "no record of this edge")
			return Answer{Owner: Unowned, Rule: ByNobody}
		}
		tell(ByEdge, true, found.Source.String())
		if found.Owner == "" {
			return Answer{Side: found.Accountable, Rule: ByEdge, Record: found}
		}
		return r.answer(ByEdge, found)
	}
	if q.Operation != "" && !r.operations.empty() {
		found := r.operations.find(q.Service, func(c *catalog.Record) bool { return fits(c.Operation, q.Operation) && says(c, q) })
		if found != nil {
			tell(ByOperation, true, found.Source.String())
			return r.answer(ByOperation, found)
		}
		tell(ByOperation, false, "no record of this operation")
	}
	found := r.services.find(q.Service, func(c *catalog.Record) bool { return says(c, q) })
	note := "no record of this service"
	if found == nil && q.Namespace == "" {
		if found = r.inSomeNamespace(q); found != nil {
			note = "in which namespace is not known, but there is only one"
		}
	}
	if found != nil && found.Name != "*" {
		if tell(ByService, true, found.Source.String()); q.Namespace == "" && found.Namespace != "" {
			tell(ByService, true, note)
		}
		return r.answer(ByService, found)
	}
	tell(ByService, false, note)
	return r.orElse(q, found, tell)
}

// orElse are the rules behind that for the service itself; catchAll is what fits every service, if there is one.
func (r *Registry) orElse(q *Question, catchAll *catalog.Record, tell func(Rule, bool, string)) Answer {
	if q.CodePath != "" || q.Stack != "" {
		if found := r.ofCode(q); found != nil {
			tell(ByPath, true, found.Source.String())
			return r.answer(ByPath, found)
		}
		tell(ByPath, false, "no path fits the code")
	}
	if q.Attr != nil {
		for _, key := range r.cfg.Attributes {
			v, ok := q.Attr(key)
			if !ok || v == "" {
				continue
			}
			if found := r.ofNamespace(q); found != nil && isNamespace(key) {
				// The attribute names a namespace, and the registry says whose that is.
				tell(ByNamespace, true, found.Source.String())
				return r.answer(ByNamespace, found)
			}
			tell(ByAttribute, true, key)
			return Answer{Owner: r.team(v), Rule: ByAttribute, Attribute: key}
		}
		tell(ByAttribute, false, "none of "+strings.Join(r.cfg.Attributes, ", "))
	}
	if found := r.ofNamespace(q); found != nil {
		tell(ByNamespace, true, found.Source.String())
		return r.answer(ByNamespace, found)
	}
	tell(ByNamespace, false, "no record of the namespace")
	if catchAll != nil {
		tell(ByCatchAll, true, catchAll.Source.String())
		return r.answer(ByCatchAll, catchAll)
	}
	tell(ByCatchAll, false, "there is none")
	return Answer{Owner: Unowned, Rule: ByNobody}
}

// inSomeNamespace is the record of a service about which is not known in which namespace it is, where all that could be it
// have the same owner.
func (r *Registry) inSomeNamespace(q *Question) (found *catalog.Record) {
	for _, e := range r.services.exact[q.Service] {
		c := e.record
		if c.Owner == "" || !inEnvironment(c, q) || !holds(c, q.AtNs) {
			continue
		}
		if found != nil && r.team(found.Owner) != r.team(c.Owner) {
			return nil
		}
		if found == nil {
			found = c
		}
	}
	return found
}

// framesMost bounds the lines of a stack trace that are looked at.
const framesMost = 64

// ofCode is the record of the code that ran: of its file, or else of the first frame of a stack trace of which one speaks.
func (r *Registry) ofCode(q *Question) *catalog.Record {
	paths := r.paths.at(q.AtNs)
	if q.CodePath != "" {
		if c, ok := paths.Owner(q.CodePath); ok {
			return c
		}
	}
	stack := q.Stack
	for range framesMost {
		line, rest, more := strings.Cut(stack, "\n")
		if c, ok := paths.Frame(line); ok {
			return c
		}
		if !more {
			break
		}
		stack = rest
	}
	return nil
}

// kubernetesNamespace is the attribute of the namespace that Kubernetes knows.
const kubernetesNamespace = "k8s.namespace.name"

func isNamespace(key string) bool { return key == "service.namespace" || key == kubernetesNamespace }

func (r *Registry) ofNamespace(q *Question) *catalog.Record {
	if r.namespaces.empty() {
		return nil
	}
	these := func(c *catalog.Record) bool { return c.Owner != "" && inEnvironment(c, q) && holds(c, q.AtNs) }
	if q.Namespace != "" {
		if c := r.namespaces.find(q.Namespace, these); c != nil {
			return c
		}
	}
	if name, ok := attr(q, kubernetesNamespace); ok {
		return r.namespaces.find(name, these)
	}
	return nil
}

func attr(q *Question, key string) (string, bool) {
	if q.Attr == nil {
		return "", false
	}
	return q.Attr(key)
}

// says tells whether a record names the owner of what is asked about.
func says(c *catalog.Record, q *Question) bool {
	return c.Owner != "" && inNamespace(c, q) && inEnvironment(c, q) && holds(c, q.AtNs)
}

func inNamespace(c *catalog.Record, q *Question) bool {
	if c.Namespace == "" || fits(c.Namespace, q.Namespace) {
		return true
	}
	name, ok := attr(q, kubernetesNamespace)
	return ok && fits(c.Namespace, name)
}

func inEnvironment(c *catalog.Record, q *Question) bool {
	return c.Environment == "" || fits(c.Environment, q.Environment)
}

// ofPhase says whether what is said of a phase, in the registry's words, is about a verdict's phase.
func ofPhase(said, phase string) bool {
	switch {
	case said == "" || said == phase:
		return true
	case said == "network":
		return phase == "connect" || phase == "request" || phase == "response"
	case said == "budget":
		return phase == "backoff"
	}
	return false
}

// holds says whether a record holds at a time in Unix nanoseconds; 0 is now.
func holds(c *catalog.Record, atNs int64) bool {
	if c.From.IsZero() && c.Until.IsZero() {
		return true
	}
	at := time.Unix(0, atNs)
	if atNs == 0 {
		at = time.Now()
	}
	return !at.Before(c.From) && (c.Until.IsZero() || at.Before(c.Until))
}

func (r *Registry) answer(rule Rule, c *catalog.Record) Answer {
	return Answer{Owner: cmp.Or(r.team(c.Owner), Unowned), Rule: rule, Record: c}
}

// Subject is what a record is about, in a few words.
func Subject(c *catalog.Record) string { return subject(c, c.Name) }

func subject(c *catalog.Record, name string) string {
	words := []string{string(c.Kind)}
	switch c.Kind {
	case catalog.Edge:
		words = append(words, c.Caller+"->"+c.Callee)
		if c.Phase != "" {
			words[1] += ":" + c.Phase
		}
	case catalog.Operation:
		words = append(words, cmp.Or(name, "*"), c.Operation)
	case catalog.Path:
		words = append(words, c.Pattern)
	default:
		words = append(words, name)
	}
	for _, w := range []string{c.Namespace, c.Environment} {
		if w != "" {
			words = append(words, "("+w+")")
		}
	}
	return strings.Join(words, " ")
}

func overlap(a, b *catalog.Record) bool {
	return (a.Until.IsZero() || b.From.Before(a.Until)) && (b.Until.IsZero() || a.From.Before(b.Until))
}

// narrower orders records that fit the same thing: those that say more of it first, then those of the format that comes
// first, the newest, and as they stand.
func narrower(precedence []string) func(a, b *catalog.Record) int {
	return func(a, b *catalog.Record) int {
		return cmp.Or(
			cmp.Compare(detail(b), detail(a)), cmp.Compare(rankOf(precedence, a), rankOf(precedence, b)), b.From.Compare(a.From),
			cmp.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line),
		)
	}
}

func rankOf(precedence []string, c *catalog.Record) int {
	if at := slices.Index(precedence, c.Source.Format); at >= 0 {
		return at
	}
	return len(precedence)
}

// detail is how much a record says of what it is about.
func detail(c *catalog.Record) (n int) {
	for i, text := range []string{c.Phase, c.Environment, c.Namespace} {
		if text != "" {
			n += 1 << i
		}
	}
	// Literal characters: payments* says less than payments-eu*.
	for _, pattern := range []string{c.Name, c.Operation, c.Caller, c.Callee} {
		n += (len(pattern) - strings.Count(pattern, "*") - strings.Count(pattern, "?")) << 3
	}
	return n
}
