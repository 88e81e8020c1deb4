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
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/whosehop/whosehop/storage/native"
)

// byTrace lets the projection by trace be used of every part: by itself ClickHouse reads parts of less than a million rows whole, and all
// of them where the projections' granules add up to as many.
var byTrace = []native.Setting{
	{Key: "min_table_rows_to_use_projection_index", Value: "0"},
	{Key: "max_projection_rows_to_use_projection_index", Value: "1000000000000"},
}

// dialTimeout bounds the making of a connection.
const dialTimeout = 5 * time.Second

// queryTimeout bounds every statement that the caller's context does not bound tighter.
const queryTimeout = 60 * time.Second

// DB is a connection to a database: on one ClickHouse, on all of a cluster, or on one shard of that. It is safe for
// concurrent use.
type DB struct {
	conn    driver.Conn
	options *clickhouse.Options
	idle    chan *native.Conn // for blocks and columns
	judged  sync.Pool         // of *judgedTable
	log     *slog.Logger
	// suffix ends the names of the tables that lie on one shard.
	suffix string
	// spans is the table that spans are read from, stored its column for when they were stored.
	spans, stored string
	cluster       *cluster      // nil on one ClickHouse, and on a shard
	shard         int           // of a cluster, counted from 1
	slack         time.Duration // judgedSlack
	verdictsKept  time.Duration // by Migrate; 0 is for ever
	dirty         keptHours
	replicated    bool // blocks are told apart by a Keeper
}

// idleMax is how many idle native connections are kept.
const idleMax = 8

// Open connects to the database that dsn names (clickhouse://user:password@host:port/database) and
// makes it if it is not there.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	options, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if err := createDatabase(ctx, options); err != nil {
		return nil, err
	}
	db, err := open(options, "", log)
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		_ = db.conn.Close()
		return nil, err
	}
	return db, nil
}

func parse(dsn string) (*clickhouse.Options, error) {
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("storage.dsn: %w", err)
	}
	if options.Protocol != clickhouse.Native {
		return nil, errors.New("storage.dsn: spans travel by the native protocol; write clickhouse://host:9000/database")
	}
	if options.Auth.Database == "" {
		options.Auth.Database = "whosehop"
	}
	options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	options.DialTimeout, options.ReadTimeout = dialTimeout, queryTimeout // of a host that hangs, and does not refuse
	// Times are written in UTC, whatever the server's zone is.
	if options.Settings == nil {
		options.Settings = clickhouse.Settings{}
	}
	options.Settings["session_timezone"] = "UTC"
	for _, s := range byTrace {
		options.Settings[s.Key] = s.Value
	}
	options.MaxOpenConns, options.MaxIdleConns = 16, 8
	return options, nil
}

// open connects to nothing yet.
func open(options *clickhouse.Options, suffix string, log *slog.Logger) (*DB, error) {
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	return &DB{
		conn: conn, options: options, log: log, suffix: suffix, spans: "otel_traces" + suffix, stored: "IngestTime", slack: judgedSlack,
		idle: make(chan *native.Conn, idleMax), judged: sync.Pool{New: func() any { return newJudgedTable() }},
	}, nil
}

// table is the name of a table here.
func (db *DB) table(name string) string { return name + db.suffix }

// createDatabase makes the database if it is missing. A user who may not create one needs none of
// that right when it is there.
func createDatabase(ctx context.Context, options *clickhouse.Options) error {
	conn, err := clickhouse.Open(options)
	if err != nil {
		return fmt.Errorf("open ClickHouse: %w", err)
	}
	defer func() { _ = conn.Close() }()
	err = conn.Ping(ctx)
	var exception *clickhouse.Exception
	if err == nil || !errors.As(err, &exception) || exception.Code != codeUnknownDatabase {
		return wrap("connect to ClickHouse", err)
	}
	elsewhere := *options
	elsewhere.Auth.Database = ""
	bare, err := clickhouse.Open(&elsewhere)
	if err != nil {
		return fmt.Errorf("open ClickHouse: %w", err)
	}
	defer func() { _ = bare.Close() }()
	return wrap("create the database", bare.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteName(options.Auth.Database)))
}

// Close gives up all connections.
func (db *DB) Close() error {
	if db.cluster != nil {
		db.cluster.close()
	}
	for {
		select {
		case c := <-db.idle:
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

// with runs do on a native connection, and keeps that for the next one if all went well.
func (db *DB) with(ctx context.Context, do func(*native.Conn) error) error {
	c, err := db.idleOrNew(ctx)
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		_ = c.Close()
		return err
	}
	select {
	case db.idle <- c:
	default:
		_ = c.Close()
	}
	return nil
}

// idleOrNew is an idle connection that still works, or a new one to one of the hosts of the DSN.
func (db *DB) idleOrNew(ctx context.Context) (c *native.Conn, err error) {
	for {
		select {
		case c = <-db.idle:
			if c.Alive() {
				return c, nil
			}
			_ = c.Close()
			continue
		default:
		}
		break
	}
	for _, address := range db.options.Addr {
		c, err = native.Dial(ctx, native.Options{
			Address: address, Database: db.options.Auth.Database, User: db.options.Auth.Username, Password: db.options.Auth.Password,
			TLS: db.options.TLS, DialTimeout: dialTimeout,
		})
		if err == nil {
			return c, nil
		}
	}
	return nil, err
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

// TimedOut says whether the statement took longer than it may.
func (e *Error) TimedOut() bool {
	const timeoutExceeded = 159
	var exception *clickhouse.Exception
	var native *ch.Exception
	return errors.Is(e.Err, context.DeadlineExceeded) || errors.As(e.Err, &exception) && exception.Code == timeoutExceeded ||
		errors.As(e.Err, &native) && native.Code == timeoutExceeded
}

// Denied says whether ClickHouse does not let its user do this; the error then says which right is missing.
func (e *Error) Denied() bool {
	const accessDenied, readOnly = 497, 164
	var exception *clickhouse.Exception
	return errors.As(e.Err, &exception) && (exception.Code == accessDenied || exception.Code == readOnly)
}

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

// codeUnknownDatabase is ClickHouse's answer to a connection that names a database it has not.
const codeUnknownDatabase = 81

// busyCodes are ClickHouse's error codes for what passes.
var busyCodes = []int{
	159, 160, 209, 210, 394, // time is over, the network failed, the query was killed
	202, 203, 241, 252, 439, 473, 745, // too many queries, parts or threads, no memory, overloaded
	75, 76, 243, // the disk is full
	236, 242, 425, // shutting down, read-only for now, the operating system
	225, 279, 285, 286, 319, 517, 999, // Keeper or the other replicas are away
}

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

func quoteName(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// Count answers a question whose answer is one number.
func (db *DB) Count(ctx context.Context, query string, args ...any) (n uint64, err error) {
	return n, wrap("count", db.conn.QueryRow(ctx, query, args...).Scan(&n))
}
