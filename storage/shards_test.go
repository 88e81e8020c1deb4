package storage_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// TestShardsAreTheEngines asks ClickHouse for the hashes, and lists the slots one by one, as its Distributed engine does.
func TestShardsAreTheEngines(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	const n = 5000
	d := drawer{Rand: rand.New(rand.NewPCG(1, 1))}
	ids, texts := make([]spans.TraceID, n), make([]string, n)
	for i := range ids {
		low, high := d.id(), d.id()
		copy(ids[i][:8], high[:])
		copy(ids[i][8:], low[:])
		texts[i] = hex.EncodeToString(ids[i][:])
	}
	var hashes []uint64
	if err := conn.QueryRow(t.Context(), "SELECT arrayMap(id -> cityHash64(id), ?)", texts).Scan(&hashes); err != nil {
		t.Fatal(err)
	}
	for _, weights := range [][]uint32{{1}, {7}, {1, 1}, {1, 1, 1}, {3, 1, 2}, {0, 5, 0, 1}, {100, 1, 100, 9, 100}} {
		shards := native.NewShards(weights)
		if shards.Len() != len(weights) {
			t.Fatalf("%d shards for %v", shards.Len(), weights)
		}
		var slots []int
		for shard, weight := range weights {
			for range weight {
				slots = append(slots, shard)
			}
		}
		for i, id := range ids {
			if got, want := shards.Of(id), slots[hashes[i]%uint64(len(slots))]; got != want {
				t.Fatalf("weights %v: %x is on shard %d, for ClickHouse on %d", weights, id, got, want)
			}
		}
	}
}

// TestShardsArePackedApart stores blocks whole and by shard: both must be the same rows, in all columns.
func TestShardsArePackedApart(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	var e native.Encoder
	for seed, shape := range []struct {
		name                          string
		bare                          bool
		rows, resources, names, trace int
		weights                       []uint32
	}{
		{"one span", false, 1, 1, 1, 1, []uint32{1, 1, 1}},
		{"one shard", false, 50, 3, 3, 10, []uint32{1}},
		{"some of everything", false, 600, 5, 8, 100, []uint32{1, 1, 1}},
		{"nothing that can be left out", true, 600, 5, 8, 100, []uint32{1, 1, 1}},
		{"by weight, and one has none", false, 600, 5, 300, 100, []uint32{1, 0, 5, 2}},
		{"more shards than traces", false, 60, 30, 8, 7, []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"long traces", false, 900, 2, 4, 3, []uint32{1, 1}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			d := drawer{rand.New(rand.NewPCG(uint64(seed), 2)), shape.bare}
			b := d.block(shape.rows, shape.resources, shape.names)
			for i := range b.TraceIDs {
				b.TraceIDs[i] = spans.TraceID{byte(seed + 1), 1, 15: byte(d.IntN(shape.trace))}
			}
			shards := native.NewShards(shape.weights)
			const whole = 1000
			id := uint64(whole * (seed + 1))
			packed := []*native.Packed{{ID: id, At: time.Now()}}
			e.Encode(b, packed[0])
			e.EncodeShards(b, shards, func(shard int) *native.Packed {
				p := &native.Packed{ID: id + 1 + uint64(shard), At: packed[0].At}
				packed = append(packed, p)
				return p
			})
			rows := make(map[int]int)
			for i := range b.TraceIDs {
				rows[shards.Of(b.TraceIDs[i])]++
			}
			if len(packed) != 1+len(rows) {
				t.Errorf("%d blocks of %d shards", len(packed)-1, len(rows))
			}
			for _, p := range packed {
				if of := p.ID % whole; of > 0 && (p.Shard != int(of-1) || p.Rows != rows[p.Shard]) {
					t.Errorf("block %d has %d rows of shard %d, want %d", of, p.Rows, p.Shard, rows[p.Shard])
				}
				if err := db.InsertBlock(t.Context(), p, false); err != nil {
					t.Fatal(err)
				}
			}
			of := fmt.Sprintf("FROM otel_traces WHERE Block BETWEEN %d AND %d", id, id+whole-1)
			var spansRead, different uint64
			err := conn.QueryRow(t.Context(), `SELECT count(), countIf(n != 2 OR said != 1) FROM
				(SELECT count() AS n, uniqExact(toString(tuple(* EXCEPT (Block, IngestTime)))) AS said `+of+` GROUP BY SpanId)`).Scan(&spansRead, &different)
			if err != nil || spansRead != uint64(shape.rows) || different > 0 {
				t.Errorf("%d spans of %d were read, %d of them differ: %v", spansRead, shape.rows, different, err)
			}
			read, err := conn.Query(t.Context(), "SELECT DISTINCT TraceId, Block "+of)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = read.Close() }()
			for read.Next() {
				var text string
				var block uint64
				if err := read.Scan(&text, &block); err != nil {
					t.Fatal(err)
				}
				var trace spans.TraceID
				if _, err := hex.Decode(trace[:], []byte(text)); err != nil {
					t.Fatal(err)
				}
				if block > id && block != id+1+uint64(shards.Of(trace)) {
					t.Errorf("%s of shard %d is in block %d", text, shards.Of(trace), block-id)
				}
			}
			if err := read.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
