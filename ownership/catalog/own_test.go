package catalog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOwn(t *testing.T) {
	for _, c := range []struct{ name, file, records, problems string }{
		{"a simple map", "services:\n  - {name: till, owner: coin}\n  - {name: \"legacy-*\", namespace: shop, owner: attic}\n", `
Kind service
Name till
Owner coin
line 2

Kind service
Name legacy-*
Namespace shop
Owner attic
line 3
`, ``},
		{"all there is", `
teams:
  - name: team-coin
    aliases: [coin, "@shop/coin"]
    on-call: https://pd.example/P1
    escalation: [ann, bob]
    chat: "#coin"
    email: coin@shop.example
    reviewed: 2026-03-01
    parent: trade
    members: [ann, bob]
services:
  - name: till
    namespace: shop
    environment: prod
    owners: [coin, attic]
    runbook: https://wiki.example/till
    dashboard: https://dash.example/till
    repository: https://git.example/shop/till
    reviewer: ann
    tier: 1
    lifecycle: production
    slo: 99.9 %
    depends-on: [stock]
    contract: https://api.example/till.yaml
    from: 2026-01-01
    until: 2026-11-03T12:00:00+02:00
    links: {wiki: https://wiki.example, more: {a: b}}
    language: go
    source: shop/catalog-info.yaml:12
    format: backstage
datastores: [{name: ledger, owner: unowned}]
queues: [{name: orders}]
third-parties: [{name: rates, owner: money}]
apis: [{name: pay, owner: coin}]
systems: [{name: sales, owner: trade}]
operations: [{service: till, operation: "POST /refund*", owner: refunds}]
edges:
  - {edge: "till->ledger:pool", owner: net}
  - {caller: "*", callee: "kafka:9092", phase: queue, accountable: callee}
  - {edge: "a -> b", owner: net}
namespaces: [{name: shop, owner: shopkeepers}]
paths:
  - {pattern: "src/pay/**", owner: coin}
  - {pattern: " odd ", source: "C:/x:y"}
---
services:
---
services: [{name: other, owner: coin, links: [{a: b}, {a: c}]}]
`, `
Kind team
Name team-coin
Aliases [coin @shop/coin]
OnCall https://pd.example/P1
Escalation [ann bob]
Chat #coin
Email coin@shop.example
Reviewed 2026-03-01 00:00:00 +0000 UTC
Parent trade
Members [ann bob]
line 3

Kind service
Name till
Namespace shop
Environment prod
Owner coin
Owners [attic]
Runbook https://wiki.example/till
Dashboard https://dash.example/till
Repository https://git.example/shop/till
Reviewer ann
Tier 1
Lifecycle production
SLO 99.9 %
DependsOn [stock]
Contract https://api.example/till.yaml
From 2026-01-01 00:00:00 +0000 UTC
Until 2026-11-03 10:00:00 +0000 UTC
line 12
wiki = https://wiki.example
more.a = b
language = go

Kind datastore
Name ledger
Owner unowned
line 32

Kind queue
Name orders
line 33

Kind third-party
Name rates
Owner money
line 34

Kind api
Name pay
Owner coin
line 35

Kind system
Name sales
Owner trade
line 36

Kind operation
Name till
Operation POST /refund*
Owner refunds
line 37

Kind edge
Caller till
Callee ledger
Phase pool
Owner net
line 39

Kind edge
Caller *
Callee kafka:9092
Phase queue
Accountable callee
line 40

Kind edge
Caller a
Callee b
Owner net
line 41

Kind namespace
Name shop
Owner shopkeepers
line 42

Kind path
Pattern src/pay/**
Owner coin
line 44

Kind path
Pattern  odd 
line 0

Kind service
Name other
Owner coin
line 49
a = b
a = c
`, ``},
		{"the others go on", `services:
  - {owner: a}
  - {name: [b], owner: b}
  - c
  - {name: d, from: 2026-02-01, until: 2026-02-01}
  - {name: e, from: yesterday}
  - {name: f, tier: {a: b}, aliases: [{}, ""], links: x}
  - {name: fine}
teams: {name: a}
sevices: []
operations:
  - {operation: GET /, owner: a}
  - {service: a, owner: a}
  - {service: a, operation: GET /}
edges:
  - {edge: "a->b"}
  - {edge: "a->b", owner: c, accountable: caller}
  - {edge: "a->b", accountable: both}
  - {edge: "a->b:wire", owner: c}
  - {edge: "a", owner: c}
  - {edge: "a->b", caller: a, owner: c}
paths:
  - {owner: a}
  - {pattern: "` + strings.Repeat("*", 65) + `"}
---
- services
---
links: [
`, `
Kind service
Name f
line 7

Kind service
Name fine
line 8
`, `
2: the service has no name
3: name is not a text
3: the service has no name
4: an item of services is not a mapping of fields
5: the service holds from 2026-02-01, which is not before 2026-02-01
6: the service has a bad from: "yesterday" is neither a date such as 2026-01-31 nor an RFC 3339 time
7: an item of aliases is not a text
7: an item of aliases is not a text
7: tier is not a text
7: links is a mapping of names, or a list of such mappings
9: teams is not a list
10: "sevices" is not known: teams, services, datastores, queues, third-parties, apis, systems, operations, edges, namespaces and paths are
12: the operation of "GET /" has no good service: it has no name (* is any)
13: the operation of a has no operation: give a span's name, or a pattern of such
14: the operation "GET /" of a has no owner
16: the edge a->b has no owner, and no accountable side
17: the edge a->b has an owner and an accountable side: give one of them
18: the edge a->b: accountable is "both", which is neither caller nor callee
19: the edge has the phase "wire": network, queue, pool, budget, contract, connect, request, response, backoff are known
20: the edge from "a" to "" has no name on one side: write "caller->callee:phase"
21: the edge is given twice: as edge, and as caller, callee or phase
23: the path has no pattern
24: the path is not read: the pattern has more than 64 wildcards
26: a file of owners is a mapping of lists, such as services
28: not YAML: did not find expected node content
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := Own("f", []byte(c.file))
			expect(t, records, problems, c.records, c.problems)
		})
	}
}

func TestOwnSource(t *testing.T) {
	records, _ := Own("f", []byte(`services:
  - {name: a, source: "x/y.yaml:12", format: backstage}
  - {name: b}
  - {name: c, source: "https://git.example/x"}
  - {name: d, source: "x:12:0"}
  - {name: e, format: cortex}
`))
	var got []Source
	for _, r := range records {
		got = append(got, r.Source)
	}
	want := []Source{
		{"backstage", "x/y.yaml", 12}, {OwnFormat, "f", 3}, {OwnFormat, "https://git.example/x", 0}, {OwnFormat, "x:12", 0}, {"cortex", "f", 6},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// anyText is a text that a record can have: it is no credential, and no blanks are around it.
func anyText(r *rand.Rand) string {
	parts := []string{
		"a", "B", "é", "…", " ", "\t", "\n", "\r", "\u2028", "\u0085", "\ufeff", "\x00", "\x7f", ":", ": ", "- ", "#", " #", "'", `"`, `\`, "%", "@", "`", "!", "&", "*", "[", "{", "}", ",",
		"|", ">", "<<", "---", "...", "null", "~", "true", "yes", "12", "0x1", "1e3", "2026-01-01", "=", "->", "?", "😀", "https://a.example/b?c=d",
	}
	var b strings.Builder
	for range 1 + r.IntN(6) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	text := tidy(b.String())
	if text == "" || strings.Contains(text, "{{") {
		return "x"
	}
	return text
}

func anyRecord(r *rand.Rand) Record {
	c := Record{Kind: ownLists[r.IntN(len(ownLists))].kind}
	someOf := func(n int) (list []string) {
		for range r.IntN(n) {
			list = append(list, anyText(r)+fmt.Sprint(len(list)))
		}
		return list
	}
	anyTime := func() time.Time {
		return time.Unix(1700000000+int64(r.IntN(1000))*43200, int64(r.IntN(2))*int64(r.IntN(1e9))).UTC()
	}
	c.Owner = anyText(r)
	c.Owners = someOf(3)
	switch c.Kind {
	case Path:
		c.Pattern = "*" + strings.ReplaceAll(anyText(r), "*", "x") + " "
	case Operation:
		c.Name, c.Operation = anyText(r), anyText(r)
	case Edge:
		c.Caller, c.Callee = anyText(r), anyText(r)
		if r.IntN(2) == 0 {
			c.Phase = Phases[r.IntN(len(Phases))]
		}
		if r.IntN(2) == 0 {
			c.Owner, c.Owners, c.Accountable = "", nil, []string{"caller", "callee"}[r.IntN(2)]
		}
	default:
		c.Name = anyText(r)
	}
	for _, field := range ownFields {
		if r.IntN(3) > 0 {
			continue
		}
		switch {
		case field.text != nil:
			*field.text(&c) = anyText(r)
		case field.list != nil:
			*field.list(&c) = someOf(4)
		default:
			*field.time(&c) = anyTime()
		}
	}
	if !c.Until.IsZero() && !c.From.Before(c.Until) {
		c.Until = c.From.Add(time.Second)
	}
	for range r.IntN(4) {
		if name := anyText(r); !credential.MatchString(name) {
			c.Links = addLink(c.Links, name, anyText(r))
		}
	}
	c.Source = Source{Format: []string{OwnFormat, "backstage"}[r.IntN(2)], File: anyText(r), Line: r.IntN(3)}
	return c
}

// What is written is read as it was, whatever it is.
func TestWhatIsWrittenIsRead(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	for range 300 {
		var records []Record
		for range r.IntN(20) {
			records = append(records, anyRecord(r))
		}
		writtenIsRead(t, records)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// writtenIsRead checks that records read are those written, in the order of Sort.
func writtenIsRead(t *testing.T, records []Record) {
	t.Helper()
	var file bytes.Buffer
	if err := Write(&file, records); err != nil {
		t.Fatal(err)
	}
	got, problems := Own("f", file.Bytes())
	if len(problems) > 0 {
		t.Errorf("problems %v of\n%s", problems, file.Bytes())
	}
	want := slices.Clone(records)
	Sort(want)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d, of\n%s", len(got), len(want), file.Bytes())
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got\n%#v\nwant\n%#v\nof\n%s", got[i], want[i], file.Bytes())
		}
	}
	var again bytes.Buffer
	if err := Write(&again, got); err != nil || again.String() != file.String() {
		t.Errorf("written again (%v):\n%s\nwas\n%s", err, &again, &file)
	}
}

func TestWrite(t *testing.T) {
	const want = `teams:
  - name: team-coin
    aliases: [shop/coin, coin]
    email: coin@example.com
    parent: trade
    members: [ada, bob]
    links:
      kind: Group
      spec.type: team
      spec.profile.displayName: Coin
    source: shop/catalog-info.yaml:63
    format: backstage
datastores:
  - name: ledger
    owner: ada
    links:
      kind: Resource
      spec.type: database
      spec.dependencyOf: component:till
    source: shop/catalog-info.yaml:43
    format: backstage
edges:
  - edge: till->ledger:pool
    accountable: caller
    from: 2026-01-01T12:00:00Z
    source: owners.yaml:3
paths:
  - pattern: '*'
    owners: [everyone, ann]
    links:
      owners: '@shop/everyone @ann'
    source: shop/.github/CODEOWNERS:1
    format: codeowners
  - pattern: /free/
    source: shop/.github/CODEOWNERS:2
    format: codeowners
`
	records, problems := Backstage("shop/catalog-info.yaml", []byte(shopCatalog))
	more, _ := CodeOwners("shop/.github/CODEOWNERS", []byte("* @shop/everyone @ann\n/free/\n"))
	if len(problems) != 2 {
		t.Errorf("problems %v", problems)
	}
	var out strings.Builder
	if err := Write(&out, append(more, records[1], records[5], Record{
		Kind: Edge, Caller: "till", Callee: "ledger", Phase: "pool", Accountable: "caller", From: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		Source: Source{OwnFormat, "owners.yaml", 3},
	})); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	writtenIsRead(t, append(more, records...))
}

// Many records are many documents, of which readers hold one at a time.
func TestWriteMany(t *testing.T) {
	records := make([]Record, 3*recordsOfDocument+1)
	for i := range records {
		records[i] = Record{Kind: Service, Name: fmt.Sprintf("s%06d", i), Owner: "a", Source: Source{OwnFormat, "x", i + 1}}
	}
	var file bytes.Buffer
	if err := Write(&file, records); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(file.String(), "---\n"); n != 3 {
		t.Errorf("%d marks between documents", n)
	}
	writtenIsRead(t, records)
}

// A name is no credential, whatever stands before its colon.
func TestNamesAreKept(t *testing.T) {
	const name, aws = "vault-secret:8200", "AKIA" + "ABCDEFGHIJKLMNOP"
	source := Source{OwnFormat, "x", 1}
	writtenIsRead(t, []Record{
		{Kind: Service, Name: name, Namespace: "token:a", Environment: "secret=b", Owner: "password:c", Owners: []string{"token:d"}, Aliases: []string{"https://a:b@c", "api_key=e"}, Charter: Charter{DependsOn: []string{name}, Parent: name}, Source: source},
		{Kind: Operation, Name: name, Operation: "POST /token:refresh", Owner: "a", Source: source},
		{Kind: Edge, Caller: "checkout", Callee: "oauth-token", Phase: "pool", Owner: "a", Source: source},
		{Kind: Edge, Caller: name, Callee: name, Accountable: "callee", Source: source},
		{Kind: Path, Pattern: "src/token:x", Owner: "a", Source: source},
	})
	records, problems := Own("f", []byte("edges: [{edge: 'checkout->token:pool', owner: a}]\nservices: [{name: "+aws+", owner: x"+aws+" "+aws+", aliases: ["+aws+"], chat: 'token: hunter2'}]"))
	if len(problems) > 0 || len(records) != 2 || records[0].Callee != "token" || records[0].Phase != "pool" {
		t.Fatalf("got %+v, %v", records, problems)
	}
	if r := records[1]; r.Name != "…" || r.Owner != "x"+aws+" …" || r.Aliases[0] != "…" || r.Chat != "token: …" {
		t.Errorf("got %+v", r)
	}
}

func FuzzOwn(f *testing.F) {
	f.Add([]byte("services: [{name: a, owner: b, links: {c: d}, from: 2026-01-01}]\nedges: [{edge: 'a->b:pool', accountable: caller}]\n"))
	f.Add([]byte("teams:\n  - {name: &a x, aliases: [*a], members: *a}\n---\npaths: [{pattern: '*', source: 'a:1', format: sentry}]\n"))
	f.Add([]byte(bomb("{name: a}") + "services: *l4\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Own("f", data)
		for _, p := range problems {
			if p.Reason == "" || len(p.Reason) > 4*linkBytesMax {
				t.Errorf("problem %+v", p)
			}
		}
		writtenIsRead(t, records)
	})
}
