package ownership

import (
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Config says how records become a registry.
type Config struct {
	// Precedence lists formats: of two records that say as much, the one of the earlier format counts.
	Precedence []string
	// Attributes are resource attributes that name an owner, the first that is set.
	Attributes []string
}

// Registry resolves questions to owners. It does not change and is safe for concurrent use.
type Registry struct {
	cfg        Config
	services   index // by the name of the service
	operations index // the same, each with a pattern of operations
	edges      index // by the name of the caller
	namespaces index
	paths      *catalog.Paths
	teams      map[string][]*catalog.Record
	conflicts  []Conflict
}

// Compile makes a registry of records.
func Compile(records []catalog.Record, cfg Config) *Registry {
	r := &Registry{cfg: cfg, teams: make(map[string][]*catalog.Record)}
	sorted := make([]*catalog.Record, len(records))
	for i := range records {
		sorted[i] = &records[i]
	}
	slices.SortStableFunc(sorted, narrower(cfg.Precedence))
	var paths []catalog.Record
	for _, c := range sorted {
		switch c.Kind {
		case catalog.Team:
			r.teams[c.Name] = append(r.teams[c.Name], c)
		case catalog.Path:
			paths = append(paths, *c)
		case catalog.Edge:
			r.edges.add(c.Caller, c)
		case catalog.Operation:
			r.operations.add(c.Name, c)
		case catalog.Namespace:
			r.namespaces.add(c.Name, c)
		default:
			r.services.add(c.Name, c)
			for _, alias := range c.Aliases {
				r.services.add(alias, c)
			}
		}
	}
	slices.SortStableFunc(paths, func(a, b catalog.Record) int { return strings.Compare(a.Source.File, b.Source.File) })
	r.paths = catalog.NewPaths(paths)
	for _, x := range []*index{&r.services, &r.operations, &r.edges, &r.namespaces} {
		r.conflicts = append(r.conflicts, x.conflicts()...)
	}
	return r
}

// Conflicts are the records that say differently who owns the same thing at the same time.
func (r *Registry) Conflicts() []Conflict { return r.conflicts }

// Team is what is known of a team at a time; nil is nothing.
func (r *Registry) Team(name string, at time.Time) *catalog.Record {
	for _, t := range r.teams[name] {
		if holds(t, at) {
			return t
		}
	}
	return nil
}

// Resolve says who owns what was asked about.
func (r *Registry) Resolve(q *Question) Answer {
	if q.Callee != "" {
		return answer(ByEdge, r.edges.find(q.Service, func(c *catalog.Record) bool {
			return fits(c.Callee, q.Callee) && (c.Phase == "" || c.Phase == q.Phase) && r.holdsFor(c, q)
		}))
	}
	if q.Operation != "" {
		if c := r.operations.find(q.Service, func(c *catalog.Record) bool { return fits(c.Operation, q.Operation) && r.holdsFor(c, q) }); c != nil {
			return answer(ByOperation, c)
		}
	}
	if c := r.services.find(q.Service, func(c *catalog.Record) bool { return r.holdsFor(c, q) }); c != nil {
		if c.Name == "*" {
			return r.orElse(q, c)
		}
		return answer(ByService, c)
	}
	return r.orElse(q, nil)
}

// orElse are the rules behind that for the service itself; catchAll is what fits every service, if there is one.
func (r *Registry) orElse(q *Question, catchAll *catalog.Record) Answer {
	if q.CodePath != "" {
		if c, ok := r.paths.Owner(q.CodePath); ok {
			return answer(ByPath, c)
		}
	}
	if q.Attr != nil {
		for _, key := range r.cfg.Attributes {
			if v, ok := q.Attr(key); ok && v != "" {
				return Answer{Owner: v, Rule: ByAttribute, Attribute: key}
			}
		}
	}
	if q.Namespace != "" {
		if c := r.namespaces.find(q.Namespace, func(c *catalog.Record) bool { return r.holdsFor(c, q) }); c != nil {
			return answer(ByNamespace, c)
		}
	}
	return answer(ByCatchAll, catchAll)
}

func (r *Registry) holdsFor(c *catalog.Record, q *Question) bool {
	return (c.Namespace == "" || fits(c.Namespace, q.Namespace)) && (c.Environment == "" || fits(c.Environment, q.Environment)) && holds(c, q.At)
}

func answer(rule Rule, c *catalog.Record) Answer {
	if c == nil {
		return Answer{Owner: Unowned, Rule: ByNobody}
	}
	return Answer{Owner: owner(c), Rule: rule, Record: c}
}
