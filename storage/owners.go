package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// OwnerRecord is a record of the registry of owners. Record is its JSON; the rest is for people who ask ClickHouse.
type OwnerRecord struct {
	Kind, Name, Owner string
	From, Until       time.Time // when it holds; zero is no bound
	Record            string
}

// OwnerSets is which versions of the registry's sets are stored. Each shard has all sets whole.
type OwnerSets struct {
	// Newest is the newest version of each set that a shard has that answers.
	Newest map[string]uint64
	// Behind are sets of which a shard that answers has no or an earlier version.
	Behind map[string]bool
	// Missing names the shards that did not answer.
	Missing []string
}

// OwnerSets asks all shards for the versions that they have. It is an error if none answers.
func (db *DB) OwnerSets(ctx context.Context) (OwnerSets, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	shards := db.Locals()
	found, errs := make([]map[string]uint64, len(shards)), make([]error, len(shards))
	var group sync.WaitGroup
	for i, shard := range shards {
		group.Go(func() { found[i], errs[i] = shard.ownerVersions(ctx) })
	}
	group.Wait()
	sets := OwnerSets{Newest: make(map[string]uint64), Behind: make(map[string]bool)}
	answered := false
	for i := range shards {
		if errs[i] != nil {
			sets.Missing = append(sets.Missing, shards[i].shardName(i))
			continue
		}
		answered = true
		for set, version := range found[i] {
			sets.Newest[set] = max(sets.Newest[set], version)
		}
	}
	if !answered {
		return sets, errors.Join(errs...)
	}
	for set, newest := range sets.Newest {
		for i := range shards {
			if errs[i] == nil && found[i][set] != newest {
				sets.Behind[set] = true
			}
		}
	}
	return sets, nil
}

// shardName is how a shard is named to people, as the one at an index.
func (db *DB) shardName(at int) string {
	return fmt.Sprintf("shard %d (%s)", at+1, strings.Join(db.options.Addr, ", "))
}

func (db *DB) ownerVersions(ctx context.Context) (map[string]uint64, error) {
	const op = "look for the registry of owners"
	rows, err := db.conn.Query(ctx, "SELECT Set, max(Version) FROM "+db.table("owner_records")+" GROUP BY Set"+readSettings)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer func() { _ = rows.Close() }()
	versions := make(map[string]uint64)
	for rows.Next() {
		var set string
		var version uint64
		if err := rows.Scan(&set, &version); err != nil {
			return nil, wrap(op, err)
		}
		versions[set] = version
	}
	return versions, wrap(op, rows.Err())
}

// ReadOwners gives the JSON of all records of a version of a set, in their order, from the first shard that has them all. A
// version that was replaced meanwhile is an error that passes.
func (db *DB) ReadOwners(ctx context.Context, set string, version uint64) (records []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var all error
	for _, shard := range db.Locals() {
		if records, err = shard.readOwners(ctx, set, version); err == nil {
			return records, nil
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

func (db *DB) readOwners(ctx context.Context, set string, version uint64) (records []string, err error) {
	op := "read the owners of set " + set
	rows, err := db.conn.Query(ctx, "SELECT Records, Record FROM "+db.table("owner_records")+" WHERE Set = ? AND Version = ? ORDER BY Position"+readSettings, set, version)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer func() { _ = rows.Close() }()
	found, whole := 0, uint32(0)
	for ; rows.Next(); found++ {
		var record string
		if err := rows.Scan(&whole, &record); err != nil {
			return nil, wrap(op, err)
		}
		if whole > 0 {
			records = append(records, record)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, wrap(op, err)
	}
	if found == 0 || len(records) != int(whole) {
		return nil, &Error{Op: op, Err: fmt.Errorf("version %d has %d of %d records here: it was replaced, or is on its way", version, found, whole), retryable: true}
	}
	return records, nil
}

// WriteOwners stores a version of a set on every shard, on each all of it or nothing. It names the shards that did not take it: a
// later version brings them up to date.
func (db *DB) WriteOwners(ctx context.Context, set string, version uint64, records []OwnerRecord) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	shards := db.Locals()
	errs := make([]error, len(shards))
	var group sync.WaitGroup
	for i, shard := range shards {
		group.Go(func() {
			if errs[i] = shard.writeOwners(ctx, set, version, records); errs[i] != nil && len(shards) > 1 {
				errs[i] = fmt.Errorf("%s: %w", shard.shardName(i), errs[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (db *DB) writeOwners(ctx context.Context, set string, version uint64, records []OwnerRecord) error {
	const op = "write the registry of owners"
	// Whoever leaves does not leave half of a cluster written; the connection's own time limits hold. And the driver may close a
	// connection that is back in the pool when the context of a statement that has ended is cancelled.
	ctx = clickhouse.Context(context.WithoutCancel(ctx), clickhouse.WithSettings(clickhouse.Settings{
		// One block stays one part.
		"async_insert": 0, "max_insert_block_size": 10_000_000, "min_insert_block_size_rows": 10_000_000, "min_insert_block_size_bytes": 0,
	}))
	batch, err := db.conn.PrepareBatch(ctx, "INSERT INTO "+db.table("owner_records")+" (Set, Position, Version, Records, Kind, Name, Owner, ValidFrom, ValidUntil, Record)")
	if err != nil {
		return wrap(op, err)
	}
	defer func() { _ = batch.Abort() }() // nothing once it is sent
	whole := uint32(len(records))
	if whole == 0 {
		records = []OwnerRecord{{}}
	}
	for i := range records {
		r := &records[i]
		if err := batch.Append(set, uint32(i), version, whole, r.Kind, r.Name, r.Owner, orEpoch(r.From), orEpoch(r.Until), r.Record); err != nil {
			return wrap(op, err)
		}
	}
	return wrap(op, batch.Send())
}

// orEpoch is the time that stands for none.
func orEpoch(at time.Time) time.Time {
	if at.IsZero() {
		return time.Unix(0, 0)
	}
	return at
}
