// Package clickhousetest gives tests a real ClickHouse: one embedded engine for each test binary, a
// database of its own for each test.
package clickhousetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/storage/spans"
)

// shared is the engine of this test binary. It is global because the binary has one TestMain.
var shared struct {
	once     sync.Once
	server   *server.Server
	err      error
	database atomic.Int64
	dir      string
}

// Main is the TestMain of packages that test against ClickHouse.
func Main(m *testing.M) {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	code := m.Run()
	if err := Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop ClickHouse:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Stop ends what was started for tests of this binary.
func Stop() error {
	servers, dirs := cluster.servers, cluster.dirs
	if shared.server != nil {
		servers, dirs = append(servers, shared.server), append(dirs, shared.dir)
	}
	var all error
	for _, s := range servers {
		all = errors.Join(all, s.Stop(context.Background()))
	}
	for _, dir := range dirs {
		all = errors.Join(all, os.RemoveAll(dir))
	}
	return all
}

// Server is the engine of this test binary, for tests that kill it. A missing engine fails the test:
// it is never skipped.
func Server(t testing.TB) *server.Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "whosehop-clickhouse-"); shared.err != nil { //nolint:usetesting // outlives the test
			return
		}
		cfg := server.Config{Dir: shared.dir, MemoryBytesMax: 2 << 30}
		shared.server, shared.err = server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	})
	if shared.err != nil {
		t.Fatalf("start ClickHouse: %v", shared.err)
	}
	return shared.server
}

// DSN names a database that does not exist yet.
func DSN(t testing.TB) string {
	t.Helper()
	return strings.TrimSuffix(Server(t).DSN(), "whosehop") + fmt.Sprintf("test_%d", shared.database.Add(1))
}

// DB is a migrated database of the test's own.
func DB(t testing.TB) *storage.DB {
	t.Helper()
	return Open(t, DSN(t))
}

// Open opens and migrates the database that dsn names.
func Open(t testing.TB, dsn string) *storage.DB {
	t.Helper()
	db, err := storage.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storage.Retention{}); err != nil {
		t.Fatal(err)
	}
	return db
}

// Insert stores a block under an id, as the collector would.
func Insert(ctx context.Context, db *storage.DB, b *spans.Block, id uint64) error {
	shards := make([]*native.Packed, db.Shards().Len())
	new(native.Encoder).EncodeShards(b, db.Shards(), func(shard int) *native.Packed {
		shards[shard] = &native.Packed{ID: id, At: time.Now()}
		return shards[shard]
	})
	for _, p := range shards {
		if p == nil {
			continue
		}
		if err := db.InsertBlock(ctx, p, false); err != nil {
			return err
		}
	}
	return nil
}
