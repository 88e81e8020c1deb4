package storage_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
)

// seenAt is when the newest span was stored that insertSeen inserts.
var seenAt = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// insertSeen inserts spans of services into a table: so many, one a second, the last so long before seenAt.
func insertSeen(t *testing.T, conn clickhouse.Conn, into, columns, attributes string) {
	t.Helper()
	for _, s := range []struct {
		service, resource string
		spans             int
		before            time.Duration
	}{
		{"web", "map('service.namespace', 'shop', 'deployment.environment.name', 'prod', 'host.name', toString(number))", 300, 0},
		{"web", "map('service.namespace', 'shop', 'deployment.environment.name', 'test')", 100, 0},
		{"nightly", "map('team', 'o''hara \\\\', 'k8s.namespace.name', 'batch')", 50, 20 * time.Hour},
		{"bare", "map()", 7, time.Minute},
		{"", "map('team', 'nobody')", 9, 0},
		{"long ago", "map('team', 'team-a')", 400, 8 * 24 * time.Hour},
	} {
		err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s (TraceId, SpanId, SpanName, ServiceName, ResourceAttributes, %s)
			SELECT lower(hex(MD5(toString(number)))), toString(number), 'GET /', '%s', %s, %s FROM numbers(%d)
			SETTINGS distributed_foreground_insert = 1`, into, columns, s.service, fmt.Sprintf(attributes, s.resource),
			fmt.Sprintf("toDateTime64('%s', 9) - number AS At, At", seenAt.Add(-s.before).Format(time.DateTime)), s.spans))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// seenServices holds what is found of insertSeen against what is there.
func seenServices(t *testing.T, db *storage.DB) {
	t.Helper()
	from, to := seenAt.Add(-7*24*time.Hour), seenAt.Add(time.Hour)
	for _, shard := range db.Locals() {
		if err := shard.MakeTraffic(t.Context(), from.Add(-3*24*time.Hour), to, storage.ByHour); err != nil {
			t.Fatal(err)
		}
	}
	list, err := db.SeenServices(t.Context(), from, to, []string{"deployment.environment.name", "k8s.namespace.name", "service.namespace", "team"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []storage.SeenService{
		{Name: "web", Attributes: map[string]string{"service.namespace": "shop", "deployment.environment.name": "prod"}, Spans: 300, LastNs: seenAt.UnixNano()},
		{Name: "web", Attributes: map[string]string{"service.namespace": "shop", "deployment.environment.name": "test"}, Spans: 100, LastNs: seenAt.UnixNano()},
		{Name: "nightly", Attributes: map[string]string{"team": `o'hara \`, "k8s.namespace.name": "batch"}, Spans: 50, LastNs: seenAt.Add(-20 * time.Hour).UnixNano()},
		{Name: "bare", Attributes: map[string]string{}, Spans: 7, LastNs: seenAt.Add(-time.Minute).UnixNano()},
	} {
		if len(list) != 4 {
			t.Fatalf("%+v", list)
		}
		if got := list[i]; got.Name != want.Name || got.Spans != want.Spans || got.LastNs != want.LastNs || !maps.Equal(got.Attributes, want.Attributes) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if list, err := db.SeenServices(t.Context(), to, to.Add(time.Hour), []string{"team"}); err != nil || len(list) != 0 {
		t.Errorf("in a time without spans: %+v, %v", list, err)
	}
}

func TestSeenServices(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	insertSeen(t, rawConn(t, dsn), "otel_traces", "Timestamp, IngestTime", "%s")
	seenServices(t, db)
}

func TestSeenServicesOfAllShards(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	db, err := storage.OpenCluster(t.Context(), dsn, clickhousetest.ClusterName, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storage.Retention{}); err != nil { // these spans are old
		t.Fatal(err)
	}
	insertSeen(t, rawConn(t, dsn), "otel_traces", "Timestamp, IngestTime", "%s")
	seenServices(t, db)
	network[1].Vanish()
	list, err := db.SeenServices(t.Context(), seenAt.Add(-7*24*time.Hour), seenAt.Add(time.Hour), []string{"team"})
	if err != nil || len(list) == 0 || list[0].Spans >= 400 || list[0].Spans < 100 {
		t.Errorf("while a shard is away: %+v, %v", list, err)
	}
}

func TestSeenServicesInForeignTables(t *testing.T) {
	type layout struct{ columns, attributes string }
	layouts := map[string]layout{"JSON": {strings.ReplaceAll(foreignTables["v0.161"].columns, "Map(LowCardinality(String), String)", "JSON"), "toJSONString(%s)::JSON"}}
	for name, table := range foreignTables {
		layouts[name] = layout{table.columns, "%s"}
	}
	for name, table := range layouts {
		t.Run(name, func(t *testing.T) {
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			conn := rawConn(t, dsn)
			if err := conn.Exec(t.Context(), "CREATE TABLE theirs ("+table.columns+", Spare DateTime64(9)) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))"); err != nil {
				t.Fatal(err)
			}
			insertSeen(t, conn, "theirs", "Timestamp, Spare", table.attributes)
			if err := db.UseTraces(t.Context(), currentDatabase(t, conn)+".theirs"); err != nil {
				t.Fatal(err)
			}
			seenServices(t, db)
		})
	}
}

func TestCalls(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	at := time.Now().UTC().Truncate(time.Minute)
	if err := db.MakeTraffic(t.Context(), at, at.Add(time.Minute), storage.ByMinute); err != nil {
		t.Fatal(err)
	}
	for _, values := range []string{
		"'web', 'pay', '', 40", "'web', 'pay', 'messaging_system', 2", "'pay', 'postgresql pay', 'database', 7", "'web', 'mailer', 'messaging_system', 41", "'user', 'web', 'virtual_node', 90", "'web', '(other)', '', 99",
	} {
		if err := rawConn(t, dsn).Exec(t.Context(), fmt.Sprintf("INSERT INTO traffic_recent (Kind, At, Service, Name, Type, Calls) VALUES ('edge', '%s', %s)", at.Format(time.DateTime), values)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := db.Calls(t.Context(), at.Add(-time.Hour))
	want := []storage.Call{{Caller: "web", Callee: "pay", Calls: 42}, {Caller: "web", Callee: "mailer", Calls: 41}, {Caller: "pay", Callee: "postgresql pay", Calls: 7}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%+v, %v; want %+v", list, err, want)
	}
	if list, err := db.Calls(t.Context(), at.Add(2*time.Hour)); err != nil || len(list) != 0 {
		t.Errorf("made later: %+v, %v", list, err)
	}
}
