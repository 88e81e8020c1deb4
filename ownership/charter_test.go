package ownership_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// TestCharter: what several sources say of one thing is one charter, field by field.
func TestCharter(t *testing.T) {
	reviewed := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC) }
	registry := ownership.Compile([]catalog.Record{
		{Kind: catalog.Service, Name: "pay", Source: catalog.Source{Format: "kubernetes"}, Charter: catalog.Charter{Runbook: "of kubernetes", Dashboard: "of kubernetes", Reviewed: reviewed(9)}},
		{Kind: catalog.Service, Name: "pay", Owner: "team-a", Source: catalog.Source{Format: "backstage"}, Charter: catalog.Charter{Runbook: "of backstage", Reviewed: reviewed(3)}},
		{Kind: catalog.Service, Name: "pay", Namespace: "elsewhere", Charter: catalog.Charter{OnCall: "elsewhere", Repository: "elsewhere"}},
		{Kind: catalog.Service, Name: "pay", Until: reviewed(1), Charter: catalog.Charter{OnCall: "before", Repository: "before"}},
		{Kind: catalog.Team, Name: "team-a", Aliases: []string{"a"}, Charter: catalog.Charter{Runbook: "of the team", OnCall: "of the team", Reviewer: "ann", Escalation: []string{"ann", "bob"}}},
		{Kind: catalog.Edge, Caller: "pay", Callee: "bank", Owner: "team-b", Charter: catalog.Charter{OnCall: "of the edge"}},
	}, ownership.Config{Precedence: []string{"backstage", "kubernetes"}})
	for name, test := range map[string]struct {
		question ownership.Question
		want     catalog.Charter
	}{
		"a service": {
			ownership.Question{Service: "pay", AtNs: reviewed(20).UnixNano()},
			catalog.Charter{Runbook: "of backstage", Dashboard: "of kubernetes", OnCall: "of the team", Reviewer: "ann", Escalation: []string{"ann", "bob"}, Reviewed: reviewed(9)},
		},
		"an edge":        {ownership.Question{Service: "pay", Callee: "bank", AtNs: reviewed(20).UnixNano()}, catalog.Charter{OnCall: "of the edge"}},
		"something else": {ownership.Question{Service: "web", AtNs: reviewed(20).UnixNano()}, catalog.Charter{}},
	} {
		if got := registry.Charter(&test.question, registry.Resolve(&test.question)); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
