package web_test

import (
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/whosehop/whosehop/internal/browsertest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func page(t *testing.T, address string) (int, string) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, read(t, response)
}

var (
	foldLink = regexp.MustCompile(`data-load="\.row" href="([^"]*)"`)
	spanID   = regexp.MustCompile(`<span class="what" title="[^"]* ([0-9a-f]{16})"`)
)

// unfoldAll opens every fold of a page, as somebody without scripts would, and counts how often each span is shown.
func unfoldAll(t *testing.T, server *httptest.Server, path string) map[string]int {
	t.Helper()
	shown := make(map[string]int)
	const pagesMost = 5000
	todo := []string{path}
	for n := 0; len(todo) > 0; n++ {
		if n == pagesMost {
			t.Fatal("the folds have no end")
		}
		status, body := page(t, server.URL+todo[0])
		if status != http.StatusOK {
			t.Fatalf("%s: %d %.300s", todo[0], status, body)
		}
		todo = todo[1:]
		for _, m := range spanID.FindAllStringSubmatch(body, -1) {
			shown[m[1]]++
		}
		for _, m := range foldLink.FindAllStringSubmatch(body, -1) {
			todo = append(todo, html.UnescapeString(m[1])+"&part=1")
		}
	}
	return shown
}

// randomTrace is a tree of any shape: wide, deep, or in between.
func randomTrace(r *rand.Rand, n int, id spans.TraceID) *spans.Block {
	list := []tracescript.Span{{ID: spans.SpanID{1, 7: 1}, Service: "edge", Name: "GET /", Kind: spans.KindServer, Status: spans.StatusError, StartNs: 1e18, EndNs: 1e18 + 1e9}}
	depth := r.IntN(3)
	for i := 1; i < n; i++ {
		parent := r.IntN(i)
		switch depth {
		case 0:
			parent = max(0, i-1-r.IntN(2)) // a chain, more or less
		case 1:
			parent = r.IntN(min(i, 3)) // some wide operations
		}
		p := &list[parent]
		kind := spans.KindServer
		if p.Kind == spans.KindServer && r.IntN(3) > 0 {
			kind = spans.KindClient
		}
		start := p.StartNs + r.Int64N(1_000_000)
		s := tracescript.Span{
			ID: spans.SpanID{2, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}, Parent: p.ID, Service: fmt.Sprint("s", r.IntN(9)), Name: fmt.Sprint("op", r.IntN(4)), Kind: kind,
			StartNs: start, EndNs: start + r.Int64N(max(1, p.EndNs-start)),
		}
		if r.IntN(10) == 0 {
			s.Status = spans.StatusError
		}
		list = append(list, s)
	}
	return tracescript.Block(list, id)
}

// Whatever is folded, opening all of it shows each span once.
func TestEachSpanIsShownOnce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	f := newFake(t)
	server := serveFake(t, f)
	for round := range 25 {
		id := spans.TraceID{0xee, 15: byte(round + 1)}
		f.blocks[id] = randomTrace(r, []int{5, 99, 101, 700, 3000}[round%5], id)
		ids := make(map[string]bool)
		for i := range f.blocks[id].Len() {
			ids[fmt.Sprintf("%x", f.blocks[id].SpanIDs[i][:])] = true
		}
		shown := unfoldAll(t, server, fmt.Sprintf("/verdicts/%x", id[:]))
		for span := range ids {
			if shown[span] != 1 {
				t.Fatalf("seed %d, round %d: span %s is shown %d times", seed, round, span, shown[span])
			}
		}
		if len(shown) != len(ids) {
			t.Fatalf("seed %d, round %d: %d spans are shown of %d", seed, round, len(shown), len(ids))
		}
	}
	for _, id := range []spans.TraceID{storyID, hugeID} {
		for span, n := range unfoldAll(t, server, fmt.Sprintf("/verdicts/%x", id[:])) {
			if n != 1 {
				t.Errorf("span %s is shown %d times", span, n)
			}
		}
	}
}

// A chain of calls, too deep to be drawn, still shows what is to blame at its end.
func TestDeepTraceShowsWhatIsToBlame(t *testing.T) {
	f := newFake(t)
	id := spans.TraceID{0xde, 15: 1}
	list := []tracescript.Span{}
	const deep = 50_000
	for i := range deep {
		s := tracescript.Span{ID: spans.SpanID{3, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}, Service: fmt.Sprint("s", i), Name: "op", Kind: spans.KindServer, Status: spans.StatusError, StartNs: 1e18 + int64(i), EndNs: 1e18 + 1e9 - int64(i)}
		if i > 0 {
			s.Parent = list[i-1].ID
		}
		list = append(list, s)
	}
	f.blocks[id] = tracescript.Block(list, id)
	status, body := page(t, serveFake(t, f).URL+fmt.Sprintf("/verdicts/%x", id[:]))
	if status != http.StatusOK || !strings.Contains(body, `▶ <span class="svc">s49999</span>`) || !strings.Contains(body, "more spans under s") {
		t.Errorf("%d: what is to blame is not drawn", status)
	}
	if rows := strings.Count(body, `role="listitem"`); rows > 200 || len(body) > 256<<10 || !strings.Contains(body, "49900 more hops") {
		t.Errorf("%d rows, %d bytes", rows, len(body))
	}
}

// What is done again and again is drawn a few times, what failed among it always.
func TestRepetitionsAreFolded(t *testing.T) {
	f := newFake(t)
	id := spans.TraceID{0xab, 15: 1}
	var b strings.Builder
	b.WriteString("checkout SERVER \"POST /orders\" 0..300 200\n")
	for i := range 20 {
		code := "OK"
		if i == 12 {
			code = "INTERNAL"
		}
		fmt.Fprintf(&b, "  checkout CLIENT shop.Inventory/Reserve %d..%d grpc=%s @inventory\n    inventory SERVER shop.Inventory/Reserve %d..%d grpc=%s\n", 15+i*10, 22+i*10, code, 16+i*10, 21+i*10, code)
	}
	f.blocks[id] = tracescript.Block(script(t, b.String()), id)
	server := serveFake(t, f)
	_, body := page(t, server.URL+fmt.Sprintf("/verdicts/%x", id[:]))
	for _, want := range []string{">9 more of inventory shop.Inventory/Reserve, 18 spans<", ">7 more of inventory shop.Inventory/Reserve, 14 spans<", "called inventory shop.Inventory/Reserve 19 times, one after the other; normally 1.0"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	shown := unfoldAll(t, server, fmt.Sprintf("/verdicts/%x", id[:]))
	if len(shown) != 41 {
		t.Errorf("%d spans are shown", len(shown))
	}
	for span, n := range shown {
		if n != 1 {
			t.Errorf("span %s is shown %d times", span, n)
		}
	}
}

// Where a message waited, or a request for its next try, is drawn where that was.
func TestWaitingIsDrawnWhereItWas(t *testing.T) {
	f := newFake(t)
	id := spans.TraceID{0xaa, 15: 1}
	f.blocks[id] = tracescript.Block(script(t, `
shop SERVER "POST /buy" 0..100 200
  shop PRODUCER "send orders" 10..20 messaging.system=kafka messaging.destination.name=orders
    mailer CONSUMER "process orders" 60..90
`), id)
	f.expired = []verdict.Verdict{{
		TraceID: fmt.Sprintf("%x", id[:]), Version: 1, Symptom: verdict.SymptomLatency, Summary: "it waited", Entry: verdict.Entry{SpanID: "0000000000000002"},
		Shares: []verdict.Share{{Site: verdict.Site{Kind: verdict.SiteEdge, Caller: "shop", Callee: "mailer", Phase: verdict.PhaseQueue}, Weight: 1, SpanIDs: []string{"0000000000000003", "0000000000000004"}}},
	}}
	f.rows = 5 // as many as that was judged on
	_, body := page(t, serveFake(t, f).URL+fmt.Sprintf("/verdicts/%x", id[:]))
	if !strings.Contains(body, `<span class="svc">shop → mailer</span> queue 40 ms`) || !strings.Contains(body, `aria-label="from 20 ms, for 40 ms"`) {
		t.Error(body)
	}
}

// The page of the story says all that is known of it.
func TestVerdictPageSaysAll(t *testing.T) {
	_, body := page(t, serve(t).URL+fmt.Sprintf("/verdicts/%x", storyID[:]))
	for _, want := range []string{
		"java.net.SocketException: Connection reset &lt;by peer&gt;",      // the exception of the span to blame
		"2 attempts of shipping POST /shipments, 1 failed: one is folded", // the attempt that came to nothing is folded
		"attempt 2 of 2",
		"normally 29 ms", // the baseline beside what was
		"checkout → payments", "response 87–92 ms, clocks ±2.5 ms",
		"row failed path", // critical path
		"Provisional", "whosehop",
		"/why-not?service=inventory&amp;entry=",
		"To blame: `checkout-&gt;payments (response)`",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestWhyNotInWords(t *testing.T) {
	server := serve(t)
	for service, want := range map[string]string{
		"inventory":  "inventory is not to blame (cleared): ",
		"payments":   "What is to blame lies between it and another: checkout-&gt;payments (response)",
		"storefront": "storefront is not to blame (propagated): failed because its call to checkout failed.",
	} {
		status, body := page(t, server.URL+fmt.Sprintf("/verdicts/%x/why-not?service=%s", storyID[:], service))
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", service, status, body)
		}
	}
	if status, body := page(t, server.URL+fmt.Sprintf("/verdicts/%x/why-not?service=nobody", storyID[:])); status != http.StatusBadRequest || !strings.Contains(body, "has no part in this trace") {
		t.Errorf("%d %s", status, body)
	}
}

// Folds, why-not and copying work in the browser, without a word on its console.
func TestVerdictPageInChromium(t *testing.T) {
	f := newFake(t)
	server := serveFake(t, f)
	b := browsertest.New(t)
	var before, after, marked, bytes int
	var fold, why, copied, review, hash string
	b.Do(chromedp.Navigate(fmt.Sprintf("%s/verdicts/%x", server.URL, hugeID[:])), chromedp.WaitVisible(".row.guilty"),
		chromedp.Evaluate("document.querySelectorAll('.row').length", &before), chromedp.Evaluate("document.querySelectorAll('.row.guilty').length", &marked),
		chromedp.Evaluate("document.documentElement.outerHTML.length", &bytes), chromedp.Evaluate("document.querySelector('.row.fold').textContent", &fold),
		follow(".row.fold a"), chromedp.Poll(fmt.Sprintf("document.querySelectorAll('.row').length > %d", 50), nil), chromedp.Evaluate("document.querySelectorAll('.row').length", &after),
		follow(".whynot"), chromedp.WaitVisible(".answer-row"), chromedp.Text(".answer-row", &why),
		follow("button[data-copy]"), chromedp.Poll("document.querySelector('button[data-copy]').textContent != 'Copy as Markdown'", nil), chromedp.Text("button[data-copy]", &copied),
		chromedp.SetValue("input[name=by]", "anna"), chromedp.SetValue("input[name=why]", "the bank was down <again>"), follow("button[value=contested]"),
		chromedp.WaitVisible(".review .chip.contested"), chromedp.Text(".review", &review), chromedp.Evaluate("location.hash", &hash),
	)
	if before > 130 || marked != 1 || bytes > 256<<10 || !strings.Contains(fold, "more spans under importer POST /import") || after < before+90 {
		t.Errorf("%d rows, then %d; %d marked, %d bytes, %q", before, after, marked, bytes, fold)
	}
	if !strings.Contains(why, "importer is not to blame (propagated)") || copied == "" {
		t.Errorf("%q, %q", why, copied)
	}
	if !strings.Contains(review, "by anna: the bank was down <again>") || hash != "#entry-0100000000000000" {
		t.Errorf("%q, %q", review, hash)
	}
	if r := f.reviews[0]; r.Kind != "contested" || r.Rule == "" || r.Owner != "team-items-17" {
		t.Errorf("%+v", r)
	}
}

// Another site cannot send the form that a verdict's page has.
func TestReviewsComeFromTheirOwnPage(t *testing.T) {
	f := newFake(t)
	server := serveFake(t, f)
	send := func(header http.Header, form url.Values) int {
		request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("%s/verdicts/%x/reviews", server.URL, storyID[:]), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.StatusCode
	}
	confirm := url.Values{"kind": {"confirmed"}}
	for name, c := range map[string]struct {
		header http.Header
		form   url.Values
		want   int
	}{
		"another site":        {http.Header{"Sec-Fetch-Site": {"cross-site"}}, confirm, 403},
		"another origin":      {http.Header{"Origin": {"https://evil.example"}}, confirm, 403},
		"its own page":        {http.Header{"Sec-Fetch-Site": {"same-origin"}}, confirm, 303},
		"an older browser":    {http.Header{"Origin": {server.URL}}, confirm, 303},
		"no reason":           {http.Header{"Sec-Fetch-Site": {"same-origin"}}, url.Values{"kind": {"contested"}}, 400},
		"a reason too long":   {http.Header{"Sec-Fetch-Site": {"same-origin"}}, url.Values{"kind": {"contested"}, "why": {strings.Repeat("x", 2001)}}, 400},
		"a form too large":    {http.Header{"Sec-Fetch-Site": {"same-origin"}}, url.Values{"kind": {"contested"}, "why": {strings.Repeat("x", 1<<20)}}, 400},
		"an entry of nothing": {http.Header{"Sec-Fetch-Site": {"same-origin"}}, url.Values{"kind": {"confirmed"}, "entry": {"00"}}, 400},
	} {
		if got := send(c.header, c.form); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if len(f.reviews) != 2 {
		t.Errorf("%d reviews are kept", len(f.reviews))
	}
}

// A verdict outlives its spans.
func TestVerdictWithoutSpans(t *testing.T) {
	f := newFake(t)
	f.expired = []verdict.Verdict{{
		TraceID: strings.Repeat("5", 32), Version: 1, Symptom: verdict.SymptomError, Summary: "pay broke it", Entry: verdict.Entry{Service: "web", SpanID: "0a"},
		Shares: []verdict.Share{{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay"}, Owner: "team-pay", Weight: 1, Rule: "self-error"}},
		Hops:   []verdict.Hop{{Service: "pay", Role: verdict.RoleOrigin}},
	}}
	server := serveFake(t, f)
	status, body := page(t, server.URL+"/verdicts/"+strings.Repeat("5", 32))
	if status != http.StatusOK || !strings.Contains(body, "pay broke it") || !strings.Contains(body, "have expired") || strings.Contains(body, `class="waterfall"`) {
		t.Errorf("%d %s", status, body)
	}
	if _, body = page(t, server.URL+"/verdicts/"+strings.Repeat("5", 32)+"/why-not?service=pay"); !strings.Contains(body, "Its spans have expired") {
		t.Error(body)
	}
	if status, body = page(t, server.URL+"/verdicts/"+strings.Repeat("5", 32)+"/rows?of=5&from=0&to=1"); status != http.StatusNotFound || !strings.Contains(body, "not known") {
		t.Errorf("%d %s", status, body)
	}
}

func TestFoldsThatAreNotThere(t *testing.T) {
	server := serve(t)
	for query, want := range map[string]int{
		"of=1&from=0&to=1": 409, "of=x&from=0&to=1": 400, "of=17&from=5&to=5": 400, "of=17&from=-1&to=5": 400, "of=17&from=0&to=99": 400, "of=17&from=0&to=17": 200,
	} {
		if got, body := page(t, fmt.Sprintf("%s/verdicts/%x/rows?%s", server.URL, storyID[:], query)); got != want {
			t.Errorf("%s: %d, want %d: %.300s", query, got, want, body)
		}
	}
}
