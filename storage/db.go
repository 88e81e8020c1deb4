// Package storage is the typed access to ClickHouse: schema, migrations, spans in and out, verdicts
// in and out. It is the only package that knows a driver.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// queryTimeout bounds every statement that the caller's context does not bound tighter.
const queryTimeout = 60 * time.Second

// DB is a connection to one ClickHouse database. It is safe for concurrent use.
type DB struct {
	conn    driver.Conn
	options *clickhouse.Options
	// streams are idle native connections for columns; encoders are idle sets of column buffers.
	streams  chan *ch.Client
	encoders chan *encoder
	log      *slog.Logger
}

// streamsMax is how many idle native connections are kept.
const streamsMax = 8

// Open connects to the database that dsn names (clickhouse://user:password@host:port/database) and
// makes it if it is not there.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("storage.dsn: %w", err)
	}
	if options.Auth.Database == "" {
		options.Auth.Database = "whosehop"
	}
	if err := createDatabase(ctx, options); err != nil {
		return nil, err
	}
	options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	options.DialTimeout = 5 * time.Second
	options.MaxOpenConns, options.MaxIdleConns = 16, 8
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	db := &DB{
		conn: conn, options: options, log: log,
		streams: make(chan *ch.Client, streamsMax), encoders: make(chan *encoder, streamsMax),
	}
	if err := db.Ping(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return db, nil
}

func createDatabase(ctx context.Context, options *clickhouse.Options) error {
	any := *options
	any.Auth.Database = ""
	conn, err := clickhouse.Open(&any)
	if err != nil {
		return fmt.Errorf("open ClickHouse: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteName(options.Auth.Database)); err != nil {
		return wrap("create the database", err)
	}
	return nil
}

// Close gives up all connections.
func (db *DB) Close() error {
	for {
		select {
		case c := <-db.streams:
			_ = c.Close()
		default:
			return db.conn.Close()
		}
	}
}

// Ping asks whether ClickHouse answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.conn.Ping(ctx); err != nil {
		return wrap("ping ClickHouse", err)
	}
	return nil
}

// stream runs do on a native connection of its own, and keeps that for the next one if all went well.
// A connection that has gone stale while it was idle is replaced once.
func (db *DB) stream(ctx context.Context, do func(context.Context, *ch.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var c *ch.Client
	select {
	case c = <-db.streams:
		err := do(ctx, c)
		if err == nil {
			db.keep(c)
			return nil
		}
		_ = c.Close()
		if !isNetwork(err) || ctx.Err() != nil {
			return err
		}
	default:
	}
	options := ch.Options{
		Address: db.options.Addr[0], Database: db.options.Auth.Database, User: db.options.Auth.Username,
		Password: db.options.Auth.Password, Compression: ch.CompressionLZ4, DialTimeout: 5 * time.Second, TLS: db.options.TLS,
	}
	c, err := ch.Dial(ctx, options)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	if err := do(ctx, c); err != nil {
		_ = c.Close()
		return err
	}
	db.keep(c)
	return nil
}

func (db *DB) keep(c *ch.Client) {
	select {
	case db.streams <- c:
	default:
		_ = c.Close()
	}
}

// Error is a failed statement.
type Error struct {
	Op        string // what was being done
	Err       error
	retryable bool
}

// Error implements error.
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap implements errors.Unwrap.
func (e *Error) Unwrap() error { return e.Err }

// Retryable says whether the same statement may succeed later: ClickHouse is away, starting, full
// or overloaded. Anything else will fail again.
func (e *Error) Retryable() bool { return e.retryable }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err, retryable: isNetwork(err) || isBusy(err)}
}

func isNetwork(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ch.ErrClosed) || errors.Is(err, clickhouse.ErrAcquireConnTimeout)
}

// busyCodes are ClickHouse's error codes for what passes: time and memory limits, too many queries
// or parts, a disk that is full, shutting down.
var busyCodes = []int{159, 160, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 319, 394, 425, 439, 999}

func isBusy(err error) bool {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return slices.Contains(busyCodes, int(exception.Code))
	}
	var native *ch.Exception
	if errors.As(err, &native) {
		return slices.Contains(busyCodes, int(native.Code))
	}
	return false
}

func quoteName(name string) string { return "`" + name + "`" }

// Count answers a question whose answer is one number.
func (db *DB) Count(ctx context.Context, query string, args ...any) (n uint64, err error) {
	return n, wrap("count", db.conn.QueryRow(ctx, query, args...).Scan(&n))
}
