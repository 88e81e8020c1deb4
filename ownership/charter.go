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
// order of precedence, and else by the record of its team. A review counts if it is the latest.
func (r *Registry) Charter(q *Question, answer Answer) (c catalog.Charter) {
	var all []*catalog.Record
	if answer.Record != nil {
		all = append(all, answer.Record)
	}
	if q.Callee == "" { // else it is about an edge
		all = append(all, r.described(&asked{Question: q, atNs: orNow(q.AtNs), thing: r.said(q.Service)})...)
	}
	if team := r.Team(answer.Owner, q.AtNs); team != nil {
		all = append(all, team)
	}
	for _, from := range all {
		c.OnCall = cmp.Or(c.OnCall, from.OnCall)
		c.Runbook = cmp.Or(c.Runbook, from.Runbook)
		c.Dashboard = cmp.Or(c.Dashboard, from.Dashboard)
		c.Reviewer = cmp.Or(c.Reviewer, from.Reviewer)
		c.Repository = cmp.Or(c.Repository, from.Repository)
		if len(c.Escalation) == 0 {
			c.Escalation = from.Escalation
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
