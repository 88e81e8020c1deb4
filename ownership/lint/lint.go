// Package lint finds what is wrong with the records of who owns what: what refers to nothing, what contradicts itself,
// what cannot count, and what a company's policy demands and is not there.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// Severity is how bad a finding is. An error fails a build.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Rule is a kind of findings.
type Rule struct {
	ID       string
	Severity Severity // of missing-field the policy's word counts
	Short    string
}

// The rules' ids.
const (
	Unreadable          = "unreadable"
	DanglingOwner       = "dangling-owner"
	DanglingDependency  = "dangling-dependency"
	DanglingParent      = "dangling-parent"
	DanglingMember      = "dangling-member"
	DuplicateOwner      = "duplicate-owner"
	OverlappingValidity = "overlapping-validity"
	DependencyCycle     = "dependency-cycle"
	TeamCycle           = "team-cycle"
	Shadowed            = "shadowed"
	NeverHolds          = "never-holds"
	EndedTeam           = "ended-team"
	MissingField        = "missing-field"
	NotReviewed         = "not-reviewed"
)

// Rules are all there are.
var Rules = []Rule{
	{Unreadable, Error, "A file, or a part of one, cannot be read"},
	{DanglingOwner, Error, "An owner is neither a known team nor a member of one"},
	{DanglingDependency, Error, "What is depended on is not known"},
	{DanglingParent, Error, "The team or the system above is not known"},
	{DanglingMember, Warning, "A member is not known, where the same catalog knows people"},
	{DuplicateOwner, Error, "Two records name different owners of the same thing"},
	{OverlappingValidity, Warning, "A later record of another owner begins before the one before it ends"},
	{DependencyCycle, Warning, "A service depends on itself by others"},
	{TeamCycle, Error, "A team is above itself"},
	{Shadowed, Warning, "A record never counts, because another speaks of all that it does"},
	{NeverHolds, Error, "A record ends before it begins"},
	{EndedTeam, Error, "A team that is no more still owns something"},
	{MissingField, Error, "A field that the policy demands is missing"},
	{NotReviewed, Warning, "The last review is longer ago than the policy allows"},
}

func severityOf(rule string) Severity {
	return Rules[slices.IndexFunc(Rules, func(r Rule) bool { return r.ID == rule })].Severity
}

// Finding is something that is wrong.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"` // 0 where no line is known
	Message  string   `json:"message"`
	// Other is where the other record stands, of findings about two.
	Other *catalog.Source `json:"other,omitempty"`
	about []string        // names that exceptions go by
}

// String is file:line: severity: message [rule].
func (f *Finding) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", catalog.Source{File: f.File, Line: f.Line}, f.Severity, f.Message, f.Rule)
}

// Check finds what is wrong with records, and with what was met while they were read, at a time. Findings are in the order
// of files and lines.
func Check(records []catalog.Record, problems []catalog.Problem, cfg ownership.Config, policy *Policy, now time.Time) []Finding {
	c := &checker{
		records: records, policy: policy, now: now, registry: ownership.Compile(records, cfg),
		people: make(map[string]bool), peopleIn: make(map[string]bool), systemsIn: make(map[string]bool),
	}
	for _, p := range problems {
		c.add(Finding{Rule: Unreadable, Severity: Error, File: p.File, Line: p.Line, Message: p.Reason, about: []string{p.File}})
	}
	c.know()
	for i := range records {
		c.record(&records[i])
	}
	c.conflicts()
	c.cycles()
	c.repeated()
	c.paths()
	c.required()
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message))
	})
	return c.findings
}

type checker struct {
	records  []catalog.Record
	policy   *Policy
	now      time.Time
	registry *ownership.Registry
	findings []Finding

	teams     bool            // some are known
	people    map[string]bool // members and addresses of teams, in lower case
	peopleIn  map[string]bool // formats in which people have records of their own
	systemsIn map[string]bool // likewise
	things    ownership.Names // that can be depended on
}

// found adds a finding about a record; names are what else exceptions go by.
func (c *checker) found(rule string, r *catalog.Record, names []string, format string, args ...any) *Finding {
	return c.add(Finding{
		Rule: rule, Severity: severityOf(rule), File: r.Source.File, Line: r.Source.Line, Message: fmt.Sprintf(format, args...), about: append(names, nameOf(r)),
	})
}

// nameOf is what exceptions call a record.
func nameOf(r *catalog.Record) string {
	if r.Kind == catalog.Edge {
		return r.Caller + "->" + r.Callee
	}
	return cmp.Or(r.Name, r.Pattern)
}

// add adds a finding, unless it is accepted.
func (c *checker) add(f Finding) *Finding {
	if c.policy.allows(&f) {
		return &f
	}
	c.findings = append(c.findings, f)
	return &c.findings[len(c.findings)-1]
}

// know notes what can be referred to.
func (c *checker) know() {
	for i := range c.records {
		r := &c.records[i]
		switch r.Kind {
		case catalog.Team:
			c.teams = true
			for _, name := range append([]string{r.Email}, r.Members...) {
				c.people[strings.ToLower(name)] = name != ""
			}
			if isPerson(r) {
				c.peopleIn[r.Source.Format] = true
			}
		case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty, catalog.API, catalog.System:
			if r.Kind == catalog.System {
				c.systemsIn[r.Source.Format] = true
			}
			for _, name := range append([]string{r.Name}, r.Aliases...) {
				if strings.Trim(name, "*") != "" { // what holds for all names none
					c.things.Add(name)
				}
			}
		case catalog.Operation, catalog.Edge, catalog.Path, catalog.Namespace:
		}
	}
}

// isPerson tells a person's record from a team's.
func isPerson(r *catalog.Record) bool {
	return slices.Contains(r.Links, catalog.Link{Name: "kind", Target: "User"})
}

// record checks what can be said of a record by itself, and what it refers to. What has ended refers to the past.
func (c *checker) record(r *catalog.Record) {
	if !r.Until.IsZero() && !r.From.Before(r.Until) {
		c.found(NeverHolds, r, nil, "%s ends on %s, before it begins on %s", ownership.Subject(r), date(r.Until), date(r.From))
		return
	}
	if c.ended(r) {
		return
	}
	for _, owner := range append([]string{r.Owner}, r.Owners...) {
		c.owner(r, owner)
	}
	for _, name := range r.DependsOn {
		if !c.things.Has(name) {
			c.found(DanglingDependency, r, []string{name}, "%s depends on %s, of which there is no record", ownership.Subject(r), name)
		}
	}
	switch {
	case r.Parent == "":
	case r.Kind == catalog.Team && c.registry.Teams(r.Parent) == nil:
		c.found(DanglingParent, r, []string{r.Parent}, "%s is below %s, of which there is no record", ownership.Subject(r), r.Parent)
	case r.Kind != catalog.Team && c.systemsIn[r.Source.Format] && !c.things.Has(r.Parent):
		c.found(DanglingParent, r, []string{r.Parent}, "%s is part of %s, of which there is no record", ownership.Subject(r), r.Parent)
	}
	if r.Kind == catalog.Team && c.peopleIn[r.Source.Format] {
		for _, name := range r.Members {
			if c.registry.Teams(name) == nil {
				c.found(DanglingMember, r, []string{name}, "%s has the member %s, of whom there is no record", ownership.Subject(r), name)
			}
		}
	}
	if days := c.policy.ReviewDays; days > 0 && !r.Reviewed.IsZero() && c.now.Sub(r.Reviewed) > time.Duration(days)*24*time.Hour {
		c.found(NotReviewed, r, nil, "%s was reviewed %s, longer ago than %d days", ownership.Subject(r), date(r.Reviewed), days)
	}
}

func (c *checker) ended(r *catalog.Record) bool { return !r.Until.IsZero() && !r.Until.After(c.now) }

// owner checks that an owner is there.
func (c *checker) owner(r *catalog.Record, owner string) {
	teams := c.registry.Teams(owner)
	mustExist := c.teams
	if c.policy.OwnersMustExist != nil {
		mustExist = *c.policy.OwnersMustExist
	}
	switch {
	case owner == "" || owner == ownership.Unowned || c.people[strings.ToLower(owner)]:
	case len(teams) == 0 && mustExist:
		c.found(DanglingOwner, r, []string{owner}, "%s is owned by %s, which is no known team or member of one", ownership.Subject(r), owner)
	case len(teams) > 0 && !slices.ContainsFunc(teams, func(t *catalog.Record) bool { return !c.ended(t) }):
		c.found(EndedTeam, r, []string{owner}, "%s is owned by %s, which ended on %s", ownership.Subject(r), owner, date(teams[0].Until)).Other = &teams[0].Source
	}
}

func date(at time.Time) string {
	if at = at.UTC(); at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339)
}

// conflicts are of two records of one thing with different owners. Of one format where the later begins later it is a
// hand-over of which the end was not written down.
func (c *checker) conflicts() {
	for _, conflict := range c.registry.Conflicts() {
		w, l := conflict.Winner, conflict.Loser
		if c.ended(w) || c.ended(l) {
			continue
		}
		if w.Source.Format == l.Source.Format && w.From.After(l.From) {
			c.found(OverlappingValidity, l, nil, "%s is %s's and from %s on %s's by %s: say until when this holds",
				conflict.About, ownerOf(l), date(w.From), ownerOf(w), w.Source).Other = &w.Source
			continue
		}
		c.found(DuplicateOwner, l, nil, "%s is %s's here and %s's by %s, which counts", conflict.About, ownerOf(l), ownerOf(w), w.Source).Other = &w.Source
	}
}

// ownerOf is the owner that a record names, or the side whose owner it is.
func ownerOf(r *catalog.Record) string {
	return cmp.Or(r.Owner, strings.TrimSpace("its "+r.Accountable))
}

// thing is what records speak of, where one says it is.
type thing struct {
	kind                         catalog.Kind
	name, namespace, environment string
	second, third, phase         string // of operations and edges
}

// holds says whether what is said of another is said of this thing in a part of where it is.
func (t thing) holds(other thing) bool {
	if t.namespace == "" {
		other.namespace = ""
	}
	if t.environment == "" {
		other.environment = ""
	}
	return t == other
}

// question asks for it as a verdict does; nil of what no verdict is about.
func (t thing) question(now time.Time) *ownership.Question {
	q := &ownership.Question{Service: t.name, Namespace: t.namespace, Environment: t.environment, AtNs: now.UnixNano()}
	switch t.kind {
	case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty:
	case catalog.Operation:
		q.Operation = t.second
	case catalog.Edge:
		q.Service, q.Callee, q.Phase = t.second, t.third, t.phase
	case catalog.Namespace:
		q.Service, q.Namespace = "", t.name
	case catalog.Path, catalog.Team, catalog.API, catalog.System:
		return nil
	}
	return q
}

// required checks what the policy demands. What several sources say of one thing is taken together, with what the registry
// answers for it.
func (c *checker) required() {
	if len(c.policy.Require) == 0 {
		return
	}
	of := make(map[thing][]*catalog.Record)
	var order []thing
	places := make(map[thing][]thing) // by the thing anywhere
	for i := range c.records {
		r := &c.records[i]
		if !r.HoldsAt(c.now.UnixNano()) || isPerson(r) || r.Kind == catalog.Path || strings.Trim(r.Name, "*") == "" && r.Kind == catalog.Service {
			continue
		}
		t := thing{r.Kind, r.Name, r.Namespace, r.Environment, cmp.Or(r.Operation, r.Caller), r.Callee, r.Phase}
		if of[t] == nil {
			order = append(order, t)
			places[t.anywhere()] = append(places[t.anywhere()], t)
		}
		of[t] = append(of[t], r)
	}
	for _, t := range order {
		for i := range c.policy.Require {
			demand := &c.policy.Require[i]
			if !slices.Contains(demand.Kinds, kind(t.kind)) {
				continue
			}
			said, team := c.said(t, of[t])
			own := said
			for _, place := range places[t.anywhere()] {
				if place != t && t.holds(place) {
					there, _ := c.said(place, of[place])
					said = append(said, there...)
				}
			}
			c.demand(demand, of[t], own, said, team)
		}
	}
}

func (t thing) anywhere() thing {
	t.namespace, t.environment = "", ""
	return t
}

// said is what is known of a thing: by its records, and by what the registry answers for it, which is a record as well; and
// the name of its team, if there is a record of that.
func (c *checker) said(t thing, records []*catalog.Record) (said []*catalog.Record, team string) {
	said = slices.Clone(records)
	q := t.question(c.now)
	owners := make([]string, 0, 1)
	if q == nil || strings.ContainsAny(t.name+t.second+t.third, "*?") { // of a pattern the registry knows what one of its names has
		for _, r := range records {
			owners = append(owners, r.Owner)
		}
	}
	if q != nil {
		answer := c.registry.Resolve(q)
		said = append(said, &catalog.Record{Kind: t.kind, Owner: answer.Owner, Accountable: answer.Side, Charter: c.registry.Charter(q, answer)})
		owners = append(owners, answer.Owner)
	}
	for _, owner := range owners {
		if of := c.registry.Team(owner, c.now.UnixNano()); of != nil {
			said, team = append(said, of), of.Name
		}
	}
	return said, team
}

// demand checks what is demanded of one thing, by its records, by all that is said of it where it is, and of it anywhere.
func (c *checker) demand(d *Requirement, records, own, said []*catalog.Record, team string) {
	things := func(list []*catalog.Record) []*catalog.Record { // without teams, the place of which among the tiers is not that of all they own
		if records[0].Kind == catalog.Team {
			return list
		}
		return slices.DeleteFunc(slices.Clone(list), func(r *catalog.Record) bool { return r.Kind == catalog.Team })
	}
	is := func(can []string, value func(*catalog.Record) string) bool {
		return len(can) == 0 || slices.ContainsFunc(things(own), func(r *catalog.Record) bool {
			return slices.ContainsFunc(can, func(word string) bool { return strings.EqualFold(word, value(r)) })
		})
	}
	if !is(d.Tiers, func(r *catalog.Record) string { return r.Tier }) || !is(d.Lifecycles, func(r *catalog.Record) string { return r.Lifecycle }) {
		return
	}
	var missing []string
	for _, f := range fields {
		wanted := slices.Contains(d.Fields, field(f.name))
		among := said
		if f.name == "owner" || f.name == "tier" || f.name == "lifecycle" {
			among = things(said)
		}
		if wanted && !slices.ContainsFunc(among, f.has) {
			missing = append(missing, f.name)
		}
	}
	if len(missing) == 0 {
		return
	}
	whose := ""
	if team != "" {
		whose = ", nor has " + team
	}
	c.found(MissingField, records[0], nil, "%s has no %s%s", ownership.Subject(records[0]), strings.Join(missing, ", "), whose).Severity = d.Severity
}
