package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// otelCollector is an OpenTelemetry Collector with the ClickHouse exporter, which make test builds.
var otelCollector = filepath.Join("..", "..", ".cache", "bin", "peer-0.161.0")

// collectorConfig makes it write the same spans into two tables: attributes as maps, and as JSON. A slow machine must not
// make it insert anything twice.
const collectorConfig = `
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}}}
processors:
  batch:
exporters:
  clickhouse/maps: {endpoint: "%[1]s", username: %[2]s, password: %[3]s, database: otel, timeout: 60s}
  clickhouse/json: {endpoint: "%[1]s", username: %[2]s, password: %[3]s, database: otel, traces_table_name: otel_traces_json, json: true, timeout: 60s}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [clickhouse/maps, clickhouse/json]}
`

// tee takes a shop's spans by OTLP, keeps them, and hands them on to a Collector.
type tee struct {
	ptraceotlp.UnimplementedGRPCServer
	to   ptraceotlp.GRPCClient
	mu   sync.Mutex
	kept ptrace.Traces
}

func (r *tee) Export(ctx context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	answer, err := r.to.Export(ctx, request)
	if err != nil {
		return answer, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	request.Traces().ResourceSpans().MoveAndAppendTo(r.kept.ResourceSpans())
	return answer, nil
}

// startTee returns where it takes spans.
func startTee(t *testing.T, to string) (r *tee, address string) {
	t.Helper()
	conn, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = &tee{to: ptraceotlp.NewGRPCClient(conn), kept: ptrace.NewTraces()}
	s := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return r, l.Addr().String()
}

// file writes down what was kept, and says how many spans that is.
func (r *tee) file(t *testing.T) (path string, spans int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := ptraceotlp.NewExportRequestFromTraces(r.kept).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "spans.pb")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, r.kept.SpanCount()
}

// guest is a database of our own beside the table, and the user to whom it belongs.
type guest struct{ table, database, dsn string }

// grants are the rights that docs/operations.md asks for.
func grants(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^GRANT (.+) TO whosehop;$`).FindAllStringSubmatch(string(text), -1) {
		list = append(list, m[1])
	}
	if len(list) < 2 {
		t.Fatalf("docs/operations.md asks for %q", list)
	}
	return list
}

// startGuarded starts a ClickHouse that asks for every right, as one from the package does, with a user who has
// those that the documentation asks for.
func startGuarded(t *testing.T, guests []*guest) (ch *server.Server, admin *storage.DB) {
	t.Helper()
	dir := t.TempDir()
	ch, err := server.Start(t.Context(), server.Config{Dir: dir, MemoryBytesMax: 2 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Stop(context.Background()) })
	edit := func(file, before, more string) {
		t.Helper()
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil || bytes.Count(text, []byte(before)) != 1 {
			t.Fatalf("%s: %v, %s", file, err, text)
		}
		if err := os.WriteFile(path, bytes.Replace(text, []byte(before), []byte(more+before), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("config.xml", "<users_config>", `<access_control_improvements>
		<select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
		<table_engines_require_grant>true</table_engines_require_grant>
	</access_control_improvements>`)
	var users strings.Builder
	for _, g := range guests {
		fmt.Fprintf(&users, "<%s><password>secret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota><grants>", g.database)
		for _, what := range grants(t) {
			what = strings.ReplaceAll(what, "otel.otel_traces", "otel."+g.table)
			fmt.Fprintf(&users, "<query>GRANT %s</query>", strings.ReplaceAll(what, "whosehop.", g.database+"."))
		}
		users.WriteString("</grants></" + g.database + ">")
		dsn, err := url.Parse(ch.DSN())
		if err != nil {
			t.Fatal(err)
		}
		dsn.User, dsn.Path = url.UserPassword(g.database, "secret"), "/"+g.database
		g.dsn = dsn.String()
	}
	edit("users.xml", "</users>", users.String())
	// It reads that when it starts, and is started again when it dies.
	before := ch.PID()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if ch.PID() != before {
			if admin, err = storage.Open(t.Context(), ch.DSN(), slog.New(slog.DiscardHandler)); err == nil {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("ClickHouse is not back: %v", err)
		}
	}
	t.Cleanup(func() { _ = admin.Close() })
	return ch, admin
}

// whosehop runs a command and returns what it prints.
func whosehop(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "whosehop"), args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("whosehop %v: %v, %s", args, err, said.String())
	}
	return out
}

// judged are the verdicts on all that was kept, as they are judged without any server.
func (r *tee) judged(t *testing.T) (all []verdict.Verdict) {
	t.Helper()
	file, _ := r.file(t)
	for d := json.NewDecoder(bytes.NewReader(whosehop(t, "blame", "--input", file, "-o", "json"))); d.More(); {
		var v verdict.Verdict
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// spelled says of each span all that the exporter keeps.
func spelled(b *spans.Block) map[spans.SpanID]string {
	pairs := func(a *spans.Attrs, i int) map[string]string {
		all := make(map[string]string)
		for from, to := a.Range(i); from < to; from++ {
			all[string(a.Keys.At(from))] = string(a.Values.At(from))
		}
		return all
	}
	all := make(map[spans.SpanID]string)
	for i := range b.Len() {
		r, s := int(b.ResourceOf[i]), int(b.ScopeOf[i])
		var text strings.Builder
		fmt.Fprintf(&text, "%x %x %q %q %q %d %d %d %d %q %v %v %q %q", b.TraceIDs[i], b.ParentIDs[i], b.Service(i), b.Names.At(i), b.TraceStates.At(i), b.StartNs[i], b.EndNs[i],
			b.Kinds[i], b.Statuses[i], b.StatusMessages.At(i), pairs(&b.Attrs, i), pairs(&b.Resources.Attrs, r), b.Scopes.Names.At(s), b.Scopes.Versions.At(s))
		for e, to := b.EventRange(i); e < to; e++ {
			fmt.Fprintf(&text, "; event %d %q %v", b.Events.TimeNs[e], b.Events.Names.At(e), pairs(&b.Events.Attrs, e))
		}
		for l, to := b.LinkRange(i); l < to; l++ {
			fmt.Fprintf(&text, "; link %x %x %q %v", b.Links.TraceIDs[l], b.Links.SpanIDs[l], b.Links.TraceStates.At(l), pairs(&b.Links.Attrs, l))
		}
		all[b.SpanIDs[i]] = text.String()
	}
	return all
}

// checkSpans holds what is read from a table against what was sent.
func checkSpans(t *testing.T, g *guest, kept *tee) {
	t.Helper()
	file, _ := kept.file(t)
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var sent, read spans.Block
	if _, err := otlp.Decode(body, &sent); err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(t.Context(), g.dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.UseTraces(t.Context(), "otel."+g.table); err != nil {
		t.Fatal(err)
	}
	ids := slices.Clone(sent.TraceIDs)
	slices.SortFunc(ids, func(a, b spans.TraceID) int { return bytes.Compare(a[:], b[:]) })
	if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: slices.Compact(ids), Whole: true}, &read); err != nil {
		t.Fatal(err)
	}
	got := spelled(&read)
	for id, want := range spelled(&sent) {
		if got[id] != want {
			t.Fatalf("%s: of span %x there is\n%s\nwhere this was sent\n%s", g.table, id, got[id], want)
		}
	}
}

// essence is a verdict without what history adds to it: what is normal, and how sure that makes it.
func essence(t *testing.T, v verdict.Verdict) string {
	t.Helper()
	v.Version, v.Provisional = 0, false
	v.Shares, v.Hops = slices.Clone(v.Shares), slices.Clone(v.Hops)
	for i := range v.Shares {
		v.Shares[i].Confidence = 0
	}
	for i := range v.Hops {
		v.Hops[i].Why = ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitSettled waits until the failing traces have stored verdicts, and holds them against those of the file.
func awaitSettled(t *testing.T, web string, fromFile []verdict.Verdict) {
	t.Helper()
	failing := 0
	deadline := time.Now().Add(90 * time.Second)
	for _, want := range fromFile {
		if want.Symptom != verdict.SymptomError {
			continue
		}
		failing++
		var got verdict.Verdict
		for {
			if err := json.Unmarshal(whosehop(t, "blame", want.TraceID, "--server", web, "-o", "json"), &got); err != nil {
				t.Fatal(err)
			}
			if !got.Provisional {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has no verdict yet", want.TraceID)
			}
			time.Sleep(500 * time.Millisecond)
			got = verdict.Verdict{}
		}
		if essence(t, got) != essence(t, want) || len(got.Shares) != 1 || got.Shares[0].Accountable != "payments" {
			t.Errorf("the verdict is\n%s\nand of the file\n%s", essence(t, got), essence(t, want))
		}
	}
	if failing < 5 {
		t.Errorf("only %d traces fail", failing)
	}
}

// TestBesideAnOpenTelemetryCollector judges what a Collector with the ClickHouse exporter stores, in its own tables,
// as a user who may only read them.
func TestBesideAnOpenTelemetryCollector(t *testing.T) {
	if _, err := os.Stat(otelCollector); err != nil {
		t.Fatalf("%v (make test builds it)", err)
	}
	guests := []*guest{{table: "otel_traces", database: "beside_maps"}, {table: "otel_traces_json", database: "beside_json"}}
	ch, admin := startGuarded(t, guests)
	dsn, err := url.Parse(ch.DSN())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := dsn.User.Password()
	config := filepath.Join(t.TempDir(), "collector.yaml")
	text := fmt.Sprintf(collectorConfig, "clickhouse://"+dsn.Host, dsn.User.Username(), password)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, otlp := startProgram(t, regexp.MustCompile(`Starting GRPC server.*"endpoint": ?"([^"]+)"`), otelCollector, "--config", config)
	kept, address := startTee(t, otlp)
	shop := &up{otlpGRPC: address}
	count := func(query string) uint64 {
		t.Helper()
		n, err := admin.Count(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	arrived := func() {
		t.Helper()
		_, sent := kept.file(t)
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			maps, jsons := count("SELECT count() FROM otel.otel_traces"), count("SELECT count() FROM otel.otel_traces_json")
			if maps == uint64(sent) && jsons == maps {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("of %d spans %d and %d are stored", sent, maps, jsons)
			}
		}
	}

	from := time.Now().UTC()
	runShop(t, shop, "--rate", "20", "--for", "6s") // healthy, to learn from
	runShop(t, shop, "--rate", "12", "--for", "3s", "--fault", "leaf-error")
	runShop(t, shop, "--rate", "12", "--for", "3s", "--fault", "slow-answer")
	to := time.Now().UTC()
	arrived()
	const tables = "SELECT sum(cityHash64(name, create_table_query)) FROM system.tables WHERE database = 'otel'"
	tablesBefore := count(tables)
	rows := func(table string) uint64 {
		return count(fmt.Sprintf("SELECT sum(cityHash64(TraceId, SpanId, Timestamp, Duration, StatusCode, toString(ResourceAttributes), toString(SpanAttributes))) FROM otel.%s WHERE Timestamp < '%s'",
			table, to.Format(time.DateTime+".000")))
	}
	fromFile := kept.judged(t)
	_, sent := kept.file(t)
	rowsBefore := make(map[*guest]uint64)
	webs := make(map[*guest]string)
	for _, g := range guests {
		rowsBefore[g] = rows(g.table)
		use := []string{"--storage-dsn", g.dsn, "--storage-traces", "otel." + g.table}
		_, webs[g] = startRole(t, addresses["http"], append([]string{"query", "--query-http", ":0", "--query-grpc", ":0"}, use...)...)
		checkSpans(t, g, kept)
		// Judged on demand, nothing is known beside the trace: the verdicts are those of the file, to the letter.
		for _, want := range fromFile {
			got := verdict.Verdict{}
			if status := (&up{http: webs[g]}).get(t, "/api/v1/verdicts/"+want.TraceID, &got); status != http.StatusOK || !got.Provisional {
				t.Fatalf("%s of %s: %d, %+v", want.TraceID, g.table, status, got)
			}
			want.Provisional = true
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: the verdict is\n%+v\nand of the file\n%+v", g.table, got, want)
			}
		}
		var history struct{ Spans, Verdicts int }
		window := []string{"--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano), "-o", "json"}
		if err := json.Unmarshal(whosehop(t, slices.Concat([]string{"analyze"}, use, window)...), &history); err != nil || history.Spans != sent || history.Verdicts < 10 {
			t.Errorf("%s: %+v, %v, where %d spans were sent", g.table, history, err, sent)
		}
		awaitSettled(t, webs[g], fromFile)
		checkSlow(t, webs[g], from)
		startRole(t, healthAt, append([]string{"analyzer", "--analyzer-quiet", "1s", "--analyzer-health", ":0"}, use...)...)
	}

	before := len(fromFile)
	runShop(t, shop, "--rate", "12", "--for", "3s", "--fault", "leaf-error", "--seed", "2")
	arrived()
	if fromFile = kept.judged(t); len(fromFile) <= before {
		t.Fatal("the shop sent nothing more")
	}
	for _, g := range guests {
		awaitSettled(t, webs[g], fromFile)
		if n := count("SELECT count() FROM " + g.database + ".otel_traces"); n != 0 {
			t.Errorf("%s: %d spans were copied", g.table, n)
		}
		if rows(g.table) != rowsBefore[g] {
			t.Errorf("%s: its rows have changed", g.table)
		}
		db, err := storage.Open(t.Context(), g.dsn, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Count(t.Context(), "INSERT INTO otel."+g.table+" (TraceId) VALUES ('')"); err == nil || !strings.Contains(err.Error(), "Not enough privileges") {
			t.Errorf("%s: this user may write: %v", g.table, err)
		}
		_ = db.Close()
	}
	if count(tables) != tablesBefore {
		t.Error("the tables of the Collector have changed")
	}
}

// checkSlow holds the verdicts on slow requests against what was slow.
func checkSlow(t *testing.T, web string, from time.Time) {
	t.Helper()
	var page list
	u := &up{http: web}
	u.get(t, fmt.Sprintf("/api/v1/verdicts?from=%d&pageSize=500", from.UnixNano()), &page)
	right := 0
	for _, s := range page.Verdicts {
		var v verdict.Verdict
		if u.get(t, "/api/v1/verdicts/"+s.TraceID, &v) != http.StatusOK {
			t.Fatalf("%s is in the list and has no verdict", s.TraceID)
		}
		if v.Symptom == verdict.SymptomLatency && v.Shares[0].Accountable == "inventory" {
			right++
		}
	}
	t.Logf("inventory is blamed for %d slow requests of %d verdicts", right, len(page.Verdicts))
	if right < 5 {
		t.Errorf("inventory is blamed for %d slow requests", right)
	}
}
