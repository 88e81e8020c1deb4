package ownership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

func TestConflicts(t *testing.T) {
	service := func(name, owner string, line int) catalog.Record {
		return catalog.Record{Kind: catalog.Service, Name: name, Owner: owner, Source: own(line)}
	}
	for _, test := range []struct {
		what    string
		records []catalog.Record
		want    []string
	}{
		{"two owners", []catalog.Record{service("a", "x", 1), service("a", "y", 2)}, []string{"service a: x by owners.yaml:1, y by owners.yaml:2; the first counts"}},
		{
			"two formats",
			[]catalog.Record{{Kind: catalog.Service, Name: "a", Owner: "y", Source: from("backstage", "catalog-info.yaml", 1)}, service("a", "x", 7)},
			[]string{"service a: x by owners.yaml:7, y by catalog-info.yaml:1; the first counts"},
		},
		{"the same owner", []catalog.Record{service("a", "x", 1), service("a", "x", 2)}, nil},
		{"the same owner by another name", []catalog.Record{service("a", "x", 1), service("a", "EX", 2), {Kind: catalog.Team, Name: "x", Aliases: []string{"ex"}}}, nil},
		{"no owner is said", []catalog.Record{service("a", "x", 1), service("a", "", 2)}, nil},
		{"nobody's", []catalog.Record{service("a", "x", 1), service("a", Unowned, 2)}, []string{"service a: x by owners.yaml:1, unowned by owners.yaml:2; the first counts"}},
		{"a service and itself", []catalog.Record{{Kind: catalog.Service, Name: "a", Aliases: []string{"a", "b", "a**", "a*"}, Owner: "x"}}, nil},
		{
			"by an alias",
			[]catalog.Record{{Kind: catalog.Service, Name: "a", Aliases: []string{"b"}, Owner: "x", Source: own(1)}, service("b", "y", 2)},
			[]string{"service b: x by owners.yaml:1, y by owners.yaml:2; the first counts"},
		},
		{"two that share several names, once", []catalog.Record{
			{Kind: catalog.Service, Name: "a", Aliases: []string{"b"}, Owner: "x", Source: own(1)}, {Kind: catalog.Service, Name: "b", Aliases: []string{"a"}, Owner: "y", Source: own(2)},
		}, []string{"service a: x by owners.yaml:1, y by owners.yaml:2; the first counts"}},
		{
			"a datastore and a service",
			[]catalog.Record{service("a", "x", 1), {Kind: catalog.Datastore, Name: "a", Owner: "y", Source: own(2)}},
			[]string{"service a: x by owners.yaml:1, y by owners.yaml:2; the first counts"},
		},
		{"one after the other", []catalog.Record{
			{Kind: catalog.Service, Name: "a", Owner: "x", Until: day(3, 1), Source: own(1)}, {Kind: catalog.Service, Name: "a", Owner: "y", From: day(3, 1), Source: own(2)},
		}, nil},
		{"for a day both", []catalog.Record{
			{Kind: catalog.Service, Name: "a", Owner: "x", Until: day(3, 2), Source: own(1)}, {Kind: catalog.Service, Name: "a", Owner: "y", From: day(3, 1), Source: own(2)},
		}, []string{"service a: y by owners.yaml:2, x by owners.yaml:1; the first counts"}},
		{"a name and a pattern of it", []catalog.Record{service("a", "x", 1), service("a*", "y", 2)}, nil},
		{"the same pattern", []catalog.Record{service("a*", "x", 1), service("a**", "y", 2)}, []string{"service a*: x by owners.yaml:1, y by owners.yaml:2; the first counts"}},
		{"another namespace", []catalog.Record{{Kind: catalog.Service, Name: "a", Namespace: "n", Owner: "x"}, service("a", "y", 2)}, nil},
		{"a namespace is no environment", []catalog.Record{{Kind: catalog.Service, Name: "a", Namespace: "n", Owner: "x"}, {Kind: catalog.Service, Name: "a", Environment: "n", Owner: "y"}}, nil},
		{
			"a namespace, said in two ways",
			[]catalog.Record{{Kind: catalog.Namespace, Name: "n", Owner: "x", Source: own(1)}, {Kind: catalog.Service, Name: "*", Namespace: "n", Owner: "y", Source: own(2)}},
			[]string{"namespace n: x by owners.yaml:1, y by owners.yaml:2; the first counts"},
		},
		{"operations", []catalog.Record{
			{Kind: catalog.Operation, Name: "a", Operation: "GET /*", Owner: "x", Source: own(1)},
			{Kind: catalog.Operation, Name: "a", Operation: "GET /*", Owner: "y", Source: own(2)},
			{Kind: catalog.Operation, Name: "a", Operation: "PUT /*", Owner: "y", Source: own(3)},
		}, []string{"operation a GET /*: x by owners.yaml:1, y by owners.yaml:2; the first counts"}},
		{"edges", []catalog.Record{
			{Kind: catalog.Edge, Caller: "a", Callee: "b", Phase: "pool", Owner: "x", Source: own(1)},
			{Kind: catalog.Edge, Caller: "a", Callee: "b", Phase: "pool", Accountable: "caller", Source: own(2)},
			{Kind: catalog.Edge, Caller: "a", Callee: "b", Accountable: "caller", Source: own(3)},
		}, []string{"edge a->b:pool: x by owners.yaml:1, caller by owners.yaml:2; the first counts"}},
		{
			"of three each against the first that counts",
			[]catalog.Record{service("a", "x", 1), service("a", "y", 2), service("a", "z", 3)},
			[]string{"service a: x by owners.yaml:1, y by owners.yaml:2; the first counts", "service a: x by owners.yaml:1, z by owners.yaml:3; the first counts"},
		},
	} {
		var got []string
		for _, c := range Compile(test.records, settings).Conflicts() {
			got = append(got, c.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.what, got, test.want)
		}
	}
}

func TestHandovers(t *testing.T) {
	records := []catalog.Record{
		{Kind: catalog.Team, Name: "team-a", Aliases: []string{"alpha"}},
		{Kind: catalog.Service, Name: "payments", Aliases: []string{"pay"}, Owner: "alpha", Until: day(3, 1), Source: own(1)},
		{Kind: catalog.Service, Name: "payments", Aliases: []string{"pay"}, Owner: "team-b", From: day(3, 1), Source: own(2)},
		{Kind: catalog.Service, Name: "stays", Owner: "team-a", Until: day(3, 1)},
		{Kind: catalog.Service, Name: "stays", Owner: "alpha", From: day(3, 1)},
		{Kind: catalog.Service, Name: "new", Owner: "team-b", From: day(4, 1)},
		{Kind: catalog.Service, Name: "dropped", Owner: "team-b", Until: day(5, 1), Source: own(5)},
		{Kind: catalog.Service, Name: "taken up", Owner: "team-b", Until: day(6, 1)},
		{Kind: catalog.Service, Name: "taken up", Owner: "team-c", From: day(7, 1)},
		{Kind: catalog.Service, Name: "over", Owner: "team-a"},
		{Kind: catalog.Service, Name: "over", Owner: "team-b", From: day(8, 1), Until: day(9, 1)},
		{Kind: catalog.Edge, Caller: "a", Callee: "b", Phase: "pool", Owner: "team-a", Until: day(10, 1)},
		{Kind: catalog.Edge, Caller: "a", Callee: "b", Phase: "pool", Accountable: "callee", From: day(10, 1)},
		{Kind: catalog.Path, Pattern: "/a", Owner: "x", Until: day(3, 1)},
	}
	list := func(from, to time.Time) (all []string) {
		for _, h := range Compile(records, settings).Handovers(from, to) {
			all = append(all, fmt.Sprintf("%s %s: %s to %s", h.At.Format("01-02"), h.About, h.Before, h.After))
			if h.Record == nil {
				t.Errorf("%s has no record", h.About)
			}
		}
		return all
	}
	want := []string{
		"10-01 edge a->b:pool: team-a to callee",
		"09-01 service over: team-b to team-a",
		"08-01 service over: team-a to team-b",
		"07-01 service taken up: unowned to team-c",
		"06-01 service taken up: team-b to unowned",
		"05-01 service dropped: team-b to unowned",
		"03-01 service payments: team-a to team-b",
	}
	if got := list(day(1, 1), day(12, 1)); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if got := list(day(5, 1), day(7, 1)); !slices.Equal(got, want[4:6]) {
		t.Errorf("from the first to before the last: %q", got)
	}
	slices.Reverse(records)
	if got := list(day(1, 1), day(12, 1)); !slices.Equal(got, want) {
		t.Errorf("in another order\n%s", strings.Join(got, "\n"))
	}
}

// TestNoAllocation: a question costs no memory, whichever rule answers it.
func TestNoAllocation(t *testing.T) {
	r := Compile(company(), settings)
	seen := make(map[Rule]bool)
	for _, q := range []Question{
		{Service: "payments", Namespace: "eu", Environment: "staging"},
		{Service: "pay-svc"},
		{Service: "paygate-eu"},
		{Service: "only-eu"},
		{Service: "payments", Operation: "POST /refund/7"},
		{Service: "pay-svc", Operation: "POST /refund/7"},
		{Service: "checkout", Callee: "payments", Phase: "pool"},
		{Service: "mail", Callee: "orders.internal:5432", Phase: "connect"},
		{Service: "mail", Callee: "none"},
		{Service: "x", CodePath: "src/pay/charge.go"},
		{Service: "x", Attr: with("team", "payments")},
		{Service: "x", Namespace: "shop"},
		{Service: "x", Attr: with("k8s.namespace.name", "shop")},
		{Service: "x", Environment: "prod"},
		{Service: "x"},
		{Service: "shared-svc", AtNs: day(5, 1).UnixNano()},
	} {
		var got Answer
		if n := testing.AllocsPerRun(100, func() { got = r.Resolve(&q) }); n > 0 {
			t.Errorf("%+v: %v allocations", q, n)
		}
		seen[got.Rule] = true
	}
	for _, rule := range []Rule{ByEdge, ByOperation, ByService, ByPath, ByAttribute, ByNamespace, ByCatchAll, ByNobody} {
		if !seen[rule] {
			t.Errorf("no question was answered by %s", rule)
		}
	}
}

// TestLongNames: names of a megabyte are compared by their beginning, and records of such are not.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	r := Compile([]catalog.Record{
		{Kind: catalog.Service, Name: "a*", Owner: "x"},
		{Kind: catalog.Service, Name: long, Owner: "y"},
		{Kind: catalog.Service, Name: long + "*", Owner: "y"},
		{Kind: catalog.Operation, Name: "s", Operation: "*a*a*a*a*b*", Owner: "x"},
		{Kind: catalog.Operation, Name: "s", Operation: long, Owner: "y"},
		{Kind: catalog.Edge, Caller: "a*", Callee: "*a", Owner: "x"},
		{Kind: catalog.Team, Name: long},
		{Kind: catalog.Namespace, Name: "a*", Owner: "n"},
		{Kind: catalog.Path, Pattern: long, Owner: "y"},
	}, settings)
	for _, test := range []struct {
		q    Question
		want string
	}{
		{Question{Service: long}, "x"},
		{Question{Service: "s", Operation: long}, Unowned},
		{Question{Service: "s", Operation: "aaaab" + long}, "x"},
		{Question{Service: long, Callee: long}, "x"},
		{Question{Service: "z", Namespace: long}, "n"},
		{Question{Service: "z", Attr: with("k8s.namespace.name", long, "team", long)}, "n"},
		{Question{Service: "z", CodePath: long, Stack: strings.Repeat(long+"\n", 3)}, Unowned},
	} {
		if got := r.Resolve(&test.q); got.Owner != test.want {
			t.Errorf("%.20s %.20s: %s", test.q.Service, test.q.Operation, got.Owner)
		}
	}
}

// TestManyOfOneThing: what is quadratic in the records of one thing is bounded. Without the bounds this takes minutes.
func TestManyOfOneThing(t *testing.T) {
	const n = 60_000
	records := make([]catalog.Record, n)
	for i := range records {
		begins := day(1, 1).Add(time.Duration(i) * time.Minute)
		records[i] = catalog.Record{Kind: catalog.Service, Name: "a", Owner: fmt.Sprint("team-", i%2), From: begins, Until: begins.Add(time.Minute), Source: own(i + 1)}
	}
	r := Compile(records, settings)
	if got := r.Conflicts(); len(got) > 0 {
		t.Errorf("%d conflicts, such as %s", len(got), got[0])
	}
	if got := len(r.Handovers(day(1, 1), day(12, 31))); got != n {
		t.Errorf("%d handovers", got) // the last is to nobody
	}
	if got := r.Resolve(&Question{Service: "a", AtNs: day(1, 2).UnixNano()}); got.Owner != "team-0" {
		t.Errorf("%s in the middle", got.Owner)
	}
}
