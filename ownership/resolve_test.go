package ownership

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

func day(month time.Month, day int) time.Time {
	return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC)
}

// from is a place in a file of a format.
func from(format, file string, line int) catalog.Source {
	return catalog.Source{Format: format, File: file, Line: line}
}

func own(line int) catalog.Source { return from("whosehop", "owners.yaml", line) }

// company is a registry with something of every kind.
func company() []catalog.Record {
	return []catalog.Record{
		{Kind: catalog.Team, Name: "team-pay", Aliases: []string{"Payments", "@acme/pay-org"}, Source: own(1), Charter: catalog.Charter{OnCall: "pagerduty:PAY", Chat: "#pay", Runbook: "https://wiki/pay-team"}},
		{Kind: catalog.Team, Name: "team-old", Aliases: []string{"shared"}, Until: day(6, 1), Source: own(2)},
		{Kind: catalog.Team, Name: "team-new", Aliases: []string{"shared"}, From: day(6, 1), Source: own(3)},
		{Kind: catalog.Service, Name: "payments", Aliases: []string{"pay-svc", "pay?", "legacy-pay-*"}, Owner: "payments", Owners: []string{"ann"}, Source: own(10), Charter: catalog.Charter{Runbook: "https://wiki/payments"}},
		{Kind: catalog.Service, Name: "payments", Namespace: "eu", Owner: "team-eu", Source: own(11)},
		{Kind: catalog.Service, Name: "payments", Environment: "staging", Owner: "team-qa", Source: own(12)},
		{Kind: catalog.Service, Name: "payments", Namespace: "eu", Environment: "stag*", Owner: "team-eu-qa", Source: own(13)},
		{Kind: catalog.Service, Name: "pay*", Owner: "team-money", Source: own(14)},
		{Kind: catalog.Service, Name: "pay*-eu", Owner: "team-money-eu", Source: own(15)},
		{Kind: catalog.Service, Name: "*-worker", Owner: "team-batch", Source: own(16)},
		{Kind: catalog.Service, Name: "*", Namespace: "legacy-*", Owner: "team-attic", Source: own(17)},
		{Kind: catalog.Service, Name: "*", Owner: "team-rest", Environment: "prod", Source: own(18)},
		{Kind: catalog.Service, Name: "orphan", Owner: Unowned, Source: own(19)},
		{Kind: catalog.Service, Name: "only-eu", Namespace: "eu", Owner: "team-eu", Source: own(20)},
		{Kind: catalog.Service, Name: "twice", Namespace: "eu", Owner: "team-eu", Source: own(21)},
		{Kind: catalog.Service, Name: "twice", Namespace: "us", Owner: "team-us", Source: own(22)},
		{Kind: catalog.Service, Name: "moved", Owner: "team-a", Until: day(11, 3), Source: own(23)},
		{Kind: catalog.Service, Name: "moved", Owner: "team-b", From: day(11, 3), Source: own(24)},
		{Kind: catalog.Service, Name: "shared-svc", Owner: "SHARED", Source: own(25)},
		{Kind: catalog.Service, Name: "silent", Source: own(26), Charter: catalog.Charter{Tier: "1"}},
		{Kind: catalog.Datastore, Name: "orders-db", Aliases: []string{"orders.internal:5432"}, Owner: "team-db", Source: own(30)},
		{Kind: catalog.ThirdParty, Name: "api.stripe.com", Owner: "payments", Source: own(31)},
		{Kind: catalog.API, Name: "payments-api", Owner: "team-docs", Source: own(32)},
		{Kind: catalog.Operation, Name: "payments", Operation: "POST /refund*", Owner: "team-refunds", Source: own(40)},
		{Kind: catalog.Operation, Name: "payments", Operation: "POST /refund/batch", Owner: "team-batch", Source: own(41)},
		{Kind: catalog.Operation, Operation: "GET /health*", Owner: "team-platform", Source: own(42)},
		{Kind: catalog.Edge, Caller: "checkout", Callee: "payments", Phase: "pool", Owner: "platform-net", Source: own(50)},
		{Kind: catalog.Edge, Caller: "*", Callee: "kafka", Phase: "queue", Accountable: "callee", Source: own(51)},
		{Kind: catalog.Edge, Caller: "*", Callee: "orders-db", Phase: "network", Owner: "team-net", Source: own(52)},
		{Kind: catalog.Edge, Caller: "check*", Callee: "*", Owner: "team-check", Source: own(53)},
		{Kind: catalog.Edge, Caller: "cart", Callee: "payments", Owner: Unowned, Source: own(54)},
		{Kind: catalog.Edge, Caller: "*", Callee: "orders-db", Phase: "connect", Environment: "staging", Owner: "team-qa", Source: own(55)},
		{Kind: catalog.Namespace, Name: "shop", Owner: "team-shop", Source: own(60)},
		{Kind: catalog.Namespace, Name: "team-*", Environment: "prod", Owner: "team-prod", Source: own(61)},
		{Kind: catalog.Path, Pattern: "/src/pay/", Owner: "pay-org", Source: from("codeowners", "CODEOWNERS", 1)},
		{Kind: catalog.Path, Pattern: "/src/pay/docs/", Source: from("codeowners", "CODEOWNERS", 2)},
		{Kind: catalog.Path, Pattern: "/src/pay/", Owner: "team-before", Until: day(3, 1), Source: from("codeowners", "CODEOWNERS", 3)},
	}
}

var settings = Config{Precedence: []string{"whosehop", "backstage", "codeowners"}, Attributes: []string{"team", "service.namespace"}}

// with looks attributes up that are given as key, value, key, value.
func with(pairs ...string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestResolve(t *testing.T) {
	r := Compile(company(), settings)
	now := day(11, 21).UnixNano()
	for _, test := range []struct {
		what string
		q    Question
		rule Rule
		want string // the owner, or the side with a colon before it
	}{
		{"a service by its name, its team by its own", Question{Service: "payments"}, ByService, "team-pay"},
		{"by an alias", Question{Service: "pay-svc"}, ByService, "team-pay"},
		{"an alias that is a pattern says more than a wider one", Question{Service: "payX"}, ByService, "team-pay"},
		{"a pattern for an alias", Question{Service: "legacy-pay-7"}, ByService, "team-pay"},
		{"? is one character, however many bytes", Question{Service: "payé"}, ByService, "team-pay"},
		{"with its namespace", Question{Service: "payments", Namespace: "eu"}, ByService, "team-eu"},
		{"in a namespace that only Kubernetes knows", Question{Service: "payments", Attr: with("k8s.namespace.name", "eu")}, ByService, "team-eu"},
		{"in another namespace", Question{Service: "payments", Namespace: "us"}, ByService, "team-pay"},
		{"with its environment", Question{Service: "payments", Environment: "staging"}, ByService, "team-qa"},
		{"the namespace says more than the environment", Question{Service: "payments", Namespace: "eu", Environment: "prod"}, ByService, "team-eu"},
		{"both", Question{Service: "payments", Namespace: "eu", Environment: "staging"}, ByService, "team-eu-qa"},
		{"a pattern", Question{Service: "paygate"}, ByService, "team-money"},
		{"a pattern that says more", Question{Service: "paygate-eu"}, ByService, "team-money-eu"},
		{"a pattern by its end", Question{Service: "mail-worker"}, ByService, "team-batch"},
		{"names are told apart by case", Question{Service: "Payments"}, ByNobody, Unowned},
		{"a service that is said to be nobody's", Question{Service: "orphan", Environment: "prod"}, ByService, Unowned},
		{"a record without an owner says nothing", Question{Service: "silent"}, ByNobody, Unowned},
		{"an API is no service", Question{Service: "payments-api"}, ByService, "team-money"},
		{"a datastore", Question{Service: "orders-db"}, ByService, "team-db"},
		{"by its address", Question{Service: "orders.internal:5432"}, ByService, "team-db"},
		{"a third party", Question{Service: "api.stripe.com"}, ByService, "team-pay"},

		{"the only one of that name, its namespace not known", Question{Service: "only-eu"}, ByService, "team-eu"},
		{"not in another namespace", Question{Service: "only-eu", Namespace: "us"}, ByNobody, Unowned},
		{"two of that name with different owners", Question{Service: "twice"}, ByNobody, Unowned},
		{"told apart by namespace", Question{Service: "twice", Namespace: "us"}, ByService, "team-us"},

		{"before it changed hands", Question{Service: "moved", AtNs: day(11, 3).UnixNano() - 1}, ByService, "team-a"},
		{"as it changed hands", Question{Service: "moved", AtNs: day(11, 3).UnixNano()}, ByService, "team-b"},
		{"a team that was renamed, before", Question{Service: "shared-svc", AtNs: day(5, 1).UnixNano()}, ByService, "team-old"},
		{"and since", Question{Service: "shared-svc", AtNs: now}, ByService, "team-new"},

		{"an operation before its service", Question{Service: "payments", Operation: "POST /refund"}, ByOperation, "team-refunds"},
		{"an operation by its name before a pattern", Question{Service: "payments", Operation: "POST /refund/batch"}, ByOperation, "team-batch"},
		{"another operation", Question{Service: "payments", Operation: "GET /charge"}, ByService, "team-pay"},
		{"an operation of a service by its alias", Question{Service: "pay-svc", Operation: "POST /refund"}, ByOperation, "team-refunds"},
		{"an operation of any service", Question{Service: "payments", Operation: "GET /healthz"}, ByOperation, "team-platform"},

		{"an edge and its phase", Question{Service: "checkout", Callee: "payments", Phase: "pool"}, ByEdge, "platform-net"},
		{"an edge under its callee's alias", Question{Service: "checkout", Callee: "pay-svc", Phase: "pool"}, ByEdge, "platform-net"},
		{"another phase of it", Question{Service: "checkout", Callee: "payments", Phase: "contract"}, ByEdge, "team-check"},
		{"the side of an edge", Question{Service: "mail", Callee: "kafka", Phase: "queue"}, ByEdge, ":callee"},
		{"the callee by its name before a pattern of the caller", Question{Service: "checkout", Callee: "kafka", Phase: "queue"}, ByEdge, ":callee"},
		{"network is connect, request and response", Question{Service: "mail", Callee: "orders-db", Phase: "connect"}, ByEdge, "team-net"},
		{"by its address", Question{Service: "mail", Callee: "orders.internal:5432", Phase: "response"}, ByEdge, "team-net"},
		{"in an environment", Question{Service: "mail", Callee: "orders-db", Phase: "connect", Environment: "staging"}, ByEdge, "team-qa"},
		{"network is not pool", Question{Service: "mail", Callee: "orders-db", Phase: "pool"}, ByNobody, Unowned},
		{"what is said of a phase is not said of the edge", Question{Service: "mail", Callee: "kafka"}, ByNobody, Unowned},
		{"an edge that is said to be nobody's", Question{Service: "cart", Callee: "payments"}, ByEdge, Unowned},
		{"an edge is not its callee", Question{Service: "mail", Callee: "payments"}, ByNobody, Unowned},

		{"the code", Question{Service: "x", CodePath: "src/pay/charge.go", Attr: with("team", "t")}, ByPath, "team-pay"},
		{"code that a file says is nobody's", Question{Service: "x", CodePath: "src/pay/docs/a.go"}, ByPath, Unowned},
		{"the code at a time", Question{Service: "x", CodePath: "src/pay/charge.go", AtNs: day(2, 1).UnixNano()}, ByPath, "team-before"},
		{"a frame", Question{Service: "x", Stack: "panic\nmain.f()\n\t/build/app/src/pay/charge.go:12 +0x1d"}, ByPath, "team-pay"},
		{"the service before the code", Question{Service: "orders-db", CodePath: "src/pay/charge.go"}, ByService, "team-db"},

		{"an attribute, its team by its own name", Question{Service: "x", Attr: with("team", "@ACME/Pay-Org")}, ByAttribute, "team-pay"},
		{"without the organisation", Question{Service: "x", Attr: with("team", "@other/Payments")}, ByAttribute, "team-pay"},
		{"or without a sign", Question{Service: "x", Attr: with("team", "@Team-Pay")}, ByAttribute, "team-pay"},
		{"only a sign", Question{Service: "x", Attr: with("team", "@")}, ByAttribute, "@"},
		{"an attribute before the namespace", Question{Service: "x", Namespace: "shop", Attr: with("team", "t")}, ByAttribute, "t"},
		{"attributes in their order", Question{Service: "x", Attr: with("service.namespace", "n", "team", "t")}, ByAttribute, "t"},
		{"an attribute that is empty", Question{Service: "x", Attr: with("team", "")}, ByNobody, Unowned},
		{"an attribute beyond all bounds", Question{Service: "x", Attr: with("team", strings.Repeat("t", 1<<20))}, ByNobody, Unowned},
		{"a namespace that is an owner by the settings", Question{Service: "x", Namespace: "n", Attr: with("service.namespace", "n")}, ByAttribute, "n"},
		{"a namespace that has a record", Question{Service: "x", Namespace: "shop", Attr: with("service.namespace", "shop")}, ByNamespace, "team-shop"},
		{"the namespace of Kubernetes", Question{Service: "x", Attr: with("k8s.namespace.name", "shop")}, ByNamespace, "team-shop"},
		{"a namespace in an environment", Question{Service: "x", Namespace: "team-9", Environment: "prod"}, ByNamespace, "team-prod"},
		{"all services of a namespace are its", Question{Service: "x", Namespace: "legacy-7"}, ByNamespace, "team-attic"},
		{"what nothing else speaks of", Question{Service: "x", Environment: "prod"}, ByCatchAll, "team-rest"},
		{"an attribute before that", Question{Service: "x", Environment: "prod", Attr: with("team", "t")}, ByAttribute, "t"},
		{"in its environment only", Question{Service: "x"}, ByNobody, Unowned},
		{"nothing", Question{}, ByNobody, Unowned},
	} {
		if test.q.AtNs == 0 {
			test.q.AtNs = now
		}
		got := r.Resolve(&test.q)
		owner := got.Owner
		if got.Side != "" {
			owner += ":" + got.Side
		}
		if owner != test.want || got.Rule != test.rule {
			t.Errorf("%s: %s by %s, want %s by %s (%s)", test.what, owner, got.Rule, test.want, test.rule, got.Why())
		}
		explained, trail := r.Explain(&test.q)
		if explained != got {
			t.Errorf("%s: explained as %+v", test.what, explained)
		}
		for i, step := range trail {
			if last := i == len(trail)-1; step.Found && (!last || step.Rule != got.Rule) || last && !step.Found && got.Rule != ByNobody || step.Note == "" {
				t.Errorf("%s: trail %+v", test.what, trail)
			}
		}
	}
}

func TestNowIsTheDefault(t *testing.T) {
	past, ahead := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	r := Compile([]catalog.Record{
		{Kind: catalog.Service, Name: "a", Owner: "before", Until: past},
		{Kind: catalog.Service, Name: "a", Owner: "now", From: past, Until: ahead},
		{Kind: catalog.Service, Name: "a", Owner: "after", From: ahead},
		{Kind: catalog.Team, Name: "was", Until: past},
		{Kind: catalog.Team, Name: "is", From: past},
	}, Config{})
	if got := r.Resolve(&Question{Service: "a"}); got.Owner != "now" {
		t.Errorf("%s owns it now", got.Owner)
	}
	if r.Team("was", 0) != nil || r.Team("IS", 0) == nil || r.Team("was", past.Add(-1).UnixNano()) == nil {
		t.Error("teams of another time")
	}
}

func TestWhy(t *testing.T) {
	r := Compile(company(), settings)
	for _, test := range []struct {
		q    Question
		want string
	}{
		{Question{Service: "payments", Namespace: "eu", Environment: "staging"}, "service payments in namespace eu in stag*, by owners.yaml:13"},
		{Question{Service: "payments", Operation: "POST /refund"}, "operation payments POST /refund*, by owners.yaml:40"},
		{Question{Service: "a", Operation: "GET /health"}, "operation * GET /health*, by owners.yaml:42"},
		{Question{Service: "checkout", Callee: "payments", Phase: "pool"}, "edge checkout->payments:pool, by owners.yaml:50"},
		{Question{CodePath: "src/pay/a.go"}, "code /src/pay/, by CODEOWNERS:1"},
		{Question{Service: "orphan"}, "owners.yaml:19 says that nobody owns it"},
		{Question{Service: "x", Attr: with("team", "payments")}, "the resource attribute team names team-pay"},
		{Question{Service: "x"}, "nothing names an owner"},
	} {
		if got := r.Resolve(&test.q); got.Why() != test.want {
			t.Errorf("%+v: %s, want %s", test.q, got.Why(), test.want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	say := func(format, file string, line int, owner string, begins time.Time) catalog.Record {
		return catalog.Record{Kind: catalog.Service, Name: "a", Owner: owner, From: begins, Source: from(format, file, line)}
	}
	for _, test := range []struct {
		what    string
		records []catalog.Record
		want    string
	}{
		{"formats in their order", []catalog.Record{say("backstage", "b", 1, "b", time.Time{}), say("whosehop", "w", 1, "w", time.Time{})}, "w"},
		{"a format that is not listed comes last", []catalog.Record{say("cortex", "c", 1, "c", time.Time{}), say("codeowners", "o", 1, "o", time.Time{})}, "o"},
		{"the format before the time", []catalog.Record{say("backstage", "b", 1, "b", day(5, 1)), say("whosehop", "w", 1, "w", time.Time{})}, "w"},
		{"of one format the newest", []catalog.Record{say("whosehop", "w", 1, "old", day(1, 1)), say("whosehop", "w", 2, "new", day(2, 1))}, "new"},
		{"then as they stand", []catalog.Record{say("whosehop", "w", 2, "second", time.Time{}), say("whosehop", "w", 1, "first", time.Time{})}, "first"},
		{"what says more before all of that", []catalog.Record{
			say("whosehop", "w", 1, "w", time.Time{}), {Kind: catalog.Service, Name: "a", Namespace: "n*", Owner: "narrow", Source: from("cortex", "c", 1)},
		}, "narrow"},
	} {
		r := Compile(test.records, settings)
		if got := r.Resolve(&Question{Service: "a", Namespace: "n", AtNs: day(11, 1).UnixNano()}); got.Owner != test.want {
			t.Errorf("%s: %s", test.what, got.Owner)
		}
	}
	paths := []catalog.Record{
		{Kind: catalog.Path, Pattern: "/src/", Owner: "hub", Source: from("codeowners", "CODEOWNERS", 1)},
		{Kind: catalog.Path, Pattern: "/src/pay/", Owner: "own", Source: from("whosehop", "owners.yaml", 1)},
		{Kind: catalog.Path, Pattern: "/src/pay/", Owner: "late", Source: from("codeowners", "CODEOWNERS", 2)},
	}
	r := Compile(paths, settings)
	for path, want := range map[string]string{"src/pay/a.go": "own", "src/b.go": "hub"} {
		if got := r.Resolve(&Question{CodePath: path}); got.Owner != want {
			t.Errorf("%s: %s, want %s", path, got.Owner, want)
		}
	}
}

func TestDefaultSide(t *testing.T) {
	for phase, want := range map[string]string{
		"pool": Caller, "budget": Caller, "backoff": Caller, "queue": Callee, "network": "", "connect": "", "request": "", "response": "", "contract": "", "": "",
	} {
		if side, why := DefaultSide(phase); side != want || why == "" {
			t.Errorf("%q: %q because %s", phase, side, why)
		}
	}
}

func TestCurrent(t *testing.T) {
	var c Current
	if got := c.Resolve(&Question{Service: "a"}); got.Owner != Unowned {
		t.Errorf("an empty registry says %s", got.Owner)
	}
	c.Set(Compile([]catalog.Record{{Kind: catalog.Service, Name: "a", Owner: "b"}}, Config{}))
	if got := c.Resolve(&Question{Service: "a"}); got.Owner != "b" {
		t.Errorf("got %s", got.Owner)
	}
}

// TestAttributesThatNameNobody: what a catalog does not take for an owner, an attribute does not name either.
func TestAttributesThatNameNobody(t *testing.T) {
	r := Compile(nil, settings)
	words := []string{"", " ", "\t", "-", "none", " None ", "no owner", "no-owner", "N/A", "nobody", "TBD", "unknown", "unowned", "payments", "nobody-else", "none of us", " pay "}
	for _, word := range words {
		path := filepath.Join(t.TempDir(), "deployment.yaml")
		text := fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, annotations: {team: %q, runbook: https://wiki}}\n", word)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		records, _, err := catalog.Read([]string{path}, catalog.Options{Labels: []string{"team"}})
		if err != nil || len(records) > 1 {
			t.Fatalf("%q: %v, %+v", word, err, records)
		}
		want := ""
		if len(records) > 0 {
			want = records[0].Owner
		}
		if got, _ := r.ofAttributes(&asked{Question: &Question{Attr: with("team", word)}}); (got == "") != (want == "") {
			t.Errorf("%q: attribute %q, the catalog has %q", word, got, want)
		}
		answer := r.Resolve(&Question{Service: "x", Attr: with("team", word, "service.namespace", "shop")})
		if want = cmp.Or(want, "shop"); answer.Owner != want {
			t.Errorf("%q: %+v, want %s", word, answer, want)
		}
	}
}
