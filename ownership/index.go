package ownership

import (
	"slices"
	"strings"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// index finds records by a name, of which a record may give a pattern: * and ? stand for any text, and for one character.
// Patterns lie by what is literal at their beginning or end, whichever is longer: a name is looked up once for each length of
// those, however many patterns there are.
type index struct {
	exact    map[string][]entry
	prefixes literals
	suffixes literals
	added    int
}

// entry is a record in its place among all: of two that fit, the earlier counts.
type entry struct {
	order   int
	pattern string
	record  *catalog.Record
}

// literals are patterns by their literal beginning, or end.
type literals struct {
	of      map[string][]entry
	lengths []int // that there are, in ascending order
}

func (x *index) add(name string, r *catalog.Record) {
	e := entry{order: x.added, pattern: name, record: r}
	x.added++
	first, last := strings.IndexAny(name, "*?"), strings.LastIndexAny(name, "*?")
	if first < 0 {
		if x.exact == nil {
			x.exact = make(map[string][]entry)
		}
		x.exact[name] = append(x.exact[name], e)
		return
	}
	if prefix, suffix := name[:first], name[last+1:]; len(prefix) >= len(suffix) {
		x.prefixes.add(prefix, e)
	} else {
		x.suffixes.add(suffix, e)
	}
}

func (l *literals) add(literal string, e entry) {
	if l.of == nil {
		l.of = make(map[string][]entry)
	}
	l.of[literal] = append(l.of[literal], e)
	if at, known := slices.BinarySearch(l.lengths, len(literal)); !known {
		l.lengths = slices.Insert(l.lengths, at, len(literal))
	}
}

// find is the first record that fits a name, those that give it exactly before patterns; nil if none does.
func (x *index) find(name string, fitsToo func(*catalog.Record) bool) *catalog.Record {
	for _, e := range x.exact[name] {
		if fitsToo(e.record) {
			return e.record
		}
	}
	var found *entry
	look := func(list []entry) {
		for i := range list {
			e := &list[i]
			if found != nil && found.order < e.order {
				return // those behind it come later still
			}
			if fits(e.pattern, name) && fitsToo(e.record) {
				found = e
				return
			}
		}
	}
	for _, n := range x.prefixes.lengths {
		if n <= len(name) {
			look(x.prefixes.of[name[:n]])
		}
	}
	for _, n := range x.suffixes.lengths {
		if n <= len(name) {
			look(x.suffixes.of[name[len(name)-n:]])
		}
	}
	if found == nil {
		return nil
	}
	return found.record
}

func (x *index) empty() bool { return x.added == 0 }

// conflicts are the records of one thing, in the same words, that name different owners for the same time.
func (x *index) conflicts(team func(string) string) (list []Conflict) {
	all := make([]entry, 0, x.added)
	for _, lists := range []map[string][]entry{x.exact, x.prefixes.of, x.suffixes.of} {
		for _, entries := range lists {
			all = append(all, entries...)
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return a.order - b.order })
	of := make(map[string][]*catalog.Record, len(all))
	for _, e := range all {
		if e.record.Owner == "" && e.record.Accountable == "" {
			continue
		}
		about := subject(e.record, e.pattern)
		_, thing, _ := strings.Cut(about, " ") // a service and a datastore of one name are the same
		for _, before := range of[thing] {
			if before != e.record && (team(before.Owner) != team(e.record.Owner) || before.Accountable != e.record.Accountable) && overlap(before, e.record) {
				list = append(list, Conflict{Winner: before, Loser: e.record, About: about})
				break
			}
		}
		of[thing] = append(of[thing], e.record)
	}
	return list
}

// fits says whether a name is of a pattern. It goes back to the last star only, and so takes no longer than the product
// of the lengths.
func fits(pattern, name string) bool {
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
