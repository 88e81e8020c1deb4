package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/grpcapi"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// fake knows one judged trace (01…), one that has not settled (02…), and may fail.
type fake struct {
	err     error
	missing []string
	owners  []catalog.Record
	wanted  ownership.Wanted // what was last applied
	dryRun  bool
	reviews []storage.Review
	looks   int // how often services were looked for
}

func (f *fake) Missing(context.Context) []string { return f.missing }

func (f *fake) TraceVerdicts(_ context.Context, id spans.TraceID) ([]string, storage.SettledTrace, bool, error) {
	body, err := json.Marshal(known(id))
	return []string{string(body)}, storage.SettledTrace{Version: 3, Rows: 2}, id[0] == 1, errors.Join(f.err, err)
}

func known(id spans.TraceID) verdict.Verdict {
	return verdict.Verdict{
		TraceID: fmt.Sprintf("%x", id[:]), Rules: "1", Version: 3, Symptom: verdict.SymptomError, Summary: "a -> b <broke>", Completeness: 1,
		Shares: []verdict.Share{{Site: verdict.Site{Kind: verdict.SiteService, Service: "b"}, Weight: 1, SpanIDs: []string{}, Evidence: []string{}}}, Hops: []verdict.Hop{{Service: "b", Role: verdict.RoleOrigin}},
	}
}

func (f *fake) NewestSpan(context.Context, spans.TraceID) (time.Time, error) {
	return time.Time{}, f.err
}

func (f *fake) StoredTrace(context.Context, spans.TraceID) (storage.SettledTrace, error) {
	return storage.SettledTrace{Rows: 2}, f.err
}
func (f *fake) ReadTraces(context.Context, storage.TraceQuery, *spans.Block) error { return f.err }
func (f *fake) Ping(context.Context) error                                         { return f.err }

func (f *fake) RankNow(context.Context, time.Time, time.Time, string, int) ([]verdict.Suspect, error) {
	return []verdict.Suspect{{Rank: 1, Site: verdict.Site{Kind: verdict.SiteService, Service: "payments"}, Service: "payments", Owner: "team-payments", Exemplars: []string{}}}, nil
}

func (f *fake) JudgeNow(_ context.Context, of storage.SettledTrace) ([]verdict.Verdict, error) {
	if of.TraceID[0] != 2 || f.err != nil {
		return nil, f.err
	}
	return []verdict.Verdict{known(of.TraceID), known(of.TraceID)}, nil
}

func (f *fake) ExplainNow(_ context.Context, of storage.SettledTrace, service string) ([]verdict.Verdict, error) {
	v := known(of.TraceID)
	v.Tried = []verdict.Tried{{Span: "01", Of: "a", Rule: "dns", Why: "it is no call of " + service}}
	return []verdict.Verdict{v}, f.err
}

func (f *fake) TimelineNow(context.Context, storage.SettledTrace, []verdict.Verdict) (*verdict.Timeline, []verdict.Verdict, error) {
	return nil, nil, f.err
}

func (f *fake) WriteReview(_ context.Context, r *storage.Review) error {
	f.reviews = append([]storage.Review{*r}, f.reviews...)
	return f.err
}

func (f *fake) ListReviews(_ context.Context, filter storage.ReviewFilter) ([]storage.Review, error) {
	list := []storage.Review{}
	for _, r := range append(f.reviews, storage.Review{At: time.UnixMicro(5), Kind: query.Confirmed, EntrySpanID: "0a"}) {
		if len(list) < filter.Limit && (filter.Before == nil || r.At.UnixMicro() < filter.Before.AtUs) {
			list = append(list, r)
		}
	}
	return list, f.err
}

func (f *fake) CountReviews(context.Context, time.Time, time.Time) ([]storage.ReviewCount, error) {
	return []storage.ReviewCount{{Rule: "self-error", Confirmed: 3, Contested: 1}, {Rule: "dns", Contested: 4}}, f.err
}

func (f *fake) ListVerdicts(_ context.Context, filter storage.VerdictFilter) ([]storage.VerdictRow, error) {
	var rows []storage.VerdictRow
	for i := 100; i > 0 && len(rows) < filter.Limit; i-- {
		if filter.Before == nil || int64(i) < filter.Before.StartNs {
			rows = append(rows, storage.VerdictRow{Key: storage.VerdictKey{StartNs: int64(i), TraceID: "t", SpanID: "s"}, Symptom: "error", Owners: []string{"o"}, Rules: []string{"self-error"}})
		}
	}
	return rows, f.err
}

func (f *fake) Align(from, to time.Time) (time.Time, time.Time) { return storage.Align(from, to, 0) }

func (f *fake) Blame(_ context.Context, filter storage.BlameFilter, by []string, _ time.Duration, _ int) ([]storage.BlameRow, error) {
	row := storage.BlameRow{At: filter.From, Amount: 1_500_000, Failed: 1_500_000, Stored: 750_000, ExcessNs: 7, FirstNs: 1e18, LastNs: 1e18, Exemplar: "t", MainOwner: "o", MainRule: "self-error"}
	for column, field := range map[string]*string{
		"Owner": &row.Owner, "Kind": &row.Kind, "Service": &row.Service, "Accountable": &row.Accountable, "EntryService": &row.EntryService, "EntryOperation": &row.EntryOperation,
		"Fingerprint": &row.Fingerprint, "ServiceVersion": &row.ServiceVersion, "Cause": &row.Cause, "Via": &row.Via, "Rule": &row.Rule, "Class": &row.Class,
	} {
		if slices.Contains(by, column) {
			*field = map[string]string{"Owner": "o", "Kind": "service", "Service": "pay", "Accountable": "pay", "EntryService": "web", "EntryOperation": "GET /", "Via": "web"}[column]
		}
	}
	rows := []storage.BlameRow{row}
	if slices.Contains(by, "Kind") {
		edge := row
		edge.Kind, edge.Service, edge.Caller, edge.Callee, edge.Phase, edge.Accountable, edge.Amount, edge.Failed = "edge", "", "web", "x", "response", "", 500_000, 500_000
		rows = append(rows, edge)
	}
	return rows, f.err
}

func (f *fake) SeenServices(context.Context, time.Time, time.Time, []string) ([]storage.SeenService, error) {
	f.looks++
	return []storage.SeenService{{Name: "pay", Spans: 5, LastNs: 1e18}, {Name: "web", Spans: 7, LastNs: 1e18, Attributes: map[string]string{"team": "team-web"}}}, f.err
}

func (f *fake) Spells(context.Context, storage.BlameFilter, []storage.Site) (map[storage.Site][]storage.Spell, error) {
	return nil, nil
}

func (f *fake) Operations(context.Context, storage.TrafficWindow) ([]storage.Operation, error) {
	return []storage.Operation{{Service: "web", Name: "GET /", Kind: "Server", Calls: 9, Entries: 7}}, nil
}

func (f *fake) Edges(context.Context, storage.TrafficWindow) ([]storage.Edge, error) {
	return []storage.Edge{{Caller: "web", Callee: "pay", Calls: 3, ServerBuckets: []uint64{3}}}, nil
}

func (f *fake) Versions(context.Context, storage.TrafficWindow, ...string) ([]storage.SeenVersion, error) {
	return nil, nil
}

func (f *fake) Calls(context.Context, time.Time) ([]storage.Call, error) {
	return []storage.Call{{Caller: "web", Callee: "pay", Calls: 3}}, f.err
}

func serve(t *testing.T, f *fake, records ...catalog.Record) (*httptest.Server, whosehopv1.WhosehopClient) {
	t.Helper()
	owners := new(ownership.Current)
	owners.Set(ownership.Compile(append(f.owners, records...), ownership.Config{Attributes: []string{"team"}}))
	service := query.New(f, f, owners, f)
	mux := http.NewServeMux()
	rest.Register(mux, service, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	api := grpc.NewServer()
	grpcapi.Register(api, service, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = api.Serve(listener) }()
	t.Cleanup(api.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return server, whosehopv1.NewWhosehopClient(conn)
}

func get(t *testing.T, address string) (int, http.Header, string) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

var (
	settled   = "01" + strings.Repeat("0", 30)
	unsettled = "02" + strings.Repeat("0", 30)
	unknown   = "03" + strings.Repeat("0", 30)
)

func TestVerdictIsTheContractsJSON(t *testing.T) {
	server, client := serve(t, &fake{})
	code, header, body := get(t, server.URL+"/api/v1/verdicts/"+settled)
	if code != 200 || header.Get("Content-Type") != "application/json" || !strings.HasSuffix(body, "}\n") || !strings.Contains(body, `"summary":"a -> b <broke>"`) || strings.Contains(body, "provisional") {
		t.Errorf("settled: %d %s %s", code, header.Get("Content-Type"), body)
	}
	response, err := client.GetVerdict(t.Context(), &whosehopv1.GetVerdictRequest{TraceId: settled})
	if err != nil || response.GetVerdictJson()[0]+"\n" != body {
		t.Errorf("gRPC says something else: %v %v", response, err)
	}
	code, header, body = get(t, server.URL+"/api/v1/verdicts/"+unsettled)
	if code != 200 || header.Get("Content-Type") != "application/x-ndjson" || strings.Count(body, `"provisional":true`) != 2 || strings.Count(body, "\n") != 2 {
		t.Errorf("not settled, two entries: %d %s %s", code, header.Get("Content-Type"), body)
	}
}

func TestPagesOfAListMeet(t *testing.T) {
	server, client := serve(t, &fake{})
	token, seen := "", 0
	for {
		_, _, body := get(t, server.URL+"/api/v1/verdicts?pageSize=30&pageToken="+token)
		var page struct {
			Verdicts      []struct{ TraceID string }
			NextPageToken string
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		seen += len(page.Verdicts)
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if seen != 100 {
		t.Errorf("%d verdicts on all pages, want 100", seen)
	}
	page, err := client.ListVerdicts(t.Context(), &whosehopv1.ListVerdictsRequest{PageSize: 99})
	if err != nil || len(page.GetVerdicts()) != 99 || page.GetNextPageToken() == "" {
		t.Errorf("gRPC: %v", err)
	}
}

// TestWhatIsMissingIsSaid: a shard of the storage does not answer.
func TestWhatIsMissingIsSaid(t *testing.T) {
	server, client := serve(t, &fake{missing: []string{"shard 2 (ch-2:9000)"}})
	for _, question := range []string{"verdicts", "attribution", "top", "rank", "owners/coverage"} {
		if code, _, body := get(t, server.URL+"/api/v1/"+question); code != 200 || !strings.Contains(body, `"missing":["shard 2 (ch-2:9000)"]`) {
			t.Errorf("%s: %d %s", question, code, body)
		}
	}
	whole, _ := serve(t, &fake{})
	if _, _, body := get(t, whole.URL+"/api/v1/verdicts"); strings.Contains(body, "missing") {
		t.Errorf("nothing is missing: %s", body)
	}
	if code, header, body := get(t, server.URL+"/api/v1/verdicts/"+unknown); code != 503 || header.Get("Retry-After") == "" || !strings.Contains(body, "shard 2 (ch-2:9000)") {
		t.Errorf("a trace that may lie there: %d %s", code, body)
	}
	if _, err := client.GetVerdict(t.Context(), &whosehopv1.GetVerdictRequest{TraceId: unknown}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shard 2") {
		t.Errorf("a trace that may lie there: %v", err)
	}
	top, err := client.GetTop(t.Context(), &whosehopv1.GetTopRequest{})
	if err != nil || len(top.GetMissing()) != 1 {
		t.Errorf("%v, %v", top, err)
	}
}

func TestRankIsTheSameBothWays(t *testing.T) {
	server, client := serve(t, &fake{})
	_, _, body := get(t, server.URL+"/api/v1/rank?since=30m&entry=GET%20/checkout")
	response, err := client.GetRank(t.Context(), &whosehopv1.GetRankRequest{Entry: "GET /checkout"})
	if err != nil || body != `{"suspects":[`+strings.Join(response.GetSuspectJson(), ",")+"]}\n" || !strings.Contains(body, `"service":"payments"`) {
		t.Errorf("REST %s, gRPC %v %v", body, response, err)
	}
}

func TestCoverageIsTheSameBothWays(t *testing.T) {
	server, client := serve(t, &fake{})
	_, _, body := get(t, server.URL+"/api/v1/owners/coverage?since=168h")
	response, err := client.GetCoverage(t.Context(), &whosehopv1.GetCoverageRequest{})
	if err != nil || !strings.Contains(body, `"findings":[`+strings.Join(response.GetFindingJson(), ",")+`],"totals":`+response.GetTotalsJson()+"}\n") {
		t.Errorf("REST %s, gRPC %v %v", body, response, err)
	}
	var answer struct {
		Findings []struct {
			Kind       string
			Share      float64
			Suggestion struct{ Owner, YAML string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Findings) != 2 || answer.Findings[0].Kind != "no-owner" || answer.Findings[0].Share != 0.625 || answer.Findings[0].Suggestion.Owner != "team-web" ||
		!strings.Contains(answer.Findings[0].Suggestion.YAML, "- name: pay\n    owner: team-web\n") {
		t.Errorf("%v: %s", err, body)
	}
	// Of one kind, and no more than asked for; the totals are over all.
	for path, want := range map[string]int{"kind=edge-no-owner": 1, "kind=no-runbook": 0, "limit=1": 1} {
		_, _, body := get(t, server.URL+"/api/v1/owners/coverage?"+path)
		if n := strings.Count(body, `"subject":`); n != want || !strings.Contains(body, `"no-owner":1`) {
			t.Errorf("%s: %d, want %d: %s", path, n, want, body)
		}
	}
	if _, err := client.GetCoverage(t.Context(), &whosehopv1.GetCoverageRequest{Kind: "x"}); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// TestCoverageIsKeptForAWhile: what was seen is counted once for those who ask for the same soon after; not where something
// is missing, and who owns it is that of now.
func TestCoverageIsKeptForAWhile(t *testing.T) {
	f := &fake{}
	owners := new(ownership.Current)
	service := query.New(f, f, owners, nil)
	ask := func(r query.CoverageRequest, findings, looks int) {
		t.Helper()
		got, err := service.Coverage(t.Context(), r)
		if err != nil || len(got.Findings) != findings || f.looks != looks || len(got.Missing) != len(f.missing) {
			t.Errorf("%d findings, %d looks, missing %v, %v; want %d and %d", len(got.Findings), f.looks, got.Missing, err, findings, looks)
		}
	}
	ask(query.CoverageRequest{}, 3, 1)
	ask(query.CoverageRequest{Kind: "no-owner"}, 2, 1)
	owners.Set(ownership.Compile([]catalog.Record{{Kind: catalog.Service, Name: "pay", Owner: "team-pay"}}, ownership.Config{}))
	ask(query.CoverageRequest{Kind: "no-owner"}, 1, 1)
	ask(query.CoverageRequest{Kind: "no-owner", From: time.Now().Add(-time.Hour)}, 1, 2)
	f.missing = []string{"shard 2"}
	ask(query.CoverageRequest{Kind: "no-owner", From: time.Now().Add(-2 * time.Hour)}, 1, 3)
	ask(query.CoverageRequest{Kind: "no-owner", From: time.Now().Add(-2 * time.Hour)}, 1, 4)
}

func TestErrors(t *testing.T) {
	server, client := serve(t, &fake{})
	for path, want := range map[string]int{
		"/api/v1/verdicts/" + unknown: 404, "/api/v1/verdicts/nonsense": 400, "/api/v1/verdicts?pageSize=x": 400, "/api/v1/verdicts?from=yesterday": 400,
		"/api/v1/verdicts?since=1h&from=2026-01-01T00:00:00Z": 400, "/api/v1/verdicts?colour=red": 400, "/api/v1/attribution?step=1ms": 400, "/api/v1/top?by=x": 400, "/api/v1/nothing": 404,
		"/api/v1/owners/coverage?kind=x": 400, "/api/v1/owners/coverage?reviewDays=-1": 400, "/api/v1/owners/coverage?limit=501": 400, "/api/v1/owners/coverage?since=9999h": 400,
		"/api/v1/top?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": 400,
	} {
		code, header, body := get(t, server.URL+path)
		if code != want || header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, `"detail":"`) {
			t.Errorf("%s: %d %s %s", path, code, header.Get("Content-Type"), body)
		}
	}
	for id, want := range map[string]codes.Code{unknown: codes.NotFound, "x": codes.InvalidArgument} {
		if _, err := client.GetVerdict(t.Context(), &whosehopv1.GetVerdictRequest{TraceId: id}); status.Code(err) != want {
			t.Errorf("gRPC, %s: %v", id, err)
		}
	}

	server, client = serve(t, &fake{err: &net.OpError{Op: "dial", Err: errors.New("secret address refused")}})
	code, _, body := get(t, server.URL+"/api/v1/verdicts/"+settled)
	if code != 500 || strings.Contains(body, "secret") {
		t.Errorf("an error of ours: %d %s", code, body)
	}
	if _, err := client.GetTop(t.Context(), &whosehopv1.GetTopRequest{}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("gRPC: %v", err)
	}
	server, client = serve(t, &fake{err: away{}})
	code, header, _ := get(t, server.URL+"/api/v1/top")
	if code != 503 || header.Get("Retry-After") == "" {
		t.Errorf("the storage is away: %d", code)
	}
	if _, err := client.GetAttribution(t.Context(), &whosehopv1.GetAttributionRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
}

type away struct{}

func (away) Error() string   { return "away" }
func (away) Retryable() bool { return true }

func TestResolveOwner(t *testing.T) {
	server, client := serve(
		t, &fake{},
		catalog.Record{Kind: catalog.Service, Name: "payments", Owner: "team-payments", Source: catalog.Source{Format: "whosehop", File: "owners.yaml", Line: 2}},
		catalog.Record{Kind: catalog.Service, Name: "payments", Environment: "staging", Owner: "team-qa"},
	)
	_, _, body := get(t, server.URL+"/api/v1/owners/resolve?service=payments&at=2026-11-20T00:00:00Z")
	if want := `{"about":"payments","owner":"team-payments","rule":"service","why":"service payments, by owners.yaml:2","source":{"format":"whosehop","file":"owners.yaml","line":2},"charter":{},"at":"2026-11-20T00:00:00Z"}` + "\n"; body != want {
		t.Errorf("got %s", body)
	}
	for question, want := range map[string]string{
		"service=payments&attribute=deployment.environment%3Dstaging": `"owner":"team-qa"`,
		"service=payments&environment=staging":                        `"owner":"team-qa"`,
		"service=x&attribute=a%3Db&attribute=team%3Dt&why=true":       `"trail":[{"rule":"service","found":false,"note":"no record of this service"},{"rule":"attribute","found":true,"note":"team"}]`,
		"edge=payments-%3Edb:pool":                                    `"side":"caller"`,
		"peer=payments":                                               `"owner":"team-payments"`,
		"codePath=a.go":                                               `"owner":"unowned"`,
		"":                                                            "invalid question: nothing is asked for",
		"edge=payments":                                               "is no edge like",
		"service=a&attribute=b":                                       `attribute \"b\" is not KEY=VALUE`,
		"service=a&why=perhaps":                                       `why \"perhaps\" is not true or false`,
		"service=a&at=noon":                                           `at \"noon\" is neither RFC 3339`,
		"service=a&colour=red":                                        `there is no parameter \"colour\"`,
	} {
		code, _, body := get(t, server.URL+"/api/v1/owners/resolve?"+question)
		if !strings.Contains(body, want) || (code != 200) == strings.HasPrefix(want, `"`) {
			t.Errorf("%s: %d %s", question, code, body)
		}
	}
	response, err := client.ResolveOwner(t.Context(), &whosehopv1.ResolveOwnerRequest{Service: "payments", Attributes: map[string]string{"deployment.environment": "staging"}, Why: true})
	if err != nil || response.GetOwner() != "team-qa" || response.GetRule() != "service" || !strings.Contains(response.GetResolutionJson(), `"trail":[`) {
		t.Errorf("gRPC: %v, %v", response, err)
	}
	if _, err := client.ResolveOwner(t.Context(), &whosehopv1.ResolveOwnerRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("gRPC: %v", err)
	}
}

// TestOpenAPI holds every route against the document: each path answers, with the fields it promises.
func TestOpenAPI(t *testing.T) {
	server, _ := serve(t, &fake{owners: registry()})
	_, _, text := get(t, server.URL+"/api/v1/openapi.json")
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Parameters []struct{ Name, In string } }
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
				Required   []string
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) != 18 {
		t.Fatalf("%v, %d paths", err, len(doc.Paths))
	}
	// What a path does not answer without.
	needs := map[string]string{"/api/v1/owners/resolve": "service=payments", "/api/v1/report": "owner=o", "/api/v1/edge": "caller=web&callee=x", "/api/v1/verdicts/{traceId}/why-not": "service=b"}
	for path := range doc.Paths {
		code, _, body := get(t, server.URL+strings.ReplaceAll(path, "{traceId}", settled)+"?"+needs[path])
		if code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for path, schema := range map[string]string{
		"/api/v1/verdicts/" + settled: "Verdict", "/api/v1/verdicts?pageSize=1": "VerdictSummary", "/api/v1/attribution": "Attribution", "/api/v1/top": "Part", "/api/v1/now": "NowEntry", "/api/v1/now?limit=1": "NowHop", "/api/v1/map": "MapEdge", "/api/v1/map?depth=2": "MapNode", "/api/v1/report?owner=o": "Part", "/api/v1/rank": "Suspect",
		"/api/v1/verdicts/" + settled + "/why-not?service=b": "WhyNotAnswer", "/api/v1/verdicts/" + settled + "/reviews": "Review", "/api/v1/reviews": "Reviews",
		"/api/v1/reviews/summary": "ReviewSummary", "/api/v1/reviews/summary?since=1h": "ReviewCount",
		"/api/v1/owners": "OwnerRecord", "/api/v1/owners/handovers": "Handover",
		"/api/v1/owners/coverage": "Finding", "/api/v1/owners/coverage?limit=1": "CoverageTotals",
		"/api/v1/owners/resolve?service=a": "Resolution",
	} {
		_, _, body := get(t, server.URL+path)
		for _, field := range doc.Components.Schemas[schema].Required {
			if !strings.Contains(body, `"`+field+`":`) {
				t.Errorf("%s promises %s, which is not in %s", schema, field, body)
			}
		}
	}
	for path, methods := range doc.Paths {
		for _, p := range methods["get"].Parameters {
			if p.In != "query" {
				continue
			}
			if code, _, body := get(t, server.URL+strings.ReplaceAll(path, "{traceId}", settled)+"?"+needs[path]+"&"+p.Name+"="); code != 200 {
				t.Errorf("%s does not take %s: %s", path, p.Name, body)
			}
		}
	}
}

// TestOwnersListIsBounded: a short body can ask for a great many records.
func TestOwnersListIsBounded(t *testing.T) {
	var list rest.OwnersList
	for text, want := range map[string]string{
		"[" + strings.Repeat("{},", ownership.RecordsMost) + "{}]": "more than 200000 records",
		`[{"kind":"service"},{"kinds":"service"}]`:                 "record 2: ",
		`[{"kind":"service"}`:                                      "unexpected",
	} {
		if err := json.Unmarshal([]byte(text), &list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
	if err := json.Unmarshal([]byte(`[{"kind":"service"}, {"kind":"team"}]`), &list); err != nil || len(list) != 2 || list[1].Kind != catalog.Team {
		t.Errorf("%v, %v", list, err)
	}
	if err := json.Unmarshal([]byte("null"), &list); err != nil || list != nil {
		t.Errorf("%v, %v", list, err)
	}
}
