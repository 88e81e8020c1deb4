package ownership

import (
	"cmp"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Attributes are the resource attributes that name an owner, the first that is set.
func (r *Registry) Attributes() []string { return r.cfg.Attributes }

// Charter is what is promised for what is asked about: by all records of it, of each field the first that fills it in the
// order of precedence, and else by the record of its team. How an owner is reached is not taken from a record that names
// another; tier and the like are not its team's. A review counts if it is the latest.
func (r *Registry) Charter(q *Question, answer Answer) (c catalog.Charter) {
	var all []*catalog.Record
	if answer.Record != nil {
		all = append(all, answer.Record)
	}
	if q.Callee == "" { // else it is about an edge
		all = append(all, r.described(&asked{Question: q, atNs: orNow(q.AtNs), thing: r.said(q.Service)})...)
	}
	team := r.Team(answer.Owner, q.AtNs)
	if team != nil {
		all = append(all, team)
	}
	for _, from := range all {
		c.Runbook = cmp.Or(c.Runbook, from.Runbook)
		c.Dashboard = cmp.Or(c.Dashboard, from.Dashboard)
		c.Repository = cmp.Or(c.Repository, from.Repository)
		if from.Owner == "" || r.team(from.Owner, orNow(q.AtNs)) == answer.Owner {
			c.OnCall = cmp.Or(c.OnCall, from.OnCall)
			c.Chat, c.Email = cmp.Or(c.Chat, from.Chat), cmp.Or(c.Email, from.Email)
			c.Reviewer = cmp.Or(c.Reviewer, from.Reviewer)
			if len(c.Escalation) == 0 {
				c.Escalation = from.Escalation
			}
		}
		if from != team {
			c.Tier, c.Lifecycle = cmp.Or(c.Tier, from.Tier), cmp.Or(c.Lifecycle, from.Lifecycle)
			c.SLO, c.Contract, c.Parent = cmp.Or(c.SLO, from.SLO), cmp.Or(c.Contract, from.Contract), cmp.Or(c.Parent, from.Parent)
			if len(c.DependsOn) == 0 {
				c.DependsOn = from.DependsOn
			}
		}
		if from.Reviewed.After(c.Reviewed) {
			c.Reviewed = from.Reviewed
		}
	}
	return c
}

// addDescriptions notes all records of services by their names, those without an owner too: they may say where its code is,
// or its runbook.
func (r *Registry) addDescriptions() {
	for i := range r.records {
		c := &r.records[i]
		if !isService(c.Kind) {
			continue
		}
		for _, name := range append([]string{c.Name}, c.Aliases...) {
			if !isPattern(name) && len(name) <= nameBytesMax {
				s := r.of(name)
				s.descriptions = append(s.descriptions, c)
			}
		}
	}
	for _, s := range r.things {
		slices.SortFunc(s.descriptions, func(a, b *catalog.Record) int {
			return cmp.Or(
				cmp.Compare(r.rankOf(a), r.rankOf(b)), b.From.Compare(a.From), strings.Compare(a.Source.File, b.Source.File),
				cmp.Compare(a.Source.Line, b.Source.Line), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Environment, b.Environment),
			)
		})
	}
}

// described are the records of the service that is asked about, in the order of precedence.
func (r *Registry) described(a *asked) (list []*catalog.Record) {
	for _, c := range a.thing.descriptions {
		if c.HoldsAt(a.atNs) && (c.Namespace == "" || a.inNamespace(plain(c.Namespace))) && (c.Environment == "" || fits(plain(c.Environment), a.Environment)) {
			list = append(list, c)
		}
	}
	return list
}
