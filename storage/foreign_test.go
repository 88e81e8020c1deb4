package storage_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
		})
	}
}

func TestForeignTablesThatCannotBe(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	var database string
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE TABLE logs (Timestamp DateTime64(9), TraceId String, Body String) ENGINE = Memory",
		"CREATE TABLE json (" + strings.ReplaceAll(foreignTables["v0.161"].columns, "SpanAttributes Map(LowCardinality(String), String)", "SpanAttributes JSON") + ") ENGINE = MergeTree ORDER BY Timestamp",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for table, want := range map[string]string{
		"otel_traces":         "is not like otel.otel_traces",
		"nowhere.otel_traces": "there is no table",
		database + ".logs":    "SpanName",
		database + ".json":    "json: false",
	} {
		if err := db.UseTraces(t.Context(), table); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", table, err)
		}
	}
}
