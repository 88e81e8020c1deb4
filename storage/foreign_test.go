package storage_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// Tables as the exporter makes or made them.
var foreignTables = map[string]struct{ columns, kind, status string }{
	"v0.161": {`Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, SpanName LowCardinality(String),
		SpanKind LowCardinality(String), ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String), ScopeName String,
		ScopeVersion String, SpanAttributes Map(LowCardinality(String), String), Duration UInt64, StatusCode LowCardinality(String), StatusMessage String,
		Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)),
		Links Nested (TraceId String, SpanId String, TraceState String, Attributes Map(LowCardinality(String), String))`, "Server", "Error"},
	"old spellings, signed durations, no scopes": {`Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, SpanName LowCardinality(String),
		SpanKind LowCardinality(String), ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String),
		SpanAttributes Map(LowCardinality(String), String), Duration Int64, StatusCode LowCardinality(String), StatusMessage String,
		Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)),
		Links Nested (TraceId String, SpanId String, TraceState String, Attributes Map(LowCardinality(String), String))`, "SPAN_KIND_SERVER", "STATUS_CODE_ERROR"},
	"plain types, nothing but what is needed, more besides": {`Timestamp DateTime64(6, 'Europe/Berlin'), TraceId FixedString(32), SpanId String, ParentSpanId String, SpanName String, SpanKind String,
		ServiceName String, ResourceAttributes Map(String, String), SpanAttributes Map(String, String), Duration Int64, StatusCode String, SampleRate UInt64`, "SPAN_KIND_SERVER", "STATUS_CODE_ERROR"},
}

func currentDatabase(t *testing.T, conn clickhouse.Conn) (name string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestForeignTables(t *testing.T) {
	for name, table := range foreignTables {
		t.Run(name, func(t *testing.T) {
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			conn := rawConn(t, dsn)
			var database string
			if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&database); err != nil {
				t.Fatal(err)
			}
			for _, statement := range []string{
				"CREATE TABLE theirs (" + table.columns + ") ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))",
				fmt.Sprintf(`INSERT INTO theirs (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes, SpanAttributes, Duration, StatusCode) VALUES
					('2026-05-01 12:00:00.5', '000102030405060708090a0b0c0d0e0f', '0001020304050607', '', 'POST /buy', '%s', 'shop', {'service.name': 'shop'}, {'http.response.status_code': '500'}, 1000000, '%s')`,
					table.kind, table.status),
			} {
				if err := conn.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.UseTraces(t.Context(), database+".theirs"); err != nil {
				t.Fatal(err)
			}
			start := time.Date(2026, 5, 1, 12, 0, 0, 500e6, time.UTC)
			if strings.Contains(table.columns, "Berlin") {
				start = start.Add(-2 * time.Hour) // the values were given in the column's zone
			}
			var touched []storage.TouchedTrace
			q := storage.TouchQuery{From: start.Add(-time.Second), To: start.Add(time.Second), Scope: storage.Slow}
			if err := db.Touched(t.Context(), q, func(seen *storage.TouchedTrace) { touched = append(touched, *seen) }); err != nil {
				t.Fatal(err)
			}
			if len(touched) != 1 || !touched[0].Suspect || touched[0].Rows != 1 || touched[0].StartNs != start.UnixNano() || touched[0].FirstMs != start.UnixMilli() {
				t.Fatalf("touched %+v", touched)
			}
			for _, whole := range []bool{false, true} {
				var b spans.Block
				if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: []spans.TraceID{touched[0].ID}, From: q.From, To: q.To, Whole: whole}, &b); err != nil {
					t.Fatal(err)
				}
				if b.Len() != 1 || b.Kinds[0] != spans.KindServer || b.Statuses[0] != spans.StatusError || b.EndNs[0]-b.StartNs[0] != 1e6 || string(b.Service(0)) != "shop" {
					t.Errorf("read %+v", b)
				}
				if v, ok := b.Attrs.Get(0, "http.response.status_code"); !ok || string(v) != "500" {
					t.Errorf("the span's attribute is %q", v)
				}
			}
			if minutes, err := db.SpansPerMinute(t.Context(), q.From, q.To); err != nil || len(minutes) != 1 || minutes[0].Spans != 1 {
				t.Errorf("%v, %v", minutes, err)
			}
			if strings.Contains(table.columns, "Duration Int64") { // of a clock that was set back
				insert := "INSERT INTO theirs (Timestamp, TraceId, SpanId, SpanKind, StatusCode, Duration) VALUES ('2026-05-01 12:00:00.5', 'ff0102030405060708090a0b0c0d0e0f', '0001020304050607', 'SPAN_KIND_CONSUMER', 'STATUS_CODE_OK', -5)"
				if err := conn.Exec(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
				var b spans.Block
				if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: []spans.TraceID{{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}}, &b); err != nil {
					t.Fatal(err)
				}
				if b.Len() != 1 || b.Kinds[0] != spans.KindConsumer || b.Statuses[0] != spans.StatusOK || b.EndNs[0] != b.StartNs[0] {
					t.Errorf("read %+v", b)
				}
			}
		})
	}
}

func TestForeignTablesThatCannotBe(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	database := currentDatabase(t, conn)
	for _, statement := range []string{
		"CREATE TABLE logs (Timestamp DateTime64(9), TraceId String, Body String) ENGINE = Memory",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for table, want := range map[string]string{
		"otel_traces":         "is not like otel.otel_traces",
		"nowhere.otel_traces": "there is no table",
		database + ".logs":    "SpanName",
	} {
		if err := db.UseTraces(t.Context(), table); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", table, err)
		}
	}
}

// TestForeignJSON reads attributes from the exporter's table of json: true, whatever their types are, and however few paths have
// a column of their own there.
func TestForeignJSON(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	database := currentDatabase(t, conn)
	columns := strings.ReplaceAll(foreignTables["v0.161"].columns, "Map(LowCardinality(String), String)", "JSON")
	columns = strings.Replace(columns, "SpanAttributes JSON", "SpanAttributes JSON(max_dynamic_paths = 2, http.response.status_code UInt16), SpanAttributesKeys Array(LowCardinality(String))", 1)
	for _, statement := range []string{
		"CREATE TABLE theirs (" + columns + ") ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)",
		`INSERT INTO theirs (Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName, StatusCode, ResourceAttributes, SpanAttributes, Events.Timestamp, Events.Name, Events.Attributes) VALUES
			('2026-05-01 12:00:00.5', '000102030405060708090a0b0c0d0e0f', '0001020304050607', 'POST /buy', 'Server', 'shop', 'Unset', '{"service.name":"shop","process.pid":7}',
			'{"http.response.status_code":500,"zero":0,"a.b.c":"x","deep":{"er":{"est":1.5}},"yes":true,"no":false,"big":9007199254740993,"quote":"it\\\\\\"s","day":"2026-05-01","nothing":null}',
			['2026-05-01 12:00:00.6', '2026-05-01 12:00:00.7'], ['exception', 'plain'], ['{"exception.type":"Oops","exception.escaped":false}', '{}'])`,
		`INSERT INTO theirs (Timestamp, TraceId, SpanId, StatusCode, SpanAttributes) VALUES ('2026-05-01 12:00:00.5', 'ee000000000000000000000000000000', '0001020304050607', 'Unset',
			'{"http.response.status_code":200,"rpc.grpc.status_code":0,"error":false,"rpc.status_code":"OK"}')`,
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.UseTraces(t.Context(), database+".theirs"); err != nil {
		t.Fatal(err)
	}
	for n, attributes := range []string{`{"error":true}`, `{"a":1,"b":2,"c":3,"error.type":"timeout"}`, `{"rpc.grpc.status_code":14}`, `{"http.status_code":"404"}`} {
		insert := fmt.Sprintf("INSERT INTO theirs (Timestamp, TraceId, SpanId, StatusCode, SpanAttributes) VALUES ('2026-05-01 12:00:00.5', 'ff%030d', '0001020304050607', 'Unset', '%s')", n, attributes)
		if err := conn.Exec(t.Context(), insert); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Date(2026, 5, 1, 12, 0, 0, 500e6, time.UTC)
	q := storage.TraceQuery{From: start.Add(-time.Second), To: start.Add(time.Second), Whole: true}
	suspects := 0
	err := db.Touched(t.Context(), storage.TouchQuery{From: q.From, To: q.To}, func(seen *storage.TouchedTrace) {
		switch {
		case seen.Suspect:
			suspects++
		case seen.ID[0] != 0xee:
			t.Errorf("%x is not suspect", seen.ID)
		}
		if seen.ID[0] == 0 {
			q.IDs = append(q.IDs, seen.ID)
		}
	})
	if err != nil || suspects != 5 {
		t.Fatalf("%d suspects, %v", suspects, err)
	}
	var b spans.Block
	if err := db.ReadTraces(t.Context(), q, &b); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		attrs *spans.Attrs
		row   int
		want  map[string]string
	}{
		"resource": {&b.Resources.Attrs, 0, map[string]string{"service.name": "shop", "process.pid": "7"}},
		"span": {&b.Attrs, 0, map[string]string{
			"http.response.status_code": "500", "zero": "0", "a.b.c": "x", "deep.er.est": "1.5", "yes": "true", "no": "false",
			"big": "9007199254740993", "quote": `it\"s`, "day": "2026-05-01",
		}},
		"event": {&b.Events.Attrs, 0, map[string]string{"exception.type": "Oops", "exception.escaped": "false"}},
		"other": {&b.Events.Attrs, 1, map[string]string{}},
	} {
		got := make(map[string]string)
		for from, to := c.attrs.Range(c.row); from < to; from++ {
			got[string(c.attrs.Keys.At(from))] = string(c.attrs.Values.At(from))
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("the %s has %v, want %v", what, got, c.want)
		}
	}
}

// TestForeignTablesArePruned: what is asked for by time or by trace is found by the table's own partitions and indexes,
// and not by looking at all of it.
func TestForeignTablesArePruned(t *testing.T) {
	const days, perDay, granule = 10, 10_000, 100
	columns := foreignTables["v0.161"].columns + ", INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1"
	for name, table := range map[string]struct {
		columns     string
		granulesMax uint64 // of 1000, for each question
	}{
		"v0.161": {columns, 10},
		// Only partitions are found then: one day in ten, by up to three looks.
		"another zone": {strings.Replace(columns, "DateTime64(9)", "DateTime64(9, 'Europe/Berlin')", 1), 300},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			conn := rawConn(t, dsn)
			for _, statement := range []string{
				fmt.Sprintf("CREATE TABLE theirs (%s) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp)) SETTINGS index_granularity = %d",
					table.columns, granule),
				fmt.Sprintf(`INSERT INTO theirs (Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName, StatusCode)
					SELECT toDateTime64('2026-05-01 00:00:00', 9, 'UTC') + number * %d, lower(hex(MD5(toString(number)))), '0001020304050607', 'GET /', 'Server', 'shop', 'Error'
					FROM numbers(%d)`, 24*3600/perDay, days*perDay),
			} {
				if err := conn.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.UseTraces(t.Context(), currentDatabase(t, conn)+".theirs"); err != nil {
				t.Fatal(err)
			}
			granules := func() (n uint64) {
				t.Helper()
				if err := conn.QueryRow(t.Context(), "SELECT sum(value) FROM system.events WHERE event = 'SelectedMarks'").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			pruned := func(what string, ask func() error) {
				t.Helper()
				before := granules()
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				if n := granules() - before; n == 0 || n > table.granulesMax {
					t.Errorf("%s reads %d granules of %d", what, n, days*perDay/granule)
				}
			}
			from := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
			to := from.Add(time.Minute)
			var ids []spans.TraceID
			pruned("the selection by time", func() error {
				return db.Touched(t.Context(), storage.TouchQuery{From: from, To: to}, func(seen *storage.TouchedTrace) { ids = append(ids, seen.ID) })
			})
			if len(ids) == 0 {
				t.Fatal("nothing was selected")
			}
			var b spans.Block
			pruned("reading traces", func() error {
				return db.ReadTraces(t.Context(), storage.TraceQuery{IDs: ids, From: from.Add(-time.Minute), To: to.Add(time.Hour)}, &b)
			})
			if b.Len() != len(ids) {
				t.Errorf("%d spans are read of %d", b.Len(), len(ids))
			}
			pruned("looking a trace up", func() error { _, err := db.StoredTrace(t.Context(), ids[0]); return err })
			pruned("counting spans", func() error { _, err := db.SpansPerMinute(t.Context(), from, to); return err })
			pruned("sampling traces", func() error { _, err := db.SampleTraces(t.Context(), from, to, "", 10); return err })
			pruned("learning", func() error { _, _, err := db.IngestedTraces(t.Context(), from, to, time.Minute, 10); return err })
		})
	}
}
