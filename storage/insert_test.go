package storage_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

const rowsOfPacked = 20

// packed is a block whose spans are its own.
func packed(id uint64) *native.Packed {
	b := &spans.Block{}
	appendServers(b, int(id)*rowsOfPacked, int(id+1)*rowsOfPacked, func(int) string { return "insert" })
	p := &native.Packed{ID: id, At: time.Now()}
	new(native.Encoder).Encode(b, p)
	return p
}

// TestATokenWithoutItsBlock: ClickHouse was killed between writing the token down and putting the block into its place.
func TestATokenWithoutItsBlock(t *testing.T) {
	for tokens := 1; tokens <= 2; tokens++ { // as often in a row
		t.Run(fmt.Sprint(tokens), func(t *testing.T) {
			t.Parallel() // it is waited for, not worked
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			conn := rawConn(t, dsn)
			p, neighbour := packed(1), packed(2)
			if err := db.InsertBlock(t.Context(), neighbour, false); err != nil {
				t.Fatal(err)
			}
			lose := func() {
				t.Helper()
				// Not by dropping the part: that would take the token out of the log.
				if err := conn.Exec(t.Context(), "ALTER TABLE otel_traces DELETE WHERE Block = 1 SETTINGS mutations_sync = 1"); err != nil {
					t.Fatal(err)
				}
				if there, err := db.HasBlock(t.Context(), p); err != nil || there {
					t.Fatal(there, err)
				}
			}
			if err := db.InsertBlock(t.Context(), p, false); err != nil {
				t.Fatal(err)
			}
			lose()
			for range tokens - 1 {
				if err := db.InsertBlock(t.Context(), p, true); err != nil {
					t.Fatal(err)
				}
				lose()
			}
			// The premise: ClickHouse says that all is well, and stores nothing.
			if err := db.InsertBlock(t.Context(), p, false); err != nil {
				t.Fatal(err)
			}
			if there, err := db.HasBlock(t.Context(), p); err != nil || there {
				t.Fatalf("the token is not in the log: %v %v", there, err)
			}
			for range 2 {
				if err := db.InsertBlock(t.Context(), p, true); err != nil {
					t.Fatal(err)
				}
			}
			for block, want := range map[uint64]uint64{1: rowsOfPacked, 2: rowsOfPacked} {
				if n := queryCount(t, conn, "SELECT count() FROM otel_traces WHERE Block = ?", block); n != want {
					t.Errorf("%d rows of block %d, want %d", n, block, want)
				}
			}
			if n := queryCount(t, conn, "SELECT uniqExact(SpanId) FROM otel_traces"); n != 2*rowsOfPacked {
				t.Errorf("%d spans", n)
			}
		})
	}
}

// TestARepeatedInsert: whatever an earlier try has come to, the block is there once.
func TestARepeatedInsert(t *testing.T) {
	for _, test := range []struct {
		name  string
		tries []bool // again
		// sincePacked is how long ago the block was packed: one of the spool may be old.
		sincePacked time.Duration
	}{
		{"never begun", []bool{true}, 0},
		{"stored before", []bool{false, true}, 0},
		{"stored before, often", []bool{false, true, true, true}, 0},
		{"yesterday, never begun", []bool{true}, 25 * time.Hour},
		{"yesterday, stored now", []bool{false, true, true}, 25 * time.Hour},
		{"a month ago", []bool{true, true, true}, 30 * 24 * time.Hour},
		{"by a clock that is ahead", []bool{false, true, true}, -2 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			dsn := clickhousetest.DSN(t)
			db := clickhousetest.Open(t, dsn)
			conn := rawConn(t, dsn)
			b := &spans.Block{}
			appendServers(b, 0, rowsOfPacked, func(int) string { return "insert" })
			p := native.Packed{ID: 1<<64 - 1, At: time.Now().Add(-test.sincePacked)}
			new(native.Encoder).Encode(b, &p)
			for i, again := range test.tries {
				if err := db.InsertBlock(t.Context(), &p, again); err != nil {
					t.Fatal(err)
				}
				if n := queryCount(t, conn, "SELECT count() FROM otel_traces"); n != rowsOfPacked {
					t.Fatalf("%d rows after try %d, want %d", n, i+1, rowsOfPacked)
				}
			}
			if there, err := db.HasBlock(t.Context(), &p); err != nil || !there {
				t.Error(there, err)
			}
			other := p
			other.ID--
			if there, err := db.HasBlock(t.Context(), &other); err != nil || there {
				t.Errorf("a block that was never stored is there (%v)", err)
			}
			day := p.At.UTC().Format(time.DateOnly)
			if n := queryCount(t, conn, "SELECT count() FROM otel_traces WHERE IngestDate != toDate(?) OR abs(dateDiff('second', IngestTime, now64(3))) > 600", day); n != 0 {
				t.Errorf("%d rows are not filed under %s, or ingested at another time than now", n, day)
			}
		})
	}
}

func TestTriesInParallelStoreOnce(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	const blocks = 10
	for id := range uint64(blocks) {
		p := packed(id)
		var group sync.WaitGroup
		begin := make(chan struct{})
		for try := range 4 {
			group.Go(func() {
				<-begin
				if err := db.InsertBlock(t.Context(), p, try > 0 || id%2 == 0); err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		group.Wait()
	}
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces"); n != blocks*rowsOfPacked {
		t.Errorf("%d rows, want %d", n, blocks*rowsOfPacked)
	}
	if n := queryCount(t, conn, "SELECT uniqExact(SpanId) FROM otel_traces"); n != blocks*rowsOfPacked {
		t.Errorf("%d spans, want %d", n, blocks*rowsOfPacked)
	}
}

// TestALostBlockIsBroughtBackOnce: several tries find at once that the token is there and the block is not.
func TestALostBlockIsBroughtBackOnce(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	p := packed(1)
	if err := db.InsertBlock(t.Context(), p, false); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "ALTER TABLE otel_traces DELETE WHERE Block = 1 SETTINGS mutations_sync = 1"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := db.InsertBlock(t.Context(), p, true); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := queryCount(t, conn, "SELECT count() FROM otel_traces"); n != rowsOfPacked {
		t.Errorf("%d rows, want %d", n, rowsOfPacked)
	}
}

func TestABlockOfNothing(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	for _, again := range []bool{false, true} {
		if err := db.InsertBlock(t.Context(), &native.Packed{ID: 1, At: time.Now()}, again); err != nil {
			t.Error(err)
		}
	}
	if n := queryCount(t, rawConn(t, dsn), "SELECT count() FROM otel_traces"); n != 0 {
		t.Errorf("%d rows", n)
	}
}
