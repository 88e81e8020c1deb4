package web_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/web"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func TestMain(m *testing.M) { clickhousetest.Main(m) }

// shop is a shop in a real ClickHouse, with what went wrong in it over a month, judged as an analyzer does.
type shop struct {
	t       *testing.T
	db      *storage.DB
	url     string
	stories map[string][]tracescript.Span
	judge   blame.Config
	next    uint64
	now     time.Time
	recent  spans.Block // of the last hour
	last    map[string]spans.TraceID
}

// stories are requests to the shop: one that is well, and what goes wrong.
var stories = map[string]string{
	"well": `
storefront SERVER "GET /checkout" 0..140 200
  storefront CLIENT GET 3..9 200 @recommendations
    recommendations SERVER "GET /recommendations" 4..8 200
  storefront CLIENT POST 12..135 200 @checkout
    checkout SERVER "POST /orders" 13..134 200 v=5.2.0
      checkout CLIENT shop.Pricing/Quote 15..46 grpc=OK @pricing
        pricing SERVER shop.Pricing/Quote 16..45 grpc=OK
          pricing CLIENT GET 18..20 db.system.name=redis @price-cache
      checkout CLIENT shop.Inventory/Reserve 48..62 grpc=OK @inventory
        inventory SERVER shop.Inventory/Reserve 49..61 grpc=OK
          inventory CLIENT "SELECT stock" 51..58 db.system.name=postgresql db.namespace=stock @stock-db
      checkout CLIENT POST 70..130 200 @payments
        payments SERVER "POST /charges" 72..128 200 v=2.3.0
          payments CLIENT POST 80..120 200 @api.bank.example:443
`,
	"search": `
mobile-api SERVER "GET /search" 0..90 200
  mobile-api CLIENT GET 2..85 200 @search
    search SERVER "GET /search" 4..83 200
      search CLIENT POST 10..70 200 db.system.name=opensearch db.namespace=products @products
  mobile-api CLIENT GET 3..30 200 @accounts
    accounts SERVER "GET /me" 4..29 200
      accounts CLIENT SELECT 6..12 db.system.name=postgresql db.namespace=accounts @accounts-db
`,
	"payments": `
storefront SERVER "GET /checkout" 0..412 502
  storefront CLIENT GET 3..9 200 @recommendations
    recommendations SERVER "GET /recommendations" 4..8 200
  storefront CLIENT POST 12..405 500 @checkout
    checkout SERVER "POST /orders" 13..404 500 v=5.2.0
      checkout CLIENT shop.Pricing/Quote 15..46 grpc=OK @pricing
        pricing SERVER shop.Pricing/Quote 16..45 grpc=OK
      checkout CLIENT shop.Inventory/Reserve 48..62 grpc=OK @inventory
        inventory SERVER shop.Inventory/Reserve 49..61 grpc=OK
          inventory CLIENT "SELECT stock" 51..58 db.system.name=postgresql db.namespace=stock @stock-db
      checkout CLIENT POST 70..400 500 @payments
        payments SERVER "POST /charges" 72..398 500 v=2.3.1 "exc=java.lang.NullPointerException: Cannot invoke Card.network() because card is null"
`,
	"gap": `
storefront SERVER "GET /checkout" 0..412 502
  storefront CLIENT POST 12..405 500 @checkout
    checkout SERVER "POST /orders" 13..404 500 v=5.2.0
      checkout CLIENT shop.Inventory/Reserve 15..22 grpc=OK @inventory
        inventory SERVER shop.Inventory/Reserve 16..21 grpc=OK
      checkout CLIENT POST 270..400 error @payments error.type=ECONNRESET
        payments SERVER "POST /charges" 272..310 200 v=2.3.0
          payments CLIENT POST 275..305 200 @api.bank.example:443
`,
	"slow": `
mobile-api SERVER "GET /search" 0..1840 200
  mobile-api CLIENT GET 2..1835 200 @search
    search SERVER "GET /search" 4..1833 200
      search CLIENT POST 10..1820 200 db.system.name=opensearch db.namespace=products @products
`,
	"pool": `
storefront SERVER "GET /items" 0..5020 500
  storefront CLIENT GET 4..5016 500 @inventory
    inventory SERVER "GET /items" 5..5014 500
      inventory CLIENT SELECT 7..5007 error db.system.name=postgresql db.namespace=stock @stock-db "exc=org.apache.commons.dbcp.SQLNestedException: Cannot get a connection, pool exhausted"
`,
	"bank": `
storefront SERVER "GET /checkout" 0..1400 502
  storefront CLIENT POST 12..1395 500 @checkout
    checkout SERVER "POST /orders" 13..1394 500 v=5.2.0
      checkout CLIENT POST 20..1390 502 @payments
        payments SERVER "POST /charges" 22..1388 502 v=2.3.0
          payments CLIENT POST 25..1380 503 @api.bank.example:443
`,
	"masked": `
storefront SERVER "GET /" 0..80 200
  storefront CLIENT GET 5..40 500 @recommendations
    recommendations SERVER "GET /recommendations" 6..39 500 "exc=IndexError: list index out of range"
  storefront CLIENT GET 42..70 200 @catalog
    catalog SERVER "GET /featured" 43..69 200
`,
	"login": `
mobile-api SERVER "POST /login" 0..60 500
  mobile-api CLIENT POST 5..50 500 @accounts
    accounts SERVER "POST /sessions" 6..49 500 "exc=KeyError: 'tenant'"
`,
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, db: clickhousetest.DB(t), stories: make(map[string][]tracescript.Span), last: make(map[string]spans.TraceID), now: time.Now()}
	var records []catalog.Record
	for service, owner := range map[string]string{
		"storefront": "team-web", "mobile-api": "team-web", "catalog": "team-web", "recommendations": "team-ml", "search": "team-ml", "checkout": "team-checkout", "pricing": "team-checkout",
		"inventory": "team-warehouse", "payments": "team-payments",
	} {
		records = append(records, catalog.Record{Kind: catalog.Service, Name: service, Owner: owner})
	}
	payments := catalog.Record{Kind: catalog.Team, Name: "team-payments"}
	payments.OnCall, payments.Chat, payments.Runbook = "https://pager.example/payments", "#payments", "https://wiki.example/payments"
	registry := ownership.Compile(append(records, payments), ownership.Config{})
	owners := new(ownership.Current)
	owners.Set(registry)
	s.judge = blame.Config{Owners: registry, SLO: map[string]int64{"mobile-api GET /search": 400e6}}
	for name, text := range stories {
		list, err := tracescript.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.stories[name] = list
	}
	mux := http.NewServeMux()
	web.Register(mux, query.New(s.db, s, owners, nil), slog.New(slog.DiscardHandler))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// JudgeNow judges on the spot, as its other methods do, on the spans that are stored.
func (s *shop) JudgeNow(ctx context.Context, of storage.SettledTrace) (verdicts []verdict.Verdict, err error) {
	return verdicts, s.lookAt(ctx, of.TraceID, func(forest *trace.Forest, cfg blame.Config) { verdicts = blame.Judge(forest, cfg) })
}

func (s *shop) ExplainNow(ctx context.Context, of storage.SettledTrace, service string) (verdicts []verdict.Verdict, err error) {
	return verdicts, s.lookAt(ctx, of.TraceID, func(forest *trace.Forest, cfg blame.Config) {
		cfg.Explain, cfg.ExplainOf = true, service
		verdicts = blame.Judge(forest, cfg)
	})
}

func (s *shop) TimelineNow(ctx context.Context, of storage.SettledTrace, verdicts []verdict.Verdict) (line *verdict.Timeline, judged []verdict.Verdict, err error) {
	err = s.lookAt(ctx, of.TraceID, func(forest *trace.Forest, cfg blame.Config) {
		if judged = verdicts; len(judged) == 0 {
			judged = blame.Judge(forest, cfg)
		}
		line = blame.Timeline(forest, cfg, judged)
	})
	return line, judged, err
}

func (s *shop) RankNow(context.Context, time.Time, time.Time, string, int) ([]verdict.Suspect, error) {
	return nil, nil
}

func (s *shop) lookAt(ctx context.Context, id spans.TraceID, use func(*trace.Forest, blame.Config)) error {
	var b spans.Block
	if err := s.db.ReadTraces(ctx, storage.TraceQuery{IDs: []spans.TraceID{id}, SpansMax: query.SpansMax}, &b); err != nil || b.Len() == 0 {
		return err
	}
	use(trace.Build(&b, trace.Group(&b)[0].Rows, 0), s.judge)
	return nil
}

// happened stores the verdicts on requests that came in at some times.
func (s *shop) happened(name string, ago ...time.Duration) {
	s.t.Helper()
	judged := make([]storage.JudgedTrace, len(ago))
	for i, d := range ago {
		at := s.now.Add(-d)
		list, block, id := s.request(name, at)
		ingested := at.Add(2 * time.Second)
		if d < time.Hour {
			ingested = time.Now().Add(time.Minute) // its spans are stored before
			tracescript.Append(&s.recent, list, id)
		}
		verdicts := blame.Judge(trace.Build(block, trace.Group(block)[0].Rows, 0), s.judge)
		s.last[name] = id
		judged[i] = storage.JudgedTrace{SettledTrace: storage.SettledTrace{TraceID: id, Rows: uint64(block.Len()), FirstIngest: ingested, LastIngest: ingested, Version: 1}, Verdicts: verdicts}
	}
	err := s.db.WriteJudged(s.t.Context(), func(yield func(*storage.JudgedTrace) bool) {
		for i := range judged {
			if !yield(&judged[i]) {
				return
			}
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// request is a story at some time, under an id of its own.
func (s *shop) request(name string, at time.Time) ([]tracescript.Span, *spans.Block, spans.TraceID) {
	s.next++
	var id spans.TraceID
	copy(id[:], "shop")
	binary.BigEndian.PutUint64(id[8:], s.next)
	list := slices.Clone(s.stories[name])
	first := list[0].StartNs
	for i := range list {
		list[i].StartNs += at.UnixNano() - first
		list[i].EndNs += at.UnixNano() - first
	}
	return list, tracescript.Block(list, id), id
}

// stored stores the spans of requests, and of those of the last hour that went wrong, and sums up what was called.
func (s *shop) stored(times map[string]int) {
	s.t.Helper()
	for name, n := range times {
		for range n {
			list, _, id := s.request(name, s.now)
			tracescript.Append(&s.recent, list, id)
		}
	}
	if err := clickhousetest.Insert(s.t.Context(), s.db, &s.recent, 1); err != nil {
		s.t.Fatal(err)
	}
	from := s.now.Add(-time.Minute).Truncate(time.Minute)
	if err := s.db.MakeTraffic(s.t.Context(), from, time.Now().Add(time.Minute).Truncate(time.Minute), storage.ByMinute); err != nil {
		s.t.Fatal(err)
	}
}

// every is n times, evenly from some time ago on.
func every(from, to time.Duration, n int) (list []time.Duration) {
	for i := range n {
		list = append(list, from-(from-to)*time.Duration(i)/time.Duration(n))
	}
	return list
}

// aMonth is what went wrong in the shop: a bank that fails each night, slow searches now and then, a bug of an hour a week ago, and what
// is wrong now: payments since its last deployment, searches, and answers that are lost on the way.
func (s *shop) aMonth() {
	s.t.Helper()
	const day = 24 * time.Hour
	for d := range time.Duration(28) {
		s.happened("bank", every((d+1)*day-time.Hour, (d+1)*day-2*time.Hour, 6+int(d)%5)...)
		if d%3 == 0 {
			s.happened("slow", every((d+1)*day-5*time.Hour, (d+1)*day-7*time.Hour, 9)...)
			s.happened("masked", every((d+1)*day-3*time.Hour, (d+1)*day-9*time.Hour, 12)...)
		}
		if d%6 == 1 {
			s.happened("pool", every((d+1)*day-4*time.Hour, (d+1)*day-4*time.Hour-20*time.Minute, 14)...)
		}
	}
	s.happened("payments", every(7*day, 7*day-time.Hour, 30)...)
	s.happened("payments", every(24*time.Minute, 15*time.Minute, 30)...)
	s.happened("payments", every(15*time.Minute, 0, 110)...)
	s.happened("gap", every(40*time.Minute, 4*time.Minute, 21)...)
	s.happened("slow", every(38*time.Minute, 0, 64)...)
	s.happened("masked", every(40*time.Minute, 10*time.Minute, 9)...)
	s.stored(map[string]int{"well": 900, "search": 700, "pool": 1})
}

func TestStories(t *testing.T) {
	s := newShop(t)
	for name, want := range map[string]string{
		"well": "none", "search": "none", "payments": "payments POST /charges", "gap": "checkout->payments (response)", "slow": "opensearch products products",
		"pool": "inventory->postgresql stock stock-db (pool)", "bank": "api.bank.example:443", "masked": "recommendations GET /recommendations", "login": "accounts POST /sessions",
	} {
		_, block, _ := s.request(name, s.now)
		v := blame.Judge(trace.Build(block, trace.Group(block)[0].Rows, 0), s.judge)[0]
		got := string(v.Symptom)
		if len(v.Shares) > 0 {
			got = v.Shares[0].Site.String()
		}
		if got != want {
			t.Errorf("%s: %s blames %s, want %s", name, v.Summary, got, want)
		}
	}
}
