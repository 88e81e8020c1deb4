package ownership

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

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
	services   patterns[[]*entry]           // by their names
	operations patterns[patterns[[]*entry]] // by their services' names, and then their own
	edges      patterns[patterns[[]*entry]] // by callers, and then by callees
	namespaces patterns[[]*entry]
	everything []*entry          // for all that nothing else speaks of
	aliases    map[string]string // names of services by others that only they go by
	paths      *catalog.Paths
	teams      map[string][]*catalog.Record // by their names and aliases, in lower case
	conflicts  []Conflict
}

// Compile makes a registry of records, and keeps them. Those that do not hold any more are kept as well: they answer
// questions about the past.
func Compile(records []catalog.Record, cfg Config) *Registry {
	r := &Registry{cfg: cfg, records: records}
	r.addTeams()
	all := r.entriesOf(records)
	for i := range all {
		switch e := &all[i]; e.about {
		case services:
			list := r.services.at(e.name)
			*list = append(*list, e)
		case operations:
			list := r.operations.at(e.name).at(e.second)
			*list = append(*list, e)
		case edges:
			list := r.edges.at(e.name).at(e.second)
			*list = append(*list, e)
		case namespaces:
			list := r.namespaces.at(e.name)
			*list = append(*list, e)
		case everything:
			r.everything = append(r.everything, e)
		}
	}
	r.addAliases()
	r.addPaths()
	r.conflicts = r.conflictsOf(all)
	return r
}

func (r *Registry) addTeams() {
	r.teams = make(map[string][]*catalog.Record)
	for i := range r.records {
		if c := &r.records[i]; c.Kind == catalog.Team {
			for _, name := range append([]string{c.Name}, c.Aliases...) {
				name = folded(name)
				if list := r.teams[name]; len(list) == 0 || list[len(list)-1] != c {
					r.teams[name] = append(list, c)
				}
			}
		}
	}
	for name, list := range r.teams {
		another := func(c *catalog.Record) int { // a team of that name comes before those that also go by it
			if folded(c.Name) == name {
				return 0
			}
			return 1
		}
		slices.SortFunc(list, func(a, b *catalog.Record) int {
			return cmp.Or(
				another(a)-another(b), cmp.Compare(r.rankOf(a), r.rankOf(b)), b.From.Compare(a.From), strings.Compare(a.Source.File, b.Source.File),
				cmp.Compare(a.Source.Line, b.Source.Line), strings.Compare(a.Name, b.Name), a.Until.Compare(b.Until),
			)
		})
	}
}

// addAliases notes what else services are called, where that is the name of none and tells which one is meant: what is said
// of the operations and the edges of a service is said of it under each of its names.
func (r *Registry) addAliases() {
	r.aliases = make(map[string]string)
	named := make(map[string]bool)
	for i := range r.records {
		switch c := &r.records[i]; c.Kind {
		case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty:
			named[c.Name] = true
			for _, alias := range c.Aliases {
				if known, ok := r.aliases[alias]; ok && known != c.Name {
					named[alias] = true // of two
				}
				r.aliases[alias] = c.Name
			}
		case catalog.Operation, catalog.Edge, catalog.Namespace, catalog.Path, catalog.Team, catalog.API, catalog.System:
		}
	}
	for alias := range r.aliases {
		if named[alias] || isPattern(alias) || len(alias) > nameBytesMax {
			delete(r.aliases, alias)
		}
	}
}

// addPaths compiles the patterns of code. Of the lines of a file a later one counts; a format that comes first counts more.
func (r *Registry) addPaths() {
	var paths []catalog.Record
	for i := range r.records {
		if r.records[i].Kind == catalog.Path {
			paths = append(paths, r.records[i])
		}
	}
	slices.SortStableFunc(paths, func(a, b catalog.Record) int {
		return cmp.Or(
			cmp.Compare(r.rankOf(&b), r.rankOf(&a)), strings.Compare(b.Source.File, a.Source.File), cmp.Compare(a.Source.Line, b.Source.Line),
			strings.Compare(a.Pattern, b.Pattern), strings.Compare(a.Owner, b.Owner),
		)
	})
	r.paths = catalog.NewPaths(paths)
}

// Records are those that the registry was made of.
func (r *Registry) Records() []catalog.Record { return r.records }

// Conflicts are the records that say differently who owns the same thing at the same time.
func (r *Registry) Conflicts() []Conflict { return r.conflicts }

// Team is what is known of a team at a time in Unix nanoseconds, 0 is now, by its name or another that it goes by; nil is
// nothing. Of several records that is the first in the order of precedence.
func (r *Registry) Team(name string, atNs int64) *catalog.Record {
	atNs = orNow(atNs)
	for _, c := range r.teamsOf(name) {
		if c.HoldsAt(atNs) {
			return c
		}
	}
	return nil
}

// teamsOf are the teams that go by a name.
func (r *Registry) teamsOf(name string) []*catalog.Record {
	var lower [256]byte // folded would take memory
	if len(r.teams) == 0 || len(name) > len(lower) {
		return nil
	}
	if list := r.teams[name]; list != nil {
		return list
	}
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf {
			return r.teams[folded(name)]
		} else if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		} else {
			lower[i] = c
		}
	}
	return r.teams[string(lower[:len(name)])]
}

// team is the name of the team that goes by a name at a time, which may be that name itself.
func (r *Registry) team(name string, atNs int64) string { return teamName(r.teamsOf(name), name, atNs) }

// teamName is the name of the first of the teams that is there at a time, or else was or will be.
func teamName(teams []*catalog.Record, otherwise string, atNs int64) string {
	if len(teams) == 0 {
		return otherwise
	}
	for _, c := range teams {
		if c.HoldsAt(atNs) {
			return c.Name
		}
	}
	return teams[0].Name
}

// folded is a team's name as it is compared.
func folded(name string) string { return strings.ToLower(name) }
