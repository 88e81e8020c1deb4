package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// Suggestion is who might own something.
type Suggestion struct {
	Owner string `json:"owner"`
	// Confidence is "likely", "possible" or "a guess".
	Confidence string   `json:"confidence"`
	Why        []string `json:"why"` // the strongest reason first
	// Record is what to write down, and YAML a file of it in the registry's own format; empty where the name cannot stand
	// in one.
	Record catalog.Record `json:"record"`
	YAML   string         `json:"yaml,omitempty"`
}

// How much a hint says. What was written down, by people or in a repository, says more than what things are called.
const (
	pointsBefore     = 3
	pointsRepository = 3
	pointsBothSides  = 3
	pointsCallers    = 2
	pointsNamespace  = 2
	pointsName       = 2
	pointsParent     = 2
	pointsSide       = 2
	pointsPrefix     = 1

	pointsLikely = 4 // two hints or more, if nothing points elsewhere
)

// hint speaks for an owner.
type hint struct {
	owner  string
	points int
	why    string
}

// hints are what is known of others, to compare with.
type hints struct {
	callers    map[string][]string // by callee, each once, in order
	namespaces map[string]*tally
	repository map[string]*tally
	prefixes   map[string]*tally
	former     map[string][]*catalog.Record // by name
	teams      map[string][]string          // by what is left of their names
}

// tally counts the owners of a group.
type tally struct {
	of    map[string]int
	total int
}

func count(groups map[string]*tally, group, owner string) {
	if group == "" {
		return
	}
	t := groups[group]
	if t == nil {
		t = &tally{of: make(map[string]int)}
		groups[group] = t
	}
	t.total++
	if owner != "" {
		t.of[owner]++
	}
}

// most is who owns more than half of a group.
func (t *tally) most() (owner string, n int) {
	for name, n := range t.of {
		if 2*n > t.total {
			return name, n
		}
	}
	return "", 0
}

func (a *assessment) newHints(calls []Call) hints {
	h := hints{
		callers: make(map[string][]string), namespaces: make(map[string]*tally), repository: make(map[string]*tally), prefixes: make(map[string]*tally),
		former: make(map[string][]*catalog.Record), teams: make(map[string][]string),
	}
	for _, c := range calls {
		if c.Caller != c.Callee {
			h.callers[c.Callee] = append(h.callers[c.Callee], c.Caller)
		}
	}
	for callee, list := range h.callers {
		slices.Sort(list)
		h.callers[callee] = slices.Compact(list)
	}
	for _, u := range a.units {
		if u.subject.Kind == OfService && u.subject.Operation == "" {
			count(h.namespaces, u.subject.Namespace, u.real())
			count(h.repository, a.repositoryOf(u), u.real())
			count(h.prefixes, prefix(u.subject.Name), u.real())
		}
	}
	teams := make(map[string]bool)
	records := a.registry.Records()
	for i := range records {
		c := &records[i]
		switch {
		case c.Kind == catalog.Team:
			if name := a.alive(c.Name); name != "" {
				teams[name] = true
			}
		case isThing(c) && c.Owner != "" && !c.Until.IsZero() && !c.Until.After(a.now):
			for _, name := range append([]string{c.Name}, c.Aliases...) {
				h.former[name] = append(h.former[name], c)
			}
		}
	}
	for _, u := range a.units {
		if owner := u.real(); owner != "" {
			teams[owner] = true
		}
	}
	for name := range teams {
		if left := plain(name); left != "" {
			h.teams[left] = append(h.teams[left], name)
		}
	}
	return h
}

// repositoryOf is where its code is, as its spans or records say, spelt in one way.
func (a *assessment) repositoryOf(u *unit) string {
	at := cmp.Or(u.attributes[repositoryURLKey], a.registry.Charter(&u.question, u.answer).Repository, u.attributes[repositoryNameKey])
	return repository(at)
}

// repository spells where code is in one way, without anything secret.
func repository(at string) string {
	at = strings.ToLower(strings.TrimSpace(at))
	_, rest, isURL := strings.Cut(at, "://")
	if isURL {
		at, _, _ = strings.Cut(rest, "?")
	}
	host, path, _ := strings.Cut(at, "/")
	if _, after, ok := strings.Cut(host, "@"); ok {
		if host = after; !isURL {
			host = strings.Replace(host, ":", "/", 1) // git@github.com:acme/shop
		}
	}
	return strings.TrimSuffix(strings.TrimRight(host+"/"+path, "/"), ".git")
}

// prefix is the first part of a name of several.
func prefix(name string) string {
	const bytesMin = 3
	if at := strings.IndexAny(name, "-_./ "); at >= bytesMin {
		return name[:at]
	}
	return ""
}

// plain is what is left of a name without what teams and services add to theirs.
func plain(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(c rune) bool { return strings.ContainsRune("-_./ @", c) })
	words = slices.DeleteFunc(words, func(w string) bool {
		return slices.Contains([]string{"team", "squad", "group", "service", "services", "svc", "server", "api"}, w)
	})
	return strings.Join(words, "-")
}

// alive is the name of a team, empty if the registry knows it to be none any more.
func (a *assessment) alive(name string) string {
	answer := ownership.Answer{Owner: name, Rule: ownership.ByService}
	if team := a.registry.Team(name, a.now.UnixNano()); team != nil {
		answer.Owner = team.Name
	}
	if name == ownership.Unowned || a.gone(&answer) != "" {
		return ""
	}
	return answer.Owner
}

// suggest weighs the hints. Where as much speaks for one owner as for another there is no suggestion.
func (a *assessment) suggest(u *unit) *Suggestion {
	var list []hint
	if u.subject.Kind == OfEdge {
		list = a.edgeHints(u)
	} else {
		list = a.hintsFor(u)
	}
	// A team that only span attributes name cannot be written down where the registry knows of others.
	list = slices.DeleteFunc(list, func(h hint) bool { return a.alive(h.owner) == "" })
	points := make(map[string]int)
	for _, h := range list {
		points[h.owner] += h.points
	}
	best, even := "", false
	for owner, n := range points {
		switch {
		case best == "" || n > points[best]:
			best, even = owner, false
		case n == points[best]:
			even = true
		}
	}
	if best == "" || even {
		return nil
	}
	s := &Suggestion{Owner: best, Confidence: "possible"}
	switch n := points[best]; {
	case n >= pointsLikely && len(points) == 1:
		s.Confidence = "likely"
	case n == pointsPrefix:
		s.Confidence = "a guess"
	}
	slices.SortStableFunc(list, func(x, y hint) int { return cmp.Compare(y.points, x.points) })
	for _, h := range list {
		if h.owner == best {
			s.Why = append(s.Why, h.why)
		}
	}
	s.Record = a.record(u, best)
	s.YAML, _ = file([]*Suggestion{s})
	return s
}

func (a *assessment) hintsFor(u *unit) (list []hint) {
	add := func(owner string, points int, format string, args ...any) {
		if owner != "" {
			list = append(list, hint{owner, points, fmt.Sprintf(format, args...)})
		}
	}
	for _, c := range a.lastOf(u) {
		owner := a.alive(c.Owner)
		add(owner, pointsBefore, "it was %s's until %s", owner, day(c.Until))
	}
	if owner, n, of := a.majority(a.hints.callers[u.subject.Name]); owner != "" {
		add(owner, pointsCallers, "%s", callers(owner, n, of, a.hints.callers[u.subject.Name]))
	}
	for _, group := range []struct {
		of     map[string]*tally
		name   string
		points int
		what   string
	}{
		{a.hints.repository, a.repositoryOf(u), pointsRepository, "of the repository "},
		{a.hints.namespaces, u.subject.Namespace, pointsNamespace, "in the namespace "},
		{a.hints.prefixes, prefix(u.subject.Name), pointsPrefix, "with names that begin with "},
	} {
		t := group.of[group.name]
		if t == nil {
			continue
		}
		others := tally{t.of, t.total}
		if u.subject.Kind == OfService && u.subject.Operation == "" {
			others.total-- // it is one of them
		}
		owner, n := others.most()
		if others.total == 1 {
			add(owner, group.points, "the only other service %s%s is %s's", group.what, group.name, owner)
		} else {
			add(owner, group.points, "%d of the %d other services %s%s are %s's", n, others.total, group.what, group.name, owner)
		}
	}
	if named := a.hints.teams[plain(u.subject.Name)]; len(named) == 1 {
		add(named[0], pointsName, "%s is called like it", named[0])
	} else if named := a.hints.teams[plain(u.subject.Namespace)]; len(named) == 1 {
		add(named[0], pointsName, "%s is called like its namespace", named[0])
	}
	if u.gone != "" {
		if team := a.teams[strings.ToLower(u.answer.Owner)]; team != nil && team.Parent != "" {
			if parent := a.registry.Team(team.Parent, a.now.UnixNano()); parent != nil {
				add(parent.Name, pointsParent, "%s was a part of %s", u.answer.Owner, parent.Name)
			}
		}
	}
	return list
}

// lastOf are the records of it that ended last.
func (a *assessment) lastOf(u *unit) (last []*catalog.Record) {
	for _, c := range a.hints.former[u.subject.Name] {
		switch {
		case c.Namespace != "" && c.Namespace != u.subject.Namespace: // a namesake's
		case len(last) == 0 || c.Until.After(last[0].Until):
			last = []*catalog.Record{c}
		case c.Until.Equal(last[0].Until):
			last = append(last, c)
		}
	}
	return last
}

// edgeHints: whose side must act by the rule, and who owns both sides.
func (a *assessment) edgeHints(u *unit) []hint {
	caller, callee := a.ownerOf(u.subject.Caller), a.ownerOf(u.subject.Callee)
	if caller != "" && caller == callee {
		return []hint{{caller, pointsBothSides, fmt.Sprintf("both %s and %s are %s's", u.subject.Caller, u.subject.Callee, caller)}}
	}
	switch side, why := ownership.DefaultSide(u.subject.Phase); {
	case side == ownership.Caller && caller != "":
		return []hint{{caller, pointsSide, why + ", and " + u.subject.Caller + " is " + caller + "'s"}}
	case side == ownership.Callee && callee != "":
		return []hint{{callee, pointsSide, why + ", and " + u.subject.Callee + " is " + callee + "'s"}}
	}
	return nil
}

// ownerOf is who owns all that goes by a name.
func (a *assessment) ownerOf(name string) string {
	owner := ""
	for _, u := range a.byName[name] {
		switch real := u.real(); {
		case real == "" || owner != "" && real != owner:
			return ""
		default:
			owner = real
		}
	}
	return owner
}

// majority is who owns more than half of what goes by some names.
func (a *assessment) majority(names []string) (owner string, n, of int) {
	groups := make(map[string]*tally)
	for _, name := range names {
		count(groups, "all", a.ownerOf(name))
	}
	if groups["all"] == nil {
		return "", 0, 0
	}
	owner, n = groups["all"].most()
	return owner, n, groups["all"].total
}

func callers(owner string, n, of int, names []string) string {
	switch {
	case of == 1:
		return fmt.Sprintf("its only caller, %s, is %s's", names[0], owner)
	case of == 2:
		return fmt.Sprintf("both its callers, %s and %s, are %s's", names[0], names[1], owner)
	case n == of:
		return fmt.Sprintf("all of its %d callers are %s's", of, owner)
	}
	return fmt.Sprintf("%d of its %d callers are %s's", n, of, owner)
}
