package ownership

import (
	"bytes"
	"cmp"
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Wanted is what files say of a set of the registry, all that they say. Merge has the records for its own.
type Wanted struct {
	Set     string
	Records []catalog.Record
	// Keep are files, and folders with all below them, that could not be read: what they said before stays as it is.
	Keep []string
	// Config is that of the registry in force.
	Config Config
}

// Applied is what becomes of a set of the registry when files are applied to it.
type Applied struct {
	Set string
	// Records are those of the set, in the order in which they are stored. Those that hold no more are among them.
	Records []catalog.Record
	// What the files say and was not known, what they do not say any more, what they say differently, and the rest.
	Added, Ended, Changed, Unchanged int
	// Changes are all but the rest, in the order of what they are about.
	Changes []Change
	// Handovers are those that were not known before, the newest first.
	Handovers []Handover
	// Conflicts are those that records of the set are part of now or later, of all sets, the first conflictsMost.
	Conflicts []Conflict
	// Differs says whether the records are others than before.
	Differs bool
}

// What became of a record.
const (
	Added   = "added"
	Ended   = "ended"
	Changed = "changed"
)

// Change is what became of a record.
type Change struct {
	What  string
	About string
	// Before and After are the owners, or the sides that are accountable; empty where the record says nothing of that.
	Before, After string
	Source        catalog.Source
}

// What bounds the memory of the registry: a record that ended and is in no file is kept for as long as questions look
// back, and of more of them than endedMost in a set the last are.
const (
	endedFor  = 400 * 24 * time.Hour
	endedMost = 200_000
)

// Merge says what becomes of a set when files are applied to it: stored is what is in the registry, of all sets, and now is
// when this is done.
//
// What is the same stays. What has another owner ends now, and begins now with the other one; what differs in anything else is
// replaced, and holds since when it held. What is in no file any more ends now. When a file says from when or until when
// something holds, that is so, and what was remembered of the same thing gives way. What was nobody's before holds
// for all of the past too, or the traces of yesterday would have no owner; what a record that says less gave to another owner
// begins now, or the traces of yesterday would have another one.
func Merge(stored []catalog.Record, w Wanted, now time.Time) *Applied {
	m := merger{now: instant(now), applied: &Applied{Set: w.Set}, groups: make(map[thing]*group)}
	m.before = sync.OnceValue(func() *Registry { return Compile(stored, w.Config) })
	m.after = sync.OnceValue(func() *Registry {
		after := slices.DeleteFunc(slices.Clone(stored), func(c catalog.Record) bool { return c.Set == w.Set })
		return Compile(append(after, m.applied.Records...), w.Config)
	})
	wanted := m.wanted(stored, w)
	for i := range stored {
		c := &stored[i]
		g := m.group(c, c.Set == w.Set)
		switch {
		case g == nil:
		case c.Set != w.Set:
			g.elsewhere = true
		default:
			g.stored = append(g.stored, c)
		}
	}
	for _, c := range wanted {
		g := m.group(c, true)
		g.wanted = append(g.wanted, c)
	}
	things := make([]thing, 0, len(m.groups))
	for t := range m.groups {
		things = append(things, t)
	}
	slices.SortFunc(things, thing.compare)
	for _, t := range things {
		g := m.groups[t]
		before := len(m.applied.Changes)
		if t.Kind == catalog.Path {
			m.lines(g)
		} else {
			m.thing(g)
		}
		if len(m.applied.Changes) > before && t.Kind != catalog.Path && (len(g.stored) > 0 || len(g.after) > 1 || !g.after[0].Until.IsZero() || g.covered) {
			m.moved = append(m.moved, g)
		}
	}
	m.gather(things)
	m.applied.Handovers = m.handovers(stored)
	m.applied.Conflicts = m.conflicts(w.Set)
	m.applied.Differs = m.differs(stored, w.Set)
	return m.applied
}

// instant is a time as it is stored.
func instant(at time.Time) time.Time {
	if at.IsZero() {
		return time.Time{}
	}
	return at.UTC().Truncate(time.Millisecond)
}

// thing is what records can be about. A service and a datastore of one name are the same, since a span tells neither.
type thing struct {
	Kind                                                           catalog.Kind
	name, namespace, environment, operation, caller, callee, phase string
	file                                                           string
}

func thingOf(c *catalog.Record) thing {
	t := thing{
		Kind: c.Kind, name: c.Name, namespace: c.Namespace, environment: c.Environment, operation: c.Operation,
		caller: c.Caller, callee: c.Callee, phase: c.Phase,
	}
	switch c.Kind {
	case catalog.Datastore, catalog.Queue, catalog.ThirdParty:
		t.Kind = catalog.Service
	case catalog.Path:
		// The lines of a file are one thing: which counts is a matter of their order. A repository has one such file, wherever
		// it is checked out.
		t = thing{Kind: catalog.Path, file: c.Source.Format + " " + cmp.Or(c.Repository, c.Source.File)}
	}
	return t
}

func (t thing) compare(o thing) int {
	return cmp.Or(
		cmp.Compare(t.Kind, o.Kind), cmp.Compare(t.name, o.name), cmp.Compare(t.namespace, o.namespace), cmp.Compare(t.environment, o.environment),
		cmp.Compare(t.operation, o.operation), cmp.Compare(t.caller, o.caller), cmp.Compare(t.callee, o.callee), cmp.Compare(t.phase, o.phase),
		cmp.Compare(t.file, o.file),
	)
}

type group struct {
	stored, wanted []*catalog.Record
	after          []outcome
	elsewhere      bool // another set speaks of it
	covered        bool // a record that says less speaks of it
}

// outcome is a record of the set as it will be; it is remembered if no file says it.
type outcome struct {
	*catalog.Record
	remembered bool
}

type merger struct {
	now     time.Time
	applied *Applied
	groups  map[thing]*group
	moved   []*group // of which something changed, and which can have changed hands
	// The registry of all sets, as it was and as it will be.
	before, after func() *Registry
}

// group is that of a record. One that is not of the set matters only where the set speaks of the same thing, and there is a
// group then or there will be: so others make one as well.
func (m *merger) group(c *catalog.Record, own bool) *group {
	if !own && c.Kind == catalog.Path {
		return nil
	}
	t := thingOf(c)
	g := m.groups[t]
	if g == nil {
		g = &group{}
		m.groups[t] = g
	}
	return g
}

// wanted are the records that the set is to have, in an order that does not depend on theirs, each once.
func (m *merger) wanted(stored []catalog.Record, w Wanted) []*catalog.Record {
	all := slices.Clip(w.Records)
	keep := make(map[string]bool, len(w.Keep))
	for _, file := range w.Keep {
		keep[path.Clean(file)] = true
	}
	for i := range stored {
		if c := &stored[i]; c.Set == w.Set && keeps(keep, c.ReadFrom()) && !m.over(c) {
			all = append(all, *c)
		}
	}
	sorted := make([]*catalog.Record, len(all))
	for i := range all {
		c := &all[i]
		c.Set, c.From, c.Until = w.Set, instant(c.From), instant(c.Until)
		sorted[i] = c
	}
	slices.SortFunc(sorted, inOrder)
	return slices.CompactFunc(sorted, func(a, b *catalog.Record) bool { return inOrder(a, b) == 0 })
}

// keeps says whether a file is one of some paths, or below one of them.
func keeps(paths map[string]bool, file string) bool {
	if len(paths) == 0 || file == "" {
		return false
	}
	for name := path.Clean(file); !paths[name]; name = path.Dir(name) {
		if name == path.Dir(name) {
			return false
		}
	}
	return true
}

// inOrder orders records, those of a file by their lines, so that only those that say the same are alike.
func inOrder(a, b *catalog.Record) int {
	order := cmp.Or(cmp.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line), a.From.Compare(b.From), a.Until.Compare(b.Until))
	if order == 0 {
		order = cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Pattern, b.Pattern))
	}
	if order == 0 {
		order = bytes.Compare(text(a), text(b))
	}
	return order
}

// same says whether records say the same, which they do too where one has an empty list and the other none.
func same(a, b *catalog.Record) bool {
	return reflect.DeepEqual(a, b) || a.Owner == b.Owner && a.Name == b.Name && bytes.Equal(text(a), text(b))
}

func text(c *catalog.Record) []byte {
	data, _ := json.Marshal(c) // nothing in a record cannot be written
	return data
}

func (m *merger) over(c *catalog.Record) bool { return !c.Until.IsZero() && !c.Until.After(m.now) }

// held says whether a record holds now.
func (m *merger) held(c *catalog.Record) bool { return !c.From.After(m.now) && !m.over(c) }

// thing merges what is said of one thing that is not the lines of a file.
func (m *merger) thing(g *group) {
	if len(g.stored) == 0 && len(g.wanted) == 0 {
		return // only other sets speak of it
	}
	pairs := m.pair(g)
	taken := make(map[*catalog.Record]bool, len(pairs))
	var begun, ended []*catalog.Record
	var claimed []catalog.Record // times of which a file says for the first time whose they were
	for i, w := range g.wanted {
		c, before := w, pairs[i]
		if before == nil {
			switch {
			case !w.From.IsZero() || m.over(w):
			case len(g.stored) > 0 || g.elsewhere:
				c = since(w, m.now)
			default:
				c = since(w, m.covered(w))
				g.covered = g.covered || c != w
			}
			begun = append(begun, w)
			if dated(w) {
				claimed = append(claimed, *c)
			}
		} else {
			taken[before] = true
			if w.From.IsZero() {
				c = since(w, before.From)
			}
			if dated(w) {
				claimed = append(claimed, without(*c, []catalog.Record{*before})...)
			}
			m.kept(before, c)
		}
		g.after = append(g.after, outcome{Record: c})
	}
	until := m.successor(g.after)
	for _, s := range g.stored {
		if taken[s] {
			continue
		}
		c := *s
		if sooner := c.Until.IsZero() || until.Before(c.Until); sooner && !m.over(s) {
			ended = append(ended, s)
			c.Until = until
		} else if m.held(s) {
			c.Until = until // the hand-over that ends it was put off
		}
		if !c.Until.After(c.From) {
			continue // it was to begin later, and never did
		}
		for _, c := range without(c, claimed) {
			g.after = append(g.after, outcome{&c, true})
		}
	}
	m.count(begun, ended)
	slices.SortStableFunc(g.after, func(a, b outcome) int {
		if order := cmp.Or(a.From.Compare(b.From), a.Until.Compare(b.Until)); order != 0 {
			return order
		}
		return inOrder(a.Record, b.Record)
	})
}

// covered is since when something holds that is said for the first time, if what was said before answers for it already: since
// now if with another owner, and else since when that holds.
func (m *merger) covered(c *catalog.Record) (from time.Time) {
	if c.Owner == "" && c.Accountable == "" {
		return from
	}
	before, nowNs := m.before(), m.now.UnixNano()
	for s := range before.subjects(c) {
		if s.about == everything {
			continue
		}
		a := before.Resolve(s.question(nowNs))
		begins := time.Time{}
		switch {
		case a.Record == nil || a.Owner == Unowned:
		case a.Owner != before.team(c.Owner, nowNs) || a.Side != c.Accountable:
			begins = m.now
		default:
			begins = a.Record.From
		}
		if begins.After(from) {
			from = begins
		}
	}
	return from
}

// since is a record with another beginning.
func since(c *catalog.Record, from time.Time) *catalog.Record {
	if c.From.Equal(from) {
		return c
	}
	changed := *c
	changed.From = from
	return &changed
}

// successor is when what no file speaks of any more ends: now, unless those that it gives way to begin later.
func (m *merger) successor(after []outcome) time.Time {
	var next time.Time
	for i := range after {
		switch c := after[i].Record; {
		case m.held(c):
			return m.now
		case c.From.After(m.now) && (next.IsZero() || c.From.Before(next)):
			next = c.From
		}
	}
	if next.IsZero() {
		return m.now
	}
	return next
}

// pair finds for each wanted record the stored one that it continues: of the same owner, and of a time that does not speak
// against it. One that is the very same goes first, then one from the same file; what says when it holds chooses before what
// does not.
func (m *merger) pair(g *group) []*catalog.Record {
	pairs := make([]*catalog.Record, len(g.wanted))
	taken := make(map[*catalog.Record]bool, len(g.stored))
	order := make([]int, 0, len(g.wanted))
	for _, first := range []bool{true, false} {
		for i, w := range g.wanted {
			if dated(w) == first {
				order = append(order, i)
			}
		}
	}
	for _, fits := range []func(w, s *catalog.Record) bool{
		func(w, s *catalog.Record) bool {
			c := *w
			if c.From.IsZero() {
				c.From = s.From
			}
			return m.unmoved(w, s) && same(&c, s)
		},
		func(w, s *catalog.Record) bool { return m.unmoved(w, s) && sameFile(w, s) },
		m.unmoved,
		func(w, s *catalog.Record) bool { return m.continues(w, s) && sameFile(w, s) },
		m.continues,
	} {
		for _, i := range order {
			w := g.wanted[i]
			if pairs[i] != nil {
				continue
			}
			for _, s := range slices.Backward(g.stored) { // the latest first
				if !taken[s] && w.Owner == s.Owner && w.Accountable == s.Accountable && fits(w, s) {
					pairs[i], taken[s] = s, true
					break
				}
			}
		}
	}
	return pairs
}

// dated says whether a file says when something holds.
func dated(w *catalog.Record) bool { return !w.From.IsZero() || !w.Until.IsZero() }

func sameFile(a, b *catalog.Record) bool {
	return a.Source.File == b.Source.File && a.Source.Format == b.Source.Format
}

// unmoved says whether a wanted record holds when a stored one does, as far as a file says when.
func (m *merger) unmoved(w, s *catalog.Record) bool {
	return w.Until.Equal(s.Until) && (w.From.Equal(s.From) || w.From.IsZero() && !s.From.After(m.now))
}

// continues says whether a wanted record can be a stored one with other dates.
func (m *merger) continues(w, s *catalog.Record) bool {
	switch {
	case !dated(w):
		return m.held(s)
	case m.over(s):
		return w.From.Equal(s.From) || w.Until.Equal(s.Until)
	}
	return overlap(w, s)
}

// without is what is left of when a record held if others hold at other times.
func without(c catalog.Record, others []catalog.Record) []catalog.Record {
	left := []catalog.Record{c}
	for i := range others {
		o := &others[i]
		var next []catalog.Record
		for _, c := range left {
			if !overlap(&c, o) {
				next = append(next, c)
				continue
			}
			if c.From.Before(o.From) {
				before := c
				before.Until = o.From
				next = append(next, before)
			}
			if !o.Until.IsZero() && (c.Until.IsZero() || o.Until.Before(c.Until)) {
				after := c
				after.From = o.Until
				next = append(next, after)
			}
		}
		left = next
	}
	return left
}

// lines merges the lines of a file, the order of which matters: those that are gone stay behind those that they followed.
func (m *merger) lines(g *group) {
	type line struct{ pattern, owner, section string }
	lineOf := func(c *catalog.Record) line {
		l := line{pattern: c.Pattern, owner: c.Owner}
		for _, link := range c.Links {
			if link.Name == "section" {
				l.section = link.Target
			}
		}
		return l
	}
	waiting := make(map[line][]int)
	for i, w := range g.wanted {
		l := lineOf(w)
		waiting[l] = append(waiting[l], i)
	}
	places := make([]int, len(g.stored)) // where each is now, -1 for nowhere
	for i, s := range g.stored {
		places[i] = -1
		if these := waiting[lineOf(s)]; len(these) > 0 && !m.over(s) {
			places[i], waiting[lineOf(s)] = these[0], these[1:]
		}
	}
	keepAscending(places) // one that moved past others is another
	pairs := make([]*catalog.Record, len(g.wanted))
	gone := make(map[int][]outcome) // by the line before
	var ended []*catalog.Record
	before := -1
	for i, s := range g.stored {
		if at := places[i]; at >= 0 {
			before, pairs[at] = at, s
			continue
		}
		if !m.over(s) {
			ended = append(ended, s)
			past := *s
			past.Until = m.now
			s = &past
		}
		if s.From.Before(s.Until) {
			gone[before] = append(gone[before], outcome{s, true})
		}
	}
	g.after = make([]outcome, 0, len(g.wanted)+len(g.stored))
	g.after = append(g.after, gone[-1]...)
	var begun []*catalog.Record
	for i, w := range g.wanted {
		c := w
		if s := pairs[i]; s != nil {
			if w.From.IsZero() {
				c = since(w, s.From)
			}
			m.kept(s, c)
		} else {
			if w.From.IsZero() && len(g.stored) > 0 {
				c = since(w, m.now)
			}
			begun = append(begun, w)
		}
		g.after = append(append(g.after, outcome{Record: c}), gone[i]...)
	}
	m.count(begun, ended)
}

// keepAscending leaves as many of the numbers as it can so that they ascend, and makes the others -1, which do not count.
func keepAscending(numbers []int) {
	var ends []int // the index of the least number that ends an ascent of each length
	previous := make([]int, len(numbers))
	for i, n := range numbers {
		if n < 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(ends, n, func(end, n int) int { return cmp.Compare(numbers[end], n) })
		previous[i] = -1
		if at > 0 {
			previous[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		} else {
			ends[at] = i
		}
	}
	kept := make([]bool, len(numbers))
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = previous[i] {
			kept[i] = true
		}
	}
	for i := range numbers {
		if !kept[i] {
			numbers[i] = -1
		}
	}
}

// kept notes a record that goes on, in other words perhaps.
func (m *merger) kept(before, after *catalog.Record) {
	line := after.Source.Line
	after.Source.Line = before.Source.Line // that lines were added before it is no news
	unchanged := same(before, after)
	after.Source.Line = line
	if unchanged {
		m.applied.Unchanged++
		return
	}
	m.applied.Changed++
	m.note(Changed, before, after)
}

// count notes what begins and ends of one thing: where both do, it has changed.
func (m *merger) count(begun, ended []*catalog.Record) {
	for i := range max(len(begun), len(ended)) {
		switch {
		case i >= len(begun):
			m.applied.Ended++
			m.note(Ended, ended[i], nil)
		case i >= len(ended):
			m.applied.Added++
			m.note(Added, nil, begun[i])
		default:
			m.applied.Changed++
			m.note(Changed, ended[i], begun[i])
		}
	}
}

func (m *merger) note(what string, before, after *catalog.Record) {
	c := Change{What: what}
	for _, r := range []*catalog.Record{before, after} {
		if r != nil {
			c.About, c.Source = Subject(r), r.Source
		}
	}
	holder := func(r *catalog.Record) string {
		if r == nil {
			return ""
		}
		return cmp.Or(r.Owner, r.Accountable)
	}
	c.Before, c.After = holder(before), holder(after)
	m.applied.Changes = append(m.applied.Changes, c)
}

// gather makes the set of all groups, and forgets what ended too long ago.
func (m *merger) gather(things []thing) {
	var ends []time.Time
	total := 0
	for _, t := range things {
		total += len(m.groups[t].after)
		for _, c := range m.groups[t].after {
			if c.remembered {
				ends = append(ends, c.Until)
			}
		}
	}
	m.applied.Records = make([]catalog.Record, 0, total)
	since := m.now.Add(-endedFor)
	if len(ends) > endedMost {
		slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
		if last := ends[endedMost-1]; last.After(since) {
			since = last
		}
	}
	for _, t := range things {
		for _, c := range m.groups[t].after {
			if !c.remembered || !c.Until.Before(since) {
				m.applied.Records = append(m.applied.Records, *c.Record)
			}
		}
	}
}

// handovers are those that come to be known.
func (m *merger) handovers(stored []catalog.Record) (news []Handover) {
	if len(m.moved) == 0 {
		return nil
	}
	// Teams go by several names.
	var before, after []catalog.Record
	for i := range stored {
		if stored[i].Kind == catalog.Team {
			before = append(before, stored[i])
		}
	}
	for i := range m.applied.Records {
		if c := &m.applied.Records[i]; c.Kind == catalog.Team {
			before = append(before, *c)
		}
	}
	after = slices.Clone(before)
	for _, g := range m.moved {
		for _, c := range g.stored {
			before = append(before, *c)
		}
		for i := range g.after {
			after = append(after, *g.after[i].Record)
		}
	}
	all := func(records []catalog.Record, around func() *Registry) []Handover {
		return Compile(records, Config{}).handovers(time.Time{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), around)
	}
	type change struct {
		about, before, after string
		at                   int64
	}
	keyOf := func(h *Handover) change { return change{h.About, h.Before, h.After, h.At.UnixMilli()} }
	known := make(map[change]bool)
	old := all(before, m.before)
	for i := range old {
		known[keyOf(&old[i])] = true
	}
	for _, h := range all(after, m.after) {
		if !known[keyOf(&h)] {
			news = append(news, h)
		}
	}
	return news
}

// conflictsMost is how many conflicts are told.
const conflictsMost = 100

// conflicts are those of the set with itself and with others.
func (m *merger) conflicts(set string) (list []Conflict) {
	for _, c := range m.after().Conflicts() {
		if (c.Winner.Set == set || c.Loser.Set == set) && !m.over(c.Winner) && !m.over(c.Loser) {
			if list = append(list, c); len(list) == conflictsMost {
				break
			}
		}
	}
	return list
}

// differs says whether the set is not as it was.
func (m *merger) differs(stored []catalog.Record, set string) bool {
	after := m.applied.Records
	for i := range stored {
		if stored[i].Set != set {
			continue
		}
		if len(after) == 0 || !same(&stored[i], &after[0]) {
			return true
		}
		after = after[1:]
	}
	return len(after) > 0
}

// overlap says whether two records hold at the same time.
func overlap(a, b *catalog.Record) bool {
	_, ok := overlapOf(a, b)
	return ok
}
