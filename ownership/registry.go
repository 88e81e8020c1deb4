package ownership

import (
	"cmp"
	"fmt"
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
	records    []catalog.Record
	services   index // by the name of the service
	operations index // the same, each with a pattern of operations
	edges      index // by the name of the caller
	namespaces index
	paths      *timedPaths
	teams      map[string][]*catalog.Record // by their names and aliases, in lower case
	conflicts  []Conflict
}

// Compile makes a registry of records, and keeps them. Those that do not hold any more are kept as well: they answer
// questions about the past.
func Compile(records []catalog.Record, cfg Config) *Registry {
	r := &Registry{cfg: cfg, records: records, teams: make(map[string][]*catalog.Record)}
	sorted := make([]*catalog.Record, len(records))
	for i := range records {
		sorted[i] = &records[i]
	}
	slices.SortStableFunc(sorted, narrower(cfg.Precedence))
	for _, c := range sorted {
		switch c.Kind {
		case catalog.Team:
			for _, name := range append([]string{c.Name}, c.Aliases...) {
				name = strings.ToLower(name)
				r.teams[name] = append(r.teams[name], c)
			}
		case catalog.Edge:
			r.edges.add(c.Caller, c)
		case catalog.Operation:
			r.operations.add(cmp.Or(c.Name, "*"), c)
		case catalog.Namespace:
			r.namespaces.add(c.Name, c)
		case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty:
			r.services.add(c.Name, c)
			for _, alias := range c.Aliases {
				r.services.add(alias, c)
			}
		case catalog.Path, catalog.API, catalog.System:
		}
	}
	var paths []catalog.Record
	for i := range records {
		if records[i].Kind == catalog.Path {
			paths = append(paths, records[i])
		}
	}
	// Of the lines of a file a later one counts; files of a format that comes first count more. In what is stored, lines that
	// are gone stand behind those that they followed, whatever their numbers were.
	slices.SortStableFunc(paths, func(a, b catalog.Record) int {
		order := cmp.Or(cmp.Compare(rankOf(cfg.Precedence, &b), rankOf(cfg.Precedence, &a)),
			strings.Compare(b.Source.File, a.Source.File), strings.Compare(b.Set, a.Set))
		if order == 0 && a.Set == "" {
			order = cmp.Compare(a.Source.Line, b.Source.Line)
		}
		return order
	})
	r.paths = newTimedPaths(paths)
	for _, x := range []*index{&r.services, &r.operations, &r.edges, &r.namespaces} {
		r.conflicts = append(r.conflicts, x.conflicts(r.team)...)
	}
	return r
}

// Records are those that the registry was made of.
func (r *Registry) Records() []catalog.Record { return r.records }

// Conflicts are the records that say differently who owns the same thing at the same time.
func (r *Registry) Conflicts() []Conflict { return r.conflicts }

// Team is what is known of a team at a time in Unix nanoseconds, 0 is now, by its name or another that it goes by; nil is
// nothing. Of several records that is the first in the order of precedence.
func (r *Registry) Team(name string, atNs int64) *catalog.Record {
	for _, c := range r.teams[strings.ToLower(name)] {
		if holds(c, atNs) {
			return c
		}
	}
	return nil
}

// team is the name of the team that goes by a name, which may be that name itself.
func (r *Registry) team(name string) string {
	if len(r.teams) == 0 || name == "" {
		return name
	}
	if known := r.teams[strings.ToLower(name)]; len(known) > 0 {
		return known[0].Name
	}
	return name
}

// Conflict is two records that say differently who owns the same thing at the same time. Winner counts.
type Conflict struct {
	Winner, Loser *catalog.Record
	// About is what both are about.
	About string
}

// String says it in a line.
func (c Conflict) String() string {
	return fmt.Sprintf("%s: %s by %s, %s by %s; the first counts", c.About, said(c.Winner), c.Winner.Source, said(c.Loser), c.Loser.Source)
}

func said(c *catalog.Record) string { return cmp.Or(c.Owner, c.Accountable, Unowned) }

// Handover is a change of the owner of something. Before or After may be Unowned.
type Handover struct {
	About         string // what changed hands
	Record        *catalog.Record
	At            time.Time
	Before, After string
}

// Handovers lists what changed hands within [from, to), the newest first. What was first written down within that time was
// nobody's before as far as the registry knows, and is not one of them.
func (r *Registry) Handovers(from, to time.Time) (list []Handover) {
	subjects := make(map[string][]*catalog.Record)
	for i := range r.records {
		if c := &r.records[i]; c.Kind != catalog.Team && c.Kind != catalog.Path && (c.Owner != "" || c.Accountable != "") {
			about := Subject(c)
			subjects[about] = append(subjects[about], c)
		}
	}
	for about, records := range subjects {
		if len(records) == 1 && records[0].Until.IsZero() {
			continue
		}
		slices.SortStableFunc(records, narrower(r.cfg.Precedence))
		var changes []time.Time
		for _, c := range records {
			changes = append(changes, c.From, c.Until)
		}
		slices.SortFunc(changes, time.Time.Compare)
		before, known := Unowned, false
		for i, at := range changes {
			if at.IsZero() && i+1 < len(changes) && changes[i+1].IsZero() {
				continue
			}
			owner, record := r.ownerAt(records, at)
			if known && owner != before && !at.Before(from) && at.Before(to) {
				list = append(list, Handover{About: about, Record: cmp.Or(record, records[0]), At: at, Before: before, After: owner})
			}
			before, known = owner, known || owner != Unowned
		}
	}
	slices.SortFunc(list, func(a, b Handover) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(a.About, b.About)) })
	return list
}

// ownerAt is the owner by the first of the records that holds at a time; the zero time is before all.
func (r *Registry) ownerAt(records []*catalog.Record, at time.Time) (string, *catalog.Record) {
	for _, c := range records {
		if !at.Before(c.From) && (c.Until.IsZero() || at.Before(c.Until)) {
			return cmp.Or(r.team(c.Owner), c.Accountable), c
		}
	}
	return Unowned, nil
}
