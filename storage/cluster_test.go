package storage_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// openCluster is a database on three shards, and the network before each.
func openCluster(t *testing.T) (db *storage.DB, dsn string, network []*clickhousetest.Proxy) {
	t.Helper()
	dsn, network = clickhousetest.Cluster(t)
	return reopenCluster(t, dsn), dsn, network
}

func reopenCluster(t *testing.T, dsn string) *storage.DB {
	t.Helper()
	db, err := storage.OpenCluster(t.Context(), dsn, clickhousetest.ClusterName, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storage.Retention{Spans: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return db
}

// fewTraces are traces of three spans each, on all shards.
func fewTraces(n int) (b *spans.Block, ids []spans.TraceID) {
	b = new(spans.Block)
	appendServers(b, 0, 3*n, func(i int) string { return fmt.Sprint("GET /", i%3) })
	for i := range n {
		ids = append(ids, spans.TraceID{7, byte(i), 15: byte(n)})
		for k := range 3 {
			b.TraceIDs[3*i+k] = ids[i]
		}
	}
	return b, ids
}

// read reads traces and says how many spans came of each.
func read(t *testing.T, db *storage.DB, ids []spans.TraceID) map[spans.TraceID]int {
	t.Helper()
	var b spans.Block
	if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: ids}, &b); err != nil {
		t.Fatal(err)
	}
	found := make(map[spans.TraceID]int)
	for _, id := range b.TraceIDs {
		found[id]++
	}
	return found
}

func TestATraceLiesOnOneShard(t *testing.T) {
	db, dsn, _ := openCluster(t)
	b, ids := fewTraces(60)
	if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
		t.Fatal(err)
	}
	// The same again by whoever knows nothing of shards.
	conn := rawConn(t, dsn)
	if err := conn.Exec(t.Context(), "INSERT INTO otel_traces SELECT * FROM otel_traces SETTINGS distributed_foreground_insert = 1"); err != nil {
		t.Fatal(err)
	}
	if n := queryCount(t, conn, "SELECT count() FROM (SELECT TraceId, uniqExact(_shard_num) AS shards, count() AS spans FROM otel_traces GROUP BY TraceId HAVING shards = 1 AND spans = 6)"); n != 60 {
		t.Errorf("%d of 60 traces lie on one shard, whoever wrote them", n)
	}
	shards := 0
	for i, shard := range db.Locals() {
		here := read(t, shard, ids)
		if len(here) > 0 {
			shards++
		}
		for id := range here {
			if db.Shards().Of(id) != i {
				t.Errorf("%x lies on shard %d", id, i)
			}
		}
	}
	if shards != 3 {
		t.Errorf("%d shards have traces", shards)
	}
	if all := read(t, db, ids); len(all) != 60 {
		t.Errorf("%d of 60 traces are read from all shards", len(all))
	}
	stored, err := db.StoredTrace(t.Context(), ids[0])
	if err != nil || stored.Rows != 6 {
		t.Errorf("%+v, %v", stored, err)
	}
	from := time.Unix(0, b.StartNs[0]).Add(-time.Hour)
	if sample, err := db.SampleTraces(t.Context(), from, from.Add(48*time.Hour), "", 40); err != nil || len(sample) != 40 {
		t.Errorf("a sample of %d, %v", len(sample), err)
	}
}

func TestVerdictsOfAllShards(t *testing.T) {
	db, _, _ := openCluster(t)
	verdictsAreFoundAndCountedOnce(t, db)
	reviewsAreKeptAndCountedOnce(t, db)
}

func TestBaselineOfAllShards(t *testing.T) {
	db, _, _ := openCluster(t)
	cell := storage.BaselineCell{Kind: 1, Key: [4]string{"shop", "GET /"}, Counts: map[int32]int64{5: 2}, Low: 3, High: 9}
	for i, shard := range db.Locals() {
		cell.Low = int64(3 - i)
		if err := shard.WriteBaseline(t.Context(), []storage.BaselineCell{cell}, time.Now(), "same on all"); err != nil {
			t.Fatal(err)
		}
	}
	if cells := readAll(t, db, 10); len(cells) != 1 || cells[0].Counts[5] != 6 || cells[0].Low != 1 {
		t.Errorf("%+v", cells)
	}
}

// TestOneShardAway: what lies on the others is there, what is missing is named, and it is all there again afterwards.
func TestOneShardAway(t *testing.T) {
	db, _, network := openCluster(t)
	b, ids := fewTraces(60)
	if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
		t.Fatal(err)
	}
	if missing := db.Missing(t.Context()); len(missing) != 0 {
		t.Errorf("missing %v", missing)
	}
	for away := range network {
		network[away].Vanish()
		found := read(t, db, ids)
		for _, id := range ids {
			if here := db.Shards().Of(id) != away; here != (found[id] == 3) {
				t.Errorf("with shard %d away there are %d spans of a trace on shard %d", away, found[id], db.Shards().Of(id))
			}
		}
		if list, err := db.ListVerdicts(t.Context(), storage.VerdictFilter{From: time.Now().Add(-time.Hour), To: time.Now(), Limit: 5}); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		if missing := db.Missing(t.Context()); len(missing) != 1 || !strings.HasPrefix(missing[0], fmt.Sprintf("shard %d (127.0.0.1:", away+1)) {
			t.Errorf("missing %v, want shard %d", missing, away+1)
		}
		for shard := range network {
			p := packed(uint64(10*away + shard + 100))
			p.Shard = shard
			err := db.InsertBlock(t.Context(), p, false)
			var failed *storage.Error
			if is := errors.As(err, &failed) && failed.Retryable(); is != (shard == away) {
				t.Errorf("a block for shard %d while %d is away: %v", shard, away, err)
			}
		}
		if err := network[away].Heal(); err != nil {
			t.Fatal(err)
		}
		if missing := db.Missing(t.Context()); len(missing) != 0 {
			t.Errorf("missing %v", missing)
		}
		if found := read(t, db, ids); len(found) != len(ids) {
			t.Errorf("%d of %d traces afterwards", len(found), len(ids))
		}
	}
	p := packed(1)
	p.Shard = 3
	var failed *storage.Error
	if err := db.InsertBlock(t.Context(), p, false); !errors.As(err, &failed) || failed.Retryable() {
		t.Errorf("a block for a fourth shard: %v", err)
	}
}

// TestAHostIsAwayAtTheStart: the others do, and it gets its tables when it is there.
func TestAHostIsAwayAtTheStart(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	network[0].Vanish()
	network[1].Vanish()
	db := reopenCluster(t, dsn) // by the last host of the DSN
	b, ids := fewTraces(60)
	if n := len(read(t, db, ids)); n != 0 {
		t.Errorf("%d traces before any", n)
	}
	for _, p := range network[:2] {
		if err := p.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "all hosts have their tables", func() bool { return clickhousetest.Insert(t.Context(), db, b, 1) == nil })
	if n := len(read(t, db, ids)); n != len(ids) {
		t.Errorf("%d of %d traces", n, len(ids))
	}
}

func TestClustersThatCannotBe(t *testing.T) {
	_, dsn, _ := openCluster(t)
	log := slog.New(slog.DiscardHandler)
	if _, err := storage.OpenCluster(t.Context(), dsn, "four", log); err == nil || !strings.Contains(err.Error(), `no cluster "four"`) {
		t.Error(err)
	}
	single, err := storage.Open(t.Context(), dsn, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = single.Close() })
	if err := single.Migrate(t.Context(), storage.Retention{}); err == nil || !strings.Contains(err.Error(), "storage.cluster") {
		t.Error(err)
	}
	clickhousetest.Open(t, dsn+"_single")
	spread, err := storage.OpenCluster(t.Context(), dsn+"_single", clickhousetest.ClusterName, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spread.Close() })
	if err := spread.Migrate(t.Context(), storage.Retention{}); err == nil || !strings.Contains(err.Error(), "made without a cluster") {
		t.Error(err)
	}
}
