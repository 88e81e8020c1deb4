package storage_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func TestMain(m *testing.M) { clickhousetest.Main(m) }

// fullBlock has two spans and something in every column.
func fullBlock() *spans.Block {
	b := &spans.Block{}
	for r, name := range []string{"checkout", "payments"} {
		b.Resources.Services.Append(name)
		b.Resources.Attrs.Pair("service.name", name)
		b.Resources.Attrs.Pair("host.name", "node-7")
		b.Resources.Attrs.EndRow()
		b.Resources.SchemaURLs.Append("https://opentelemetry.io/schemas/1.40.0")
		b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, uint32(r))
		b.Scopes.Names.Append("otelhttp")
		b.Scopes.Versions.Append(fmt.Sprint("0.7", r))
		b.Scopes.Attrs.Pair("scope.attr", "x")
		b.Scopes.Attrs.EndRow()
		b.Scopes.SchemaURLs.Append("scope-schema")
		b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 7)
	}
	start := time.Date(2026, 11, 20, 10, 0, 0, 123456789, time.UTC).UnixNano()
	for i := range 2 {
		b.TraceIDs = append(b.TraceIDs, spans.TraceID{1, 2, 3, 15: 9})
		b.SpanIDs = append(b.SpanIDs, spans.SpanID{7: byte(i + 1)})
		b.ParentIDs = append(b.ParentIDs, spans.SpanID{7: byte(i)})
		b.StartNs = append(b.StartNs, start+int64(i))
		b.EndNs = append(b.EndNs, start+int64(i)+1_000_000-int64(i)*2_000_000) // the second ends before it starts
		b.Kinds = append(b.Kinds, spans.KindServer+spans.Kind(i))
		b.Statuses = append(b.Statuses, spans.Status(i*2))
		b.Flags = append(b.Flags, 0x301)
		b.Names.Append("GET /checkout")
		b.TraceStates.Append("vendor=1")
		b.StatusMessages.Append("")
		b.Attrs.Pair("http.request.method", "GET")
		b.Attrs.Pair("http.route", "/checkout")
		b.Attrs.EndRow()
		b.DroppedAttrs = append(b.DroppedAttrs, 1)
		b.DroppedEvents = append(b.DroppedEvents, 2)
		b.DroppedLinks = append(b.DroppedLinks, 3)
		for e := range i + 1 {
			b.Events.TimeNs = append(b.Events.TimeNs, start+int64(e))
			b.Events.Names.Append("exception")
			b.Events.Attrs.Pair("exception.type", "Boom")
			b.Events.Attrs.EndRow()
			b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 4)
		}
		b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
		if i == 1 {
			b.Links.TraceIDs = append(b.Links.TraceIDs, spans.TraceID{5: 5})
			b.Links.SpanIDs = append(b.Links.SpanIDs, spans.SpanID{6: 6})
			b.Links.TraceStates.Append("l=1")
			b.Links.Attrs.Pair("k", "v")
			b.Links.Attrs.EndRow()
			b.Links.DroppedAttrs = append(b.Links.DroppedAttrs, 5)
			b.Links.Flags = append(b.Links.Flags, 256)
		}
		b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
		b.ResourceOf = append(b.ResourceOf, uint32(i))
		b.ScopeOf = append(b.ScopeOf, uint32(i))
	}
	return b
}

// rowsOfText lets columns be compared by what they say, however they hold it.
var rowsOfText = cmp.Transformer("rows", func(t spans.Text) (rows []string) {
	for i := range t.Len() {
		rows = append(rows, t.Str(i))
	}
	return rows
})

func TestEveryFieldComesBack(t *testing.T) {
	db := clickhousetest.DB(t)
	want := fullBlock()
	if err := clickhousetest.Insert(t.Context(), db, want, 1); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over a connection that was used before
		var got spans.Block
		if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: want.TraceIDs[:1], SpansMax: 100, Whole: true}, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.IngestMs) != got.Len() || time.Since(time.UnixMilli(got.IngestMs[0])).Abs() > time.Minute {
			t.Fatalf("stored at %v, of %d spans", got.IngestMs, got.Len())
		}
		got.IngestMs = nil
		if diff := cmp.Diff(want, &got, rowsOfText); diff != "" {
			t.Fatalf("inserted (-) and read back (+):\n%s", diff)
		}
	}
}

func rawConn(t *testing.T, dsn string) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func queryCount(t *testing.T, conn clickhouse.Conn, query string, args ...any) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestSameTokenStoresOnce(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	for range 3 {
		if err := clickhousetest.Insert(t.Context(), db, fullBlock(), 1); err != nil {
			t.Fatal(err)
		}
	}
	conn := rawConn(t, dsn)
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces"); n != 2 {
		t.Errorf("%d spans, want 2", n)
	}
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces_trace_id_ts"); n != 1 {
		t.Errorf("%d rows of the view, want 1", n)
	}
	if err := clickhousetest.Insert(t.Context(), db, fullBlock(), 2); err != nil {
		t.Fatal(err)
	}
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces"); n != 4 {
		t.Errorf("%d spans after another token, want 4", n)
	}
}

// exporterSQL is what users of the OpenTelemetry ClickHouse exporter run, as its documentation and
// Grafana's and HyperDX's queries have it.
var exporterSQL = []string{
	`SELECT Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, Duration, StatusCode, StatusMessage, toString(SpanAttributes), toString(ResourceAttributes), toString(Events.Name), toString(Links.TraceId)
		FROM otel_traces WHERE ServiceName = 'checkout' AND SpanAttributes['http.route'] = '/checkout' AND Timestamp >= '2026-11-20 09:00:00' LIMIT 100`,
	`WITH 'x' AS trace_id, (SELECT min(Start) FROM otel_traces_trace_id_ts WHERE TraceId = trace_id) AS start, (SELECT max(End) + 1 FROM otel_traces_trace_id_ts WHERE TraceId = trace_id) AS end
		SELECT Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, Duration, StatusCode FROM otel_traces
		WHERE TraceId = trace_id AND Timestamp >= start AND Timestamp <= end LIMIT 100`,
	`SELECT TraceId AS traceID, SpanId AS spanID, ParentSpanId AS parentSpanID, ServiceName AS serviceName, SpanName AS operationName, Timestamp AS startTime, multiply(Duration, 0.000001) AS duration,
		arrayMap(key -> map('key', key, 'value', SpanAttributes[key]), mapKeys(SpanAttributes)) AS tags,
		arrayMap(key -> map('key', key, 'value', ResourceAttributes[key]), mapKeys(ResourceAttributes)) AS serviceTags,
		arrayMap((name, timestamp, attributes) -> tuple(name, toString(toUnixTimestamp64Milli(timestamp)), attributes), Events.Name, Events.Timestamp, Events.Attributes) AS logs
		FROM otel_traces ORDER BY startTime ASC LIMIT 1000`,
	`SELECT ServiceName, SpanName, count(), quantile(0.99)(Duration) / 1e6 AS p99 FROM otel_traces WHERE SpanKind = 'Server' AND StatusCode = 'Error' AND Duration > 1e6 GROUP BY ServiceName, SpanName ORDER BY p99 DESC`,
	`SELECT arrayJoin(Events.Name) FROM otel_traces WHERE has(mapKeys(SpanAttributes), 'http.route') AND has(mapValues(ResourceAttributes), 'node-7')`,
}

func TestExportersInsertAndSelects(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	err := conn.Exec(t.Context(), `INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName,
		ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage,
		Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes)
		VALUES (now64(9), '000102030405060708090a0b0c0d0e0f', '0001020304050607', '', '', 'GET /', 'Server', 'checkout', map('a', 'b'), '', '', map('http.response.status_code', '500'),
		1000, 'Unset', '', [now64(9), now64(9)], ['a', 'b'], [map('x', 'y'), map()], ['1', '2'], ['3', '4'], ['', ''], [map(), map()])`)
	if err != nil {
		t.Fatal(err)
	}
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces WHERE Suspect AND length(Events.Name) = 2 AND length(Links.TraceId) = 2 AND empty(LinksFlags) AND DroppedEventsCount = 0"); n != 1 {
		t.Errorf("the defaults of what the exporter does not send are wrong")
	}
	for _, query := range exporterSQL {
		rows, err := conn.Query(t.Context(), query)
		if err != nil {
			t.Errorf("%s:\n%v", query, err)
			continue
		}
		for rows.Next() {
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s:\n%v", query, err)
		}
		_ = rows.Close()
	}
}

func TestMigrateTwiceAndAtOnce(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			db, err := storage.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = db.Close() }()
			for range 2 {
				if err := db.Migrate(t.Context(), storage.Retention{Spans: 24 * time.Hour, Verdicts: 48 * time.Hour}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	conn := rawConn(t, dsn)
	ttl := "SELECT count() FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE ?"
	if n := queryCount(t, conn, ttl, "%toDateTime(IngestTime) + toIntervalSecond(86400)%"); n != 1 {
		t.Error("the retention of spans is not set")
	}
	if n := queryCount(t, conn, ttl, "%toDateTime(FirstIngest) + toIntervalSecond(172800)%"); n != 1 {
		t.Error("the retention of verdicts is not set")
	}
	for _, keep := range []storage.Retention{{Spans: time.Hour}, {}} { // each by four at once: one is refused and must not mind
		for range 4 {
			group.Go(func() {
				db, err := storage.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = db.Close() }()
				if err := db.Migrate(t.Context(), keep); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		want := map[bool]uint64{true: 4, false: 3}[keep.Spans > 0] // otel_traces; what is kept by the minute always does, and who runs
		if n := queryCount(t, conn, ttl, "% TTL %"); n != want {
			t.Errorf("%d tables expire under %+v, want %d", n, keep, want)
		}
	}
	if err := conn.Exec(t.Context(), "INSERT INTO schema_migrations (Version) VALUES (999)"); err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(t.Context(), storage.Retention{}); err == nil {
		t.Error("a schema newer than the program is taken")
	}
}

func TestErrorsSayWhetherToRetry(t *testing.T) {
	_, err := storage.Open(t.Context(), "clickhouse://nobody:x@127.0.0.1:1/nowhere", slog.New(slog.DiscardHandler))
	var failed *storage.Error
	if !errors.As(err, &failed) || !failed.Retryable() {
		t.Errorf("nothing listens: %v", err)
	}
}

func TestTouchedAndJudged(t *testing.T) {
	db := clickhousetest.DB(t)
	if err := clickhousetest.Insert(t.Context(), db, fullBlock(), 1); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	touched := func(q storage.TouchQuery) (list []storage.TouchedTrace) {
		t.Helper()
		if err := db.Touched(t.Context(), q, func(seen *storage.TouchedTrace) { list = append(list, *seen) }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	lately := storage.TouchQuery{From: now.Add(-time.Minute), To: now.Add(time.Minute), Scope: storage.Slow}
	list := touched(lately)
	if len(list) != 1 || list[0].Rows != 2 || !list[0].Suspect || list[0].StartNs != fullBlock().StartNs[0] || list[0].FirstMs != list[0].LastMs {
		t.Fatalf("touched %+v", list)
	}
	half := partOf(t, db, list[0].ID, 2)
	quarters, others := storage.Slice{From: half, To: half + 1, Of: 2}.Halves()
	if q := partOf(t, db, list[0].ID, 4); q < quarters.From || q >= others.To || quarters.To != others.From || quarters.Of != 4 {
		t.Errorf("of half %d it is in quarter %d, and the quarters are %+v and %+v", half, q, quarters, others)
	}
	for name, q := range map[string]storage.TouchQuery{
		"before": {From: now.Add(-time.Hour), To: now.Add(-time.Minute)},
		// What lies around a window counts, but only of traces that got a span within it.
		"around":            {From: now.Add(-time.Hour), To: now.Add(-time.Minute), Around: 2 * time.Minute},
		"of the other half": {From: lately.From, To: lately.To, Slice: storage.Slice{Of: 2, From: 1 - half, To: 2 - half}},
	} {
		if list := touched(q); len(list) != 0 {
			t.Errorf("%s: %+v", name, list)
		}
	}
	byStart := time.Unix(0, list[0].StartNs)
	for name, q := range map[string]storage.TouchQuery{
		"by start":     {From: byStart.Add(-time.Minute), To: byStart.Add(time.Minute), ByStart: true},
		"of this half": {From: lately.From, To: lately.To, Slice: storage.Slice{Of: 2, From: half, To: half + 1}},
	} {
		if list := touched(q); len(list) != 1 {
			t.Errorf("%s: %+v", name, list)
		}
	}
	of := storage.SettledTrace{
		TraceID: list[0].ID, Version: 1, Rows: 2, FirstIngest: time.UnixMilli(list[0].FirstMs).UTC(), LastIngest: time.UnixMilli(list[0].LastMs).UTC(),
	}
	for range 2 {
		v := verdict.Verdict{
			TraceID: fmt.Sprintf("%x", of.TraceID[:]), Version: of.Version, Symptom: verdict.SymptomError, Entry: verdict.Entry{Service: "checkout"},
			Shares: []verdict.Share{{Site: verdict.Site{Kind: verdict.SiteService, Service: "payments"}, Owner: "team-a", Weight: 1}},
		}
		if err := db.WriteJudged(t.Context(), slices.Values([]*storage.JudgedTrace{{SettledTrace: of, Verdicts: []verdict.Verdict{v}}})); err != nil {
			t.Fatal(err)
		}
		var states []storage.JudgedState
		if err := db.Judged(t.Context(), []spans.TraceID{{1}, of.TraceID}, func(s *storage.JudgedState) { states = append(states, *s) }); err != nil {
			t.Fatal(err)
		}
		if len(states) != 1 || states[0].Version != int64(of.Version) || states[0].Rows != int64(of.Rows) || states[0].LastMs != of.LastIngest.UnixMilli() ||
			states[0].FirstMs != of.FirstIngest.UnixMilli() || time.Since(time.UnixMilli(states[0].JudgedMs)).Abs() > time.Minute {
			t.Fatalf("judged %+v of %+v", states, of)
		}
		of.Version, of.Rows, of.LastIngest = 2, 3, of.LastIngest.Add(time.Second)
	}
}

func partOf(t *testing.T, db *storage.DB, id spans.TraceID, of int) int {
	t.Helper()
	n, err := db.Count(t.Context(), fmt.Sprintf("SELECT toUInt64(bitShiftRight(bitShiftRight(cityHash64('%x'), 32) * %d, 32))", id[:], of))
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestSlowEntriesAreSuspect: only entries and consumers, and only of operations of which it is known what is too slow.
func TestSlowEntriesAreSuspect(t *testing.T) {
	db := clickhousetest.DB(t)
	b := fullBlock()
	for i := range b.Statuses {
		b.Statuses[i] = spans.StatusOK
	}
	b.Attrs, b.Events, b.EventEnds = spans.Attrs{Ends: []uint32{0, 0}}, spans.Events{}, []uint32{0, 0}
	b.ParentIDs[0], b.ParentIDs[1] = spans.SpanID{}, b.SpanIDs[0]
	b.EndNs[1] = b.StartNs[1] + 500_000
	if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
		t.Fatal(err)
	}
	took := func(i int) int64 { return b.EndNs[i] - b.StartNs[i] }
	slow := func(i int, overNs int64) storage.SlowOperation {
		return storage.SlowOperation{Service: string(b.Service(i)), Name: b.Names.Str(i), OverNs: overNs}
	}
	slo := func(entry string, overNs int64) storage.SlowOperation {
		return storage.SlowOperation{Name: entry, OverNs: overNs}
	}
	name := func(i int) string { return b.Names.Str(i) }
	full := func(i int) string { return string(b.Service(i)) + " " + name(i) }
	never := storage.SlowOperation{Service: "it's", Name: `a \ name`, OverNs: 0}
	for what, tc := range map[string]struct {
		scope storage.Scope
		slow  []storage.SlowOperation
		want  bool
	}{
		"nothing known":     {scope: storage.Slow},
		"longer than known": {scope: storage.Slow, slow: []storage.SlowOperation{never, slow(0, took(0)-1)}, want: true},
		"as known":          {scope: storage.Slow, slow: []storage.SlowOperation{never, slow(0, took(0))}},
		"a callee":          {scope: storage.Slow, slow: []storage.SlowOperation{slow(1, took(1)-1)}},
		"over its SLO":      {scope: storage.Slow, slow: []storage.SlowOperation{slo(name(0), took(0)-1)}, want: true},
		"of its service":    {scope: storage.Slow, slow: []storage.SlowOperation{slo(full(0), took(0)-1)}, want: true},
		"within its SLO":    {scope: storage.Slow, slow: []storage.SlowOperation{slo(name(0), took(0)), slo("it's", 0)}},
		"the longer SLO":    {scope: storage.Slow, slow: []storage.SlowOperation{slo(name(0), 0), slo(full(0), took(0))}},
		"the shorter SLO":   {scope: storage.Slow, slow: []storage.SlowOperation{slo(full(0), took(0)-1), slo(name(0), took(0))}, want: true},
		"SLO below known":   {scope: storage.Slow, slow: []storage.SlowOperation{slo(name(0), took(0)-1), slow(0, took(0))}, want: true},
		"SLO above known":   {scope: storage.Slow, slow: []storage.SlowOperation{slo(name(0), took(0)), slow(0, took(0)-1)}, want: true},
		"SLO of a callee":   {scope: storage.Slow, slow: []storage.SlowOperation{slo(full(1), 0)}},
		"SLO not asked for": {scope: storage.Failing, slow: []storage.SlowOperation{slo(name(0), 0)}},
		"not asked for":     {scope: storage.Failing, slow: []storage.SlowOperation{slow(0, took(0)-1)}},
		"all":               {scope: storage.All, want: true},
	} {
		var got []storage.TouchedTrace
		q := storage.TouchQuery{From: time.Now().Add(-time.Minute), Scope: tc.scope, Slow: tc.slow}
		if err := db.Touched(t.Context(), q, func(seen *storage.TouchedTrace) { got = append(got, *seen) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Suspect != tc.want {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestProgressOverDivisions(t *testing.T) {
	db := clickhousetest.DB(t)
	at := func(minute int) time.Time { return time.Date(2026, 7, 1, 12, minute, 0, 0, time.UTC) }
	scanned := func(index, of int) time.Time {
		t.Helper()
		to, err := db.ScannedTo(t.Context(), storage.Slice{From: index, To: index + 1, Of: of})
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	set := func(index, of, minute int) {
		t.Helper()
		if err := db.SetScannedTo(t.Context(), storage.Slice{From: index, To: index + 1, Of: of}, at(minute)); err != nil {
			t.Fatal(err)
		}
	}
	if since := time.Since(scanned(0, 1)); since.Abs() > time.Minute {
		t.Errorf("an empty table is looked through from %s ago", since)
	}
	set(0, 1, 10)
	set(0, 2, 30)
	for _, tc := range []struct{ index, of, want int }{
		{0, 1, 10},
		{0, 2, 30},
		{1, 2, 10}, // the other half has not begun: one alone had come so far
		{0, 3, 10},
	} {
		if got := scanned(tc.index, tc.of); !got.Equal(at(tc.want)) {
			t.Errorf("%d/%d goes on at %s, want minute %d", tc.index, tc.of, got, tc.want)
		}
	}
	set(1, 2, 20)
	if got := scanned(0, 1); !got.Equal(at(20)) {
		t.Errorf("one alone goes on at %s, where both halves had come", got)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	db := clickhousetest.DB(t)
	members := func(within time.Duration) []string {
		t.Helper()
		names, err := db.Members(t.Context(), within)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, name := range []string{"b", "a", "b"} {
		if err := db.Heartbeat(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := members(time.Minute); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("there are %v", got)
	}
	time.Sleep(2 * time.Millisecond) // the last word counts, by the millisecond
	if err := db.Leave(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got := members(time.Minute); !slices.Equal(got, []string{"b"}) {
		t.Errorf("after one left there are %v", got)
	}
	time.Sleep(50 * time.Millisecond)
	if got := members(20 * time.Millisecond); len(got) != 0 {
		t.Errorf("after a silence there are %v", got)
	}
}

// TestBigBlockIsOnePart has more distinct names and keys than the small indexes of LowCardinality hold.
func TestBigBlockIsOnePart(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	b := &spans.Block{}
	appendServers(b, 0, 100_000, func(i int) string { return fmt.Sprint("name-", i%70_000) })
	for range 2 {
		if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
			t.Fatal(err)
		}
	}
	conn := rawConn(t, dsn)
	for _, tc := range []struct {
		query string
		want  uint64
	}{
		{"SELECT count() FROM otel_traces", 100_000},
		{"SELECT uniqExact(SpanName) FROM otel_traces", 70_000},
		{"SELECT count() FROM otel_traces WHERE SpanAttributes[SpanName] = SpanId AND Duration = 1000000", 100_000},
		{"SELECT uniqExact(TraceId, SpanId) FROM otel_traces", 100_000},
		{"SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'otel_traces'", 1},
	} {
		if n := queryCount(t, conn, tc.query); n != tc.want {
			t.Errorf("%s: %d, want %d", tc.query, n, tc.want)
		}
	}
}

// appendServers appends server spans numbered from..to, each a trace and with an attribute of its own.
func appendServers(b *spans.Block, from, to int, name func(i int) string) {
	b.Resources.Services.Append("big")
	b.Resources.Attrs.EndRow()
	b.Resources.SchemaURLs.Append("")
	b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, 0)
	b.Scopes.Names.Append("")
	b.Scopes.Versions.Append("")
	b.Scopes.Attrs.EndRow()
	b.Scopes.SchemaURLs.Append("")
	b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 0)
	start := time.Now().UnixNano()
	for i := from; i < to; i++ {
		id := spans.SpanID{1, 4: byte(i >> 24), 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}
		b.TraceIDs = append(b.TraceIDs, spans.TraceID{1, 12: id[4], 13: id[5], 14: id[6], 15: id[7]})
		b.SpanIDs = append(b.SpanIDs, id)
		b.ParentIDs = append(b.ParentIDs, spans.SpanID{})
		b.StartNs = append(b.StartNs, start)
		b.EndNs = append(b.EndNs, start+1_000_000)
		b.Kinds = append(b.Kinds, spans.KindServer)
		b.Statuses = append(b.Statuses, spans.StatusUnset)
		b.Flags = append(b.Flags, 0)
		b.Names.Append(name(i))
		b.TraceStates.Append("")
		b.StatusMessages.Append("")
		b.Attrs.Pair(name(i), fmt.Sprintf("%x", id[:]))
		b.Attrs.EndRow()
		b.DroppedAttrs = append(b.DroppedAttrs, 0)
		b.DroppedEvents = append(b.DroppedEvents, 0)
		b.DroppedLinks = append(b.DroppedLinks, 0)
		b.EventEnds = append(b.EventEnds, 0)
		b.LinkEnds = append(b.LinkEnds, 0)
		b.ResourceOf = append(b.ResourceOf, 0)
		b.ScopeOf = append(b.ScopeOf, 0)
	}
}

// TestKillUnderLoad kills ClickHouse in the middle of inserts. A block whose insert failed is sent
// again under its token until it is taken; then every span is there, once, and the same DB, with its
// pools, goes on.
func TestKillUnderLoad(t *testing.T) {
	engine := clickhousetest.Server(t)
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	const senders, rows, killed = 4, 500, 2
	stop := make(chan struct{})
	var blocks, refusals atomic.Uint64
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := int(blocks.Add(1))
				b := &spans.Block{}
				appendServers(b, n*rows, (n+1)*rows, func(int) string { return "load" })
				p := native.Packed{ID: uint64(n), At: time.Now()}
				new(native.Encoder).Encode(b, &p)
				deadline := time.Now().Add(60 * time.Second)
				for again := false; ; again = true {
					err := db.InsertBlock(t.Context(), &p, again)
					if err == nil {
						break
					}
					var failed *storage.Error
					if !errors.As(err, &failed) || !failed.Retryable() || time.Now().After(deadline) {
						t.Errorf("a block is lost: %v", err)
						return
					}
					refusals.Add(1)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for range killed {
		pid, taken := engine.PID(), blocks.Load()
		waitUntil(t, "inserts", func() bool { return blocks.Load() > taken+20 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "another ClickHouse", func() bool { return engine.PID() != pid && db.Ping(t.Context()) == nil })
	}
	close(stop)
	group.Wait()
	want := blocks.Load() * rows
	if refusals.Load() == 0 {
		t.Error("no insert was hit by a kill")
	}
	for _, query := range []string{"SELECT count() FROM otel_traces", "SELECT uniqExact(SpanId) FROM otel_traces", "SELECT uniqExact(Block) * 500 FROM otel_traces"} {
		n, err := db.Count(t.Context(), query)
		if err != nil || n != want {
			t.Errorf("%s: %d, want %d (%v)", query, n, want, err)
		}
	}
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestOpenNeedsNoRightToCreate: the user of somebody else's ClickHouse often may not create a database.
func TestOpenNeedsNoRightToCreate(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	var database string
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	// default is such a user; it cannot read the tables, but it can connect.
	db, err := storage.Open(t.Context(), "clickhouse://default@"+options.Addr[0]+"/"+database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	for _, bad := range []string{"http://127.0.0.1:8123/x", "://"} {
		if _, err := storage.Open(t.Context(), bad, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("the DSN %q is taken", bad)
		}
	}
}
