package web_test

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/browsertest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/web"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

const story = `
storefront SERVER "GET /checkout" 0..412 502
  storefront CLIENT GET 3..9 200 @recommendations
    recommendations SERVER "GET /recommendations" 4..8 200
  storefront CLIENT POST 12..405 500 @checkout
    checkout SERVER "POST /orders" 13..404 500
      checkout CLIENT shop.Pricing/Quote 15..96 grpc=OK @pricing
        pricing SERVER shop.Pricing/Quote 16..95 grpc=OK
      checkout CLIENT shop.Inventory/Reserve 15..22 grpc=OK @inventory
        inventory SERVER shop.Inventory/Reserve 16..21 grpc=OK
          inventory CLIENT "SELECT stock" 17..20 db.system.name=postgresql @pg-stock
      checkout CLIENT POST 100..170 503 @shipping url.full=http://shipping/s
        shipping SERVER "POST /shipments" 101..169 503
      checkout CLIENT POST 190..260 200 @shipping url.full=http://shipping/s resend=1
        shipping SERVER "POST /shipments" 191..259 200
      checkout CLIENT POST 270..400 error @payments exc="java.net.SocketException: Connection reset <by peer>" host=node-1
        payments SERVER "POST /charges" 272..310 200 host=node-2
          payments CLIENT POST 275..305 200 @bank:443
`

const healthyStory = `
storefront SERVER "GET /checkout" 0..212 200
  storefront CLIENT POST 12..205 200 @checkout
    checkout SERVER "POST /orders" 13..204 200
      checkout CLIENT shop.Inventory/Reserve 15..22 grpc=OK @inventory
        inventory SERVER shop.Inventory/Reserve 16..21 grpc=OK
      checkout CLIENT POST 100..160 200 @shipping url.full=http://shipping/s
        shipping SERVER "POST /shipments" 101..159 200
      checkout CLIENT POST 170..200 200 @payments host=node-1
        payments SERVER "POST /charges" 173..197 200 host=node-2
`

func script(t *testing.T, text string) []tracescript.Span {
	t.Helper()
	list, err := tracescript.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// fake is a storage with two traces: the story, and one of ten thousand spans.
type fake struct {
	edges   []storage.Edge
	blame   []storage.BlameRow // instead of harm
	blocks  map[spans.TraceID]*spans.Block
	missing []string
	normal  *baseline.Baseline
	reviews []storage.Review
	expired []verdict.Verdict // stored, with no spans left
	rows    uint64            // of every trace, 0 for as many as there are
}

func (f *fake) Missing(context.Context) []string { return f.missing }

var (
	storyID = spans.TraceID{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36}
	hugeID  = spans.TraceID{0x77, 15: 1}
)

func newFake(t *testing.T) *fake {
	t.Helper()
	normal := new(baseline.Baseline)
	const healthy = 12
	for range healthy {
		block := tracescript.Block(script(t, healthyStory), spans.TraceID{9})
		normal.Learn(trace.Build(block, trace.Group(block)[0].Rows, 0))
	}
	huge := []tracescript.Span{{ID: spans.SpanID{1}, Service: "importer", Name: "POST /import", Kind: spans.KindServer, Status: spans.StatusError, StartNs: 1e18, EndNs: 1e18 + 20e9}}
	for i := range 9_999 {
		s := tracescript.Span{ID: spans.SpanID{2, 6: byte(i >> 8), 7: byte(i)}, Parent: spans.SpanID{1}, Service: fmt.Sprint("items-", i%40), Name: "PUT /item <b>", Kind: spans.KindServer, StartNs: 1e18 + int64(i)*2e6, EndNs: 1e18 + int64(i)*2e6 + 1.5e6}
		if i == 7_777 {
			s.Status = spans.StatusError
		}
		huge = append(huge, s)
	}
	return &fake{normal: normal, blocks: map[spans.TraceID]*spans.Block{storyID: tracescript.Block(script(t, story), storyID), hugeID: tracescript.Block(huge, hugeID)}}
}

func (f *fake) TraceVerdicts(_ context.Context, id spans.TraceID) (bodies []string, of storage.SettledTrace, found bool, err error) {
	for i := range f.expired {
		if f.expired[i].TraceID == hex.EncodeToString(id[:]) {
			body, err := json.Marshal(&f.expired[i])
			return []string{string(body)}, storage.SettledTrace{Version: 1, Rows: 5}, true, err
		}
	}
	return nil, storage.SettledTrace{}, false, nil
}

func (f *fake) NewestSpan(context.Context, spans.TraceID) (time.Time, error) { return time.Time{}, nil }

func (f *fake) StoredTrace(_ context.Context, id spans.TraceID) (storage.SettledTrace, error) {
	if b := f.blocks[id]; b != nil {
		return storage.SettledTrace{Rows: cmp.Or(f.rows, uint64(b.Len()))}, nil
	}
	return storage.SettledTrace{}, nil
}

func (f *fake) ReadTraces(_ context.Context, q storage.TraceQuery, b *spans.Block) error {
	if from := f.blocks[q.IDs[0]]; from != nil {
		*b = *from
	}
	return nil
}

func (f *fake) RankNow(context.Context, time.Time, time.Time, string, int) ([]verdict.Suspect, error) {
	return []verdict.Suspect{{Rank: 1, Service: "payments", Owner: "team-payments", Exemplars: []string{}}}, nil
}

func (f *fake) JudgeNow(_ context.Context, of storage.SettledTrace) (verdicts []verdict.Verdict, err error) {
	f.lookAt(of.TraceID, func(forest *trace.Forest, cfg blame.Config) { verdicts = blame.Judge(forest, cfg) })
	return verdicts, nil
}

func (f *fake) ExplainNow(_ context.Context, of storage.SettledTrace, service string) (verdicts []verdict.Verdict, err error) {
	f.lookAt(of.TraceID, func(forest *trace.Forest, cfg blame.Config) {
		cfg.Explain, cfg.ExplainOf = true, service
		verdicts = blame.Judge(forest, cfg)
	})
	return verdicts, nil
}

func (f *fake) TimelineNow(_ context.Context, of storage.SettledTrace, verdicts []verdict.Verdict) (line *verdict.Timeline, judged []verdict.Verdict, err error) {
	f.lookAt(of.TraceID, func(forest *trace.Forest, cfg blame.Config) {
		if judged = verdicts; len(judged) == 0 {
			judged = blame.Judge(forest, cfg)
		}
		line = blame.Timeline(forest, cfg, judged)
	})
	return line, judged, nil
}

func (f *fake) lookAt(id spans.TraceID, use func(*trace.Forest, blame.Config)) {
	if b := f.blocks[id]; b != nil {
		use(trace.Build(b, trace.Group(b)[0].Rows, 0), blame.Config{Owners: teamOf{}, Normal: f.normal})
	}
}

func (f *fake) WriteReview(_ context.Context, r *storage.Review) error {
	f.reviews = append([]storage.Review{*r}, f.reviews...)
	return nil
}

func (f *fake) ListReviews(_ context.Context, filter storage.ReviewFilter) ([]storage.Review, error) {
	var list []storage.Review
	for _, r := range f.reviews {
		if filter.TraceID == nil || *filter.TraceID == r.TraceID {
			list = append(list, r)
		}
	}
	return list, nil
}

func (f *fake) CountReviews(context.Context, time.Time, time.Time) ([]storage.ReviewCount, error) {
	return nil, nil
}

func (f *fake) ListVerdicts(_ context.Context, filter storage.VerdictFilter) ([]storage.VerdictRow, error) {
	var rows []storage.VerdictRow
	for i := range min(filter.Limit, 60) {
		rows = append(rows, storage.VerdictRow{
			Key: storage.VerdictKey{StartNs: time.Date(2026, 11, 20, 10, 0, i, 0, time.UTC).UnixNano(), TraceID: fmt.Sprintf("%x", storyID[:]), SpanID: "01"}, Service: "storefront", Operation: "GET /checkout",
			DurationNs: 412e6, Symptom: "error", Summary: "the response between checkout and payments (unowned) broke storefront GET /checkout: the answer of payments never arrived; 1 hop passed it on.", Owners: []string{"unowned"}, Rules: []string{"response-lost"},
		})
	}
	return rows, nil
}

func (f *fake) Align(from, to time.Time) (time.Time, time.Time) { return storage.Align(from, to, 0) }

func (f *fake) Blame(_ context.Context, filter storage.BlameFilter, by []string, step time.Duration, _ int) ([]storage.BlameRow, error) {
	if f.blame != nil {
		return f.blame, nil
	}
	if step == 0 || slices.Contains(by, "Kind") {
		return harm, nil
	}
	var rows []storage.BlameRow
	i := 0.0
	for at := filter.From.Truncate(step); at.Before(filter.To); at = at.Add(step) {
		i++
		for k, owner := range []string{"team-payments", "unowned", "team-checkout", "user"} {
			amount := int64(1e6 * math.Max(0, 6+4*math.Sin(i/5+float64(k))) / float64(k+1))
			if filter.Suffered {
				amount = int64(k) * 1e6
			}
			rows = append(rows, storage.BlameRow{At: at, Owner: owner, Amount: amount, Stored: amount})
		}
	}
	return rows, nil
}

func (f *fake) SeenServices(context.Context, time.Time, time.Time, []string) ([]storage.SeenService, error) {
	var list []storage.SeenService
	for i, name := range []string{"checkout", "payments", "storefront", "inventory", "pricing", "recommendations-with-a-long-name-that-does-not-end", "<b>bold</b>"} {
		s := storage.SeenService{Name: name, Spans: uint64(9_000_000 / (i + 1)), LastNs: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC).UnixNano(), Attributes: map[string]string{"service.namespace": "shop"}}
		list = append(list, s)
	}
	return list, nil
}

func (f *fake) Spells(context.Context, storage.BlameFilter, []storage.Site) (map[storage.Site][]storage.Spell, error) {
	return nil, nil
}

func (f *fake) Operations(context.Context, storage.TrafficWindow) ([]storage.Operation, error) {
	return []storage.Operation{{Service: "web", Name: "GET /", Kind: "Server", Calls: 9, Entries: 7}}, nil
}

func (f *fake) Edges(context.Context, storage.TrafficWindow) ([]storage.Edge, error) {
	return f.edges, nil
}

func (f *fake) Versions(context.Context, storage.TrafficWindow, ...string) ([]storage.SeenVersion, error) {
	return nil, nil
}

func (f *fake) Calls(context.Context, time.Time) ([]storage.Call, error) {
	var list []storage.Call
	for _, pair := range [][2]string{{"storefront", "checkout"}, {"checkout", "payments"}, {"storefront", "payments"}, {"checkout", "inventory"}, {"inventory", "postgresql stock"}, {"payments", "bank:443"}, {"storefront", "<b>bold</b>"}} {
		list = append(list, storage.Call{Caller: pair[0], Callee: pair[1], Calls: 12_345})
	}
	return list, nil
}

// harm is what coverage is told of.
var harm = []storage.BlameRow{
	{Kind: "service", Service: "payments", Accountable: "payments", Failed: 1_234_500_000, ExcessNs: 7200e9},
	{Kind: "edge", Caller: "checkout", Callee: "payments", Phase: "response", Failed: 321e6},
	{Kind: "service", Service: "inventory", Accountable: "inventory", ExcessNs: 3600e9},
	{Kind: "service", Service: "checkout", Accountable: "checkout", Failed: 99e6},
	{Kind: "peer", Peer: "bank:443", Accountable: "bank:443", Failed: 17e6},
	{Kind: "user", Failed: 40e6},
}

func (f *fake) Ping(context.Context) error { return nil }

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	return serveFake(t, newFake(t))
}

func serveFake(t *testing.T, f *fake, known ...catalog.Record) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	owners := new(ownership.Current)
	owners.Set(ownership.Compile(append(known, []catalog.Record{
		{Kind: catalog.Team, Name: "team-shop", Source: catalog.Source{File: "teams.yaml", Line: 3}, Charter: catalog.Charter{OnCall: "pagerduty:P1", Runbook: "https://wiki/shop"}},
		{Kind: catalog.Service, Name: "storefront", Owner: "team-shop", Source: catalog.Source{File: "services/storefront/catalog-info.yaml", Line: 12}},
		{Kind: catalog.Service, Name: "checkout", Owner: "team-shop", Source: catalog.Source{File: "services/checkout/catalog-info.yaml", Line: 12}},
		{Kind: catalog.Service, Name: "inventory", Owner: "team-warehouse", Source: catalog.Source{File: "services/inventory/catalog-info.yaml", Line: 12}},
	}...), ownership.Config{}))
	web.Register(mux, query.New(f, f, owners, nil), slog.New(slog.DiscardHandler))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestPagesInChromium(t *testing.T) {
	server := serve(t)
	b := browsertest.New(t)
	for _, look := range browsertest.Looks {
		b.As(look)
		for _, page := range []string{fmt.Sprintf("/verdicts/%x", storyID[:]), "/search", "/coverage"} {
			b.Open(server.URL + page)
			b.Check(look)
			if shots := os.Getenv("SCREENSHOTS"); shots != "" {
				b.Shot(filepath.Join(shots, strings.ReplaceAll("p"+page, "/", "-")+"-"+look.Name+".png"), look)
			}
		}
	}
}

func TestVerdictPage(t *testing.T) {
	server := serve(t)
	b := browsertest.New(t)
	var sentence, guilty, focused string
	var hops, links int
	b.Do(
		chromedp.Navigate(server.URL+"/"), chromedp.WaitVisible("header input"),
		chromedp.SendKeys("header input", fmt.Sprintf("%x\n", storyID[:])), chromedp.WaitVisible(".waterfall"),
		chromedp.Text("h1", &sentence), chromedp.Evaluate("document.querySelector('.row.guilty .what').textContent", &guilty),
		chromedp.Evaluate("document.querySelectorAll('table.stack tbody tr').length", &hops),
		chromedp.KeyEvent("\t"), chromedp.Evaluate("document.activeElement.className", &focused),
		chromedp.Evaluate("[...document.querySelectorAll('a,button,input')].filter(e=>e.tabIndex>=0).length", &links),
	)
	if !strings.Contains(sentence, "the response between checkout and payments") || !strings.Contains(guilty, "checkout → payments") {
		t.Errorf("sentence %q, marked %q", sentence, guilty)
	}
	if hops != 7 || focused != "skip" || links < 5 {
		t.Errorf("%d hops, first focus %q, %d places for the keyboard", hops, focused, links)
	}
}

// follow clicks a link where it is: rows that are laid out late must not move it away from a pointer.
func follow(selector string) chromedp.Action {
	return chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q).click()", selector), nil)
}

func TestCoveragePage(t *testing.T) {
	server := serve(t)
	b := browsertest.New(t)
	var first, share, yaml, kind, rest string
	var found, ofKind int
	b.Do(chromedp.Navigate(server.URL+"/"), follow(`nav a[href="/coverage"]`), chromedp.WaitVisible("ol.list"),
		chromedp.Text("ol.list li", &first), chromedp.Text(".owned li", &share), chromedp.Evaluate("document.querySelectorAll('ol.list > li').length", &found),
		chromedp.Evaluate("document.querySelector('details').open = true", nil), chromedp.Text("details pre", &yaml),
		chromedp.SetValue("select[name=kind]", "owner-gone"), follow(".filters button"), chromedp.WaitReady("select[name=kind] option[value=owner-gone][selected]"),
		chromedp.Evaluate("location.search", &kind), chromedp.Evaluate("document.querySelectorAll('ol.list > li').length", &ofKind), chromedp.Text("ol.list", &rest),
	)
	for _, part := range []string{"payments (shop)", "no-owner", "Nobody owns it", "1234.5 failed requests", "7200 s lost", "Likely", "team-shop", "both its callers, checkout and storefront, are team-shop's"} {
		if !strings.Contains(first, part) {
			t.Errorf("%q is not in %q", part, first)
		}
	}
	if !strings.HasPrefix(share, "29 % of the services have an owner") || !strings.Contains(yaml, "- name: payments\n    namespace: shop\n    owner: team-shop\n") {
		t.Errorf("%q, %q", share, yaml)
	}
	if found < 8 || kind != "?since=168h&kind=owner-gone" || ofKind != 1 || !strings.Contains(rest, "inventory") || !strings.Contains(rest, "services/inventory/catalog-info.yaml:12") {
		t.Errorf("%d found; %s: %d, %q", found, kind, ofKind, rest)
	}
}

func TestErrorsAreClear(t *testing.T) {
	server := serve(t)
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/verdicts/" + strings.Repeat("0a", 16): {404, "not known"},
		"/verdicts/xyz":                         {400, "32 hexadecimal digits"},
		"/verdicts?traceId=%3Cscript%3E":        {400, "&lt;script&gt;"},
		"/traces/" + strings.Repeat("0a", 16):   {404, "not known"},
		"/nothing":                              {404, "no such page"},
		"/search?since=yesterday":               {400, "duration"},
		"/search?symptom=pain":                  {400, "symptom"},
		"/coverage?kind=pain":                   {400, "kind"},
		"/coverage?since=yesterday":             {400, "duration"},
		"/coverage":                             {200, "&lt;b&gt;bold"},
		"/static/whosehop.css":                  {200, "color-scheme"},
	} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		_, _ = fmt.Fprint(&body, read(t, response))
		if response.StatusCode != want.code || !strings.Contains(body.String(), want.text) {
			t.Errorf("%s: %d %.300s", path, response.StatusCode, body.String())
		}
	}
}

// TestWhatIsMissingIsSaid: a shard of the storage does not answer.
// A verdict says how who must act is reached. What is no address of the web is never a link.
func TestHowAnOwnerIsReached(t *testing.T) {
	team := catalog.Record{Kind: catalog.Team, Name: "team-items-17"}
	team.OnCall, team.Chat, team.Runbook = "https://pager.example/payments", "#payments", "javascript:alert(1)"
	page := func(known ...catalog.Record) string {
		server := serveFake(t, newFake(t), known...)
		response, err := http.Get(fmt.Sprintf("%s/verdicts/%x", server.URL, hugeID[:]))
		if err != nil {
			t.Fatal(err)
		}
		return read(t, response)
	}
	got := page(team)
	for _, want := range []string{`Reach <b>team-items-17</b>: <a href="https://pager.example/payments" rel="noreferrer">on call</a>`, "chat #payments", "runbook javascript:alert(1)"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(got, `href="javascript`) {
		t.Error("a runbook that is no address of the web is a link")
	}
	if strings.Contains(page(), "Reach <b>") {
		t.Error("a way to reach who is not known")
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	f := newFake(t)
	f.missing = []string{"shard 2 (<ch>)"}
	server, whole := serveFake(t, f), serve(t)
	for path, code := range map[string]int{"/": 200, "/owners": 200, "/coverage": 200, "/verdicts/" + strings.Repeat("0a", 16): 503} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, response); response.StatusCode != code || !strings.Contains(body, "shard 2 (&lt;ch&gt;)") {
			t.Errorf("%s: %d %.500s", path, response.StatusCode, body)
		}
		if response, err = http.Get(whole.URL + path); err != nil {
			t.Fatal(err)
		}
		if body := read(t, response); strings.Contains(body, "missing") {
			t.Errorf("%s: nothing is missing: %.500s", path, body)
		}
	}
}

// TestCountsOfSampledTracesAreSaid: on a map that of what is drawn, each request once, and at an edge that of the edge.
func TestCountsOfSampledTracesAreSaid(t *testing.T) {
	f := newFake(t)
	f.blame = []storage.BlameRow{
		{Kind: "service", Service: "payments", Via: "checkout", Amount: 4000e6, Stored: 40e6},
		{Kind: "edge", Caller: "checkout", Callee: "payments", Phase: "response", Amount: 500e6, Stored: 5e6},
	}
	server := serveFake(t, f)
	all := newFake(t)
	all.blame = []storage.BlameRow{{Kind: "service", Service: "payments", Via: "checkout", Amount: 40e6, Stored: 40e6}}
	whole := serveFake(t, all)
	const note = "45 stored ones stand for these 4500 requests"
	for path, notes := range map[string]int{"/map": 1, "/map?by=owner": 1, "/map?edge=checkout-%3Epayments": 2} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, response); strings.Count(body, note) != notes {
			t.Errorf("%s: %q is there %d times, want %d", path, note, strings.Count(body, note), notes)
		}
		if response, err = http.Get(whole.URL + path); err != nil {
			t.Fatal(err)
		}
		if body := read(t, response); response.StatusCode != http.StatusOK || strings.Contains(body, "Traces are sampled") {
			t.Errorf("%s: nothing is sampled: %d", path, response.StatusCode)
		}
	}
}

func read(t *testing.T, r *http.Response) string {
	t.Helper()
	defer func() { _ = r.Body.Close() }()
	var b strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}

// teamOf has a team for each service, and nothing to say of edges.
type teamOf struct{}

func (teamOf) Resolve(q *ownership.Question) ownership.Answer {
	if q.Callee != "" {
		return ownership.Answer{Owner: ownership.Unowned, Rule: ownership.ByNobody}
	}
	return ownership.Answer{Owner: "team-" + q.Service, Rule: ownership.ByService}
}
