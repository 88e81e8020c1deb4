package storage

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/whosehop/whosehop/storage/native"
)

// insertSettings make one block one part, stored as a whole under its token. Filters over attributes
// are built when parts are merged.
var insertSettings = []native.Setting{
	{Key: "async_insert", Value: "0"},
	{Key: "max_insert_block_size", Value: "10000000"},
	{Key: "min_insert_block_size_rows", Value: "10000000"},
	{Key: "min_insert_block_size_bytes", Value: "0"},
	{Key: "insert_deduplicate", Value: "1"},
	{Key: "deduplicate_blocks_in_dependent_materialized_views", Value: "1"},
	{Key: "exclude_materialize_skip_indexes_on_insert", Value: "idx_span_attr_key,idx_span_attr_value", Optional: true},
}

var oneShard = native.NewShards([]uint32{1})

// Shards says which shards there are: one.
func (db *DB) Shards() *native.Shards { return oneShard }

// InsertBlock stores a block, all of it or nothing. again says that this was tried before, and that it is not
// known how that ended: the block is then stored if it is not there. The error is an *Error.
//
// A token alone does not make a repeated insert safe. ClickHouse writes the token down and moves the
// block into its place one after the other; killed between the two, version 26.7 has the token without
// the block, takes the next try for a repetition, and says that all is well. Others do it the other way round
// and would store the block again. So a repeated try looks before and after.
func (db *DB) InsertBlock(ctx context.Context, p *native.Packed, again bool) error {
	if p.Rows == 0 {
		return nil
	}
	if !again {
		return db.insertBlock(ctx, p, 0)
	}
	const tokens = 4 // each but the first after a kill at the worst moment
	for attempt := range tokens {
		there, err := db.HasBlock(ctx, p)
		if err != nil || there {
			return err
		}
		if err := db.insertBlock(ctx, p, attempt); err != nil {
			return err
		}
		if there, err = db.awaitBlock(ctx, p); err != nil || there {
			return err
		}
	}
	return &Error{Op: "insert spans", Err: fmt.Errorf("block %016x is not there after %d inserts that went well", p.ID, tokens), retryable: true}
}

func (db *DB) insertBlock(ctx context.Context, p *native.Packed, attempt int) error {
	token := strconv.FormatUint(p.ID, 16) + "-" + strconv.Itoa(attempt)
	settings := append(insertSettings[:len(insertSettings):len(insertSettings)], native.Setting{Key: "insert_deduplication_token", Value: token})
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return wrap("insert spans", db.with(ctx, func(c *native.Conn) error {
		return c.Insert(ctx, "otel_traces", p.Columns, p.Frames, settings...)
	}))
}

// HasBlock says whether a block is stored. It looks at what was ingested since the block was packed, and
// reckons in durations: the two clocks may differ.
func (db *DB) HasBlock(ctx context.Context, p *native.Packed) (bool, error) {
	const margin = time.Hour
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	age := max(0, time.Since(p.At)) + margin
	n, err := db.Count(ctx, "SELECT count() FROM otel_traces WHERE IngestDate = toDate(?) AND IngestTime >= now64(3) - toIntervalSecond(?) AND Block = ?",
		p.At.UTC().Format(time.DateOnly), int64(age.Seconds()), p.ID)
	return n > 0, err
}

// awaitBlock is HasBlock for a block that may be on its way: an earlier try has the token already and is
// about to put the block into its place.
func (db *DB) awaitBlock(ctx context.Context, p *native.Packed) (there bool, err error) {
	for _, pause := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		select {
		case <-ctx.Done():
			return false, wrap("look for a block", ctx.Err())
		case <-time.After(pause):
		}
		if there, err = db.HasBlock(ctx, p); err != nil || there {
			return there, err
		}
	}
	return false, nil
}
