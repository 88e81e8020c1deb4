package ownership

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// about is the sort of thing that a record speaks of.
type about uint8

const (
	services about = iota // and datastores, queues and third parties: a span does not say which
	operations
	edges
	namespaces
	everything
)

// entry is a record under one of its names. Of entries that answer the same question the one of the lowest order counts.
//
// What an answer needs of its record is in it: the records themselves lie far apart in memory.
type entry struct {
	subject
	order           int
	anywhere        bool // in any namespace and environment, any phase, at any time
	fromNs, untilNs int64
	owner           string            // empty if it is the owner of a side
	teams           []*catalog.Record // that go by the owner's name, if they have several
	record          *catalog.Record
	weight          uint64 // how much it says of what it is about
}

// subject is what an entry is about: the same for entries that speak of the same in the same words.
type subject struct {
	about                         about
	name, second                  string // second is an operation, or the callee where name is the caller
	namespace, environment, phase string
}

// entriesOf are the records that say who owns something, under each of their names, in their order.
func (r *Registry) entriesOf(records []catalog.Record) []entry {
	var all []entry
	for i := range records {
		c := &records[i]
		if c.Owner == "" && c.Accountable == "" {
			continue
		}
		e := entry{record: c, fromNs: nanoseconds(c.From, math.MinInt64), untilNs: nanoseconds(c.Until, math.MaxInt64), owner: c.Owner, teams: r.Teams(c.Owner)}
		if len(e.teams) > 0 {
			e.owner = e.teams[0].Name
		}
		if !slices.ContainsFunc(e.teams, func(c *catalog.Record) bool { return c.Name != e.owner }) {
			e.teams = nil
		}
		always := e.fromNs == math.MinInt64 && e.untilNs == math.MaxInt64
		for s := range r.subjects(c) {
			e.subject, e.weight, e.anywhere = s, s.weight(), always && s.namespace == "" && s.environment == "" && s.phase == ""
			all = append(all, e)
		}
	}
	slices.SortFunc(all, r.compare)
	for i := range all {
		all[i].order = i
	}
	return all
}

// subjects visits what a record is about, in all its names.
func (r *Registry) subjects(c *catalog.Record) func(yield func(subject) bool) {
	return func(yield func(subject) bool) {
		s := subject{namespace: plain(c.Namespace), environment: plain(c.Environment)}
		names := []string{plain(c.Name)}
		switch c.Kind {
		case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty:
			for _, alias := range c.Aliases {
				if alias = plain(alias); !slices.Contains(names, alias) {
					names = append(names, alias)
				}
			}
		case catalog.Operation:
			s.about, s.second, names[0] = operations, plain(c.Operation), cmp.Or(names[0], "*")
		case catalog.Edge:
			s.about, s.second, s.phase, names[0] = edges, plain(c.Callee), c.Phase, plain(c.Caller)
		case catalog.Namespace:
			s.about = namespaces
		case catalog.Path, catalog.Team, catalog.API, catalog.System:
			return
		}
		if len(s.second) > nameBytesMax {
			return
		}
		for _, name := range names {
			if s := s.called(name); name != "" && len(name) <= nameBytesMax && !yield(s) {
				return
			}
		}
	}
}

// called is the subject under a name. Of all services of a namespace a record says what one of the namespace says.
func (s subject) called(name string) subject {
	s.name = name
	if s.about == services && name == "*" {
		s.about = everything
		if s.namespace != "" {
			s.about, s.name, s.namespace = namespaces, s.namespace, ""
		}
	}
	return s
}

// weight is the larger, the more a subject says: names before patterns (of an edge that of the caller before that of the
// callee), then more characters of a pattern, then the namespace, the environment and the phase, each exactly or by a pattern.
func (s *subject) weight() (w uint64) {
	firstExact, secondExact := exactness(s.name), exactness(s.second)
	w = firstExact + secondExact
	w = w<<1 | firstExact
	w = w<<14 | uint64(literal(s.name)+literal(s.second))
	for _, scope := range []string{s.namespace, s.environment} {
		w <<= 2
		if scope != "" {
			w |= 1 + exactness(scope)
		}
	}
	w <<= 2
	switch {
	case len(phasesOf(s.phase)) > 1:
		w |= 1
	case s.phase != "":
		w |= 2
	}
	return w
}

func exactness(name string) uint64 {
	if name == "" || isPattern(name) {
		return 0
	}
	return 1
}

// literal is how much a pattern says: payments* says less than payments-eu*, and no less than pay*.
func literal(pattern string) int {
	stars := strings.Count(pattern, "*")
	return 2*(len(pattern)-stars) - strings.Count(pattern, "?")
}

// compare orders entries: those that say more first, then those of the format that comes first, the newest, and as they stand.
func (r *Registry) compare(a, b entry) int {
	x, y := a.record, b.record
	return cmp.Or(
		cmp.Compare(b.weight, a.weight), cmp.Compare(r.rankOf(x), r.rankOf(y)), y.From.Compare(x.From),
		strings.Compare(x.Source.File, y.Source.File), cmp.Compare(x.Source.Line, y.Source.Line),
		// What follows makes the order one, in whatever order records are given.
		strings.Compare(a.name, b.name), strings.Compare(a.second, b.second), cmp.Compare(x.Kind, y.Kind), strings.Compare(x.Name, y.Name),
		strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Environment, y.Environment), strings.Compare(x.Phase, y.Phase),
		strings.Compare(x.Owner, y.Owner), strings.Compare(x.Accountable, y.Accountable), x.Until.Compare(y.Until),
	)
}

func (r *Registry) rankOf(c *catalog.Record) int {
	if at := slices.Index(r.cfg.Precedence, c.Source.Format); at >= 0 {
		return at
	}
	return len(r.cfg.Precedence)
}

// ownerAt is who owns it at a time. A team is called by its own name, whatever the record calls it.
func (e *entry) ownerAt(atNs int64) string { return teamName(e.teams, e.owner, atNs) }

// nanoseconds are those of a time since 1970, bounded by what there can be, or otherwise of none.
func nanoseconds(at time.Time, otherwise int64) int64 {
	switch {
	case at.IsZero():
		return otherwise
	case at.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case at.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return at.UnixNano()
}

// phasesOf are the phases of a verdict that a record of a phase is about.
func phasesOf(phase string) []string {
	switch phase {
	case "network":
		return networkPhases
	case "budget":
		return budgetPhases
	}
	return nil
}

var (
	networkPhases = []string{"connect", "request", "response"}
	budgetPhases  = []string{"budget", "backoff"}
)
