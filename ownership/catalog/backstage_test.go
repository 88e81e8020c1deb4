package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// said is a record on a few lines: only what it says.
func said(r Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q line %d", r.Kind, r.Name, r.Source.Line)
	add := func(name string, value any) {
		if s, _ := json.Marshal(value); string(s) != `""` && string(s) != "null" && string(s) != "[]" {
			fmt.Fprintf(&b, "\n %s=%s", name, s)
		}
	}
	add("namespace", r.Namespace)
	add("environment", r.Environment)
	add("aliases", r.Aliases)
	add("owner", r.Owner)
	add("owners", r.Owners)
	add("oncall", r.OnCall)
	add("chat", r.Chat)
	add("email", r.Email)
	add("runbook", r.Runbook)
	add("dashboard", r.Dashboard)
	add("repository", r.Repository)
	add("tier", r.Tier)
	add("lifecycle", r.Lifecycle)
	add("slo", r.SLO)
	add("depends", r.DependsOn)
	add("contract", r.Contract)
	add("parent", r.Parent)
	add("members", r.Members)
	for _, l := range r.Links {
		fmt.Fprintf(&b, "\n link %s: %s", l.Name, l.Target)
	}
	return b.String()
}

// same compares what an importer gave with what is wanted of it.
func same(t *testing.T, records []Record, problems []Problem, wantRecords, wantProblems string) {
	t.Helper()
	var got []string
	for _, r := range records {
		got = append(got, said(r))
	}
	if got := strings.Join(got, "\n"); got != strings.TrimSpace(wantRecords) {
		t.Errorf("records\n got %s\nwant %s", got, strings.TrimSpace(wantRecords))
	}
	got = nil
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason))
	}
	if got := strings.Join(got, "\n"); got != wantProblems {
		t.Errorf("problems\n got %s\nwant %s", got, wantProblems)
	}
}

const shopCatalog = `# The catalog of a shop.
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: till
  namespace: shop
  title: Till
  description: |
    Takes the money.
    And gives change.
  labels: {example.com/tier: "1", region: north}
  annotations:
    pagerduty.com/service-id: PTILL01
    pagerduty.com/integration-key: 0123456789abcdef0123456789abcdef
    opsgenie.com/team: coin
    opsgenie.com/component-selector: tag:"service:till"
    github.com/project-slug: shop/till
    backstage.io/source-location: url:https://git.example.com/shop/till
    backstage.io/kubernetes-id: till-server
    sentry.io/project-slug: till
    github.com/team-slug: shop/coin
    grafana/dashboard-selector: tag=till
    vault.example.com/token: hush
    slack.example.com/channel: '#coin'
  links:
    - {url: "https://wiki.example.com/till", title: Till runbook, icon: docs}
    - {url: "https://user:hush@wiki.example.com/faq?api_key=hush&page=2", title: Questions}
    - {url: "https://status.example.com/till", type: admin-dashboard}
    - {url: "https://hooks.slack.com/services/T0/B0/hush", title: Hook}
  tags: [go, money]
spec:
  type: service
  lifecycle: production
  owner: team-coin
  system: sales
  subcomponentOf: component:shop/front
  dependsOn: [resource:default/ledger, component:stock, "Component:shop/till", stock, group/x/y]
  consumesApis: [rates]
  providesApis: [api:shop/pay]
  budget: {cpu: {cores: 2}}
  password: hush
---
apiVersion: backstage.io/v1alpha1
kind: Resource
metadata: {name: ledger}
spec: {type: database, owner: "user:default/ada", dependencyOf: [component:till]}
---
apiVersion: backstage.io/v1alpha1
kind: Resource
metadata: {name: orders, namespace: default}
spec: {type: kafka-topic, owner: "group:shop/team-coin"}
---
apiVersion: backstage.io/v1alpha1
kind: API
metadata: {name: pay}
spec: {type: openapi, owner: component:till, definition: {$text: ./openapi.yaml}}
---
apiVersion: backstage.io/v1alpha1
kind: System
metadata: {name: sales}
spec: {owner: unknown, domain: trade}
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: {name: team-coin, annotations: {github.com/team-slug: shop/coin}}
spec:
  type: team
  profile: {displayName: Coin, email: coin@example.com}
  parent: group:default/trade
  children: []
  members: [ada, user:default/bob]
---
apiVersion: backstage.io/v1alpha1
kind: User
metadata: {name: ada}
spec: {profile: {email: ada@example.com}, memberOf: [team-coin, guild]}
---
apiVersion: backstage.io/v1alpha1
kind: Location
spec: {targets: [./a.yaml]}
`

func TestBackstage(t *testing.T) {
	records, problems := Backstage("catalog-info.yaml", []byte(shopCatalog))
	same(t, records, problems, `
service "till" line 2
 namespace="shop"
 aliases=["till-server"]
 owner="team-coin"
 oncall="pagerduty:PTILL01"
 chat="#coin"
 runbook="https://wiki.example.com/till"
 dashboard="https://status.example.com/till"
 repository="https://git.example.com/shop/till"
 tier="1"
 lifecycle="production"
 depends=["ledger","stock","till","rates"]
 contract="pay"
 parent="sales"
 link kind: Component
 link spec.subcomponentOf: front
 link spec.type: service
 link spec.budget.cpu.cores: 2
 link Questions: https://wiki.example.com/faq?api_key=&page=2
 link opsgenie.com/team: coin
 link opsgenie.com/component-selector: tag:"service:till"
 link github.com/project-slug: shop/till
 link sentry.io/project-slug: till
 link github.com/team-slug: shop/coin
 link grafana/dashboard-selector: tag=till
 link region: north
 link metadata.title: Till
 link metadata.description: Takes the money. …
 link metadata.tags: go
 link metadata.tags: money
datastore "ledger" line 43
 owner="ada"
 link kind: Resource
 link spec.type: database
 link spec.dependencyOf: component:till
queue "orders" line 48
 owner="team-coin"
 link kind: Resource
 link spec.type: kafka-topic
api "pay" line 53
 contract="./openapi.yaml"
 link kind: API
 link spec.type: openapi
system "sales" line 58
 parent="trade"
 link kind: System
team "team-coin" line 63
 aliases=["shop/coin","coin"]
 email="coin@example.com"
 parent="trade"
 members=["ada","bob"]
 link kind: Group
 link spec.type: team
 link spec.profile.displayName: Coin
team "ada" line 73
 email="ada@example.com"
 parent="team-coin"
 link kind: User
 link spec.memberOf: guild
`, `catalog-info.yaml:37: spec.dependsOn: "group/x/y" is not a reference of the form [kind:][namespace/]name
catalog-info.yaml:56: spec.owner: "component:till" is not a group or a user`)
	for _, r := range records {
		if s := fmt.Sprintf("%+v", r); strings.Contains(s, "hush") || strings.Contains(s, "0123456789abcdef") {
			t.Errorf("a credential was kept: %s", s)
		}
	}
}

func TestBackstageProblems(t *testing.T) {
	const head = "apiVersion: backstage.io/v1alpha1\nkind: Component\n"
	for _, c := range []struct{ name, file, problems string }{
		{"no name", head + "metadata: {}\n", "f:1: Component has no name: not read"},
		{"a template", head + "metadata:\n  name: ${{ values.name }}\n", `f:4: Component has a template for a name: "${{ values.name }}": not read`},
		{"a long name", head + "metadata:\n  name: " + strings.Repeat("x", 300), "f:4: Component has a name of 300 bytes: 256 are the most: not read"},
		{"a name of 1 MB", head + "metadata:\n  name: " + strings.Repeat("x", 1<<20), "f:4: a value of 1048576 bytes is not read: 65536 are the most\nf:4: Component has no name: not read"},
		{"another kind", "apiVersion: backstage.io/v1alpha1\nkind: Robot\nmetadata: {name: r}\n", `f:2: kind "Robot" is not known: not read`},
		{"of another", "apiVersion: v1\nkind: Service\n", `f:1: apiVersion "v1" is not Backstage's: not read`},
		{"a list", "- a\n- b\n", `f:1: apiVersion "" is not Backstage's: not read`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := Backstage("f", []byte(c.file))
			same(t, records, problems, "", c.problems)
		})
	}
}

// A cycle of dependencies is what the company says: whoever follows them has to mind.
func TestBackstageCycle(t *testing.T) {
	const component = "---\napiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec: {dependsOn: [component:%s]}\n"
	records, problems := Backstage("f", fmt.Appendf(nil, component+component, "a", "b", "b", "a"))
	if len(records) != 2 || len(problems) != 0 || records[0].DependsOn[0] != "b" || records[1].DependsOn[0] != "a" {
		t.Errorf("got %+v, %v", records, problems)
	}
}

func TestLinksAreBounded(t *testing.T) {
	var file strings.Builder
	file.WriteString("apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: a}\nspec:\n  deep: {a: {b: {c: {d: {e: {f: {g: h}}}}}}}\n")
	fmt.Fprintf(&file, "  long: %s\n", strings.Repeat("ü", 1000))
	for i := range 200 {
		fmt.Fprintf(&file, "  field%d: x\n", i)
	}
	records, _ := Backstage("f", []byte(file.String()))
	links := records[0].Links
	if len(links) != linksMax+1 || links[linksMax].Target != "further fields are not kept" {
		t.Errorf("%d links, the last %v", len(links), links[len(links)-1])
	}
	if links[1].Target != "nested too deep: not kept" || links[2].Target != strings.Repeat("ü", 512)+"…" {
		t.Errorf("got %v", links[1:3])
	}
}

func FuzzBackstage(f *testing.F) {
	f.Add([]byte(shopCatalog))
	f.Add([]byte(bomb("lol")))
	f.Add([]byte("a: &a [*a]\n---\n{{- if }}\n...\n%YAML 1.2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Backstage("f", data)
		bounded(t, data, records, problems)
	})
}

// bounded holds what is true of the records and problems of any file.
func bounded(t *testing.T, data []byte, records []Record, problems []Problem) {
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 3*strings.Count(string(data), "\xc2\x85") +
		strings.Count(string(data), "\xe2\x80") + 1
	for _, r := range records {
		if r.Name == "" || len(r.Name) > nameBytesMax || len(r.Links) > linksMax+1 || r.Source.Line < 1 || r.Source.Line > lines {
			t.Errorf("record %+v of %d lines", r, lines)
		}
	}
	for _, p := range problems {
		if p.Reason == "" || p.Line < 1 || p.Line > lines+1 {
			t.Errorf("problem %+v of %d lines", p, lines)
		}
	}
}
