package term

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() *verdict.Verdict {
	return &verdict.Verdict{
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Symptom: verdict.SymptomError, Completeness: 0.8, Provisional: true,
		Entry:   verdict.Entry{Service: "web", Operation: "GET /checkout", Start: verdict.Time{UnixNs: 1_780_000_000_000_000_000}, DurationNs: 412e6},
		Summary: "the budget between orders and pay (orders, team-orders) broke web GET /checkout: it waits 30 ms for what normally takes 80 ms; 1 hop passed it on.",
		Shares: []verdict.Share{{
			Site: verdict.Site{Kind: verdict.SiteEdge, Caller: "orders", Callee: "pay", Phase: verdict.PhaseBudget}, Accountable: "orders", Owner: "team-orders", Weight: 1, Confidence: 0.85,
			Rule: "budget-short", Evidence: []string{"orders gave up on pay after 30 ms"}, Amplification: 3,
			RunnerUp: &verdict.Candidate{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay"}, Confidence: 0.1},
		}},
		Hops: []verdict.Hop{
			{Service: "web", Operation: "GET /checkout", Role: verdict.RolePropagated, Why: "failed because its call to orders failed", DurationNs: 412e6},
			{Service: "orders", Operation: "POST /orders", Role: verdict.RoleOrigin, Why: "it waits 30 ms", Caller: "web", DurationNs: 1_400e6},
			{Service: "pay", Operation: "POST /" + strings.Repeat("very-long-", 8), Role: verdict.RoleCleared, Why: "answered 200 in 80 ms", Caller: "orders", DurationNs: 80e6},
			{Service: "ads", Operation: "GET /ads", Role: verdict.RoleCleared, Why: "answered 200 in 0.30 ms", Caller: "web", DurationNs: 300_000},
		},
		Notes: []string{"judged on the first 100000 spans"},
	}
}

func TestVerdictGolden(t *testing.T) {
	for file, painter := range map[string]Painter{"testdata/plain.txt": {}, "testdata/colour.txt": {Color: true}} {
		var got bytes.Buffer
		if err := painter.Verdict(&got, sample()); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s", file, &got, want)
		}
	}
}

// TestHopsInACircle: services that call each other in turn are drawn once each.
func TestHopsInACircle(t *testing.T) {
	v := sample()
	v.Hops = append(v.Hops, verdict.Hop{Service: "web", Caller: "pay", Role: verdict.RoleCleared}, verdict.Hop{Service: "lost", Caller: "nobody", Role: verdict.RoleCleared})
	if lines := tree(v); len(lines) != 6 {
		t.Errorf("%d lines: %+v", len(lines), lines)
	}
}

func TestTop(t *testing.T) {
	rows := []TopRow{{Name: "zahlungen-größe", Owner: "team-a", Caused: 12.5, Rule: "self-error", Exemplar: "4bf9"}, {Name: "pay", Owner: "unowned", Caused: 1, Rule: "crash", Exemplar: "77aa"}}
	for by, want := range map[string]string{
		"service": "  caused  service          owner                 mostly            for example\n" +
			"    12.5  zahlungen-größe  team-a                self-error        4bf9\n" +
			"     1.0  pay              unowned               crash             77aa\n",
		"owner": "  caused  owner            mostly            for example\n" +
			"    12.5  zahlungen-größe  self-error        4bf9\n" +
			"     1.0  pay              crash             77aa\n",
	} {
		var got bytes.Buffer
		if err := (Painter{}).Top(&got, by, rows); err != nil {
			t.Fatal(err)
		}
		if got.String() != want {
			t.Errorf("by %s: got\n%swant\n%s", by, &got, want)
		}
	}
}
