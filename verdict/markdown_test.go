package verdict

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was (-update rewrites it):\n%s", name, got)
	}
}

func example() *Verdict {
	return &Verdict{
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Symptom: SymptomError, Completeness: 1, Version: 2,
		Entry:   Entry{Service: "frontend", Operation: "GET /checkout", SpanID: "00f067aa0ba902b7", Start: Time{1_763_632_800_000_000_000}, DurationNs: 412_000_000},
		Summary: "the response between checkout and payments (unowned) broke frontend GET /checkout: the answer of payments never arrived; 1 hop passed it on.",
		Shares: []Share{
			{
				Site: Site{Kind: SiteEdge, Caller: "checkout", Callee: "payments", Phase: PhaseResponse}, Accountable: "payments", Owner: "team-payments", Weight: 0.7, Confidence: 0.82, Rule: "response-lost",
				Evidence: []string{"payments POST /charges: the server side ended well after 38 ms", `checkout saw RESET: "<b>reset</b> by *peer* @here [x](y) a_b _c_"`, "> three", "four", "five"},
				RunnerUp: &Candidate{Site: Site{Kind: SiteService, Service: "checkout", Operation: "POST /orders"}, Confidence: 0.15},
			},
			{Site: Site{Kind: SitePeer, Peer: "bank`:443"}, Accountable: "bank`:443", Owner: OwnerUnowned, Weight: 0.3, Confidence: 0.4, Rule: "peer-failed", Evidence: []string{}},
		},
		Hops: []Hop{{Service: "frontend", Role: RolePropagated}, {Service: "inventory", Role: RoleCleared, Why: "answered 200 in 4.0 ms"}, {Service: "pricing", Role: RoleCleared}},
	}
}

func TestMarkdown(t *testing.T) {
	reach := func(owner string) []Reach {
		if owner != "team-payments" {
			return nil
		}
		return []Reach{{"on call", "https://pager.example/p(1)"}, {"chat", "#payments"}}
	}
	golden(t, "whole.md", example().Markdown(Context{Link: "https://whosehop.example/verdicts/4bf9#entry-00f0", Trace: "https://tempo.example/4bf9", Reach: reach}))
	bare := example()
	bare.Shares, bare.Hops, bare.Provisional, bare.Symptom = nil, nil, true, SymptomNone
	golden(t, "bare.md", bare.Markdown(Context{}))
	many := example()
	for range 20 {
		many.Shares, many.Hops = append(many.Shares, many.Shares[1]), append(many.Hops, Hop{Service: "s", Role: RoleCleared})
	}
	if text := many.Markdown(Context{}); len(text) > 2000 || !strings.Contains(text, "19 smaller shares are left out") || !strings.Contains(text, "and 10 more") {
		t.Error(text)
	}
}

func TestWhyNot(t *testing.T) {
	v := example()
	explained := example()
	explained.Tried = []Tried{{Span: "01", Of: "checkout POST /orders", Rule: "dns", Why: "it is no call"}, {Span: "01", Of: "checkout POST /orders", Rule: "passed-on", Fits: true}}
	for _, c := range []struct {
		service   string
		explained *Verdict
		blamed    bool
		want      string
	}{
		{"inventory", example(), false, "inventory is not to blame (cleared): answered 200 in 4.0 ms. Rule response-lost named checkout->payments (response) (82 %); second came checkout POST /orders (15 %). " +
			"Rule peer-failed named bank`:443 with a confidence of 40 %, and nothing came second. No rule was tried on it: the way from the entry down to what went wrong does not lead through its spans."},
		{"checkout", explained, false, "What is to blame lies between it and another: checkout->payments (response) carries 70 % by rule response-lost, and payments must act. " +
			"It came second: if it was not checkout->payments (response) (82 %), then checkout POST /orders, which was given 15 %. " +
			"Rule peer-failed named bank`:443 with a confidence of 40 %, and nothing came second. 2 rules were tried on 1 of its spans and the calls to it; 1 fitted."},
		{"payments", nil, true, "It is to blame: checkout->payments (response) carries 70 % of it by rule response-lost, with a confidence of 82 %. " +
			"Rule response-lost named checkout->payments (response) (82 %); second came checkout POST /orders (15 %). Its spans have expired: which rules were tried cannot be said any more."},
	} {
		w, ok := v.WhyNot(c.service, c.explained)
		if got := strings.Join(w.Answer, " "); !ok || w.Blamed != c.blamed || got != c.want {
			t.Errorf("%s: %v %v\n%s\n%s", c.service, ok, w.Blamed, got, c.want)
		}
	}
	other := example()
	other.Shares, other.Summary = other.Shares[:1], "it was somebody else."
	if w, _ := v.WhyNot("inventory", other); !strings.Contains(strings.Join(w.Answer, " "), "the verdict is another: it was somebody else.") {
		t.Errorf("%q", w.Answer)
	}
	if _, ok := v.WhyNot("nobody", nil); ok {
		t.Error("a service that is not there has a part")
	}
}
