// Package coverage says what runs without a real owner, ranked by the harm that it caused, and who might be one.
package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/verdict"
)

// Traffic is what was seen in some time.
type Traffic struct {
	Services []Service
	Calls    []Call
	Harm     []Harm
}

// Service is a service with one of the sets of resource attributes that it was seen with.
type Service struct {
	Name       string
	Attributes map[string]string
	Spans      uint64
	LastNs     int64 // when it was last seen, in Unix nanoseconds
}

// Call is that one service called another, or something that sends no spans.
type Call struct {
	Caller, Callee string
	Calls          uint64
}

// Harm is what one site caused.
type Harm struct {
	Site        verdict.Site
	Accountable string
	Failed      float64 // requests that failed or were degraded
	ExcessNs    int64   // time over what is normal
}

// Kind is what is wrong with the ownership of something.
type Kind string

// The kinds, the worst first.
const (
	NoOwner     Kind = "no-owner"
	EdgeNoOwner Kind = "edge-no-owner"
	OwnerGone   Kind = "owner-gone"
	NoOnCall    Kind = "no-on-call"
	NoRunbook   Kind = "no-runbook"
	NoDashboard Kind = "no-dashboard"
	NoReviewer  Kind = "no-reviewer"
	NotReviewed Kind = "not-reviewed"
)

// Kinds are all of them, the worst first.
func Kinds() []Kind {
	return []Kind{NoOwner, EdgeNoOwner, OwnerGone, NoOnCall, NoRunbook, NoDashboard, NoReviewer, NotReviewed}
}

// Subject is what a finding is about. Only the fields of its kind are set.
type Subject struct {
	Kind        string `json:"kind"` // service, peer (what sends no spans) or edge
	Name        string `json:"name,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Environment string `json:"environment,omitempty"` // where there is another answer elsewhere
	Operation   string `json:"operation,omitempty"`   // a pattern, of operations that have an owner of their own
	Caller      string `json:"caller,omitempty"`
	Callee      string `json:"callee,omitempty"`
	Phase       string `json:"phase,omitempty"`
}

// The kinds of subjects.
const (
	OfService = "service"
	OfPeer    = "peer"
	OfEdge    = "edge"
)

// String names it in a few words.
func (s Subject) String() string {
	name := s.Name
	if s.Kind == OfEdge {
		name = verdict.Site{Kind: verdict.SiteEdge, Caller: s.Caller, Callee: s.Callee, Phase: verdict.Phase(s.Phase)}.String()
	}
	if s.Operation != "" {
		name += " " + s.Operation
	}
	if where := strings.Trim(s.Namespace+", "+s.Environment, ", "); where != "" {
		name += " (" + where + ")"
	}
	return name
}

// Finding is something that runs without a real owner.
type Finding struct {
	Kind    Kind    `json:"kind"`
	Subject Subject `json:"subject"`
	Owner   string  `json:"owner,omitempty"` // the one that is written down
	// Failed and ExcessNs are what it caused, Share is its part of all harm: the mean of its parts of both.
	Failed   float64 `json:"failed"`
	ExcessNs int64   `json:"excessNs"`
	Share    float64 `json:"share"`
	// Spans are those of a service, and calls of what sends no spans.
	Spans    uint64    `json:"spans"`
	LastSeen time.Time `json:"lastSeen,omitzero"`
	Source   string    `json:"source,omitempty"` // file:line of the record that it goes by
	Text     string    `json:"text"`             // what is wrong, and what to do
	// Suggestion is who might own it; nil where nothing points to anybody, or as much to one as to another.
	Suggestion *Suggestion `json:"suggestion,omitempty"`
}

// Totals are over all that was seen, whatever is listed.
type Totals struct {
	// Services are those seen; what a registry tells apart by namespace or environment counts apart.
	Services      int    `json:"services"`
	OwnedServices int    `json:"ownedServices"`
	Spans         uint64 `json:"spans"`
	OwnedSpans    uint64 `json:"ownedSpans"`
	// Failed and ExcessNs are all harm. That of Nobody was caused by whoever sent the requests, or it is not known by
	// what: no owner could be named for it.
	Failed         float64 `json:"failed"`
	OwnedFailed    float64 `json:"ownedFailed"`
	NobodyFailed   float64 `json:"nobodyFailed"`
	ExcessNs       int64   `json:"excessNs"`
	OwnedExcessNs  int64   `json:"ownedExcessNs"`
	NobodyExcessNs int64   `json:"nobodyExcessNs"`
	// OwnedHarm is the part of the harm that has an owner, of that which can have one.
	OwnedHarm float64 `json:"ownedHarm"`
	// Findings count what was found, by kind.
	Findings map[Kind]int `json:"findings"`
}

// Report is what runs without a real owner, what did most harm first.
type Report struct {
	Findings []Finding `json:"findings"`
	Totals   Totals    `json:"totals"`
}

// Assess holds what was seen against a registry. Who was not reviewed within the last reviewDays is a caretaker, and not an
// owner.
func Assess(registry *ownership.Registry, seen *Traffic, now time.Time, reviewDays int) *Report {
	a := newAssessment(registry, seen, now)
	a.reviewDays = reviewDays
	report := &Report{Findings: []Finding{}, Totals: a.totals()}
	for _, u := range a.units {
		report.Findings = append(report.Findings, a.findings(u)...)
	}
	order := make(map[Kind]int)
	for i, kind := range Kinds() {
		order[kind] = i
	}
	slices.SortFunc(report.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(y.Share, x.Share), cmp.Compare(y.Spans, x.Spans), cmp.Compare(order[x.Kind], order[y.Kind]),
			compareSubjects(&x.Subject, &y.Subject), cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.Source, y.Source))
	})
	for i := range report.Findings {
		report.Totals.Findings[report.Findings[i].Kind]++
	}
	return report
}

// Groups are the findings on one thing each, in their order.
func Groups(findings []Finding) (groups [][]Finding) {
	for from, to := 0, 1; from < len(findings); from, to = to, to+1 {
		for to < len(findings) && findings[to].Subject == findings[from].Subject {
			to++
		}
		groups = append(groups, findings[from:to])
	}
	return groups
}

func compareSubjects(x, y *Subject) int {
	return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Environment, y.Environment),
		cmp.Compare(x.Operation, y.Operation), cmp.Compare(x.Caller, y.Caller), cmp.Compare(x.Callee, y.Callee), cmp.Compare(x.Phase, y.Phase))
}

// day is a date as people write it.
func day(t time.Time) string { return t.UTC().Format("2 Jan 2006") }

// findings is what is wrong with the ownership of one thing.
func (a *assessment) findings(u *unit) (list []Finding) {
	base := Finding{Subject: u.subject, Failed: u.failed, ExcessNs: u.excessNs, Share: a.share(u.failed, u.excessNs), Spans: u.spans}
	if u.lastNs > 0 {
		base.LastSeen = time.Unix(0, u.lastNs).UTC()
	}
	by := "no record and no span attribute names an owner"
	if u.answer.Record != nil {
		base.Source = u.answer.Record.Source.String()
		by = base.Source + " says so"
	}
	add := func(kind Kind, format string, args ...any) *Finding {
		f := base
		f.Kind, f.Text = kind, fmt.Sprintf(format, args...)
		list = append(list, f)
		return &list[len(list)-1]
	}
	switch {
	case u.owner() == "" && u.subject.Kind == OfEdge:
		f := add(EdgeNoOwner, "Nobody must act on what goes wrong between %s and %s: the facts do not decide and there is no record of this edge. Name an owner, or whose side is accountable, under edges.",
			u.subject.Caller, u.subject.Callee)
		f.Suggestion = a.suggest(u)
		return list
	case u.owner() == "":
		f := add(NoOwner, "Nobody owns it: %s. Name an owner in the registry's files.", by)
		f.Suggestion = a.suggest(u)
		return list
	}
	base.Owner = u.answer.Owner
	if u.gone != "" {
		f := add(OwnerGone, "Its owner is gone: %s. Hand it over to a team that is there.", u.gone)
		f.Suggestion = a.suggest(u)
		return list
	}
	if len(a.registry.Records()) == 0 {
		return nil // nothing is written down of anybody: that is no finding about this one
	}
	charter := a.registry.Charter(&u.question, u.answer)
	whose := "neither its record nor that of " + base.Owner + " says"
	if charter.OnCall == "" && len(charter.Escalation) == 0 {
		add(NoOnCall, "Nobody knows whom to call: %s who is on call. Add on-call to the record of %s.", whose, base.Owner)
	}
	if charter.Runbook == "" {
		add(NoRunbook, "There is no runbook: %s where it is. Write one, and add runbook to its record.", whose)
	}
	if charter.Dashboard == "" {
		add(NoDashboard, "There is no dashboard: %s where it is. Add dashboard to its record.", whose)
	}
	if charter.Reviewer == "" {
		add(NoReviewer, "Nobody reviews its risky changes: %s who does. Add reviewer to the record of %s.", whose, base.Owner)
	}
	const ask = "that is a caretaker, not an owner. Ask %s whether it still owns it, and set reviewed."
	switch age := int(a.now.Sub(charter.Reviewed).Hours() / 24); {
	case charter.Reviewed.IsZero() && a.reviews:
		add(NotReviewed, "It was never reviewed, as others were: "+ask, base.Owner)
	case !charter.Reviewed.IsZero() && age > a.reviewDays:
		add(NotReviewed, "It was last reviewed on %s, %d days ago: "+ask, day(charter.Reviewed), age, base.Owner)
	}
	return list
}

// gone says why the owner is none any more, or nothing. A name that only a span attribute gives is taken for a team, unless
// the registry knows that it has ended.
func (a *assessment) gone(answer *ownership.Answer) string {
	if len(a.teams) == 0 || a.registry.Team(answer.Owner, a.now.UnixNano()) != nil {
		return ""
	}
	switch known := a.teams[strings.ToLower(answer.Owner)]; {
	case known != nil && !known.Until.IsZero() && !known.Until.After(a.now):
		return fmt.Sprintf("the team %s has ended on %s (%s)", answer.Owner, day(known.Until), known.Source)
	case known != nil:
		return fmt.Sprintf("the team %s begins on %s (%s)", answer.Owner, day(known.From), known.Source)
	case answer.Rule == ownership.ByAttribute:
		return ""
	}
	return fmt.Sprintf("%s is none of the teams that the registry knows", answer.Owner)
}

// isThing says whether a record is about something that has a name of its own in traces.
func isThing(c *catalog.Record) bool {
	switch c.Kind {
	case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty:
		return true
	case catalog.Operation, catalog.Edge, catalog.Path, catalog.Team, catalog.Namespace, catalog.API, catalog.System:
	}
	return false
}
