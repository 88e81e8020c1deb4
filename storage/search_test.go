package storage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// searched are traces to search; each begins a minute after the one before.
var searched = []string{
	`web SERVER GET /a 0..120ms 500 error says="it broke" http.method=GET res:zone=eu
  web CLIENT pay.Charge 5..105ms empty= n=7
    pay SERVER pay.Charge 8..90ms exc=Boom n=12 res:zone=us`,
	`web SERVER GET /b 0..20ms 200 http.method=POST odd=it's\a?
  web INTERNAL think 5..10ms`,
	`pay SERVER pay.Charge 0..8ms n=100`,
	`nightly INTERNAL sweep 0..50ms`,
}

// searchedAt is when the first of them begins, that of scripts.
var searchedAt = time.Unix(1_780_000_000, 0)

func traceNamed(i int) spans.TraceID { return spans.TraceID{0: 0xaa, 15: byte(i + 1)} }

// insertSearched inserts them, and another copy of the first an hour before, under an id of its own.
func insertSearched(t *testing.T, db *storage.DB) {
	t.Helper()
	var b spans.Block
	for i, script := range append(slices.Clone(searched), searched[0]) {
		list, err := tracescript.Parse(script)
		if err != nil {
			t.Fatal(err)
		}
		shift := int64(i) * int64(time.Minute)
		if i == len(searched) {
			shift = -int64(time.Hour)
		}
		for k := range list {
			list[k].StartNs += shift
			list[k].EndNs += shift
		}
		tracescript.Append(&b, list, traceNamed(i))
	}
	if err := clickhousetest.Insert(t.Context(), db, &b, 1); err != nil {
		t.Fatal(err)
	}
}

func is(f storage.Field, values ...string) storage.Match {
	return storage.Match{Field: f, Values: values}
}

func attr(f storage.Field, key string, op storage.Op, values ...string) storage.Match {
	return storage.Match{Field: f, Key: key, Op: op, Values: values}
}

// searches says which traces are found, newest first.
var searches = []struct {
	name  string
	match storage.Match
	want  string
}{
	{"all", storage.Match{}, "3 2 1 0 4"},
	{"service", is(storage.FieldService, "web"), "1 0 4"},
	{"services", is(storage.FieldService, "web", "nightly"), "3 1 0 4"},
	{"another service", storage.Match{Field: storage.FieldService, Op: storage.OpNotEqual, Values: []string{"web", "pay"}}, "3"},
	{"service and operation of one span", storage.Match{All: []storage.Match{is(storage.FieldService, "pay"), is(storage.FieldName, "GET /a")}}, ""},
	{"either", storage.Match{Any: []storage.Match{is(storage.FieldName, "GET /b"), is(storage.FieldName, "sweep")}}, "3 1"},
	{"pattern", storage.Match{Field: storage.FieldName, Op: storage.OpMatch, Values: []string{"GET /."}}, "1 0 4"},
	{"pattern of all of the text", storage.Match{Field: storage.FieldName, Op: storage.OpMatch, Values: []string{"GET"}}, ""},
	{"not a pattern", storage.Match{Field: storage.FieldName, Op: storage.OpNotMatch, Values: []string{".*/.*", "pay.*"}}, "3 1"},
	{"kind", is(storage.FieldKind, "internal"), "3 1"},
	{"not a kind", storage.Match{Field: storage.FieldKind, Op: storage.OpNotEqual, Values: []string{"server", "client"}}, "3 1"},
	{"status", is(storage.FieldStatus, "error"), "0 4"},
	{"unset", storage.Match{All: []storage.Match{is(storage.FieldStatus, "unset"), is(storage.FieldName, "GET /a")}}, ""},
	{"status message", is(storage.FieldStatusMessage, "it broke"), "0 4"},
	{"slow", storage.Match{Field: storage.FieldDuration, Op: storage.OpGreater, Values: []string{"100000000"}}, "0 4"},
	{"fast", storage.Match{Field: storage.FieldDuration, Op: storage.OpLessOrEqual, Values: []string{"8000000"}}, "2 1"},
	{"attribute", attr(storage.FieldAttribute, "http.method", storage.OpEqual, "GET"), "0 4"},
	{"attribute of the resource", attr(storage.FieldAttribute, "zone", storage.OpEqual, "us"), "0 4"},
	{"attribute of the wrong scope", attr(storage.FieldSpanAttribute, "zone", storage.OpEqual, "us"), ""},
	{"resource attribute", attr(storage.FieldResourceAttribute, "zone", storage.OpEqual, "eu"), "0 4"},
	{"attribute that differs, where it is", attr(storage.FieldAttribute, "http.method", storage.OpNotEqual, "GET"), "1"},
	{"attribute by pattern", attr(storage.FieldAttribute, "http.method", storage.OpMatch, "P.*", "X"), "1"},
	{"attribute that is there", attr(storage.FieldAttribute, "http.method", storage.OpExists), "1 0 4"},
	{"attribute that is not there", storage.Match{All: []storage.Match{is(storage.FieldService, "web"), attr(storage.FieldAttribute, "http.method", storage.OpMissing), attr(storage.FieldAttribute, "n", storage.OpMissing)}}, "1"},
	{"empty attribute", attr(storage.FieldAttribute, "empty", storage.OpEqual, ""), "0 4"},
	{"numbers as numbers", attr(storage.FieldAttribute, "n", storage.OpGreaterOrEqual, "12"), "2 0 4"},
	{"numbers, and text that is none", attr(storage.FieldAttribute, "http.method", storage.OpGreater, "12"), ""},
	{"attributes of both scopes", storage.Match{All: []storage.Match{
		is(storage.FieldKind, "server"), attr(storage.FieldAttribute, "http.method", storage.OpEqual, "GET"), attr(storage.FieldAttribute, "zone", storage.OpEqual, "eu", "us"),
	}}, "0 4"},
	{"quoting", attr(storage.FieldAttribute, "odd", storage.OpEqual, `it's\a?`), "1"},
	{"quoting of a key", attr(storage.FieldAttribute, `it's\`, storage.OpEqual, "x"), ""},
	{"event", is(storage.FieldEventName, "exception"), "0 4"},
	{"attribute of an event", attr(storage.FieldEventAttribute, "exception.type", storage.OpEqual, "Boom"), "0 4"},
	{"root service", storage.Match{All: []storage.Match{is(storage.FieldService, "pay"), is(storage.FieldTraceService, "web")}}, "0 4"},
	{"root name", is(storage.FieldTraceName, "pay.Charge"), "2"},
	{"duration of the trace", storage.Match{All: []storage.Match{is(storage.FieldService, "pay"), {Field: storage.FieldTraceDuration, Op: storage.OpGreater, Values: []string{"100000000"}}}}, "0 4"},
	{"root", storage.Match{Field: storage.FieldParentID, Op: storage.OpMissing}, "3 2 1 0 4"},
	{"no root", storage.Match{Field: storage.FieldParentID, Op: storage.OpExists}, "1 0 4"},
	{"nobody's scope", is(storage.FieldScopeName, "otelhttp"), ""},
	{"trace", is(storage.FieldTraceID, fmt.Sprintf("%x", traceNamed(2))), "2"},
}

func checkSearches(t *testing.T, db *storage.DB) {
	t.Helper()
	for _, c := range searches {
		t.Run(c.name, func(t *testing.T) {
			q := storage.TraceSearch{Match: c.match, From: searchedAt.Add(-24 * time.Hour), To: searchedAt.Add(time.Hour), Limit: 10}
			list, err := searchTraces(t, db, q)
			if err != nil {
				t.Fatal(err)
			}
			if got := numbersOf(list); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func searchTraces(t *testing.T, db *storage.DB, q storage.TraceSearch) ([]storage.TraceSummary, error) {
	t.Helper()
	ids, err := db.FindTraces(t.Context(), q)
	if err != nil {
		return nil, err
	}
	return db.SummarizeTraces(t.Context(), ids)
}

func numbersOf(list []storage.TraceSummary) string {
	var numbers []string
	for i := range list {
		numbers = append(numbers, fmt.Sprint(list[i].TraceID[15]-1))
	}
	return strings.Join(numbers, " ")
}

func TestSearchTraces(t *testing.T) {
	db := clickhousetest.DB(t)
	insertSearched(t, db)
	checkSearches(t, db)

	day := storage.TraceSearch{From: searchedAt.Add(-24 * time.Hour), To: searchedAt.Add(time.Hour), Limit: 2}
	if list, err := searchTraces(t, db, day); err != nil || numbersOf(list) != "3 2" {
		t.Errorf("the newest two: %q, %v", numbersOf(list), err)
	}
	hour := storage.TraceSearch{From: searchedAt, To: searchedAt.Add(time.Minute), Limit: 9}
	list, err := searchTraces(t, db, hour)
	if err != nil || len(list) != 1 {
		t.Fatalf("of one minute: %q, %v", numbersOf(list), err)
	}
	s := list[0]
	if s.RootService != "web" || s.RootName != "GET /a" || s.StartNs != searchedAt.UnixNano() || s.EndNs-s.StartNs != int64(120*time.Millisecond) || s.Spans != 3 || s.Errors != 1 ||
		!slices.Equal(s.Services, []storage.ServiceSummary{{Name: "web", Spans: 2, Errors: 1}, {Name: "pay", Spans: 1}}) {
		t.Errorf("%+v", s)
	}
	if none, err := searchTraces(t, db, storage.TraceSearch{From: searchedAt.Add(-time.Minute), To: searchedAt, Limit: 9}); err != nil || len(none) != 0 {
		t.Errorf("where nothing is: %+v, %v", none, err)
	}
}

func TestMatchedSpans(t *testing.T) {
	db := clickhousetest.DB(t)
	insertSearched(t, db)
	q := storage.TraceSearch{Match: is(storage.FieldService, "web"), From: searchedAt.Add(-time.Minute), To: searchedAt.Add(time.Hour), Limit: 1}
	fields := []storage.FieldRef{{Field: storage.FieldAttribute, Key: "http.method"}, {Field: storage.FieldResourceAttribute, Key: "zone"}, {Field: storage.FieldStatus}, {Field: storage.FieldKind}, {Field: storage.FieldDuration}, {Field: storage.FieldTraceName}}
	got, err := db.MatchedSpans(t.Context(), q, []spans.TraceID{traceNamed(0), traceNamed(1), traceNamed(3)}, fields)
	if err != nil || len(got) != 2 || len(got[traceNamed(0)]) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	s := got[traceNamed(0)][0]
	if s.Name != "GET /a" || s.Matched != 2 || s.StartNs != searchedAt.UnixNano() || s.DurationNs != 120_000_000 || !slices.Equal(s.Values, []string{"GET", "eu", "error", "server", "120000000", ""}) {
		t.Errorf("%+v", s)
	}
}

func TestNamesToSearchFor(t *testing.T) {
	db := clickhousetest.DB(t)
	insertSearched(t, db)
	checkNames(t, db)
	from, to := searchedAt.Add(-24*time.Hour), searchedAt.Add(time.Hour)
	ofSpans, ofResources, err := db.AttributeKeys(t.Context(), from, to)
	if err != nil || !slices.Contains(ofSpans, "http.method") || slices.Contains(ofSpans, "zone") || !slices.Contains(ofResources, "zone") {
		t.Errorf("keys: %q, %q, %v", ofSpans, ofResources, err)
	}
	for _, c := range []struct {
		field storage.FieldRef
		match storage.Match
		want  []string
	}{
		{storage.FieldRef{Field: storage.FieldAttribute, Key: "n"}, storage.Match{}, []string{"12", "7", "100"}},
		{storage.FieldRef{Field: storage.FieldAttribute, Key: "zone"}, is(storage.FieldService, "pay"), []string{"us"}},
		{storage.FieldRef{Field: storage.FieldName}, is(storage.FieldService, "pay"), []string{"pay.Charge"}},
		{storage.FieldRef{Field: storage.FieldEventName}, storage.Match{}, []string{"exception"}},
		{storage.FieldRef{Field: storage.FieldSpanAttribute, Key: "empty"}, storage.Match{}, nil},
	} {
		if got, err := db.Values(t.Context(), c.field, c.match, from, to, 10); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("values of %+v: %q, %v, want %q", c.field, got, err, c.want)
		}
	}
}

func checkNames(t *testing.T, db *storage.DB) {
	t.Helper()
	services, err := db.SpanServices(t.Context())
	if err != nil || !slices.Equal(services, []string{"nightly", "pay", "web"}) {
		t.Errorf("services: %q, %v", services, err)
	}
	operations, err := db.SpanOperations(t.Context(), "web")
	if want := []storage.SpanOperation{{"GET /a", "server"}, {"GET /b", "server"}, {"pay.Charge", "client"}, {"think", "internal"}}; err != nil || !slices.Equal(operations, want) {
		t.Errorf("operations: %+v, %v", operations, err)
	}
}

func TestSearchAllShards(t *testing.T) {
	db, _, network := openCluster(t)
	insertSearched(t, db)
	checkSearches(t, db)
	checkNames(t, db)
	network[1].Vanish()
	q := storage.TraceSearch{From: searchedAt.Add(-24 * time.Hour), To: searchedAt.Add(time.Hour), Limit: 10}
	if list, err := searchTraces(t, db, q); err != nil || len(list) == 0 || len(list) == len(searched)+1 {
		t.Errorf("while a shard is away: %q, %v", numbersOf(list), err)
	}
}

func TestSearchForeignTables(t *testing.T) {
	for name, table := range foreignTables {
		t.Run(name, func(t *testing.T) {
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			insertSearched(t, db)
			conn := rawConn(t, dsn)
			for _, statement := range []string{
				"CREATE TABLE theirs (" + table.columns + ") ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))",
				fmt.Sprintf(`INSERT INTO theirs (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes, SpanAttributes, Duration, StatusCode)
					SELECT Timestamp, TraceId, SpanId, ParentSpanId, SpanName, if('%[1]s' = 'Server', toString(SpanKind), concat('SPAN_KIND_', upper(SpanKind))), ServiceName, ResourceAttributes, SpanAttributes, Duration,
						if('%[2]s' = 'Error', toString(StatusCode), concat('STATUS_CODE_', upper(StatusCode))) FROM otel_traces`, table.kind, table.status),
			} {
				if err := conn.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.UseTraces(t.Context(), currentDatabase(t, conn)+".theirs"); err != nil {
				t.Fatal(err)
			}
			checkNames(t, db)
			for _, c := range searches {
				if strings.Contains(c.name, "event") || strings.Contains(c.name, "message") {
					continue // what this table was not filled with
				}
				list, err := searchTraces(t, db, storage.TraceSearch{Match: c.match, From: searchedAt.Add(-24 * time.Hour), To: searchedAt.Add(time.Hour), Limit: 10})
				if err != nil || numbersOf(list) != c.want {
					t.Errorf("%s: found %q, %v, want %q", c.name, numbersOf(list), err, c.want)
				}
			}
		})
	}
}
