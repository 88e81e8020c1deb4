package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
)

const (
	growthRate = 5000 // spans a second
	// measuredFor is how often the analyzer looks at everything a second time, so that one such look is measured:
	// wait-max and quiet.
	measuredFor = 65 * time.Second
	// leadNeeded is until the second look comes to the first of the spans: it keeps some three minutes behind.
	leadNeeded = 270 * time.Second
	// filledAgo keeps what was stored before from being looked at as fresh, or learnt from.
	filledAgo = 15 * time.Minute
)

// judged says that whosehop has dealt with all that is stored: failing traces have verdicts, without their text.
const judged = `INSERT INTO whosehop.analyzer_progress (Name, ScannedTo) VALUES ('judged 0/1', now64(3)), ('baseline', now64(3));
INSERT INTO whosehop.verdicts (TraceId, Version, FirstIngest, SpanRows, LastIngest, JudgedAt, Rules, Entries.Service, Entries.Operation, Entries.SpanId, Entries.Start, Entries.DurationNs, Entries.Symptom, Entries.Summary, Entries.Body)
	SELECT TraceId, 1, min(IngestTime), count(), max(IngestTime), max(IngestTime) + INTERVAL 6 SECOND, 'none', ['frontend'], ['GET /'], [''], [min(Timestamp)], [0], ['error'], [''], ['']
	FROM whosehop.otel_traces GROUP BY TraceId HAVING countIf(StatusCode = 'Error') > 0`

// growthResult is what verdicts have cost with so many spans stored before.
type growthResult struct {
	stored, parts, judged uint64 // before
	verdicts              uint64
	used                  used
	queries               []query
}

// used is what was used until some moment, or between two.
type used struct {
	at                         time.Time // of ClickHouse
	rows, bytes, marks, micros float64   // of all reading queries
	spansRead                  float64   // by the analyzer, to judge them
	engine                     time.Duration
}

// query is what one of the analyzer's queries has read.
type query struct {
	text                      string
	times, rows, milliseconds uint64
}

func growth(ctx context.Context, o *options, stored int) (r growthResult, err error) {
	dir, err := os.MkdirTemp("", "bench-live-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.queries {
		if err := logQueries(dir); err != nil {
			return r, err
		}
	}
	s, err := store.Start(ctx, dir, o.engine)
	if err != nil {
		return r, err
	}
	defer s.Stop(context.WithoutCancel(ctx))
	if err := r.fill(ctx, s, stored); err != nil {
		return r, err
	}
	program, err := startRoles(ctx, o, s, dir)
	if err != nil {
		return r, err
	}
	defer program.stop()
	err = program.said(r.measure(ctx, o, program))
	return r, err
}

// fill stores spans, and what whosehop has made of them.
func (r *growthResult) fill(ctx context.Context, s *store.Store, stored int) error {
	db, err := s.Open(ctx, "whosehop")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	const hours = time.Hour // the defaults, which the roles would set
	if err := db.Migrate(ctx, storage.Retention{Spans: 168 * hours, Verdicts: 2160 * hours, Baseline: 336 * hours}); err != nil {
		return err
	}
	began := time.Now()
	if err := s.FillDay(ctx, load.New(load.Config{SpansPerRequest: 512, Whole: true}), stored, filledAgo); err != nil {
		return err
	}
	if err := s.Run(ctx, judged); err != nil {
		return err
	}
	if r.parts, err = s.AwaitQuiet(ctx, "whosehop"); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "filled after %s\n", time.Since(began).Round(time.Second))
	return s.Conn.QueryRow(ctx, "SELECT (SELECT count() FROM whosehop.otel_traces), count() FROM whosehop.verdicts").Scan(&r.stored, &r.judged)
}

// measure sends spans, and sees what is used once the analyzer is in its stride.
func (r *growthResult) measure(ctx context.Context, o *options, program *roles) (err error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	sent := make(chan error, 1)
	go func() {
		_, err := pace(ctx, program.grpc, growthRate, o.lead+measuredFor+quiet)
		sent <- err
	}()
	var moments [2]used
	for i, wait := range []time.Duration{o.lead, measuredFor} {
		select {
		case err := <-sent:
			return errors.Join(err, errors.New("no more spans are sent"))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if moments[i], err = program.used(ctx); err != nil {
			return err
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	from, to := &moments[0], &moments[1]
	r.used = used{
		rows: to.rows - from.rows, bytes: to.bytes - from.bytes, marks: to.marks - from.marks, micros: to.micros - from.micros,
		spansRead: to.spansRead - from.spansRead, engine: to.engine - from.engine,
	}
	if err := program.store.Conn.QueryRow(ctx, "SELECT count() FROM whosehop.verdicts WHERE notEmpty(Entries.Service) AND JudgedAt >= fromUnixTimestamp64Milli(?) AND JudgedAt < fromUnixTimestamp64Milli(?)",
		from.at.UnixMilli(), to.at.UnixMilli()).Scan(&r.verdicts); err != nil {
		return err
	}
	if r.verdicts == 0 {
		return errors.New("there is no verdict")
	}
	fmt.Fprintf(os.Stderr, "%d spans stored before: %d verdicts, %.0f rows selected a verdict\n", r.stored, r.verdicts, r.used.rows/float64(r.verdicts))
	if o.queries {
		r.queries, err = queriesBetween(ctx, program.store, from.at, to.at)
	}
	return err
}

// used asks for all that has been used. What is read by that question itself is a thousand rows; inserts and merges
// do not count as rows that are selected.
func (r *roles) used(ctx context.Context) (u used, err error) {
	var rows, bytes, marks, micros uint64
	if err := r.store.Conn.QueryRow(ctx, `SELECT now64(3), sumIf(value, event = 'SelectedRows'), sumIf(value, event = 'SelectedBytes'), sumIf(value, event = 'SelectedMarksTotal'),
		sumIf(value, event = 'SelectQueryTimeMicroseconds') FROM system.events`).Scan(&u.at, &rows, &bytes, &marks, &micros); err != nil {
		return u, err
	}
	u.rows, u.bytes, u.marks, u.micros = float64(rows), float64(bytes), float64(marks), float64(micros)
	all, err := r.metrics(ctx)
	if err != nil {
		return u, err
	}
	if u.spansRead, err = metric(all, "whosehop_analyzer_spans_read_total"); err != nil {
		return u, err
	}
	u.engine, err = r.measured[2].CPU()
	return u, err
}

// logQueries lets the ClickHouse that is to be started in dir keep a log of its queries.
func logQueries(dir string) error {
	for path, text := range map[string]string{
		"config.d/queries.xml": "<clickhouse><query_log><database>system</database><table>query_log</table><flush_interval_milliseconds>5000</flush_interval_milliseconds></query_log></clickhouse>",
		"users.d/queries.xml":  "<clickhouse><profiles><default><log_queries>1</log_queries></default></profiles></clickhouse>",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// queriesBetween are those that have ended between two moments, the ones that read most first.
func queriesBetween(ctx context.Context, s *store.Store, from, to time.Time) (list []query, err error) {
	if err := s.Run(ctx, "SYSTEM FLUSH LOGS"); err != nil {
		return nil, err
	}
	rows, err := s.Conn.Query(ctx, `SELECT any(normalizeQuery(query)), count(), sum(read_rows), sum(query_duration_ms) FROM system.query_log
		WHERE type = 'QueryFinish' AND query_kind = 'Select' AND current_database = 'whosehop'
			AND event_time_microseconds >= fromUnixTimestamp64Milli(?) AND event_time_microseconds < fromUnixTimestamp64Milli(?)
		GROUP BY normalized_query_hash ORDER BY sum(read_rows) DESC`, from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var q query
		if err := rows.Scan(&q.text, &q.times, &q.rows, &q.milliseconds); err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	return list, rows.Err()
}

// printQueries prints a line a query.
func (r *growthResult) printQueries(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%d spans stored: times\trows\tms\tquery\n", r.stored)
	for _, q := range r.queries {
		fmt.Fprintf(t, "%d\t%d\t%d\t%.200s\n", q.times, q.rows, q.milliseconds, strings.Join(strings.Fields(q.text), " "))
	}
	_ = t.Flush()
}
