package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/whosehop/whosehop/analyzer/tracefile"
	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/compat"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { clickhousetest.Main(m) }

// The traces that are stored: the first has all that a span can have, the others are searched for.
var (
	wholeID  = spans.TraceID{0: 0x0a, 15: 1}
	failedID = spans.TraceID{0: 0x0a, 15: 2}
	fineID   = spans.TraceID{14: 0x0a, 15: 3} // begins with zeros
)

// began is when the stored traces begin.
var began = time.Unix(1_780_000_000, 0)

const (
	failed = `web SERVER GET /cart 0..120ms 500 error http.request.method=GET
  web CLIENT pay.Charge 5..105ms
    pay SERVER pay.Charge 8..90ms error says="card declined" exc="Declined: no money" n=12 res:zone=eu`
	fine = `web SERVER GET /cart 0..20ms 200 http.request.method=GET odd="a b"
  web INTERNAL render 5..10ms`
)

// whole is a trace with all that a span can have.
func whole() *spans.Block {
	b := &spans.Block{}
	b.Resources.Services.Append("checkout")
	b.Resources.Attrs.Pair("service.name", "checkout")
	b.Resources.Attrs.Pair("host.name", "node-7")
	b.Resources.Attrs.EndRow()
	b.Resources.SchemaURLs.Append("https://opentelemetry.io/schemas/1.40.0")
	b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, 1)
	b.Scopes.Names.Append("otelhttp")
	b.Scopes.Versions.Append("0.7")
	b.Scopes.Attrs.Pair("scope.attr", "x")
	b.Scopes.Attrs.EndRow()
	b.Scopes.SchemaURLs.Append("scope-schema")
	b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 7)
	start := began.UnixNano() - int64(time.Hour)
	for i := range 2 {
		b.TraceIDs = append(b.TraceIDs, wholeID)
		b.SpanIDs = append(b.SpanIDs, spans.SpanID{7: byte(i + 1)})
		b.ParentIDs = append(b.ParentIDs, spans.SpanID{7: byte(i)})
		b.StartNs = append(b.StartNs, start+int64(i)*1000)
		b.EndNs = append(b.EndNs, start+5_000_000)
		b.Kinds = append(b.Kinds, spans.KindServer+spans.Kind(i))
		b.Statuses = append(b.Statuses, spans.Status(2-i))
		b.Flags = append(b.Flags, 0x301)
		b.Names.Append("GET /<checkout>")
		b.TraceStates.Append("vendor=1")
		b.StatusMessages.Append([]string{"it broke", ""}[i])
		b.Attrs.Pair("http.route", "/checkout")
		b.Attrs.Pair("http.response.status_code", "200")
		b.Attrs.EndRow()
		b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, 1), append(b.DroppedEvents, 2), append(b.DroppedLinks, 3)
		if i == 1 {
			b.Events.TimeNs = append(b.Events.TimeNs, start+2_000_000)
			b.Events.Names.Append("exception")
			b.Events.Attrs.Pair("exception.type", "Boom")
			b.Events.Attrs.EndRow()
			b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 4)
			b.Links.TraceIDs = append(b.Links.TraceIDs, spans.TraceID{5: 5})
			b.Links.SpanIDs = append(b.Links.SpanIDs, spans.SpanID{6: 6})
			b.Links.TraceStates.Append("l=1")
			b.Links.Attrs.Pair("k", "v")
			b.Links.Attrs.EndRow()
			b.Links.DroppedAttrs = append(b.Links.DroppedAttrs, 5)
			b.Links.Flags = append(b.Links.Flags, 256)
		}
		b.EventEnds, b.LinkEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs))), append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
		b.ResourceOf, b.ScopeOf = append(b.ResourceOf, 0), append(b.ScopeOf, 0)
	}
	return b
}

// reader is the storage, but for what a test decides.
type reader struct {
	*storage.DB
	missing []string
	err     error
}

func (r *reader) Missing(context.Context) []string { return r.missing }

func (r *reader) Edges(_ context.Context, w storage.TrafficWindow) ([]storage.Edge, error) {
	if w.To.Sub(w.From) != time.Hour {
		return nil, fmt.Errorf("asked for %v to %v", w.From, w.To)
	}
	return []storage.Edge{
		{Caller: storage.UserCaller, Callee: "web", Type: "virtual_node", Calls: 4},
		{Caller: "web", Callee: "pay", Calls: 3},
		{Caller: "pay", Callee: "postgresql", Type: "database", Calls: 1},
	}, r.err
}

func (r *reader) FindTraces(ctx context.Context, q storage.TraceSearch) ([]spans.TraceID, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.DB.FindTraces(ctx, q)
}

// judge blames pay for the failed trace.
type judge struct{ query.Judge }

func (judge) JudgeNow(_ context.Context, of storage.SettledTrace) ([]verdict.Verdict, error) {
	if of.TraceID != failedID {
		return nil, errors.New("not judged")
	}
	list, err := tracescript.Parse(failed)
	if err != nil {
		return nil, err
	}
	return []verdict.Verdict{{
		TraceID: fmt.Sprintf("%x", of.TraceID[:]), Symptom: verdict.SymptomError, Summary: "pay (team-pay) broke GET /cart", Entry: verdict.Entry{SpanID: fmt.Sprintf("%x", list[0].ID[:])},
		Shares: []verdict.Share{{
			Site: verdict.Site{Kind: verdict.SiteService, Service: "pay", Operation: "pay.Charge"}, Owner: "team-pay", Weight: 1, Rule: "self-error",
			SpanIDs: []string{fmt.Sprintf("%x", list[2].ID[:])}, Evidence: []string{"pay failed by itself"},
		}},
	}}, nil
}

func (judge) RankNow(context.Context, time.Time, time.Time, string, int) ([]verdict.Suspect, error) {
	return nil, nil
}

// serve serves what is stored.
func serve(t *testing.T) (*httptest.Server, *reader) {
	t.Helper()
	r := &reader{DB: clickhousetest.DB(t)}
	if err := clickhousetest.Insert(t.Context(), r.DB, whole(), 1); err != nil {
		t.Fatal(err)
	}
	var b spans.Block
	for i, script := range []string{failed, fine} {
		list, err := tracescript.Parse(script)
		if err != nil {
			t.Fatal(err)
		}
		for k := range list {
			list[k].StartNs += int64(i) * int64(time.Minute)
			list[k].EndNs += int64(i) * int64(time.Minute)
		}
		tracescript.Append(&b, list, []spans.TraceID{failedID, fineID}[i])
	}
	if err := clickhousetest.Insert(t.Context(), r.DB, &b, 2); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	log := slog.New(slog.DiscardHandler)
	compat.Register(mux, query.NewExplorer(r, query.New(r.DB, judge{}, new(ownership.Current), nil)), log)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, r
}

// answer is what a server answers to a GET.
func answer(t *testing.T, url, accept string) (status int, kind string, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), body
}

const (
	jsonType     = "application/json"
	textType     = "text/plain; charset=utf-8"
	protobufType = "application/protobuf"
	us           = "000000" // behind seconds
)

// requests are those that data sources and front ends send. Where they are written is said beside them; the answers are golden.
var requests = []struct {
	name, path, accept string
	status             int
	kind               string
}{
	// Grafana's Jaeger data source: grafana/grafana pkg/tsdb/jaeger/client.go. It sets no Accept, and gives milliseconds with an id.
	{"jaeger-services", "/api/services", "", 200, jsonType},
	{"jaeger-operation-names", "/api/services/web/operations", "", 200, jsonType},
	{"jaeger-search", "/api/traces?end=1780003600" + us + "&limit=20&service=web&start=1779996400" + us + "&tags=%7B%22error%22%3A%22true%22%7D", "", 200, jsonType},
	{"jaeger-search-all", "/api/traces?end=1780003600" + us + "&limit=20&maxDuration=100ms&minDuration=1ms&operation=GET+%2Fcart&service=web&start=1779996400" + us, "", 200, jsonType},
	{"jaeger-trace", "/api/traces/0a000000000000000000000000000001?end=1780003600000&start=1779996400000", "", 200, jsonType},
	{"jaeger-judged", "/api/traces/0a000000000000000000000000000002", "", 200, jsonType},
	{"jaeger-dependencies", "/api/dependencies?endTs=1780002000000&lookback=3600000", "", 200, jsonType},
	{"jaeger-unknown", "/api/traces/00000000000000000000000000000099", "", 404, jsonType},
	// The same with feature flags: pkg/tsdb/jaeger/grpc_client.go, which does not encode the times.
	{"v3-services", "/api/v3/services", "", 200, jsonType},
	{"v3-operations", "/api/v3/operations?service=web", "", 200, jsonType},
	{"v3-search", "/api/v3/traces?query.attributes=%7B%22zone%22%3A%22eu%22%7D&query.duration_min=1ms&query.service_name=pay&query.start_time_min=2026-05-28T20:00:00+00:00&query.start_time_max=2026-05-28T21:00:00Z", "", 200, jsonType},
	{"v3-trace", "/api/v3/traces/0a000000000000000000000000000001?start_time=2026-05-28T20:00:00Z&end_time=2026-05-28T21:00:00Z", "", 200, jsonType},
	{"v3-unknown", "/api/v3/traces/99", "", 404, jsonType},
	// Jaeger's front end: jaegertracing/jaeger-ui packages/jaeger-ui/src/api/jaeger.ts, and v3/client.ts.
	{"ui-operations", "/api/operations?service=web&spanKind=server", "*/*", 200, jsonType},
	{"ui-summaries", "/api/v3/trace-summaries?query.serviceName=web&query.startTimeMin=2026-05-28T20%3A00%3A00.000Z&query.startTimeMax=2026-05-28T21%3A00%3A00.000Z&query.searchDepth=20&query.attributes=%7B%22http.request.method%22%3A%22GET%22%7D", "*/*", 200, jsonType},
	{"ui-no-summaries", "/api/v3/trace-summaries?query.serviceName=nobody&query.startTimeMin=2026-05-28T20%3A00%3A00.000Z&query.startTimeMax=2026-05-28T21%3A00%3A00.000Z", "*/*", 200, jsonType},
	{"ui-trace", "/jaeger/api/traces/a03?raw=true", "*/*", 200, jsonType},
	{"ui-two-ids", "/api/traces?traceID=a03&traceID=99", "*/*", 200, jsonType},
	// Grafana's Tempo data source: pkg/tsdb/tempo/search.go and trace.go, public/app/plugins/datasource/tempo/language_provider.ts, which
	// escapes tags twice.
	{"tempo-echo", "/api/echo", "", 200, textType},
	{"tempo-search", "/api/search?end=1780003600&limit=20&q=%7Bresource.service.name%3D%22web%22+%26%26+span.http.request.method%3D%22GET%22+%26%26+status%3Derror%7D&spss=3&start=1779996400", jsonType, 200, jsonType},
	{"tempo-search-all", "/api/search?end=1780003600&limit=2&q=%7B%7D&start=1779996400", jsonType, 200, jsonType},
	{"tempo-search-trace-duration", "/api/search?end=1780003600&q=%7BtraceDuration%3E100ms+%26%26+name%3D%22pay.Charge%22+%26%26+.zone!%3Dnil%7D+%7C+select(resource.zone,.zone,span.n)&start=1779996400", jsonType, 200, jsonType},
	{"tempo-search-tags", "/api/search?end=1780003600&start=1779996400&tags=service.name%3Dweb+odd%3D%22a+b%22&minDuration=1ms&maxDuration=1s", jsonType, 200, jsonType},
	{"tempo-search-nothing", "/api/search?end=1780003600&q=%7Bname%3D%22nothing%22%7D&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-tags", "/api/v2/search/tags?end=1780003600&limit=5000&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-tags-of-resources", "/api/v2/search/tags?scope=resource&end=1780003600&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-services", "/api/v2/search/tag/resource.service.name/values?end=1780003600&limit=5000&q=%7B%7D&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-names", "/api/v2/search/tag/name/values?end=1780003600&q=%7Bresource.service.name%3D%22pay%22%7D&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-unfinished-filter", "/api/v2/search/tag/.zone/values?end=1780003600&q=%7B+%26%26+%7D&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-status", "/api/v2/search/tag/status/values", jsonType, 200, jsonType},
	{"tempo-v2-escaped-twice", "/api/v2/search/tag/span.http.request%252Emethod/values?end=1780003600&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v1-tags", "/api/search/tags?end=1780003600&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v1-values", "/api/search/tag/http.request.method/values?end=1780003600&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v2-trace-json", "/api/v2/traces/0a000000000000000000000000000001?end=1780003600&start=1779996400", jsonType, 200, jsonType},
	{"tempo-v1-trace-json", "/tempo/api/traces/0a000000000000000000000000000001", jsonType, 200, jsonType},
	{"tempo-unknown", "/api/traces/99", protobufType, 404, textType},
	{"tempo-v2-unknown", "/tempo/api/v2/traces/99", protobufType, 404, textType},
	// What is asked wrongly.
	{"jaeger-wrong-id", "/api/traces/what", "", 400, jsonType},
	{"jaeger-wrong-tags", "/api/traces?service=web&tags=%7B", "", 400, jsonType},
	{"jaeger-wrong-time", "/api/traces?service=web&start=yesterday", "", 400, jsonType},
	{"jaeger-no-service", "/api/operations", "", 400, jsonType},
	{"v3-no-time", "/api/v3/traces?query.service_name=web", "", 400, jsonType},
	{"v3-filter", "/api/v3/trace-summaries?query.filter=%7B%7D", "", 400, jsonType},
	{"tempo-metrics", "/api/search?q=%7B%7D+%7C+rate()", "", 400, textType},
	{"tempo-both", "/api/search?q=%7B%7D&tags=a%3Db", "", 400, textType},
	{"tempo-backwards", "/api/search?start=1780003600&end=1779996400", "", 400, textType},
	{"tempo-no-scope", "/api/v2/search/tag/app.user.id/values", "", 400, textType},
	{"tempo-wrong-scope", "/api/v2/search/tags?scope=mine", "", 400, textType},
}

func TestRequests(t *testing.T) {
	server, _ := serve(t)
	for _, c := range requests {
		t.Run(c.name, func(t *testing.T) {
			status, kind, body := answer(t, server.URL+c.path, c.accept)
			if status != c.status || kind != c.kind {
				t.Errorf("%d %s, want %d %s", status, kind, c.status, c.kind)
			}
			if kind == jsonType {
				var indented bytes.Buffer
				if err := json.Indent(&indented, body, "", " "); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				body = indented.Bytes()
			}
			golden := filepath.Join("testdata", c.name+".golden")
			body = []byte("GET " + c.path + "\n\n" + string(body))
			if *update {
				if err := os.WriteFile(golden, body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(body)); diff != "" {
				t.Errorf("want (-), got (+); -update writes it anew:\n%s", diff)
			}
		})
	}
}

// asSent is the whole trace as the client that exported it would have sent it.
func asSent(t *testing.T) ptrace.Traces {
	t.Helper()
	traces := ptrace.NewTraces()
	resource := traces.ResourceSpans().AppendEmpty()
	resource.SetSchemaUrl("https://opentelemetry.io/schemas/1.40.0")
	resource.Resource().SetDroppedAttributesCount(1)
	resource.Resource().Attributes().PutStr("service.name", "checkout")
	resource.Resource().Attributes().PutStr("host.name", "node-7")
	scope := resource.ScopeSpans().AppendEmpty()
	scope.SetSchemaUrl("scope-schema")
	scope.Scope().SetName("otelhttp")
	scope.Scope().SetVersion("0.7")
	scope.Scope().SetDroppedAttributesCount(7)
	scope.Scope().Attributes().PutStr("scope.attr", "x")
	b := whole()
	for i := range b.Len() {
		s := scope.Spans().AppendEmpty()
		s.SetTraceID([16]byte(b.TraceIDs[i]))
		s.SetSpanID([8]byte(b.SpanIDs[i]))
		s.SetParentSpanID([8]byte(b.ParentIDs[i]))
		s.SetName("GET /<checkout>")
		s.SetFlags(0x301)
		s.TraceState().FromRaw("vendor=1")
		s.SetKind(ptrace.SpanKind(b.Kinds[i]))
		s.SetStartTimestamp(pcommon.Timestamp(b.StartNs[i]))
		s.SetEndTimestamp(pcommon.Timestamp(b.EndNs[i]))
		s.Attributes().PutStr("http.route", "/checkout")
		s.Attributes().PutStr("http.response.status_code", "200")
		s.SetDroppedAttributesCount(1)
		s.SetDroppedEventsCount(2)
		s.SetDroppedLinksCount(3)
		s.Status().SetCode(ptrace.StatusCode(b.Statuses[i]))
		s.Status().SetMessage(b.StatusMessages.Str(i))
		if i == 1 {
			e := s.Events().AppendEmpty()
			e.SetTimestamp(pcommon.Timestamp(b.Events.TimeNs[0]))
			e.SetName("exception")
			e.Attributes().PutStr("exception.type", "Boom")
			e.SetDroppedAttributesCount(4)
			l := s.Links().AppendEmpty()
			l.SetTraceID([16]byte{5: 5})
			l.SetSpanID([8]byte{6: 6})
			l.TraceState().FromRaw("l=1")
			l.Attributes().PutStr("k", "v")
			l.SetDroppedAttributesCount(5)
			l.SetFlags(256)
		}
	}
	return traces
}

// TestSpansComeOutWhole in each form that has room for all of them, as the OpenTelemetry Collector's own reader, which Grafana uses or used,
// reads it.
func TestSpansComeOutWhole(t *testing.T) {
	server, _ := serve(t)
	const id = "0a000000000000000000000000000001"
	want := inJSON(t, asSent(t))
	for _, c := range []struct {
		name, path, accept string
		read               func(body []byte) (ptrace.Traces, error)
	}{
		{"Tempo, bare", "/api/traces/" + id + "?start=1779996400&end=1780003600", protobufType, new(ptrace.ProtoUnmarshaler).UnmarshalTraces},
		{"Tempo, by prefix", "/tempo/api/traces/" + id, "application/json;q=0.1, application/protobuf", new(ptrace.ProtoUnmarshaler).UnmarshalTraces},
		{"Tempo v2", "/api/v2/traces/" + id, protobufType, func(body []byte) (ptrace.Traces, error) {
			number, kind, n := protowire.ConsumeTag(body)
			trace, length := protowire.ConsumeBytes(body[max(n, 0):])
			if number != 1 || kind != protowire.BytesType || n < 0 || length < 0 || n+length != len(body) {
				return ptrace.Traces{}, errors.New("no message with a trace alone")
			}
			return new(ptrace.ProtoUnmarshaler).UnmarshalTraces(trace)
		}},
		{"Jaeger v3", "/api/v3/traces/" + id, "", func(body []byte) (ptrace.Traces, error) {
			var wrapped struct {
				Result json.RawMessage `json:"result"`
			}
			err := json.Unmarshal(body, &wrapped)
			if err != nil {
				return ptrace.Traces{}, err
			}
			return new(ptrace.JSONUnmarshaler).UnmarshalTraces(wrapped.Result)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, body := answer(t, server.URL+c.path, c.accept)
			got, err := c.read(body)
			if err != nil {
				t.Fatalf("%v: %.300s", err, body)
			}
			if diff := cmp.Diff(want, inJSON(t, got)); diff != "" {
				t.Errorf("sent (-), read back (+):\n%s", diff)
			}
		})
	}
}

func inJSON(t *testing.T, traces ptrace.Traces) (tree any) {
	t.Helper()
	text, err := new(ptrace.JSONMarshaler).MarshalTraces(traces)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestReadBackFromFiles: what is saved from Jaeger's or Tempo's API is judged as what was stored.
func TestReadBackFromFiles(t *testing.T) {
	server, _ := serve(t)
	for _, path := range []string{
		"/api/traces/0a000000000000000000000000000002?raw=true", "/tempo/api/traces/a03", "/api/v2/traces/a03", "/api/traces?traceID=a03", "/api/v3/traces/a03?raw_traces=true",
	} {
		_, _, body := answer(t, server.URL+path, "")
		if strings.Contains(path, "/v3/") {
			body = bytes.TrimSuffix(bytes.TrimPrefix(bytes.TrimSpace(body), []byte(`{"result":`)), []byte("}"))
		}
		var got spans.Block
		if err := tracefile.Read(bytes.NewReader(body), &got); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		script, id := fine, fineID
		if strings.Contains(path, "02") {
			script, id = failed, failedID
		}
		list, err := tracescript.Parse(script)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Len() {
			if got.Len() != len(list) || got.TraceIDs[i] != id || got.SpanIDs[i] != list[i].ID || got.ParentIDs[i] != list[i].Parent || got.Names.Str(i) != list[i].Name ||
				got.Kinds[i] != list[i].Kind || string(got.Service(i)) != list[i].Service || got.EndNs[i]-got.StartNs[i] != list[i].EndNs-list[i].StartNs {
				t.Errorf("%s: span %d of %d is not as it was", path, i, got.Len())
			}
		}
		if got.Len() == 0 {
			t.Errorf("%s: no span", path)
		}
	}
}

// TestVerdictComesAlong with a trace that is asked for by its id, whatever the form, and not with what is raw or was searched for.
func TestVerdictComesAlong(t *testing.T) {
	server, _ := serve(t)
	const id = "0a000000000000000000000000000002"
	for path, want := range map[string]int{
		"/api/traces/" + id: 1, "/api/v3/traces/" + id: 1, "/api/v2/traces/" + id: 1, "/tempo/api/traces/" + id: 1,
		"/api/traces/" + id + "?raw=true": 0, "/api/v3/traces/" + id + "?rawTraces=true": 0, "/api/traces?traceID=" + id: 0,
		"/api/traces/0a000000000000000000000000000001": 0,
	} {
		_, _, body := answer(t, server.URL+path, "")
		for _, text := range []string{"pay (team-pay) broke GET /cart", "100 %: pay pay.Charge (team-pay), self-error"} {
			if got := bytes.Count(body, []byte(text)); got != want {
				t.Errorf("%s says %q %d times, want %d", path, text, got, want)
			}
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	server, r := serve(t)
	r.missing = []string{"shard 2"}
	for path, status := range map[string]int{"/api/services": 200, "/api/search": 200, "/api/traces/99": 503, "/tempo/api/traces/99": 503, "/api/v3/traces/99": 503} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status || response.Header.Get("Whosehop-Missing") != "shard 2" {
			t.Errorf("%s: %d, missing %q", path, response.StatusCode, response.Header.Get("Whosehop-Missing"))
		}
	}
}

// retryable is an error of a storage that is away.
type retryable struct{ error }

func (retryable) Retryable() bool { return true }

func TestErrorsOfTheStorage(t *testing.T) {
	server, r := serve(t)
	for _, c := range []struct {
		err    error
		status int
	}{{retryable{errors.New("away: secret")}, 503}, {errors.New("secret"), 500}} {
		r.err = c.err
		for _, path := range []string{"/api/traces?service=web", "/api/search", "/api/v3/trace-summaries?query.startTimeMin=2026-05-28T20:00:00Z&query.startTimeMax=2026-05-28T21:00:00Z"} {
			status, _, body := answer(t, server.URL+path, "")
			if status != c.status || bytes.Contains(body, []byte("secret")) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
	}
}
