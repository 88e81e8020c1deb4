package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func day(month time.Month, day int) time.Time {
	return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC)
}

// numbered gives records that stand nowhere a line each of one file.
func numbered(records []catalog.Record) []catalog.Record {
	records = slices.Clone(records)
	for i := range records {
		if records[i].Source.Format == "" {
			records[i].Source.Format = "whosehop"
		}
		if records[i].Source.File == "" {
			records[i].Source.File, records[i].Source.Line = "owners.yaml", i+1
		}
	}
	return records
}

func check(t *testing.T, records []catalog.Record, policy string) (found []string) {
	t.Helper()
	p, err := ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Check(numbered(records), nil, ownership.Config{Precedence: []string{"whosehop", "backstage"}}, p, now) {
		found = append(found, f.String())
	}
	return found
}

func service(name, owner string) catalog.Record {
	return catalog.Record{Kind: catalog.Service, Name: name, Owner: owner}
}

func code(format, pattern string) catalog.Record {
	return catalog.Record{Kind: catalog.Path, Pattern: pattern, Owner: "owner of " + pattern, Source: catalog.Source{Format: format}}
}

func team(name string) catalog.Record { return catalog.Record{Kind: catalog.Team, Name: name} }

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		what    string
		records []catalog.Record
		policy  string
		want    []string
	}{
		{"all is well", []catalog.Record{
			{Kind: catalog.Team, Name: "pay", Aliases: []string{"payments"}, Charter: catalog.Charter{Email: "pay@example.com", Members: []string{"ann"}}},
			{Kind: catalog.Service, Name: "a", Owner: "PAYMENTS", Owners: []string{"Ann", "pay@example.com"}, Charter: catalog.Charter{DependsOn: []string{"B-1", "db"}}},
			service("b-*", ownership.Unowned),
			{Kind: catalog.Datastore, Name: "orders", Aliases: []string{"db"}, Owner: "pay"},
		}, "", nil},

		{"an owner that is no team", []catalog.Record{team("pay"), {Kind: catalog.Service, Name: "a", Owner: "pya", Owners: []string{"bob"}}}, "", []string{
			"owners.yaml:2: error: service a is owned by bob, which is no known team or member of one [dangling-owner]",
			"owners.yaml:2: error: service a is owned by pya, which is no known team or member of one [dangling-owner]",
		}},
		{"no team is known", []catalog.Record{service("a", "pya")}, "", nil},
		{"and must be", []catalog.Record{service("a", "pya")}, "owners-must-exist: true", []string{"owners.yaml:1: error: service a is owned by pya, which is no known team or member of one [dangling-owner]"}},
		{"and need not be", []catalog.Record{team("pay"), service("a", "pya")}, "owners-must-exist: false", nil},
		{"an owner of the past", []catalog.Record{team("pay"), {Kind: catalog.Service, Name: "a", Owner: "pya", Until: day(11, 1)}}, "", nil},
		{
			"an owner of an edge",
			[]catalog.Record{team("pay"), {Kind: catalog.Edge, Caller: "a", Callee: "b", Phase: "pool", Owner: "net"}},
			"",
			[]string{"owners.yaml:2: error: edge a->b:pool is owned by net, which is no known team or member of one [dangling-owner]"},
		},

		{
			"a team that is no more",
			[]catalog.Record{{Kind: catalog.Team, Name: "pay", Until: day(6, 1)}, service("a", "pay")},
			"",
			[]string{"owners.yaml:2: error: service a is owned by pay, which ended on 2026-06-01 [ended-team]"},
		},
		{"a team that has a successor", []catalog.Record{{Kind: catalog.Team, Name: "pay", Until: day(6, 1)}, {Kind: catalog.Team, Name: "money", Aliases: []string{"pay"}, From: day(6, 1)}, service("a", "pay")}, "", nil},

		{"a dependency", []catalog.Record{{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{DependsOn: []string{"gone", "gone-too"}}}, service("*", "x")}, "", []string{
			"owners.yaml:1: error: service a depends on gone, of which there is no record [dangling-dependency]",
			"owners.yaml:1: error: service a depends on gone-too, of which there is no record [dangling-dependency]",
		}},
		{"a parent", []catalog.Record{
			{Kind: catalog.Team, Name: "pay", Charter: catalog.Charter{Parent: "fin"}},
			{Kind: catalog.System, Name: "shop"},
			{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{Parent: "shpo"}},
			{Kind: catalog.Service, Name: "b", Charter: catalog.Charter{Parent: "Shop"}},
		}, "", []string{
			"owners.yaml:1: error: team pay is below fin, of which there is no record [dangling-parent]",
			"owners.yaml:3: error: service a is part of shpo, of which there is no record [dangling-parent]",
		}},
		{"where its format knows no system", []catalog.Record{{Kind: catalog.System, Name: "shop", Source: catalog.Source{Format: "backstage"}}, {Kind: catalog.Service, Name: "a", Charter: catalog.Charter{Parent: "shpo"}}}, "", nil},
		{"a member, where people are known", []catalog.Record{
			{Kind: catalog.Team, Name: "pay", Charter: catalog.Charter{Members: []string{"ann", "bob"}}, Source: catalog.Source{Format: "backstage"}},
			{Kind: catalog.Team, Name: "ann", Links: []catalog.Link{{Name: "kind", Target: "User"}}, Source: catalog.Source{Format: "backstage"}},
			{Kind: catalog.Team, Name: "ship", Charter: catalog.Charter{Members: []string{"zoe"}}},
		}, "", []string{"owners.yaml:1: warning: team pay has the member bob, of whom there is no record [dangling-member]"}},

		{
			"two owners",
			[]catalog.Record{service("a", "x"), {Kind: catalog.Service, Name: "a", Owner: "y", Source: catalog.Source{Format: "backstage", File: "catalog-info.yaml", Line: 9}}},
			"",
			[]string{"catalog-info.yaml:9: error: service a is y's here and x's by owners.yaml:1, which counts [duplicate-owner]"},
		},
		{"two owners of the past", []catalog.Record{service("a", "x"), {Kind: catalog.Service, Name: "a", Owner: "y", Until: day(3, 1)}}, "", nil},
		{
			"the sides of an edge",
			[]catalog.Record{{Kind: catalog.Edge, Caller: "a", Callee: "b", Accountable: "caller"}, {Kind: catalog.Edge, Caller: "a", Callee: "b", Owner: "x"}},
			"",
			[]string{"owners.yaml:2: error: edge a->b is x's here and its caller's by owners.yaml:1, which counts [duplicate-owner]"},
		},
		{
			"a hand-over without an end",
			[]catalog.Record{service("a", "x"), {Kind: catalog.Service, Name: "a", Owner: "y", From: day(11, 3)}},
			"",
			[]string{"owners.yaml:1: warning: service a is x's and from 2026-11-03 on y's by owners.yaml:2: say until when this holds [overlapping-validity]"},
		},
		{"a hand-over", []catalog.Record{{Kind: catalog.Service, Name: "a", Owner: "x", Until: day(12, 3)}, {Kind: catalog.Service, Name: "a", Owner: "y", From: day(12, 3)}}, "", nil},

		{
			"it ends before it begins",
			[]catalog.Record{{Kind: catalog.Service, Name: "a", Owner: "x", From: day(11, 3), Until: day(11, 3).Add(-time.Hour)}},
			"",
			[]string{"owners.yaml:1: error: service a ends on 2026-11-02T23:00:00Z, before it begins on 2026-11-03 [never-holds]"},
		},
		{
			"the same again",
			[]catalog.Record{service("a", "x"), service("a", "x"), {Kind: catalog.Service, Name: "a", Owner: "x", Source: catalog.Source{Format: "backstage"}}},
			"",
			[]string{"owners.yaml:2: warning: service a says what owners.yaml:1 says already [shadowed]"},
		},
		{"the same at another time", []catalog.Record{{Kind: catalog.Service, Name: "a", Owner: "x", Until: day(12, 1)}, {Kind: catalog.Service, Name: "a", Owner: "x", From: day(12, 1)}}, "", nil},

		{"a circle", []catalog.Record{
			{Kind: catalog.Service, Name: "c", Charter: catalog.Charter{DependsOn: []string{"b-alias", "d"}}},
			{Kind: catalog.Service, Name: "b", Aliases: []string{"b-alias"}, Charter: catalog.Charter{DependsOn: []string{"a"}}},
			{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{DependsOn: []string{"c", "b"}}},
			{Kind: catalog.Service, Name: "d"},
		}, "", []string{"owners.yaml:3: warning: service a depends on itself: a -> b -> a [dependency-cycle]"}},
		{
			"of one",
			[]catalog.Record{{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{DependsOn: []string{"A"}}}},
			"",
			[]string{"owners.yaml:1: warning: service a depends on itself: a -> a [dependency-cycle]"},
		},
		{"of teams", []catalog.Record{
			{Kind: catalog.Team, Name: "a", Charter: catalog.Charter{Parent: "b"}}, {Kind: catalog.Team, Name: "b", Charter: catalog.Charter{Parent: "a"}}, {Kind: catalog.Team, Name: "c", Charter: catalog.Charter{Parent: "a"}},
		}, "", []string{"owners.yaml:1: error: team a is above itself: a -> b -> a [team-cycle]"}},

		{"lines of CODEOWNERS", []catalog.Record{
			code("codeowners", "/src/pay/"), code("codeowners", "*.md"), code("codeowners", "src/pay/docs/*.txt"), code("codeowners", "/lib/*.go"),
			code("codeowners", "/src/"), code("codeowners", "docs/"), code("codeowners", "/lib/x/"), code("codeowners", "docs/"),
		}, "owners-must-exist: false", []string{
			"owners.yaml:1: warning: /src/pay/ never counts: /src/ by the later owners.yaml:5 takes all that it fits [shadowed]",
			"owners.yaml:3: warning: src/pay/docs/*.txt never counts: /src/ by the later owners.yaml:5 takes all that it fits [shadowed]",
			"owners.yaml:6: warning: docs/ never counts: docs/ by the later owners.yaml:8 takes all that it fits [shadowed]",
		}},
		{"all at the end", []catalog.Record{code("codeowners", "/src/"), code("codeowners", "*.go"), code("codeowners", "*")}, "", []string{
			"owners.yaml:1: warning: /src/ never counts: * by the later owners.yaml:3 takes all that it fits [shadowed]",
			"owners.yaml:2: warning: *.go never counts: * by the later owners.yaml:3 takes all that it fits [shadowed]",
		}},
		{"of one owner it is no harm", []catalog.Record{
			{Kind: catalog.Path, Pattern: "/src", Owner: "x", Source: catalog.Source{Format: "gitlab-codeowners"}}, {Kind: catalog.Path, Pattern: "/src/", Owner: "x", Source: catalog.Source{Format: "gitlab-codeowners"}},
		}, "", nil},
		{"GitLab's without a slash begin anywhere", []catalog.Record{code("gitlab-codeowners", "src/pay/"), code("gitlab-codeowners", "!/src/x"), code("gitlab-codeowners", "/src/")}, "", nil},
		{
			"Sentry's are not folders",
			[]catalog.Record{code("sentry", "path:src/pay/*"), code("sentry", "path:src/*"), code("sentry", "path:src/*")},
			"",
			[]string{"owners.yaml:2: warning: path:src/* never counts: path:src/* by the later owners.yaml:3 takes all that it fits [shadowed]"},
		},
		{"sections and files are apart", []catalog.Record{
			code("codeowners", "/src/"),
			{Kind: catalog.Path, Pattern: "*", Owner: "x", Links: []catalog.Link{{Name: "section", Target: "Docs"}}, Source: catalog.Source{Format: "codeowners"}},
			{Kind: catalog.Path, Pattern: "*", Owner: "x", Source: catalog.Source{Format: "codeowners", File: "other/CODEOWNERS", Line: 1}},
		}, "", nil},

		{"a review long ago", []catalog.Record{
			{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{Reviewed: day(1, 1)}}, {Kind: catalog.Service, Name: "b", Charter: catalog.Charter{Reviewed: day(11, 1)}}, service("c", ""),
		}, "review-days: 180", []string{"owners.yaml:1: warning: service a was reviewed 2026-01-01, longer ago than 180 days [not-reviewed]"}},

		{"what is demanded", []catalog.Record{
			{Kind: catalog.Team, Name: "pay", Charter: catalog.Charter{OnCall: "P1"}},
			{Kind: catalog.Service, Name: "a", Owner: "pay", Charter: catalog.Charter{Tier: "1"}},
			{Kind: catalog.Service, Name: "b", Owner: "pay", Charter: catalog.Charter{Tier: "Critical", Runbook: "r"}},
			{Kind: catalog.Service, Name: "c", Charter: catalog.Charter{Tier: "1"}},
			{Kind: catalog.Service, Name: "c", Charter: catalog.Charter{Runbook: "r"}, Source: catalog.Source{Format: "backstage"}},
			{Kind: catalog.Service, Name: "d", Owner: "pay", Charter: catalog.Charter{Tier: "3"}},
			{Kind: catalog.Datastore, Name: "e", Charter: catalog.Charter{Tier: "1"}},
			{Kind: catalog.Service, Name: "f", Until: day(1, 1), Charter: catalog.Charter{Tier: "1"}},
		}, `require: [{tiers: ["1", critical], fields: [owner, on-call, runbook]}]`, []string{
			"owners.yaml:2: error: service a has no runbook, nor has pay [missing-field]",
			"owners.yaml:4: error: service c has no owner, on-call [missing-field]",
		}},
		{"what is demanded, and said of one place and of all", []catalog.Record{
			{Kind: catalog.Team, Name: "a", Charter: catalog.Charter{OnCall: "P1"}},
			service("x", "a"),
			{Kind: catalog.Service, Name: "x", Namespace: "shop", Charter: catalog.Charter{Runbook: "r"}},
			service("y", "a"),
			{Kind: catalog.Service, Name: "y", Namespace: "shop", Charter: catalog.Charter{Runbook: "r"}},
			{Kind: catalog.Service, Name: "y", Namespace: "lab", Environment: "test"},
			{Kind: catalog.Operation, Name: "x", Operation: "GET /", Namespace: "shop"},
			{Kind: catalog.Edge, Caller: "x", Callee: "y", Accountable: "caller", Charter: catalog.Charter{Runbook: "r", OnCall: "P2"}},
		}, `require: [{kinds: [service, operation, edge], fields: [owner, on-call, runbook]}]`, []string{
			"owners.yaml:6: error: service y in namespace lab in test has no runbook, nor has a [missing-field]",
		}},
		{"the tier is said of all places", []catalog.Record{
			{Kind: catalog.Service, Name: "x", Owner: "a", Charter: catalog.Charter{Tier: "1", Runbook: "r", Chat: "#x"}},
			{Kind: catalog.Service, Name: "x", Namespace: "lab", Owner: "b"},
		}, `require: [{tiers: ["1"], fields: [runbook, chat]}]`, []string{
			"owners.yaml:2: error: service x in namespace lab has no chat [missing-field]",
		}},
		{"of what is in production, as a warning", []catalog.Record{
			{Kind: catalog.Queue, Name: "a", Owner: "x", Charter: catalog.Charter{Lifecycle: "production"}},
			{Kind: catalog.Queue, Name: "b", Charter: catalog.Charter{Lifecycle: "experimental"}},
			{Kind: catalog.Queue, Name: "c", Owner: ownership.Unowned, Charter: catalog.Charter{Lifecycle: "production", SLO: "99 %"}},
		}, "require:\n  - {kinds: [queue], lifecycles: [production], fields: [slo, owner], severity: warning}", []string{
			"owners.yaml:1: warning: queue a has no slo [missing-field]",
			"owners.yaml:3: warning: queue c has no owner [missing-field]",
		}},

		{
			"what is accepted",
			[]catalog.Record{
				{Kind: catalog.Service, Name: "a", Charter: catalog.Charter{DependsOn: []string{"legacy-1", "gone"}}},
				{Kind: catalog.Service, Name: "old", Charter: catalog.Charter{DependsOn: []string{"x"}}},
				service("b", "x"), service("b", "y"),
			},
			`allow: [{rule: dangling-dependency, name: "legacy-*"}, {name: old}, {rule: duplicate-owner}]`,
			[]string{"owners.yaml:1: error: service a depends on gone, of which there is no record [dangling-dependency]"},
		},
	} {
		if got := check(t, test.records, test.policy); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %s\nwant %s", test.what, strings.Join(got, "\n     "), strings.Join(test.want, "\n     "))
		}
	}
}

func TestProblems(t *testing.T) {
	problems := []catalog.Problem{{File: "b.yaml", Line: 3, Reason: "not YAML"}, {File: "a.yaml", Reason: "more than 7 bytes"}}
	var got []string
	for _, f := range Check(nil, problems, ownership.Config{}, new(Policy), now) {
		got = append(got, f.String())
	}
	want := []string{"a.yaml: error: more than 7 bytes [unreadable]", "b.yaml:3: error: not YAML [unreadable]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	policy, err := ParsePolicy([]byte("allow: [{rule: unreadable, name: 'a.*'}]"))
	if err != nil {
		t.Fatal(err)
	}
	if got := Check(nil, problems, ownership.Config{}, policy, now); len(got) != 1 || got[0].File != "b.yaml" {
		t.Errorf("accepted: %+v", got)
	}
}

// TestLargeCircles: 60,000 records that all depend on each other in one circle, on themselves, and on nothing that is known,
// are checked in a time that grows with them. Recursion would end the test, and what is quadratic would not end it.
func TestLargeCircles(t *testing.T) {
	const n = 60_000
	records := make([]catalog.Record, n)
	for i := range records {
		records[i] = catalog.Record{Kind: catalog.Service, Name: fmt.Sprintf("s%05d", i), Owner: "x", Charter: catalog.Charter{DependsOn: []string{fmt.Sprintf("s%05d", (i+1)%n), fmt.Sprint("none-", i)}}}
	}
	got := Check(numbered(records), nil, ownership.Config{}, new(Policy), now)
	if len(got) != n+1 {
		t.Fatalf("%d findings", len(got))
	}
	want := "owners.yaml:1: warning: service s00000 depends on itself: s00000 -> s00001 -> s00002 -> s00003 -> s00004 -> s00005 -> s00006 -> s00007 -> s00008 -> s00009 -> s00010 -> … -> s00000 [dependency-cycle]"
	at := slices.IndexFunc(got, func(f Finding) bool { return f.Rule == DependencyCycle })
	if at < 0 || got[at].String() != want {
		t.Errorf("%v", got[max(at, 0)].String())
	}
	for i := range records {
		records[i].DependsOn = []string{records[i].Name}
	}
	if got := Check(numbered(records), nil, ownership.Config{}, new(Policy), now); len(got) != n {
		t.Errorf("%d findings", len(got))
	}
}

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"require: [{fields: [owner]}]":          "",
		"review-days: 180\ncolour: red":         "line 2: field colour not found",
		"require:\n  - {fields: [owner], a: b}": "line 2: field a not found",
		"require:\n  - fields: [owner,\n      colour]":          `line 3: "colour" is no field: there are owner, on-call,`,
		"require: [{kinds: [service, boat], fields: [owner]}]":  `line 1: "boat" is no kind: there are service,`,
		"require: [{fields: [owner], severity: fatal}]":         `"fatal" is no severity: there are error, warning`,
		"require: [{kinds: [service]}]":                         "require[0] demands nothing",
		"allow: [{rule: everything}]":                           `"everything" is no rule: there are unreadable, dangling-owner,`,
		"allow:\n- {}":                                          "allow[0] accepts everything",
		"review-days: -1":                                       "review-days: -1 is negative",
		"review-days: often":                                    "line 1: cannot unmarshal",
		"require: 7":                                            "line 1: cannot unmarshal",
		"a: [":                                                  "yaml: line 1",
		"{}\n---\n{}":                                           "a policy is one document",
		strings.Repeat("#", policyBytesMax+1):                   "more than 1048576 bytes",
		"require: [{fields: [[owner]]}]":                        `"" is no field`,
		"a: &a [x,x]\nb: &b [*a,*a]\nrequire: [{fields: *b}]\n": "is no field",
	} {
		_, err := ParsePolicy([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("require: [{kinds: [service], tiers: [a], lifecycles: [b], fields: [owner], severity: warning}]\nreview-days: 3\nowners-must-exist: true\nallow: [{rule: shadowed, name: 'a*'}]"))
	f.Add([]byte("a: &a [x,x]\nrequire: [{fields: *a}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data)
		if err != nil {
			return
		}
		for _, r := range p.Require {
			if len(r.Kinds) == 0 || len(r.Fields) == 0 || r.Severity != Error && r.Severity != Warning {
				t.Errorf("%+v", r)
			}
		}
		Check(numbered([]catalog.Record{service("a", "b"), service("a", "c"), team("d")}), nil, ownership.Config{}, p, now)
	})
}
