package coverage_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/verdict"
)

var now = time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC)

func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// full is a charter without gaps.
var full = catalog.Charter{OnCall: "https://pager/1", Runbook: "https://wiki/run", Dashboard: "https://grafana/d", Reviewer: "ann", Reviewed: date(2026, 11, 1)}

func at(line int) catalog.Source {
	return catalog.Source{Format: "whosehop", File: "owners.yaml", Line: line}
}

func team(name string, charter catalog.Charter) catalog.Record {
	return catalog.Record{Kind: catalog.Team, Name: name, Charter: charter, Source: at(1)}
}

func service(name, owner string) catalog.Record {
	return catalog.Record{Kind: catalog.Service, Name: name, Owner: owner, Source: at(2)}
}

func ended(r catalog.Record, until time.Time) catalog.Record {
	r.Until = until
	return r
}

func seen(name string, spans uint64, attributes ...string) coverage.Service {
	s := coverage.Service{Name: name, Spans: spans, LastNs: now.UnixNano(), Attributes: make(map[string]string)}
	for i := 0; i < len(attributes); i += 2 {
		s.Attributes[attributes[i]] = attributes[i+1]
	}
	return s
}

func broke(service string, failed float64) coverage.Harm {
	return coverage.Harm{Site: verdict.Site{Kind: verdict.SiteService, Service: service}, Accountable: service, Failed: failed}
}

func edge(caller, callee string, phase verdict.Phase, accountable string, failed float64) coverage.Harm {
	return coverage.Harm{Site: verdict.Site{Kind: verdict.SiteEdge, Caller: caller, Callee: callee, Phase: phase}, Accountable: accountable, Failed: failed}
}

func assess(records []catalog.Record, t coverage.Traffic) *coverage.Report {
	r := ownership.Compile(records, ownership.Config{Precedence: []string{"whosehop", "backstage"}, Attributes: []string{"team"}})
	return coverage.Assess(r, &t, now, 180)
}

// brief is a finding in a line: kind, subject, owner.
func brief(list []coverage.Finding) (lines []string) {
	for _, f := range list {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.Subject, f.Owner)))
	}
	return lines
}

func TestFindings(t *testing.T) {
	except := func(change func(*catalog.Charter)) catalog.Charter {
		c := full
		change(&c)
		return c
	}
	owned := []catalog.Record{team("team-a", full), service("pay", "team-a")}
	for name, test := range map[string]struct {
		records []catalog.Record
		traffic coverage.Traffic
		want    []string
	}{
		"nothing is wrong":                  {owned, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil},
		"nothing was seen":                  {owned, coverage.Traffic{}, nil},
		"nobody, and no registry":           {nil, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-owner pay"}},
		"a span attribute is an owner":      {nil, coverage.Traffic{Services: []coverage.Service{seen("pay", 5, "team", "team-a")}}, nil},
		"an attribute of no known team":     {[]catalog.Record{team("team-b", full)}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5, "team", "team-a")}}, []string{"no-on-call pay team-a", "no-runbook pay team-a", "no-dashboard pay team-a", "no-reviewer pay team-a", "not-reviewed pay team-a"}},
		"written down as nobody's":          {[]catalog.Record{service("pay", "unowned")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-owner pay"}},
		"a team that nobody knows":          {[]catalog.Record{team("team-b", full), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"owner-gone pay team-a"}},
		"a team, and none are known at all": {[]catalog.Record{service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-on-call pay team-a", "no-runbook pay team-a", "no-dashboard pay team-a", "no-reviewer pay team-a"}},
		"a team that has ended":             {[]catalog.Record{ended(team("team-a", full), date(2026, 11, 3)), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"owner-gone pay team-a"}},
		"the attribute of a team that has ended": {
			[]catalog.Record{ended(team("team-a", full), date(2026, 11, 3))}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5, "team", "team-a")}}, []string{"owner-gone pay team-a"},
		},
		"a team that will end": {[]catalog.Record{ended(team("team-a", full), date(2026, 11, 30)), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil},
		"an owner that has ended": {
			[]catalog.Record{team("team-a", full), ended(service("pay", "team-a"), date(2026, 11, 3))}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-owner pay"},
		},
		"no on-call":            {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.OnCall = "" })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-on-call pay team-a"}},
		"an escalation will do": {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.OnCall, c.Escalation = "", []string{"ann"} })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil},
		"no runbook":            {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Runbook = "" })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-runbook pay team-a"}},
		"no dashboard":          {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Dashboard = "" })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-dashboard pay team-a"}},
		"no reviewer":           {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Reviewer = "" })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"no-reviewer pay team-a"}},
		"reviewed long ago":     {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Reviewed = date(2026, 5, 1) })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"not-reviewed pay team-a"}},
		"reviewed just in time": {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Reviewed = date(2026, 5, 25) })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil},
		"nobody reviews at all": {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Reviewed = time.Time{} })), service("pay", "team-a")}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil},
		"others were reviewed":  {[]catalog.Record{team("team-a", except(func(c *catalog.Charter) { c.Reviewed = time.Time{} })), service("pay", "team-a"), team("team-b", full)}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, []string{"not-reviewed pay team-a"}},
		"records of two formats": {
			[]catalog.Record{
				{Kind: catalog.Service, Name: "pay", Owner: "team-a", Source: catalog.Source{Format: "backstage", File: "catalog-info.yaml", Line: 9}, Charter: catalog.Charter{Runbook: "https://wiki", Dashboard: "https://grafana", OnCall: "x"}},
				{Kind: catalog.Service, Name: "pay", Source: catalog.Source{Format: "kubernetes", File: "deploy.yaml", Line: 3}, Charter: catalog.Charter{Reviewer: "bob"}},
			}, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, nil,
		},
		"of a namesake elsewhere": {
			[]catalog.Record{team("team-a", full), {Kind: catalog.Service, Name: "api", Namespace: "shop", Owner: "team-a", Source: at(3)}},
			coverage.Traffic{Services: []coverage.Service{seen("api", 5, "service.namespace", "shop"), seen("api", 7, "service.namespace", "billing")}},
			[]string{"no-owner api (billing)"},
		},
		"in one environment alone": {
			[]catalog.Record{team("team-a", full), {Kind: catalog.Service, Name: "api", Environment: "prod", Owner: "team-a", Source: at(3)}},
			coverage.Traffic{Services: []coverage.Service{seen("api", 5, "deployment.environment.name", "prod"), seen("api", 7, "deployment.environment", "test")}},
			[]string{"no-owner api (test)"},
		},
		"in several environments alike": {nil, coverage.Traffic{Services: []coverage.Service{seen("api", 5, "deployment.environment.name", "prod"), seen("api", 7, "deployment.environment", "test")}}, []string{"no-owner api"}},
		"what sends no spans": {
			append(owned, catalog.Record{Kind: catalog.Datastore, Name: "redis cart", Owner: "team-a"}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Calls: []coverage.Call{{"pay", "bank:443", 4}, {"pay", "redis cart", 9}, {"web", "pay", 3}}},
			[]string{"no-owner bank:443"},
		},
		"verdicts name its port, calls do not": {
			owned,
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Calls: []coverage.Call{{"pay", "bank", 4}}, Harm: []coverage.Harm{{Site: verdict.Site{Kind: verdict.SitePeer, Peer: "bank:8080"}, Failed: 1}}},
			[]string{"no-owner bank:8080"},
		},
		"a record names its port, calls do not": {
			append(owned, catalog.Record{Kind: catalog.ThirdParty, Name: "bank:8080", Owner: "team-a"}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Calls: []coverage.Call{{"pay", "bank", 4}}},
			nil,
		},
		"an edge with nobody": {
			owned, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2)}}, []string{"edge-no-owner pay->ledger (response)"},
		},
		"an edge is its caller's": {
			owned, coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhasePool, "pay", 2)}}, nil,
		},
		"an edge is its caller's by a record": {
			append(owned, catalog.Record{Kind: catalog.Edge, Caller: "*", Callee: "ledger", Accountable: "caller"}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2)}},
			nil,
		},
		"an edge has an owner": {
			append(owned, catalog.Record{Kind: catalog.Edge, Caller: "pay", Callee: "ledger", Owner: "team-a"}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2)}},
			nil,
		},
		"an edge has an owner where its caller runs": {
			append(owned, catalog.Record{Kind: catalog.Edge, Caller: "pay", Callee: "ledger", Namespace: "shop", Environment: "prod", Phase: "network", Owner: "team-a"}),
			coverage.Traffic{
				Services: []coverage.Service{seen("pay", 5, "service.namespace", "shop", "deployment.environment", "prod")},
				Harm:     []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2)},
			},
			nil,
		},
		"an edge has an owner in one of two namespaces": {
			append(owned, catalog.Record{Kind: catalog.Edge, Caller: "pay", Callee: "ledger", Namespace: "shop", Owner: "team-a"}),
			coverage.Traffic{
				Services: []coverage.Service{
					seen("pay", 5, "k8s.namespace.name", "shop", "deployment.environment", "prod"), seen("pay", 5, "k8s.namespace.name", "lab", "deployment.environment", "prod"),
					seen("pay", 5, "k8s.namespace.name", "lab", "deployment.environment", "test"),
				},
				Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2), edge("pay", "ledger", verdict.PhaseResponse, "", 1)},
			},
			[]string{"edge-no-owner pay->ledger (response) (lab)"},
		},
		"the owner of an edge is gone": {
			append(owned, catalog.Record{Kind: catalog.Edge, Caller: "pay", Callee: "ledger", Owner: "platform"}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{edge("pay", "ledger", verdict.PhaseResponse, "", 2)}},
			[]string{"owner-gone pay->ledger (response) platform"},
		},
		"an operation has an owner that is gone": {
			append(owned, catalog.Record{Kind: catalog.Operation, Name: "pay", Operation: "POST /refund*", Owner: "refunds", Source: at(7)}),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}, Harm: []coverage.Harm{
				{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay", Operation: "POST /refunds"}, Failed: 1},
				{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay", Operation: "POST /charges"}, Failed: 8},
			}},
			[]string{"owner-gone pay POST /refund* refunds"},
		},
		"users and the unknown have none": {
			owned, coverage.Traffic{Harm: []coverage.Harm{{Site: verdict.Site{Kind: verdict.SiteUser}, Failed: 5}, {Site: verdict.Site{Kind: verdict.SiteUnknown}, Failed: 5}}}, nil,
		},
		"by harm, then by spans": {
			nil, coverage.Traffic{
				Services: []coverage.Service{seen("much", 900), seen("slow", 1), seen("broken", 2), seen("a little", 800), seen("much too", 900)},
				Harm:     []coverage.Harm{broke("broken", 10), {Site: verdict.Site{Kind: verdict.SiteService, Service: "slow"}, ExcessNs: 5e9}, {Site: verdict.Site{Kind: verdict.SiteService, Service: "broken"}, ExcessNs: 1e9}},
			}, []string{"no-owner broken", "no-owner slow", "no-owner much", "no-owner much too", "no-owner a little"},
		},
		"its spans are gone": {nil, coverage.Traffic{Harm: []coverage.Harm{broke("pay", 3)}}, []string{"no-owner pay"}},
	} {
		t.Run(name, func(t *testing.T) {
			report := assess(test.records, test.traffic)
			if got := brief(report.Findings); !slices.Equal(got, test.want) {
				t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
			}
			for _, f := range report.Findings {
				if f.Text == "" || report.Totals.Findings[f.Kind] == 0 {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestHarmIsSplit: a verdict does not say which of two namesakes it was.
func TestHarmIsSplit(t *testing.T) {
	report := assess(nil, coverage.Traffic{
		Services: []coverage.Service{seen("api", 30, "k8s.namespace.name", "shop"), seen("api", 10, "k8s.namespace.name", "billing")},
		Harm:     []coverage.Harm{broke("api", 8), {Site: verdict.Site{Kind: verdict.SiteUser}, Failed: 8}},
	})
	edges := assess([]catalog.Record{{Kind: catalog.Edge, Caller: "api", Callee: "ledger", Namespace: "shop", Owner: "unowned"}}, coverage.Traffic{
		Services: []coverage.Service{seen("api", 30, "k8s.namespace.name", "shop"), seen("api", 10, "k8s.namespace.name", "billing")},
		Harm:     []coverage.Harm{edge("api", "ledger", verdict.PhaseResponse, "", 8)},
	})
	if len(edges.Findings) < 2 || edges.Findings[0].Failed != 6 || edges.Findings[0].Subject.Namespace != "shop" || edges.Findings[1].Failed != 2 {
		t.Errorf("%+v", edges.Findings)
	}
	if len(report.Findings) != 2 || report.Findings[0].Failed != 6 || report.Findings[0].Subject.Namespace != "shop" || report.Findings[1].Failed != 2 || report.Findings[1].Share != 0.125 {
		t.Errorf("%+v", report.Findings)
	}
}

func TestTotals(t *testing.T) {
	report := assess([]catalog.Record{team("team-a", full), service("pay", "team-a"), service("old", "team-gone")}, coverage.Traffic{
		Services: []coverage.Service{seen("pay", 70), seen("old", 20), seen("new", 10)},
		Calls:    []coverage.Call{{"pay", "bank:443", 4}},
		Harm: []coverage.Harm{
			broke("pay", 4), broke("old", 3),
			{Site: verdict.Site{Kind: verdict.SitePeer, Peer: "bank:443"}, Accountable: "bank:443", Failed: 1, ExcessNs: 30},
			{Site: verdict.Site{Kind: verdict.SiteUser}, Failed: 2},
			{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay"}, ExcessNs: 10},
		},
	})
	got := report.Totals
	if got.Services != 3 || got.OwnedServices != 1 || got.Spans != 100 || got.OwnedSpans != 70 || got.Failed != 10 || got.OwnedFailed != 4 || got.NobodyFailed != 2 || got.ExcessNs != 40 || got.OwnedExcessNs != 10 || got.NobodyExcessNs != 0 {
		t.Errorf("%+v", got)
	}
	// 4 of 10 requests and 10 of 40 ns are a share of 0.325, of the 0.9 that have somebody or could.
	if math.Abs(got.OwnedHarm-0.325/0.9) > 1e-12 || got.Findings[coverage.NoOwner] != 2 || got.Findings[coverage.OwnerGone] != 1 || got.Findings[coverage.NoRunbook] != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSuggestions(t *testing.T) {
	calls := func(callee string, callers ...string) (list []coverage.Call) {
		for _, c := range callers {
			list = append(list, coverage.Call{Caller: c, Callee: callee})
		}
		return list
	}
	teams := []catalog.Record{team("team-a", full), team("team-b", full)}
	with := func(more ...catalog.Record) []catalog.Record { return append(slices.Clone(teams), more...) }
	four := with(service("w1", "team-a"), service("w2", "team-a"), service("w3", "team-a"), service("w4", "team-b"))
	all := []coverage.Service{seen("w1", 1), seen("w2", 1), seen("w3", 1), seen("w4", 1)}
	for name, test := range map[string]struct {
		records []catalog.Record
		traffic coverage.Traffic
		of      string // the subject
		want    string // owner, confidence: why; why
	}{
		"nothing points anywhere":      {four, coverage.Traffic{Services: append(all, seen("pay", 5))}, "pay", ""},
		"most callers":                 {four, coverage.Traffic{Services: append(all, seen("pay", 5)), Calls: calls("pay", "w1", "w2", "w3", "w4", "w1")}, "pay", "team-a, possible: 3 of its 4 callers are team-a's"},
		"callers disagree evenly":      {four, coverage.Traffic{Services: append(all, seen("pay", 5)), Calls: calls("pay", "w1", "w4")}, "pay", ""},
		"callers without owners count": {four, coverage.Traffic{Services: append(all, seen("pay", 5), seen("x", 1)), Calls: calls("pay", "w1", "x")}, "pay", ""},
		"itself is no caller":          {four, coverage.Traffic{Services: append(all, seen("pay", 5)), Calls: calls("pay", "w1", "pay")}, "pay", "team-a, possible: its only caller, w1, is team-a's"},
		"who owned it before": {
			with(ended(service("pay", "team-b"), date(2026, 5, 3)), ended(service("pay", "team-a"), date(2026, 11, 3))),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}},
			"pay", "team-a, possible: it was team-a's until 3 Nov 2026",
		},
		"who owned it before is gone": {with(ended(service("pay", "team-x"), date(2026, 11, 3))), coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}}, "pay", ""},
		"who owned a namesake before": {
			with(ended(catalog.Record{Kind: catalog.Service, Name: "pay", Namespace: "old", Owner: "team-a"}, date(2026, 11, 3))),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5, "k8s.namespace.name", "new")}},
			"pay (new)", "",
		},
		"two hints": {
			append(slices.Clone(four), ended(service("pay", "team-a"), date(2026, 11, 3))),
			coverage.Traffic{Services: append(all, seen("pay", 5)), Calls: calls("pay", "w1", "w2", "w3", "w4")},
			"pay", "team-a, likely: it was team-a's until 3 Nov 2026; 3 of its 4 callers are team-a's",
		},
		"two hints, and one elsewhere": {
			append(slices.Clone(four), ended(service("pay", "team-b"), date(2026, 11, 3))),
			coverage.Traffic{Services: append(all, seen("pay", 5)), Calls: calls("pay", "w1", "w2", "w3", "w4")},
			"pay", "team-b, possible: it was team-b's until 3 Nov 2026",
		},
		"the same repository": {
			with(service("api", "team-b")), coverage.Traffic{Services: []coverage.Service{
				seen("api", 1, "vcs.repository.url.full", "git@github.com:Acme/shop.git"), seen("pay", 5, "vcs.repository.url.full", "https://me:secret@github.com/acme/shop/?token=secret"),
			}}, "pay", "team-b, possible: the only other service of the repository github.com/acme/shop is team-b's",
		},
		"the same namespace": {
			with(service("w1", "team-a"), service("w2", "team-a"), service("w3", "team-b")), coverage.Traffic{Services: []coverage.Service{
				seen("w1", 1, "k8s.namespace.name", "shop"), seen("w2", 1, "k8s.namespace.name", "shop"), seen("w3", 1, "k8s.namespace.name", "shop"), seen("pay", 5, "k8s.namespace.name", "shop"),
			}}, "pay (shop)", "team-a, possible: 2 of the 3 other services in the namespace shop are team-a's",
		},
		"namespace against callers": {
			with(service("w1", "team-a"), service("w2", "team-b")), coverage.Traffic{
				Services: []coverage.Service{seen("w1", 1, "k8s.namespace.name", "shop"), seen("w2", 1), seen("pay", 5, "k8s.namespace.name", "shop")}, Calls: calls("pay", "w2"),
			}, "pay (shop)", "",
		},
		"names alike": {
			with(service("cart-api", "team-b")),
			coverage.Traffic{Services: []coverage.Service{seen("cart-api", 1), seen("cart-worker", 5)}},
			"cart-worker",
			"team-b, a guess: the only other service with names that begin with cart is team-b's",
		},
		"a team that is called like it":     {with(team("team-payments", full)), coverage.Traffic{Services: []coverage.Service{seen("payments-service", 5)}}, "payments-service", "team-payments, possible: team-payments is called like it"},
		"two teams that are called like it": {with(team("team-payments", full), team("payments", full)), coverage.Traffic{Services: []coverage.Service{seen("payments-service", 5)}}, "payments-service", ""},
		"a team called like its namespace": {
			with(team("shop-team", full)), coverage.Traffic{Services: []coverage.Service{seen("pay", 5, "k8s.namespace.name", "shop")}}, "pay (shop)", "shop-team, possible: shop-team is called like its namespace",
		},
		"what sends no spans": {four, coverage.Traffic{Services: all, Calls: calls("redis pay", "w4")}, "redis pay", "team-b, possible: its only caller, w4, is team-b's"},
		"a team that only attributes name, among others that are known": {
			teams, coverage.Traffic{Services: []coverage.Service{seen("w1", 1, "team", "team-x"), seen("pay", 5)}, Calls: calls("pay", "w1")}, "pay", "",
		},
		"a team that only attributes name, where none are known": {
			nil, coverage.Traffic{Services: []coverage.Service{seen("w1", 1, "team", "team-x"), seen("pay", 5)}, Calls: calls("pay", "w1")}, "pay", "team-x, possible: its only caller, w1, is team-x's",
		},
		"the team above one that has ended": {
			with(ended(catalog.Record{Kind: catalog.Team, Name: "team-x", Charter: catalog.Charter{Parent: "team-b"}}, date(2026, 11, 3)), service("pay", "team-x")),
			coverage.Traffic{Services: []coverage.Service{seen("pay", 5)}},
			"pay", "team-b, possible: team-x was a part of team-b",
		},
		"both sides of an edge": {
			four, coverage.Traffic{Services: all, Harm: []coverage.Harm{edge("w1", "w2", verdict.PhaseResponse, "", 1)}}, "w1->w2 (response)", "team-a, possible: both w1 and w2 are team-a's",
		},
		"a side of an edge": {
			four, coverage.Traffic{Services: all, Harm: []coverage.Harm{edge("w1", "w4", verdict.PhaseQueue, "", 1)}}, "w1->w4 (queue)", "team-b, possible: what waits in a queue waits for its consumer, and w4 is team-b's",
		},
		"no side of an edge": {four, coverage.Traffic{Services: all, Harm: []coverage.Harm{edge("w1", "w4", verdict.PhaseResponse, "", 1)}}, "w1->w4 (response)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			report := assess(test.records, test.traffic)
			i := slices.IndexFunc(report.Findings, func(f coverage.Finding) bool { return f.Subject.String() == test.of })
			if i < 0 {
				t.Fatalf("%s is not among %q", test.of, brief(report.Findings))
			}
			got := ""
			if s := report.Findings[i].Suggestion; s != nil {
				got = s.Owner + ", " + s.Confidence + ": " + strings.Join(s.Why, "; ")
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestOrderAndSums: in whatever order things come, the report is the same, each finding has its place, no harm is lost or
// counted twice, and who takes a suggestion is rid of its finding.
func TestOrderAndSums(t *testing.T) {
	for seed := range uint64(300) {
		d := rand.New(rand.NewPCG(seed, 6))
		records, traffic := draw(d)
		report := assess(records, traffic)
		want, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			d.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			d.Shuffle(len(traffic.Services), func(i, j int) {
				traffic.Services[i], traffic.Services[j] = traffic.Services[j], traffic.Services[i]
			})
			d.Shuffle(len(traffic.Calls), func(i, j int) { traffic.Calls[i], traffic.Calls[j] = traffic.Calls[j], traffic.Calls[i] })
			d.Shuffle(len(traffic.Harm), func(i, j int) { traffic.Harm[i], traffic.Harm[j] = traffic.Harm[j], traffic.Harm[i] })
			got, err := json.Marshal(assess(records, traffic))
			if err != nil || string(got) != string(want) {
				t.Fatalf("seed %d, in another order:\n%s\n%s", seed, got, want)
			}
		}
		sums(t, seed, &traffic, report)
		for _, f := range report.Findings {
			if f.Suggestion == nil {
				continue
			}
			after := assess(append(slices.Clone(records), f.Suggestion.Record), traffic)
			if slices.ContainsFunc(after.Findings, func(g coverage.Finding) bool { return g.Kind == f.Kind && g.Subject == f.Subject && g.Owner == f.Owner }) {
				t.Errorf("seed %d: %s is still %s with %+v", seed, f.Subject, f.Kind, f.Suggestion.Record)
			}
		}
	}
}

// sums holds a report against what it is made of. Each subject without a real owner has one finding that says so.
func sums(t *testing.T, seed uint64, traffic *coverage.Traffic, report *coverage.Report) {
	t.Helper()
	failed, excessNs := 0.0, int64(0)
	for _, h := range traffic.Harm {
		failed, excessNs = failed+h.Failed, excessNs+h.ExcessNs
	}
	total := report.Totals
	unownedFailed, unownedNs, last := 0.0, int64(0), 2.0
	for _, f := range report.Findings {
		if f.Share > last {
			t.Errorf("seed %d: %s comes after one with less harm", seed, f.Subject)
		}
		last = f.Share
		if f.Kind == coverage.NoOwner || f.Kind == coverage.EdgeNoOwner || f.Kind == coverage.OwnerGone {
			unownedFailed, unownedNs = unownedFailed+f.Failed, unownedNs+f.ExcessNs
		}
	}
	if math.Abs(total.Failed-failed) > 1e-9 || total.ExcessNs != excessNs || math.Abs(total.OwnedFailed+total.NobodyFailed+unownedFailed-failed) > 1e-9 || total.OwnedExcessNs+total.NobodyExcessNs+unownedNs != excessNs {
		t.Errorf("seed %d: %v failed and %d ns, of which %+v and %v, %d without an owner", seed, failed, excessNs, total, unownedFailed, unownedNs)
	}
}

func draw(d *rand.Rand) (records []catalog.Record, traffic coverage.Traffic) {
	pick := func(of ...string) string { return of[d.IntN(len(of))] }
	name := func() string { return pick("pay", "pay-api", "cart", "cart-db", "web", "redis cart", "bank:443") }
	owner := func() string { return pick("team-a", "team-b", "team-cart", "team-x", "unowned") }
	until := func() time.Time {
		if d.IntN(4) > 0 {
			return time.Time{}
		}
		return date(2026, time.Month(1+d.IntN(12)), 1)
	}
	for i := range d.IntN(12) {
		r := catalog.Record{Kind: catalog.Service, Name: name(), Owner: owner(), Until: until(), Source: at(i + 1)}
		switch d.IntN(6) {
		case 0:
			r = catalog.Record{Kind: catalog.Team, Name: pick("team-a", "team-b", "team-cart"), Until: until(), Source: at(i + 1), Charter: catalog.Charter{Reviewed: until(), Runbook: pick("", "x"), Parent: pick("", "team-b")}}
		case 1:
			r = catalog.Record{Kind: catalog.Edge, Caller: pick("*", "pay"), Callee: name(), Owner: owner(), Source: at(i + 1)}
		case 2:
			r = catalog.Record{Kind: catalog.Operation, Name: name(), Operation: "GET *", Owner: owner(), Source: at(i + 1)}
		case 3:
			r.Namespace, r.Environment = pick("", "shop"), pick("", "prod")
		}
		records = append(records, r)
	}
	for range d.IntN(12) {
		s := seen(name(), uint64(d.IntN(3)))
		for _, key := range []string{"team", "service.namespace", "k8s.namespace.name", "deployment.environment", "vcs.repository.name"} {
			if d.IntN(3) == 0 {
				s.Attributes[key] = pick("shop", "prod", "team-a", "x")
			}
		}
		traffic.Services = append(traffic.Services, s)
	}
	for range d.IntN(12) {
		traffic.Calls = append(traffic.Calls, coverage.Call{Caller: name(), Callee: name(), Calls: uint64(d.IntN(9))})
	}
	for range d.IntN(20) {
		h := coverage.Harm{Failed: float64(d.IntN(100)) / 7, ExcessNs: d.Int64N(1e9)}
		switch d.IntN(5) {
		case 0:
			h.Site = verdict.Site{Kind: verdict.SiteEdge, Caller: name(), Callee: name(), Phase: verdict.Phase(pick("pool", "response"))}
			h.Accountable = pick("", h.Site.Caller, h.Site.Callee)
		case 1:
			h.Site = verdict.Site{Kind: verdict.SitePeer, Peer: name()}
			h.Accountable = h.Site.Peer
		case 2:
			h.Site.Kind = verdict.SiteKind(pick("user", "unknown"))
		default:
			h.Site = verdict.Site{Kind: verdict.SiteService, Service: name(), Operation: pick("GET /", "POST /")}
			h.Accountable = h.Site.Service
		}
		traffic.Harm = append(traffic.Harm, h)
	}
	return records, traffic
}
