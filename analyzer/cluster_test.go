package analyzer_test

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// TestAnalyzersOfACluster: two analyzers judge what lies on three shards, one of which is away for a while.
func TestAnalyzersOfACluster(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	db, err := storage.OpenCluster(t.Context(), dsn, clickhousetest.ClusterName, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storage.Retention{}); err != nil {
		t.Fatal(err)
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	options.Settings = clickhouse.Settings{"skip_unavailable_shards": 1}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var shards []analyzer.ShardStore
	for _, s := range db.Locals() {
		shards = append(shards, s)
	}
	analyze := func() (a *analyzer.Analyzer, stop func()) {
		cfg := analyzer.Config{Quiet: 300 * time.Millisecond, WaitMax: 2 * time.Second, Workers: 2, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100}
		a, err := analyzer.New(cfg, db, shards, nobody{}, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		return a, start(t, a)
	}
	onShard := func(n byte) int { return db.Shards().Of(spans.TraceID{1, 15: n}) }
	want := make(map[string]row)
	send := func(n byte) {
		insert(t, db, block(t, failing, n), fmt.Sprint(n))
		want[fmt.Sprintf("%02x", n)] = row{1, 3, 1}
	}
	first, stopFirst := analyze()
	_, stopSecond := analyze()
	for n := range byte(20) {
		send(n)
	}
	eventually(t, conn, want)
	// Where its spans are.
	var astray uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM (SELECT TraceId, uniqExact(Shard) AS n FROM (SELECT TraceId, _shard_num AS Shard FROM verdicts UNION ALL SELECT TraceId, _shard_num FROM otel_traces) GROUP BY TraceId HAVING n > 1)").Scan(&astray); err != nil || astray != 0 {
		t.Errorf("%d verdicts lie elsewhere than their spans, %v", astray, err)
	}
	got, err := first.JudgeNow(t.Context(), storage.SettledTrace{TraceID: spans.TraceID{1, 15: 3}})
	if err != nil || len(got) != 1 {
		t.Errorf("judged now: %+v, %v", got, err)
	}
	const away = 2
	network[away].Vanish()
	missing := maps.Clone(want)
	maps.DeleteFunc(want, func(id string, _ row) bool {
		n, err := strconv.ParseUint(id, 16, 8)
		return err != nil || onShard(byte(n)) == away
	})
	var late []byte
	for n := byte(20); n < 60; n++ {
		if onShard(n) == away {
			late = append(late, n)
		} else {
			send(n)
		}
	}
	eventually(t, conn, want)
	stopSecond() // the shard that is away does not hear of it
	if err := network[away].Heal(); err != nil {
		t.Fatal(err)
	}
	maps.Copy(want, missing)
	for _, n := range late {
		send(n)
	}
	eventually(t, conn, want)
	stopFirst()

	// The past of all shards, judged again.
	time.Sleep(1100 * time.Millisecond) // the traces settle
	began := time.Unix(0, block(t, failing, 1).StartNs[0])
	var last analyzer.HistoryProgress
	result, err := first.JudgeHistory(t.Context(), analyzer.History{From: began, To: began.Add(time.Hour)}, func(p analyzer.HistoryProgress) { last = p })
	if err != nil || result.Traces != int64(len(want)) || last.Spans != last.SpansTotal || last.Spans != int64(3*len(want)) || !last.To.Equal(began.Add(time.Hour)) {
		t.Errorf("%+v, %+v, %v", result, last, err)
	}
	for id := range want {
		want[id] = row{2, 3, 1}
	}
	eventually(t, conn, want)
}
