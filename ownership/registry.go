package ownership

import (
	"bytes"
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
	things     map[string]*sayings         // by their names
	services   patterns[[]entry]           // of those that give a pattern of names
	operations patterns[patterns[[]entry]] // likewise of services, and in them by any name
	edges      patterns[patterns[[]entry]] // likewise of callers, and in them by any name of the callee
	namespaces patterns[[]entry]
	everything []entry // for all that nothing else speaks of
	paths      *catalog.Repositories
	teams      map[string][]*catalog.Record // by their names and aliases, in lower case
	conflicts  []Conflict
}

// sayings are what is said of one name.
type sayings struct {
	services     []entry
	operations   patterns[[]entry]
	edges        patterns[[]entry] // of which it is the caller, by callees
	descriptions []*catalog.Record
	name         string // its own, where only one thing goes by this one and none is called that
}

// Compile makes a registry of records, and keeps them. Those that do not hold any more are kept as well: they answer
// questions about the past.
func Compile(records []catalog.Record, cfg Config) *Registry {
	r := &Registry{cfg: cfg, records: records, things: make(map[string]*sayings)}
	r.addTeams()
	all := r.entriesOf(records)
	for i := range all {
		list := r.place(&all[i])
		*list = append(*list, all[i]) // itself: where it points to lies far away
	}
	r.addNames()
	r.addDescriptions()
	r.addPaths()
	r.conflicts = append(r.conflictsOf(all), r.conflictsOfPaths()...)
	return r
}

// place is where an entry is looked for.
func (r *Registry) place(e *entry) *[]entry {
	switch exactly := !isPattern(e.name); {
	case e.about == everything:
		return &r.everything
	case e.about == namespaces:
		return r.namespaces.at(e.name)
	case e.about == services && exactly:
		return &r.of(e.name).services
	case e.about == services:
		return r.services.at(e.name)
	case e.about == operations && exactly:
		return r.of(e.name).operations.at(e.second)
	case e.about == operations:
		return r.operations.at(e.name).at(e.second)
	case exactly:
		return r.of(e.name).edges.at(e.second)
	}
	return r.edges.at(e.name).at(e.second)
}

// of is what is said of a name, made when there is nothing.
func (r *Registry) of(name string) *sayings {
	t := r.things[name]
	if t == nil {
		t = new(sayings)
		r.things[name] = t
	}
	return t
}

// said is what is said of a name.
func (r *Registry) said(name string) *sayings {
	if t := r.things[name]; t != nil {
		return t
	}
	return &nothing
}

// addTeams notes teams by their names, by those that they also go by, and by what those are without the organisation.
func (r *Registry) addTeams() {
	r.teams = make(map[string][]*catalog.Record)
	add := func(name string, c *catalog.Record) {
		if list := r.teams[name]; len(list) == 0 || list[len(list)-1] != c {
			r.teams[name] = append(list, c)
		}
	}
	for i := range r.records {
		if c := &r.records[i]; c.Kind == catalog.Team {
			for _, name := range append([]string{c.Name}, c.Aliases...) {
				add(folded(name), c)
				add(handle(folded(name)), c)
			}
		}
	}
	for name, list := range r.teams {
		// A team of that name comes before those that also go by it.
		another := func(c *catalog.Record) int {
			switch {
			case folded(c.Name) == name:
				return 0
			case slices.ContainsFunc(c.Aliases, func(alias string) bool { return folded(alias) == name }):
				return 1
			}
			return 2
		}
		slices.SortFunc(list, func(a, b *catalog.Record) int {
			return cmp.Or(
				another(a)-another(b), cmp.Compare(r.rankOf(a), r.rankOf(b)), b.From.Compare(a.From), strings.Compare(a.Source.File, b.Source.File),
				cmp.Compare(a.Source.Line, b.Source.Line), strings.Compare(a.Name, b.Name), a.Until.Compare(b.Until),
			)
		})
	}
}

// handle is a team's name on a host of code without the organisation: of @acme/pay and acme/pay it is pay.
func handle(name string) string {
	bare := strings.TrimPrefix(name, "@")
	if _, in, ok := strings.Cut(bare, "/"); ok && in != "" {
		return in
	}
	return bare
}

// addNames notes what services are called otherwise, where that is the name of none and tells which one is meant: what is
// said of the operations and the edges of a service is said of it under each of its names.
func (r *Registry) addNames() {
	names := make(map[string]string) // by others; empty where it does not tell
	for i := range r.records {
		if c := &r.records[i]; isService(c.Kind) {
			for _, alias := range c.Aliases {
				if known, ok := names[alias]; ok && known != c.Name {
					names[alias] = ""
				} else {
					names[alias] = c.Name
				}
			}
		}
	}
	for i := range r.records {
		if c := &r.records[i]; isService(c.Kind) {
			names[c.Name] = ""
		}
	}
	for alias, name := range names {
		if name != "" && !isPattern(alias) && len(alias) <= nameBytesMax {
			r.of(alias).name = name
		}
	}
}

// isService tells whether spans can name such a thing as a service that sends them, or that is called.
func isService(k catalog.Kind) bool {
	return k == catalog.Service || k == catalog.Datastore || k == catalog.Queue || k == catalog.ThirdParty
}

// addPaths compiles the patterns of code. Of the lines of a file a later one counts; a format that comes first counts more.
// What is stored comes in the order of its lines: those that are gone stand behind those that they followed, whatever
// their numbers were.
func (r *Registry) addPaths() {
	var sorted []*catalog.Record
	for i := range r.records {
		if c := &r.records[i]; c.Kind == catalog.Path {
			sorted = append(sorted, c)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *catalog.Record) int {
		order := cmp.Or(cmp.Compare(r.rankOf(b), r.rankOf(a)), strings.Compare(b.Source.File, a.Source.File), strings.Compare(b.Set, a.Set))
		if order == 0 && a.Set == "" {
			order = cmp.Or(cmp.Compare(a.Source.Line, b.Source.Line), strings.Compare(a.Pattern, b.Pattern), strings.Compare(a.Owner, b.Owner))
		}
		return order
	})
	paths := make([]catalog.Record, len(sorted))
	for i, c := range sorted {
		paths[i] = *c
	}
	r.paths = catalog.NewRepositories(paths)
}

// Records are those that the registry was made of.
func (r *Registry) Records() []catalog.Record { return r.records }

// Conflicts are the records that say differently who owns the same thing at the same time.
func (r *Registry) Conflicts() []Conflict { return r.conflicts }

// Team is what is known of a team at a time in Unix nanoseconds, 0 is now, by its name or another that it goes by; nil is
// nothing. Of several records that is the first in the order of precedence.
func (r *Registry) Team(name string, atNs int64) *catalog.Record {
	atNs = orNow(atNs)
	for _, c := range r.Teams(name) {
		if c.HoldsAt(atNs) {
			return c
		}
	}
	return nil
}

// Teams are all records of the teams that go by a name, whenever they hold. The first that holds counts.
func (r *Registry) Teams(name string) []*catalog.Record {
	var buffer [256]byte // folded would take memory
	if len(r.teams) == 0 || len(name) > len(buffer) {
		return nil
	}
	if list := r.teams[name]; list != nil || name == "" {
		return list
	}
	lower := append(buffer[:0], name...)
	for i, c := range lower {
		if c >= utf8.RuneSelf {
			lower = []byte(folded(name))
			break
		}
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	if list := r.teams[string(lower)]; list != nil {
		return list
	}
	if lower[0] == '@' {
		at := bytes.IndexByte(lower, '/') // or -1
		return r.teams[string(lower[max(at, 0)+1:])]
	}
	return nil
}

// team is the name of the team that goes by a name at a time, which may be that name itself.
func (r *Registry) team(name string, atNs int64) string { return teamName(r.Teams(name), name, atNs) }

// teamName is the name of the first of the teams that is there at a time, or else was or will be.
func teamName(teams []*catalog.Record, otherwise string, atNs int64) string {
	switch len(teams) {
	case 0:
		return otherwise
	case 1:
		return teams[0].Name
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
