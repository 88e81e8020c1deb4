package storage

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Retention is how long rows are kept; 0 keeps them forever.
type Retention struct {
	Spans    time.Duration
	Verdicts time.Duration
	// History is of what was caused and suffered, summed up by the hour.
	History time.Duration
	// Baseline is of what is normal; what is kept by the minute goes after some hours in any case.
	Baseline time.Duration
}

// Migrate brings the schema up to date and sets the retention, before anything is asked. It may run twice, and in two
// processes at once: ClickHouse has no transactions, so every statement can be repeated, and a
// version is written down only after its statements. Of a cluster, each host keeps its own record.
func (db *DB) Migrate(ctx context.Context, keep Retention) error {
	db.verdictsKept = keep.Verdicts
	if db.cluster != nil {
		return db.cluster.migrate(ctx, keep, db.log)
	}
	return db.migrate(ctx, keep, func(statement string) ([]string, error) { return []string{statement}, nil })
}

// migrate brings one host up to date; statements says what a statement of a migration is there.
func (db *DB) migrate(ctx context.Context, keep Retention, statements func(string) ([]string, error)) error {
	if err := db.checkLayout(ctx); err != nil {
		return err
	}
	err := db.conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+db.table("schema_migrations")+` (Version UInt32, AppliedAt DateTime DEFAULT now())
		ENGINE = ReplacingMergeTree ORDER BY Version`)
	if err != nil {
		return wrap("create schema_migrations", err)
	}
	var applied []uint32
	if err := db.conn.QueryRow(ctx, "SELECT groupUniqArray(Version) FROM "+db.table("schema_migrations")).Scan(&applied); err != nil {
		return wrap("read schema_migrations", err)
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("list the migrations: %w", err)
	}
	for _, v := range applied {
		if int(v) > len(files) {
			return fmt.Errorf("the database has schema version %d, this whosehop knows %d: use a newer whosehop, or another database", v, len(files))
		}
	}
	const layouts = `SELECT countIf(name = 'otel_traces_trace_id_ts' AND engine = 'MergeTree' OR name = ? AND sorting_key = 'TraceId')
		FROM system.tables WHERE database = currentDatabase()`
	if old, err := db.Count(ctx, layouts, db.table("verdicts")); err != nil || old > 0 {
		if err == nil {
			err = errors.New("the database was made by a whosehop before its first release: use another database, or another directory")
		}
		return err
	}
	for _, file := range files {
		number, _, _ := strings.Cut(strings.TrimPrefix(file, "migrations/"), "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return fmt.Errorf("migration %s has no number: %w", file, err)
		}
		if slices.Contains(applied, uint32(version)) {
			continue
		}
		if err := db.apply(ctx, file, uint32(version), statements); err != nil {
			return err
		}
	}
	return db.retain(ctx, keep)
}

// checkLayout refuses a database the tables of which are not laid out as they are to be.
func (db *DB) checkLayout(ctx context.Context) error {
	var engine string
	err := db.conn.QueryRow(ctx, "SELECT any(engine) FROM system.tables WHERE database = currentDatabase() AND name = 'otel_traces'").Scan(&engine)
	switch onCluster := engine == "Distributed"; {
	case err != nil:
		return wrap("look for our tables", err)
	case db.suffix == "" && onCluster:
		return errors.New("the database is spread over a cluster: name that with storage.cluster, or use another database")
	case db.suffix != "" && engine != "" && !onCluster:
		return errors.New("the database was made without a cluster: use another database with storage.cluster")
	}
	return nil
}

func (db *DB) apply(ctx context.Context, file string, version uint32, statements func(string) ([]string, error)) error {
	text, err := migrations.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read migration %s: %w", file, err)
	}
	for statement := range strings.SplitSeq(string(text), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		here, err := statements(statement)
		if err != nil {
			return fmt.Errorf("migration %s: %w", file, err)
		}
		for _, s := range here {
			if err := db.conn.Exec(ctx, s); err != nil {
				return wrap("migration "+file, err)
			}
		}
	}
	if err := db.conn.Exec(ctx, "INSERT INTO "+db.table("schema_migrations")+" (Version) VALUES (?)", version); err != nil {
		return wrap("record migration "+file, err)
	}
	db.log.Info("schema migrated", "version", version)
	return nil
}

// retain sets the TTL of the tables that differ from what is wanted.
func (db *DB) retain(ctx context.Context, keep Retention) error {
	for _, t := range []struct {
		table, by string
		keep      time.Duration
	}{
		{db.table("otel_traces"), "toDateTime(IngestTime)", keep.Spans},
		{db.table("verdicts"), "toDateTime(FirstIngest)", keep.Verdicts},
		{db.table("verdict_reviews"), "toDateTime(At)", keep.Verdicts},
		{db.table("blame_hourly"), "Hour", keep.History},
		{db.table("baseline"), "At", keep.Baseline},
		{db.table("traffic"), "At", keep.Verdicts},
	} {
		// Another process may set the same at this moment, and one of the two is refused; what counts
		// is what is there afterwards.
		const attempts, pause = 3, 200 * time.Millisecond
		var done bool
		var err error
		for range attempts {
			if done, err = db.retainTable(ctx, t.table, t.by, t.keep); done {
				break
			} else if err != nil {
				time.Sleep(pause)
			}
		}
		if err != nil {
			return wrap("set the retention of "+t.table, err)
		}
	}
	return nil
}

// retainTable says whether the table had the TTL already; if not it tries to set it.
func (db *DB) retainTable(ctx context.Context, table, by string, keep time.Duration) (done bool, err error) {
	var definition string
	err = db.conn.QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = ?", table).Scan(&definition)
	if err != nil {
		return false, err
	}
	want := fmt.Sprintf("%s + toIntervalSecond(%d)", by, max(1, int64(keep.Seconds())))
	has := strings.Contains(definition, " TTL ")
	switch {
	case keep <= 0 && !has, keep > 0 && strings.Contains(definition, want):
		return true, nil
	case keep <= 0:
		return false, db.conn.Exec(ctx, "ALTER TABLE "+table+" REMOVE TTL")
	default:
		// Parts are dropped as they expire; those that are there need not be written again.
		return false, db.conn.Exec(ctx, "ALTER TABLE "+table+" MODIFY TTL "+want+" SETTINGS materialize_ttl_after_modify = 0")
	}
}
