package web_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/whosehop/whosehop/internal/browsertest"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

var pictures = flag.String("pictures", "", "a folder to write a picture of every page to, in every look")

type shopPage struct {
	name, path, shows string
	like              bool
}

// shopPages are the pages that are tried, and what each must show.
// Those that differ little from another are looked at wide and light, and on a dark phone.
var shopPages = []shopPage{
	{"now", "/", ".entry .hops", false},
	{"now-nothing", "/?entry=no-such-entry", ".quiet", true},
	{"search", "/search?since=168h&owner=team-payments", ".set a.chip", false},
	{"owners", "/owners?since=720h", ".figure rect", false},
	{"owner", "/owners/team-payments?since=168h", ".parts", false},
	{"owner-unowned", "/owners/unowned?since=720h", ".parts", true},
	{"map", "/map", ".map a.edge", false},
	{"map-owners", "/map?by=owner", ".map g.edge", true},
	{"map-focus", "/map?focus=checkout&since=24h", ".map .focused", true},
	{"edge", "/map?edge=checkout-%3Epayments", ".costs", true},
	{"coverage", "/coverage", "ol.list", true},
	{"reviews", "/reviews", ".list .chip.contested", true},
}

// TestShop looks at a month of a shop.
func TestShop(t *testing.T) {
	s := newShop(t)
	s.aMonth()
	for i, kind := range []string{query.Confirmed, query.Confirmed, query.Contested} {
		r := storage.Review{TraceID: spans.TraceID{15: byte(i)}, EntrySpanID: "0100000000000000", At: s.now, Kind: kind, Author: "anna", Why: "the bank was <down>", Rule: "self-error", Owner: "team-payments", Summary: "payments broke it"}
		if err := s.db.WriteReview(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]func(*testing.T, *shop, *browsertest.Browser){"pages": testPages, "from now on": testFromNowOn, "search": testSearch, "screens": testScreens} {
		t.Run(name, func(t *testing.T) { test(t, s, browsertest.New(t)) })
	}
}

func testPages(t *testing.T, s *shop, b *browsertest.Browser) {
	pages := append(slices.Clip(shopPages), shopPage{"verdict", fmt.Sprintf("/verdicts/%x", s.last["gap"]), ".waterfall .guilty", false},
		shopPage{"trace", fmt.Sprintf("/traces/%x", s.last["gap"]), ".waterfall", true})
	for _, look := range browsertest.Looks {
		b.As(look)
		for _, p := range pages {
			if p.like && look.Name != "wide-light" && look.Name != "phone-dark" {
				continue
			}
			b.Open(s.url + p.path)
			if strings.Contains(b.Text("main"), "Provisional.") {
				t.Errorf("%s is of a trace that has not settled", p.path)
			}
			if b.Count(p.shows) == 0 {
				t.Errorf("%s, %s: there is no %s", look.Name, p.path, p.shows)
			}
			b.Check(look)
			if *pictures != "" {
				b.Shot(filepath.Join(*pictures, p.name+"-"+look.Name+".png"), browsertest.Look{Width: look.Width, Height: 2400})
			}
		}
	}
}

// testFromNowOn: from the first page, one click leads to the owner, the edge, all like it, and an example.
func testFromNowOn(t *testing.T, s *shop, b *browsertest.Browser) {
	b.As(browsertest.Looks[0])
	b.Open(s.url)
	if got := b.Text("h1"); got != "1 entry is failing, 2 slow or degraded" {
		t.Error(got)
	}
	entry := b.Text(".entry")
	for _, want := range []string{"storefront GET /checkout", "161 failed of 1061 requests (15 %)", "payments POST /charges", "87 %", "team-payments", "min ago", "version 2.3.1", "checkout → payments (response)", "unowned", "13 %"} {
		if !strings.Contains(entry, want) {
			t.Errorf("%q is not in %q", want, entry)
		}
	}
	for _, step := range []struct{ click, wait, want string }{
		{".hops .chip", ".totals", "team-payments"},
		{".hops .hop a", ".map .focused", "Around payments"},
		{".hops tr:nth-child(2) .hop a", ".costs", "checkout → payments"},
		{".hops .links a:last-child", ".set", "Search verdicts"},
		{".hops .links a", ".panel.verdict", "payments (team-payments) broke storefront GET /checkout"},
	} {
		b.Open(s.url)
		b.Click(step.click, step.wait)
		if got := b.Text("h1"); !strings.Contains(got, step.want) {
			t.Errorf("%s leads to %q, want %q", step.click, got, step.want)
		}
	}
}

// TestManyServices: of 200 services with 800 calls between them the map shows what costs something, and what is next to that.
func TestManyServices(t *testing.T) {
	f := newFake(t)
	name := func(i int) string { return fmt.Sprintf("service-%03d", i) }
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		for range 4 {
			f.edges = append(f.edges, storage.Edge{Caller: name(i), Callee: name(min(199, i+1+r.IntN(60))), Calls: uint64(r.IntN(10_000))})
		}
	}
	for i := range 12 {
		e := &f.edges[100+40*i]
		f.blame = append(f.blame,
			storage.BlameRow{Kind: "service", Service: e.Callee, Via: e.Caller, Amount: int64(i*i+1) * 1e6, Stored: 1e6},
			storage.BlameRow{Kind: "edge", Caller: e.Caller, Callee: e.Callee, Phase: "response", Amount: int64(40-3*i) * 1e6, Stored: 1e6})
	}
	server := serveFake(t, f)
	b := browsertest.New(t)
	for _, look := range []browsertest.Look{browsertest.Looks[0], browsertest.Looks[3]} {
		b.As(look)
		for path, nodes := range map[string]int{"/map": 48, "/map?focus=service-150": 0, "/map?by=owner": 0} {
			b.Open(server.URL + path)
			b.Check(look)
			if got := b.Count(".map .node"); nodes != 0 && got != nodes || got == 0 {
				t.Errorf("%s: %d nodes, want %d", path, got, nodes)
			}
			if got := b.Count(".sums tbody tr"); got > 200 {
				t.Errorf("%s: %d edges are listed", path, got)
			}
			if *pictures != "" {
				b.Shot(filepath.Join(*pictures, "many"+strings.ReplaceAll(path, "/", "-")+"-"+look.Name+".png"), browsertest.Look{Width: look.Width, Height: 2400})
			}
		}
	}
	b.As(browsertest.Looks[0])
	b.Open(server.URL + "/map")
	if costly := b.Count(".map .edge.itself, .map .edge.by-callee"); costly != 12 {
		t.Errorf("%d edges that cost something are drawn, want 12", costly)
	}
}

// TestLive: a failure appears on the page that is open, and nothing that a person did to it is lost.
func TestLive(t *testing.T) {
	s := newShop(t)
	b := browsertest.New(t)
	b.As(browsertest.Looks[0])
	b.Open(s.url)
	if got := b.Text("h1"); got != "Nothing is breaking" {
		t.Error(got)
	}
	s.happened("bank", 26*time.Hour)
	s.stored(map[string]int{"well": 7})
	b.Open(s.url)
	if got := b.Text(".quiet"); !strings.Contains(got, "Of 7 requests that came in, none failed") || !strings.Contains(got, "(26 h ago): api.bank.example:443 (unowned) broke storefront GET /checkout") {
		t.Error(got)
	}
	s.happened("payments", every(20*time.Minute, 0, 10)...)
	b.Do(chromedp.Evaluate("window.same = 1; document.querySelector('input[name=owner]').focus(); document.dispatchEvent(new Event('visibilitychange'))", nil), chromedp.WaitVisible(".entry"))
	if got := b.Text(".entry h2"); got != "storefront GET /checkout" {
		t.Error(got)
	}
	b.Do(chromedp.Evaluate("document.querySelector('.hops .links a').focus(); window.row = document.activeElement; scrollTo(0, 40)", nil))
	s.happened("login", every(3*time.Minute, 0, 30)...)
	s.happened("payments", every(20*time.Minute, 0, 5)...)
	b.Do(chromedp.Evaluate("document.dispatchEvent(new Event('visibilitychange'))", nil), chromedp.WaitVisible("#entry-mobile-api_20POST_20_2flogin"))
	if got := b.Text("h1"); got != "2 entries are failing" {
		t.Error(got)
	}
	if first := b.Text(".entry h2"); first != "mobile-api POST /login" { // it broke more, and goes before what was there
		t.Error(first)
	}
	if !browsertest.Eval[bool](b, "window.same === 1 && document.activeElement === window.row && window.row.closest('.entry').id === 'entry-storefront_20GET_20_2fcheckout'") {
		t.Error("the focus was lost, or the page was loaded again")
	}
	b.Click("#pause", "#pause")
	s.happened("masked", time.Minute)
	b.Do(chromedp.Evaluate("document.dispatchEvent(new Event('visibilitychange')); fetch(location.href).then(() => { window.asked = 1 })", nil), chromedp.Poll("window.asked", nil))
	if got := b.Text("h1"); got != "2 entries are failing" || !strings.Contains(b.Text("#live-state"), "Paused") {
		t.Errorf("it goes on while it is paused: %s", got)
	}
	b.Click("#pause", "#entry-storefront_20GET_20_2f")
}

// testSearch: filters go to the address and can be taken away, pages follow each other without a gap.
func testSearch(t *testing.T, s *shop, b *browsertest.Browser) {
	b.As(browsertest.Looks[0])
	b.Open(s.url + "/search?since=24h")
	b.Do(chromedp.SetValue("input[name=owner]", "team-payments"), chromedp.SetValue("input[name=rule]", "self-error"))
	b.Click(".filters button", ".set li:nth-child(2)")
	if at := b.At(); !strings.HasSuffix(at, "/search?owner=team-payments&rule=self-error&since=24h") {
		t.Error(at)
	}
	seen := make(map[string]bool)
	for page := 1; ; page++ {
		for _, address := range browsertest.Eval[[]string](b, "[...document.querySelectorAll('.list a.s')].map(a => a.href)") {
			if seen[address] {
				t.Errorf("%s comes twice", address)
			}
			seen[address] = true
		}
		if b.Count("a[rel=next]") == 0 {
			if page != 3 || b.Text(".paging") != "Newest" {
				t.Errorf("%d pages, %q", page, b.Text(".paging"))
			}
			break
		}
		b.Do(chromedp.Evaluate("document.querySelector('h1').dataset.old = 1", nil))
		b.Click("a[rel=next]", "h1:not([data-old])")
	}
	if len(seen) != 140 {
		t.Errorf("%d verdicts, want 140", len(seen))
	}
	b.Click(`.set a[aria-label^="Remove Rule"]`, `.set li:only-child`)
	if at := b.At(); !strings.HasSuffix(at, "/search?owner=team-payments&since=24h") {
		t.Error(at)
	}
	for address, want := range map[string]int{
		"/search?minDuration=1s&maxDuration=1500ms&since=48h": 13, "/search?entry=storefront&symptom=degraded&since=1h": 9,
		"/search?since=1h&caller=checkout&callee=payments": 50, "/search?since=1h&version=2.3.1&class=TIMEOUT": 0,
		"/search?from=2020-01-01&to=2020-01-02+03:00": 0,
	} {
		b.Open(s.url + address)
		if got := b.Count(".list li"); got != want {
			t.Errorf("%s: %d verdicts, want %d", address, got, want)
		}
	}
	b.Open(s.url + "/?symptom=error&since=1h") // the list was the first page once
	if at := b.At(); !strings.HasSuffix(at, "/search?since=1h&symptom=error") {
		t.Error(at)
	}
}

// testScreens writes the pictures of the documentation when it is told to.
func testScreens(t *testing.T, s *shop, b *browsertest.Browser) {
	folder := t.TempDir()
	if *update {
		folder = filepath.Join("..", "..", "docs", "images")
	}
	for _, p := range []struct {
		name, path string
		look       browsertest.Look
	}{
		{"verdict", fmt.Sprintf("/verdicts/%x", s.last["gap"]), browsertest.Look{Width: 1280, Height: 1000, Scheme: "light"}},
		{"now", "/", browsertest.Look{Width: 1280, Height: 860, Scheme: "light"}},
		{"owner", "/owners/team-payments?since=720h", browsertest.Look{Width: 1280, Height: 1000, Scheme: "light"}},
		{"map", "/map?since=24h", browsertest.Look{Width: 1280, Height: 800, Scheme: "dark"}},
	} {
		b.As(p.look)
		b.Open(s.url + p.path)
		file := filepath.Join(folder, p.name+".webp")
		b.Shot(file, p.look)
		info, err := os.Stat(file)
		if err != nil || info.Size() > 200<<10 || info.Size() < 5<<10 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

var update = flag.Bool("update", false, "write the pictures of the documentation")
