package ownership

import (
	"cmp"
	"slices"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Attributes are the resource attributes that name an owner, the first that is set.
func (r *Registry) Attributes() []string { return r.cfg.Attributes }

// Charter is what is promised for what is asked about: by all records of it, of each field the first that fills it in the
// order of precedence, and else by the record of its team. A review counts if it is the latest.
func (r *Registry) Charter(q *Question, answer Answer) (c catalog.Charter) {
	var all []*catalog.Record
	if q.Callee == "" { // else it is about an edge
		r.services.find(q.Service, func(c *catalog.Record) bool {
			if inNamespace(c, q) && inEnvironment(c, q) && holds(c, q.AtNs) {
				all = append(all, c)
			}
			return false // all are wanted
		})
	}
	slices.SortStableFunc(all, narrower(r.cfg.Precedence))
	if answer.Record != nil {
		all = append([]*catalog.Record{answer.Record}, all...)
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
