package storage_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
)

func ownerRecords(n int, owner string) (records []storage.OwnerRecord) {
	for i := range n {
		name := fmt.Sprint("service-", i)
		records = append(records, storage.OwnerRecord{Kind: "service", Name: name, Owner: owner, Record: fmt.Sprintf(`{"name":%q,"owner":%q}`, name, owner)})
	}
	return records
}

// newestOwners reads the newest version of a set.
func newestOwners(t *testing.T, db *storage.DB, set string) []string {
	t.Helper()
	sets, err := db.OwnerSets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, err := db.ReadOwners(t.Context(), set, sets.Newest[set])
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestOwnersComeBackWholeAndInOrder(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	if sets, err := db.OwnerSets(t.Context()); err != nil || len(sets.Newest) != 0 {
		t.Fatalf("%+v, %v", sets, err)
	}
	conn := rawConn(t, dsn)
	for version, n := range []int{30, 50, 0, 20} {
		records := ownerRecords(n, fmt.Sprint("team-", version))
		slices.Reverse(records)
		if err := db.WriteOwners(t.Context(), "default", uint64(version+1), records); err != nil {
			t.Fatal(err)
		}
		if version%2 == 1 {
			if err := conn.Exec(t.Context(), "OPTIMIZE TABLE owner_records FINAL"); err != nil {
				t.Fatal(err)
			}
		}
		got := newestOwners(t, db, "default")
		if len(got) != n || n > 0 && got[0] != records[0].Record {
			t.Errorf("version %d: %d of %d records", version+1, len(got), n)
		}
	}
	// What was replaced and merged away in part is not a registry.
	var failed *storage.Error
	if records, err := db.ReadOwners(t.Context(), "default", 2); !errors.As(err, &failed) || !failed.Retryable() {
		t.Errorf("%d records of a version that was replaced, %v", len(records), err)
	}
	if _, err := db.ReadOwners(t.Context(), "default", 99); err == nil {
		t.Error("a version that never was is read")
	}
	if err := db.WriteOwners(t.Context(), "other", 7, ownerRecords(3, "x")); err != nil {
		t.Fatal(err)
	}
	if got := newestOwners(t, db, "default"); len(got) != 20 {
		t.Errorf("another set took records: %d", len(got))
	}
	// The question that the migration gives people.
	n := queryCount(t, conn, `SELECT count() FROM owner_records WHERE Owner = 'team-3' AND ValidUntil = toDateTime64(0, 3, 'UTC')
		AND (Set, Version) IN (SELECT Set, max(Version) FROM owner_records GROUP BY Set)`)
	if n != 20 {
		t.Errorf("%d records of a team", n)
	}
}

// TestTheUserMayNotWriteOwners: the error is told apart, and says which right is missing.
func TestTheUserMayNotWriteOwners(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	clickhousetest.Open(t, dsn)
	// One that may do nothing, and one that may only read.
	for _, address := range []string{"clickhouse://default" + dsn[strings.IndexByte(dsn, '@'):], dsn + "?readonly=2"} {
		db, err := storage.Open(t.Context(), address, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		var failed *storage.Error
		err = db.WriteOwners(t.Context(), "default", 1, ownerRecords(1, "a"))
		if !errors.As(err, &failed) || !failed.Denied() || failed.Retryable() {
			t.Errorf("%s: %v", address, err)
		}
		_, reading := db.OwnerSets(t.Context())
		if readOnly := strings.HasSuffix(address, "readonly=2"); readOnly != (reading == nil) || !readOnly && !strings.Contains(err.Error(), "INSERT") {
			t.Errorf("%s: %v, %v", address, reading, err)
		}
	}
}

// TestOwnersOfACluster: every shard has the registry whole, one that was away is behind, and what any has is found.
func TestOwnersOfACluster(t *testing.T) {
	db, _, network := openCluster(t)
	if err := db.WriteOwners(t.Context(), "default", 1, ownerRecords(100, "a")); err != nil {
		t.Fatal(err)
	}
	for i, shard := range db.Locals() {
		if got := newestOwners(t, shard, "default"); len(got) != 100 {
			t.Errorf("shard %d has %d records", i+1, len(got))
		}
	}
	network[1].Vanish()
	sets, err := db.OwnerSets(t.Context())
	if err != nil || sets.Newest["default"] != 1 || len(sets.Missing) != 1 || !strings.HasPrefix(sets.Missing[0], "shard 2 (") || sets.Behind["default"] {
		t.Errorf("%+v, %v", sets, err)
	}
	err = db.WriteOwners(t.Context(), "default", 2, ownerRecords(90, "b"))
	var failed *storage.Error
	if !errors.As(err, &failed) || !failed.Retryable() || !strings.Contains(err.Error(), "shard 2 (") || strings.Contains(err.Error(), "shard 1 (") {
		t.Errorf("with a shard away: %v", err)
	}
	if err := network[1].Heal(); err != nil {
		t.Fatal(err)
	}
	if sets, err = db.OwnerSets(t.Context()); err != nil || sets.Newest["default"] != 2 || !sets.Behind["default"] || len(sets.Missing) != 0 {
		t.Errorf("%+v, %v", sets, err)
	}
	for away := range network {
		network[away].Vanish()
		want := 90
		if got := newestOwners(t, db, "default"); len(got) != want {
			t.Errorf("with shard %d away, and the second behind, there are %d records", away+1, len(got))
		}
		if err := network[away].Heal(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range network {
		p.Vanish()
	}
	if sets, err := db.OwnerSets(t.Context()); err == nil {
		t.Errorf("with all away: %+v", sets)
	}
}

// TestKillWhileOwnersAreWritten leaves the old or the new, and never a part.
func TestKillWhileOwnersAreWritten(t *testing.T) {
	engine := clickhousetest.Server(t)
	db := clickhousetest.DB(t)
	versions := [][]storage.OwnerRecord{ownerRecords(40_000, "team-0"), ownerRecords(40_000, "team-1")}
	if err := db.WriteOwners(t.Context(), "default", 1, versions[1]); err != nil {
		t.Fatal(err)
	}
	known, broken := uint64(1), 0
	for n := range 5 {
		version := known + 1
		written := make(chan error, 1)
		go func() { written <- db.WriteOwners(t.Context(), "default", version, versions[version%2]) }()
		pid := engine.PID()
		time.Sleep(time.Duration(5+50*n) * time.Millisecond) // somewhere in the write, or right after it
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		err := <-written
		waitUntil(t, "another ClickHouse", func() bool { return engine.PID() != pid && db.Ping(t.Context()) == nil })
		sets, errSets := db.OwnerSets(t.Context())
		if errSets != nil {
			t.Fatal(errSets)
		}
		now := sets.Newest["default"]
		if now != known && now != version || err == nil && now != version {
			t.Errorf("version %d is there after %d and a write of %d that ended with %v", now, known, version, err)
		}
		got := newestOwners(t, db, "default")
		if len(got) != 40_000 || got[0] != versions[now%2][0].Record || got[39_999] != versions[now%2][39_999].Record {
			t.Errorf("version %d has %d records", now, len(got))
		}
		if err != nil {
			broken++
		}
		known = now
	}
	if broken == 0 {
		t.Error("no write was hit by a kill")
	}
}
