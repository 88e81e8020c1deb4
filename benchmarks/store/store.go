// Package store has the ClickHouse that something is measured in.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

// Store is a ClickHouse of its own.
type Store struct {
	// Conn is in the database "default", and lets a statement take an hour.
	Conn   driver.Conn
	server *server.Server
	dsn    *url.URL
}

// Start starts a ClickHouse, the library engine, on the data in dir.
func Start(ctx context.Context, dir, engine string) (*Store, error) {
	srv, err := server.Start(ctx, server.Config{Dir: dir, Engine: engine, MemoryBytesMax: 10 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	s := &Store{server: srv}
	if err := s.connect(); err != nil {
		_ = srv.Stop(ctx)
		return nil, err
	}
	return s, nil
}

func (s *Store) connect() (err error) {
	if s.dsn, err = url.Parse(s.server.DSN()); err != nil {
		return err
	}
	options, err := clickhouse.ParseDSN(s.DSN("default"))
	if err != nil {
		return err
	}
	options.ReadTimeout = time.Hour
	options.Settings = clickhouse.Settings{"max_execution_time": 3600}
	s.Conn, err = clickhouse.Open(options)
	return err
}

// Stop ends it.
func (s *Store) Stop(ctx context.Context) {
	_ = s.Conn.Close()
	_ = s.server.Stop(ctx)
}

// PID is its process.
func (s *Store) PID() int { return s.server.PID() }

// DSN is the address of one of its databases.
func (s *Store) DSN(database string) string {
	dsn := *s.dsn
	dsn.Path = database
	return dsn.String()
}

// Open opens a database as whosehop does.
func (s *Store) Open(ctx context.Context, database string) (*storage.DB, error) {
	return storage.Open(ctx, s.DSN(database), slog.New(slog.DiscardHandler))
}

// Run runs statements that semicolons at the end of a line divide.
func (s *Store) Run(ctx context.Context, statements string) error {
	for statement := range strings.SplitSeq(statements, ";\n") {
		if statement = strings.TrimSpace(statement); statement != "" {
			if err := s.Conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%.60s: %w", statement, err)
			}
		}
	}
	return nil
}

// AwaitQuiet returns when for five seconds nothing was merged and database had no new parts; it says how many
// there are.
func (s *Store) AwaitQuiet(ctx context.Context, database string) (parts uint64, err error) {
	const quietFor = 10 // polls of half a second
	for quiet := 0; quiet < quietFor; quiet++ {
		var merges, now uint64
		if err := s.Conn.QueryRow(ctx, "SELECT (SELECT count() FROM system.merges), count() FROM system.parts WHERE active AND database = ?", database).Scan(&merges, &now); err != nil {
			return 0, err
		}
		if merges > 0 || now != parts {
			quiet, parts = 0, now
		}
		time.Sleep(500 * time.Millisecond)
	}
	return parts, nil
}

// Tables is the names of the tables of a database that have parts.
func (s *Store) Tables(ctx context.Context, database string) (names []string, err error) {
	err = s.Conn.QueryRow(ctx, "SELECT groupArray(name) FROM system.tables WHERE database = ? AND engine LIKE '%MergeTree'", database).Scan(&names)
	return names, err
}

// MergeAll merges every partition of a database's tables to one part.
func (s *Store) MergeAll(ctx context.Context, database string) error {
	tables, err := s.Tables(ctx, database)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := s.Conn.Exec(ctx, "OPTIMIZE TABLE "+database+"."+table+" FINAL"); err != nil {
			return err
		}
	}
	return nil
}

// Strings is a query's answer of one column.
func (s *Store) Strings(ctx context.Context, query string, args ...any) (list []string, err error) {
	rows, err := s.Conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}
