package analyzer_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func TestMain(m *testing.M) { clickhousetest.Main(m) }

const failing = `
shop SERVER POST /buy 0..120ms 500
  shop CLIENT POST 5..110ms 500 @pay
    pay SERVER POST /charge 6..108ms 500 "exc=Boom: no gateway"
`

const healthy = `
shop SERVER POST /buy 0..20ms 200
  shop CLIENT POST 5..11ms 200 @pay
    pay SERVER POST /charge 6..10ms 200
`

func block(t *testing.T, script string, trace byte) *spans.Block {
	t.Helper()
	list, err := tracescript.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	return tracescript.Block(list, spans.TraceID{1, 15: trace})
}

func insert(t *testing.T, db *storage.DB, b *spans.Block, token string) {
	t.Helper()
	h := fnv.New64()
	_, _ = h.Write([]byte(token))
	if err := clickhousetest.Insert(t.Context(), db, b, h.Sum64()); err != nil {
		t.Fatal(err)
	}
}

// nobody owns everything.
type nobody struct{}

func (nobody) Resolve(q *ownership.Question) ownership.Answer {
	if q.Callee != "" {
		return ownership.Answer{Owner: ownership.Unowned, Rule: ownership.ByNobody}
	}
	return ownership.Answer{Owner: "team-x", Rule: ownership.ByService}
}

// aStore is a storage that is its only shard.
type aStore interface {
	analyzer.Store
	analyzer.ShardStore
}

func newAnalyzer(t *testing.T, cfg analyzer.Config, store aStore) *analyzer.Analyzer {
	t.Helper()
	a, err := analyzer.New(cfg, store, []analyzer.ShardStore{store}, nobody{}, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run starts an analyzer and returns what stops it.
func run(t *testing.T, store aStore) (a *analyzer.Analyzer, stop func()) {
	t.Helper()
	cfg := analyzer.Config{Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Workers: 2, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100}
	a = newAnalyzer(t, cfg, store)
	return a, start(t, a)
}

// start runs an analyzer and returns what stops it.
func start(t *testing.T, a *analyzer.Analyzer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

type row struct {
	version, rows, entries uint64
}

// verdicts are the current rows, by the last byte of the trace id.
func verdicts(t *testing.T, conn clickhouse.Conn) map[string]row {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT right(TraceId, 2), toUInt64(Version), SpanRows, toUInt64(length(Entries.Service)) FROM verdicts FINAL")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	got := make(map[string]row)
	for rows.Next() {
		var id string
		var r row
		if err := rows.Scan(&id, &r.version, &r.rows, &r.entries); err != nil {
			t.Fatal(err)
		}
		got[id] = r
	}
	return got
}

func open(t *testing.T) (*storage.DB, clickhouse.Conn) {
	t.Helper()
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return db, conn
}

// eventually waits for the verdicts to become what is wanted.
func eventually(t *testing.T, conn clickhouse.Conn, want map[string]row) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got := verdicts(t, conn)
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("verdicts are %v, want %v", got, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestLateSpansMakeANewVersion(t *testing.T) {
	db, conn := open(t)
	cfg := analyzer.Config{Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Workers: 2, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100}
	reg := prometheus.NewRegistry()
	a, err := analyzer.New(cfg, db, []analyzer.ShardStore{db}, nobody{}, slog.New(slog.NewTextHandler(t.Output(), nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, a)
	insert(t, db, block(t, failing, 1), "a")
	insert(t, db, block(t, healthy, 2), "b")
	eventually(t, conn, map[string]row{"01": {1, 3, 1}})
	late := block(t, `pay SERVER POST /charge 6..108ms 500 id=77 parent=3`, 1)
	insert(t, db, late, "c")
	eventually(t, conn, map[string]row{"01": {2, 4, 1}})
	stop()
	if n := counted(t, reg, "whosehop_blame_requests_total"); n != 1 {
		t.Errorf("metrics count %v requests", n)
	}
}

func TestNothingIsSkippedOrDoubledOverRestarts(t *testing.T) {
	db, conn := open(t)
	want := make(map[string]row)
	for i := range 6 {
		insert(t, db, block(t, failing, byte(i+1)), fmt.Sprint("t", i))
		want[fmt.Sprintf("%02x", i+1)] = row{1, 3, 1}
		_, stop := run(t, db)
		if i%2 == 0 {
			stop() // before the trace is due
			continue
		}
		eventually(t, conn, want)
		stop()
	}
	// A span that came in hours ago, as after an outage: only catching up finds it.
	if err := conn.Exec(t.Context(), "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ServiceName, SpanKind, StatusCode, IngestTime) VALUES (now64(9), '010000000000000000000000000000ff', '0000000000000001', 'old', 'Server', 'Error', now64(3) - INTERVAL 3 HOUR)"); err != nil {
		t.Fatal(err)
	}
	if err := db.SetScannedTo(t.Context(), storage.Slice{To: 1, Of: 1}, time.Now().Add(-4*time.Hour)); err != nil {
		t.Fatal(err)
	}
	want["ff"] = row{1, 1, 1}
	_, stop := run(t, db)
	defer stop()
	eventually(t, conn, want)
}

func TestTwoAnalyzersAgree(t *testing.T) {
	db, conn := open(t)
	_, stop1 := run(t, db)
	defer stop1()
	_, stop2 := run(t, db)
	defer stop2()
	want := make(map[string]row)
	for i := range 20 {
		insert(t, db, block(t, failing, byte(i+1)), fmt.Sprint("t", i))
		want[fmt.Sprintf("%02x", i+1)] = row{1, 3, 1}
	}
	eventually(t, conn, want)
}

func TestJudgeNow(t *testing.T) {
	db := clickhousetest.DB(t)
	a, stop := run(t, db)
	defer stop()
	insert(t, db, block(t, failing, 9), "a")
	got, err := a.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 9}})
	if err != nil || len(got) != 1 || got[0].Shares[0].Accountable != "pay" || got[0].Shares[0].Owner != "team-x" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := a.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{9}}); err != nil || got != nil {
		t.Errorf("an unknown trace: %+v, %v", got, err)
	}
	explained, err := a.ExplainNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 9}}, "pay")
	if err != nil || len(explained) != 1 || len(explained[0].Tried) == 0 {
		t.Errorf("%+v, %v", explained, err)
	}
	for _, tried := range explained[0].Tried {
		if !strings.Contains(tried.Of, "pay") {
			t.Errorf("asked for pay, told is %+v", tried)
		}
	}
	for _, known := range [][]verdict.Verdict{got, nil} {
		line, judged, err := a.TimelineNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 9}}, known)
		if err != nil || len(line.Spans) != 3 || line.Spans[0].Below != 2 || len(line.Gaps) != 1 || len(line.Logs) != 1 || line.Logs[2][0].Type != "Boom" || line.Logs[2][0].Message != "no gateway" {
			t.Errorf("%+v, %v", line, err)
		}
		if len(judged) != 1 || judged[0].Summary != got[0].Summary {
			t.Errorf("it is thought of it: %+v", judged)
		}
	}
	if line, judged, err := a.TimelineNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{9}}, nil); err != nil || line != nil || judged != nil {
		t.Errorf("an unknown trace: %+v, %+v, %v", line, judged, err)
	}
}

// flaky fails every other read.
type flaky struct {
	*storage.DB
	calls atomic.Int64
}

func (f *flaky) ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error {
	if f.calls.Add(1)%2 == 1 {
		return errors.New("the connection is gone")
	}
	return f.DB.ReadTraces(ctx, q, b)
}

func TestErrorsAreTriedAgain(t *testing.T) {
	db, conn := open(t)
	_, stop := run(t, &flaky{DB: db})
	defer stop()
	insert(t, db, block(t, failing, 1), "a")
	eventually(t, conn, map[string]row{"01": {1, 3, 1}})
}

// TestNormalOutlivesItsAnalyzer: what one analyzer has learnt, another one knows, and judges by it.
func TestNormalOutlivesItsAnalyzer(t *testing.T) {
	t.Parallel() // it waits a lot
	db, conn := open(t)
	var want []string
	for n := range 8 {
		insert(t, db, block(t, healthy, byte(n+1)), fmt.Sprint("healthy", n))
		want = append(want, fmt.Sprintf("%02x", n+1))
	}
	_, stop := run(t, db)
	deadline := time.Now().Add(20 * time.Second)
	for stored := int64(0); stored < 8; time.Sleep(100 * time.Millisecond) {
		if err := conn.QueryRow(t.Context(), "SELECT sum(arraySum(tupleElement(Counts, 2))) FROM baseline WHERE Kind = 3 AND Key1 = 'shop' AND Key2 = 'POST /buy'").Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			var all uint64
			_ = conn.QueryRow(t.Context(), "SELECT count() FROM baseline").Scan(&all)
			t.Fatalf("after 20 s the normal of %v is not stored: %d runs, %d cells, %v", want, stored, all, verdicts(t, conn))
		}
	}
	stop()

	slow := `
shop SERVER POST /buy 0..920ms 200
  shop CLIENT POST 5..911ms 200 @pay
    pay SERVER POST /charge 6..910ms 200
`
	insert(t, db, block(t, slow, 99), "slow")
	other := newAnalyzer(t, analyzer.Config{Quiet: time.Second, WaitMax: 2 * time.Second, Workers: 1, SpansMax: 1000, BytesMax: 64 << 20, SeriesMax: 100}, db)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- other.Follow(ctx) }()
	for {
		got, err := other.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 99}})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 1 && got[0].Symptom == "latency" {
			if s := got[0].Shares[0]; s.Site.Service != "pay" || s.ExcessNs < 800_000_000 {
				t.Errorf("%+v", s)
			}
			break
		}
		if time.Now().After(deadline.Add(20 * time.Second)) {
			t.Fatalf("the slow trace is judged %+v", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// stored is how many runs of an operation the stored baseline has.
func stored(t *testing.T, conn clickhouse.Conn, service, operation string) (runs int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT sum(arraySum(tupleElement(Counts, 2))) FROM baseline WHERE Kind = 3 AND Key1 = ? AND Key2 = ?", service, operation).Scan(&runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(25 * time.Second); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("within 25 s it is not so that " + what)
		}
	}
}

// TestWhatIsRefusedToSeveralAtOnce: traces that are judged together are seen together, before any of them
// is learnt from; and the callee of a call that reached nobody is who its calls reach otherwise.
func TestWhatIsRefusedToSeveralAtOnce(t *testing.T) {
	t.Parallel() // it waits a lot
	db, conn := open(t)
	refused := `
%s SERVER GET / 0..20ms 500
  %s CLIENT POST 5..6ms error @10.0.0.9 "exc=ConnectException: connection refused" err=ECONNREFUSED
`
	fine := `
%s SERVER GET / 0..20ms 200
  %s CLIENT POST 5..11ms 200 @10.0.0.9
    pay SERVER POST /charge 6..10ms 200
`
	id := byte(0)
	send := func(script string) byte {
		id++
		b := block(t, script, id)
		if !strings.Contains(script, "refused") { // what is fine is half an hour older
			for i := range b.Len() {
				b.StartNs[i] -= 1800e9
				b.EndNs[i] -= 1800e9
			}
		}
		insert(t, db, b, fmt.Sprint("of ", id))
		return id
	}
	for range 6 {
		for _, caller := range []string{"shop", "admin"} {
			send(fmt.Sprintf(fine, caller, caller))
		}
	}
	a, stop := run(t, db)
	defer stop()
	waitFor(t, "the calls are learnt", func() bool { return stored(t, conn, "pay", "POST /charge") == 12 })
	waitFor(t, "the calls are known", func() bool {
		trial := send(fmt.Sprintf(refused, "probe", "shop"))
		got, err := a.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: trial}})
		return err == nil && len(got) == 1 && got[0].Shares[0].Site.Callee == "pay"
	})
	last := id + 1
	both := block(t, fmt.Sprintf(refused, "shop", "shop"), last)
	list, err := tracescript.Parse(fmt.Sprintf(refused, "admin", "admin"))
	if err != nil {
		t.Fatal(err)
	}
	tracescript.Append(both, list, spans.TraceID{1, 15: last + 1})
	insert(t, db, both, "both")
	var body string
	waitFor(t, "the refused trace is judged", func() bool {
		return conn.QueryRow(t.Context(), "SELECT Entries.Body[1] FROM verdicts FINAL WHERE TraceId = ?", fmt.Sprintf("01%028x%02x", 0, last)).Scan(&body) == nil
	})
	if !strings.Contains(body, `"accountable":"pay"`) || !strings.Contains(body, "admin") {
		t.Errorf("%s", body)
	}
}

// TestClocksOfSpansDoNotHaltLearning: spans from hundreds of different days, and what came after them.
func TestClocksOfSpansDoNotHaltLearning(t *testing.T) {
	t.Parallel() // it waits a lot
	db, conn := open(t)
	for k := range 130 {
		b := block(t, healthy, byte(k))
		for i := range b.Len() {
			b.StartNs[i] += int64(k*k) * 86_400e9
			b.EndNs[i] += int64(k*k) * 86_400e9
		}
		insert(t, db, b, fmt.Sprint("days-", k))
	}
	_, stop := run(t, db)
	defer stop()
	waitFor(t, "all is learnt", func() bool { return stored(t, conn, "shop", "POST /buy") == 130 })
	insert(t, db, block(t, healthy, 200), "after")
	waitFor(t, "what came later is", func() bool { return stored(t, conn, "shop", "POST /buy") == 131 })
}

// TestLearntOnceByMany: several analyzers store one baseline, a late span makes no trace be learnt again,
// and a restart neither forgets nor learns again.
func TestLearntOnceByMany(t *testing.T) {
	t.Parallel() // it waits a lot
	db, conn := open(t)
	_, stop1 := run(t, db)
	_, stop2 := run(t, db)
	for k := range 10 {
		insert(t, db, block(t, healthy, byte(k+1)), fmt.Sprint("a", k))
	}
	waitFor(t, "all is learnt", func() bool { return stored(t, conn, "shop", "POST /buy") >= 10 })
	insert(t, db, block(t, `late SERVER GET / 1..2ms 200 id=77 parent=3`, 1), "late span")
	stop1()
	stop2()
	_, stop3 := run(t, db)
	defer stop3()
	insert(t, db, block(t, healthy, 50), "b")
	waitFor(t, "what came after the restart is learnt", func() bool { return stored(t, conn, "shop", "POST /buy") >= 11 })
	time.Sleep(2 * time.Second)
	if shop, late := stored(t, conn, "shop", "POST /buy"), stored(t, conn, "late", "GET /"); shop != 11 || late != 0 {
		t.Errorf("%d runs of 11 are stored, and %d of what came late", shop, late)
	}
}

// brokenOff is a history that an earlier run has judged up to a moment.
type brokenOff struct {
	*storage.DB
	at time.Time
}

func (b *brokenOff) HistoryTo(context.Context, string) (time.Time, error) { return b.at, nil }

func TestHistory(t *testing.T) {
	t.Parallel()
	db, conn := open(t)
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for id := range byte(6) { // one every ten minutes; every third is fine
		script := failing
		if id%3 == 0 {
			script = healthy
		}
		b := block(t, script, id)
		shift := start.Add(time.Duration(id)*10*time.Minute).UnixNano() - b.StartNs[0]
		for i := range b.Len() {
			b.StartNs[i] += shift
			b.EndNs[i] += shift
		}
		insert(t, db, b, fmt.Sprint("history ", id))
	}
	judge := func(store aStore, h analyzer.History) (*analyzer.HistoryResult, []analyzer.HistoryProgress) {
		t.Helper()
		cfg := analyzer.Config{Quiet: time.Second, WaitMax: 2 * time.Second, Workers: 2, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100}
		a := newAnalyzer(t, cfg, store)
		var steps []analyzer.HistoryProgress
		result, err := a.JudgeHistory(t.Context(), h, func(p analyzer.HistoryProgress) { steps = append(steps, p) })
		if err != nil {
			t.Fatal(err)
		}
		return result, steps
	}
	time.Sleep(1100 * time.Millisecond) // the traces settle
	all := analyzer.History{From: start, To: start.Add(time.Hour)}
	result, steps := judge(db, all)
	want := map[string]row{"01": {1, 3, 1}, "02": {1, 3, 1}, "04": {1, 3, 1}, "05": {1, 3, 1}}
	if got := verdicts(t, conn); fmt.Sprint(got) != fmt.Sprint(want) || result.Spans != 18 || result.Traces != 4 || result.Verdicts != 4 {
		t.Fatalf("verdicts %v, result %+v", got, result)
	}
	if last := steps[len(steps)-1]; last.Spans != last.SpansTotal || !last.To.Equal(all.To) {
		t.Errorf("the last step was %+v", last)
	}
	// A part of it again: the bounds are when traces began, the end not included.
	judge(db, analyzer.History{From: start.Add(10 * time.Minute), To: start.Add(20 * time.Minute)})
	want["01"] = row{2, 3, 1}
	// Broken off in between: what comes before is not judged again.
	_, steps = judge(&brokenOff{DB: db, at: start.Add(45 * time.Minute)}, all)
	want["05"] = row{2, 3, 1}
	if !steps[0].Resumed.Equal(start.Add(45*time.Minute)) || steps[0].SpansTotal != 3 {
		t.Errorf("going on began with %+v", steps[0])
	}
	judge(db, analyzer.History{From: start, To: start.Add(time.Hour), Entry: "POST /sell"})
	if got := verdicts(t, conn); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	judge(db, analyzer.History{From: start.Add(20 * time.Minute), To: start.Add(21 * time.Minute), Entry: "shop POST /buy"})
	want["02"] = row{2, 3, 1}
	if got := verdicts(t, conn); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("verdicts of an entry %v, want %v", got, want)
	}
}

// TestSLO: a trace in which all went well, of an operation of which nothing was learnt, is judged when it took longer than
// it may: live, on demand, and in a history, which is another one under other SLOs. With the scope failing it is not.
func TestSLO(t *testing.T) {
	t.Parallel() // it waits a lot
	db, conn := open(t)
	began := time.Unix(0, block(t, healthy, 1).StartNs[0])
	send := func(script string, id byte) { insert(t, db, block(t, script, id), fmt.Sprint("SLO ", id)) }
	analyzerOf := func(scope storage.Scope, slo map[string]int64) *analyzer.Analyzer {
		t.Helper()
		return newAnalyzer(t, analyzer.Config{
			Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Workers: 2, SpansMax: 1000, Scope: scope, SLO: slo, BytesMax: 64 << 20, SeriesMax: 100,
		}, db)
	}
	slo := map[string]int64{"POST /buy": 15e6, "admin POST /buy": 25e6}
	a := analyzerOf(storage.Slow, slo)
	stop := start(t, a)
	send(healthy, 1)                                      // shop, 20 ms
	send(strings.ReplaceAll(healthy, "shop", "admin"), 2) // admin, 20 ms
	send(strings.ReplaceAll(healthy, "20ms", "15ms"), 3)  // shop, 15 ms
	send(failing, 4)
	eventually(t, conn, map[string]row{"01": {1, 3, 1}, "04": {1, 3, 1}})
	var body string
	if err := conn.QueryRow(t.Context(), "SELECT Entries.Body[1] FROM verdicts FINAL WHERE endsWith(TraceId, '01')").Scan(&body); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body, `"symptom":"latency"`) || !strings.Contains(body, "slower than its SLO of 15 ms") {
		t.Errorf("%s", body)
	}
	got, err := a.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 1}})
	if err != nil || len(got) != 1 || got[0].Symptom != "latency" {
		t.Errorf("%+v, %v", got, err)
	}
	waitFor(t, "what breaks its SLO is learnt as well", func() bool { return stored(t, conn, "shop", "POST /buy") == 3 })
	stop()

	judge := func(scope storage.Scope, slo map[string]int64, want map[string]row) {
		t.Helper()
		h := analyzer.History{From: began, To: began.Add(time.Minute), Entry: "POST /buy"}
		if _, err := analyzerOf(scope, slo).JudgeHistory(t.Context(), h, func(analyzer.HistoryProgress) {}); err != nil {
			t.Fatal(err)
		}
		if got := verdicts(t, conn); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("verdicts %v, want %v", got, want)
		}
	}
	judge(storage.Slow, slo, map[string]row{"01": {2, 3, 1}, "04": {2, 3, 1}})
	judge(storage.Slow, nil, map[string]row{"01": {3, 3, 0}, "04": {3, 3, 1}})
	judge(storage.Slow, map[string]int64{"admin POST /buy": 1e6}, map[string]row{"01": {4, 3, 0}, "02": {1, 3, 1}, "04": {4, 3, 1}})
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE verdicts"); err != nil {
		t.Fatal(err)
	}
	judge(storage.Failing, slo, map[string]row{"04": {1, 3, 1}})
}

// TestGiantsAreJudgedInBounds: what takes more memory than there is, is judged in smaller batches and on fewer spans.
func TestGiantsAreJudgedInBounds(t *testing.T) {
	t.Parallel()
	db, conn := open(t)
	giant := block(t, failing, 1)
	text := strings.Repeat("a statement that is long ", 400)
	for n := range 4000 {
		more := block(t, fmt.Sprintf("pay SERVER POST /charge 6..108ms 500 id=%d parent=3 db.statement=%d", 1000+n, n), 1)
		giant.TraceIDs, giant.SpanIDs, giant.ParentIDs = append(giant.TraceIDs, more.TraceIDs[0]), append(giant.SpanIDs, more.SpanIDs[0]), append(giant.ParentIDs, more.ParentIDs[0])
		giant.StartNs, giant.EndNs = append(giant.StartNs, more.StartNs[0]), append(giant.EndNs, more.EndNs[0])
		giant.Kinds, giant.Statuses, giant.Flags = append(giant.Kinds, more.Kinds[0]), append(giant.Statuses, more.Statuses[0]), append(giant.Flags, 0)
		giant.Names.AppendBytes(more.Names.At(0))
		giant.TraceStates.Append("")
		giant.StatusMessages.Append(fmt.Sprint(n, " is ", text)) // what is said again takes no memory
		giant.Attrs.EndRow()
		giant.DroppedAttrs, giant.DroppedEvents, giant.DroppedLinks = append(giant.DroppedAttrs, 0), append(giant.DroppedEvents, 0), append(giant.DroppedLinks, 0)
		giant.EventEnds, giant.LinkEnds = append(giant.EventEnds, giant.EventEnds[len(giant.EventEnds)-1]), append(giant.LinkEnds, 0)
		giant.ResourceOf, giant.ScopeOf = append(giant.ResourceOf, giant.ResourceOf[2]), append(giant.ScopeOf, giant.ScopeOf[2])
	}
	insert(t, db, giant, "giant")
	insert(t, db, block(t, failing, 2), "small")
	cfg := analyzer.Config{Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Workers: 1, SpansMax: 100_000, BytesMax: 16 << 20, SeriesMax: 100}
	stop := start(t, newAnalyzer(t, cfg, db))
	eventually(t, conn, map[string]row{"01": {1, 4003, 1}, "02": {1, 3, 1}})
	stop()
	var body string
	if err := conn.QueryRow(t.Context(), "SELECT Entries.Body[1] FROM verdicts FINAL WHERE endsWith(TraceId, '01')").Scan(&body); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body, "more were left out") {
		t.Errorf("nothing says that spans were left out: %s", body)
	}
}

// TestTablesOfOthersAreJudged: spans that somebody else's exporter writes, some seconds after they began, and late ones.
func TestTablesOfOthersAreJudged(t *testing.T) {
	t.Parallel()
	db, conn := open(t)
	var database string
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	const columns = "Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, " +
		"Duration, StatusCode, StatusMessage, Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes"
	if err := conn.Exec(t.Context(), "CREATE TABLE theirs ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp)) EMPTY AS SELECT "+columns+" FROM otel_traces"); err != nil {
		t.Fatal(err)
	}
	send := func(script string, id byte, began time.Time) {
		t.Helper()
		b := block(t, script, id)
		shift := began.UnixNano() - b.StartNs[0]
		for i := range b.Len() {
			b.StartNs[i] += shift
			b.EndNs[i] += shift
		}
		insert(t, db, b, fmt.Sprint(id, began))
		if err := conn.Exec(t.Context(), "INSERT INTO theirs SELECT "+columns+" FROM otel_traces"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Exec(t.Context(), "TRUNCATE TABLE otel_traces"); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.UseTraces(t.Context(), database+".theirs"); err != nil {
		t.Fatal(err)
	}
	cfg := analyzer.Config{Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Late: 3 * time.Second, Workers: 2, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100}
	stop := start(t, newAnalyzer(t, cfg, db))
	send(healthy, 1, time.Now())
	send(failing, 2, time.Now().Add(-2*time.Second)) // it took that long into the table
	eventually(t, conn, map[string]row{"02": {1, 3, 1}})
	send(`pay SERVER POST /charge 6..108ms 500 id=77 parent=3`, 2, time.Now())
	eventually(t, conn, map[string]row{"02": {2, 4, 1}})
	stop()
}

// TestWhatCannotBeReadHoldsNothingUp: another writer's id in capitals is no id here.
func TestWhatCannotBeReadHoldsNothingUp(t *testing.T) {
	t.Parallel()
	db, conn := open(t)
	a, stop := run(t, db)
	defer stop()
	if err := conn.Exec(t.Context(), "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ServiceName, SpanKind, StatusCode) VALUES (now64(9), '0100000000000000000000000000000A', '0000000000000001', 'work', 'capitals', 'Server', 'Error')"); err != nil {
		t.Fatal(err)
	}
	insert(t, db, block(t, failing, 1), "a")
	eventually(t, conn, map[string]row{"01": {1, 3, 1}})
	waitFor(t, "nothing is due any more", func() bool { return strings.Contains(a.State(), " 0 traces due") })
	time.Sleep(time.Second) // what is behind would be seen by now
	if state := a.State(); !strings.Contains(state, "0.0 s behind, 0 traces due") {
		t.Error(state)
	}
}
