package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestAVerdictIsReadAndReviewed: what the commands and the page say of one trace of 10,000 spans, and what people say of it.
func TestAVerdictIsReadAndReviewed(t *testing.T) {
	u := startUp(t, t.TempDir(), "--query-public-url", "https://whosehop.example/", "--query-trace-link", "https://jaeger.example/trace/{traceId}")
	const spans = 10_000
	// A chain of three, the last of which fails for itself, and all others are beside it.
	d := spansOf(7, spans, 3, func(i int) int { return min(i, 3) - 1 })
	for _, rs := range d.ResourceSpans().All() {
		for _, s := range rs.ScopeSpans().At(0).Spans().All() {
			if id := s.SpanID(); id[6] > 0 || id[7] > 2 {
				s.Status().SetCode(0)
			} else if id[7] == 2 {
				e := s.Events().AppendEmpty()
				e.SetName("exception")
				e.Attributes().PutStr("exception.type", "shop.OutOfStock")
				e.Attributes().PutStr("exception.stacktrace", "at shop.Stock.take(Stock.java:17)")
			}
		}
	}
	if status := u.send(t, d); status != http.StatusOK {
		t.Fatalf("sent: %d", status)
	}
	id := fmt.Sprintf("%02x%028x01", 7, 0)
	verdictSays(t, u, id, "unowned")

	at := []string{"--server", u.http}
	tell := func(code int, args ...string) string { t.Helper(); return command(t, code, append(args, at...)...) }
	for want, said := range map[string]string{
		"svc-0000 is not to blame (propagated)":                       tell(0, "blame", id, "--why-not", "svc-0000"),
		"It is to blame: svc-0002 op carries 100 %":                   tell(0, "blame", id, "--why-not", "svc-0002"),
		"has no part in this trace":                                   tell(1, "blame", id, "--why-not", "svc-9999"),
		"**svc-0002 (unowned) broke svc-0000 op":                      tell(0, "blame", id, "-o", "markdown"),
		"(https://whosehop.example/verdicts/" + id + "#entry-":        tell(0, "blame", id, "-o", "markdown"),
		"confirmed: svc-0002 (unowned) broke svc-0000 op":             tell(0, "confirm", id, "--by", "anna"),
		"contested: svc-0002 (unowned) broke":                         tell(0, "contest", id, "--by", "bert", "--why", "not ours"),
		"404":                                                         tell(1, "confirm", strings.Repeat("ab", 16)),
		"self-error          0          1  0 %":                       tell(0, "reviews"),
		"contested by bert: not ours\n  svc-0002 (unowned) broke":     tell(0, "reviews", "--kind", "contested", "--rule", "self-error", "--owner", "unowned"),
		`"contested":1,"confirmedShare":0`:                            ask(t, u.http+"/api/v1/reviews/summary"),
		`"kind":"contested","by":"bert","why":"not ours","version":1`: ask(t, u.http+"/api/v1/verdicts/"+id+"/reviews"),
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}

	page := ask(t, u.http+"/verdicts/"+id)
	for _, want := range []string{"shop.OutOfStock", "at shop.Stock.take(Stock.java:17)", "<b>Contested</b> by bert: not ours", "https://jaeger.example/trace/" + id, "Trace at jaeger.example"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	shown, folds := make(map[string]int), []string{}
	read := func(page string) {
		for _, m := range regexp.MustCompile(`<span class="what" title="[^"]* ([0-9a-f]{16})"`).FindAllStringSubmatch(page, -1) {
			shown[m[1]]++
		}
		for _, m := range regexp.MustCompile(`data-load="\.row" href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			folds = append(folds, strings.ReplaceAll(m[1], "&amp;", "&")+"&part=1")
		}
	}
	for read(page); len(folds) > 0; folds = folds[1:] {
		read(ask(t, u.http+folds[0]))
	}
	for span, n := range shown {
		if n != 1 {
			t.Errorf("span %s is shown %d times", span, n)
		}
	}
	if len(shown) != spans {
		t.Errorf("%d of %d spans are shown", len(shown), spans)
	}
}
