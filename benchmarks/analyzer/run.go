package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/whosehop/whosehop/benchmarks/exporter"
	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// result is what one case has shown.
type result struct {
	scenario *scenario
	stored   history
	rounds   []measured
}

// history is what there is to judge.
type history struct {
	spans, traces, failing uint64
	from, to               time.Time // whole seconds, around all spans and their ingestion
}

// run measures one case in a ClickHouse of its own.
func run(ctx context.Context, o *options, c *scenario) (r result, err error) {
	r.scenario = c
	dir := filepath.Join(o.dir, fmt.Sprintf("%s-%d", c.name, o.spans))
	if o.dir == "" {
		if dir, err = os.MkdirTemp("", "bench-analyzer-"); err != nil {
			return r, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	// A database that was not filled to its end does not count.
	mark := filepath.Join(dir, "filled")
	_, err = os.Stat(mark)
	filled := err == nil
	if !filled {
		if err := os.RemoveAll(dir); err != nil {
			return r, err
		}
	}
	s, err := store.Start(ctx, dir, o.engine)
	if err != nil {
		return r, err
	}
	defer s.Stop(context.WithoutCancel(ctx))
	db, err := s.Open(ctx, "whosehop")
	if err != nil {
		return r, err
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(ctx, storage.Retention{}); err != nil {
		return r, err
	}
	if !filled {
		if err := fill(ctx, s, db, c, o.spans); err != nil {
			return r, err
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return r, err
		}
	}
	if r.stored, err = look(ctx, s); err != nil {
		return r, err
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "%s, round %d of %d\n", c.name, round+1, o.rounds)
		m, err := measure(ctx, o, s, &r.stored)
		if err != nil {
			return r, fmt.Errorf("%s: %w", c.name, err)
		}
		r.rounds = append(r.rounds, m)
	}
	return r, nil
}

// fill stores total spans and what makes the last round of the load whole, in whosehop's table and the exporter's.
func fill(ctx context.Context, s *store.Store, db *storage.DB, c *scenario, total int) error {
	began := time.Now()
	payload := load.New(load.Config{SpansPerRequest: 512, SpansPerTrace: c.spansPerTrace, FailingEvery: c.failingEvery, Whole: true})
	traces, failing := payload.Traces()
	rounds := (total + traces*c.spansPerTrace - 1) / (traces * c.spansPerTrace)
	total = rounds * traces * c.spansPerTrace
	source := payload.Source()
	var block spans.Block
	encoder := new(native.Encoder)
	var p native.Packed
	for sent := 0; sent < total; sent += p.Rows {
		if err := source.Fill(&block, min(65_536, total-sent)); err != nil {
			return err
		}
		p.ID, p.At = uint64(source.Taken()), time.Now()
		encoder.Encode(&block, &p)
		if err := db.InsertBlock(ctx, &p, false); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "\r%s: %.1f of %.1f million spans", c.name, float64(sent+p.Rows)/1e6, float64(total)/1e6)
	}
	fmt.Fprintf(os.Stderr, "\n%s: whosehop's table is filled after %s\n", c.name, time.Since(began).Round(time.Second))
	if err := exporter.Fill(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: the exporter's table is filled after %s\n", c.name, time.Since(began).Round(time.Second))
	h, err := look(ctx, s)
	if err != nil {
		return err
	}
	if h.spans != uint64(total) || h.traces != uint64(rounds*traces) || h.failing != uint64(rounds*failing) {
		return fmt.Errorf("%d spans of %d traces are stored, %d of them failing, where %d, %d and %d were sent", h.spans, h.traces, h.failing, total, rounds*traces, rounds*failing)
	}
	return nil
}

// look says what is stored. A trace fails where a span says so.
func look(ctx context.Context, s *store.Store) (h history, err error) {
	var newest time.Time
	err = s.Conn.QueryRow(ctx, "SELECT count(), uniqExact(TraceId), uniqExactIf(TraceId, StatusCode = 'Error'), min(Timestamp), max(IngestTime) FROM whosehop.otel_traces").
		Scan(&h.spans, &h.traces, &h.failing, &h.from, &newest)
	h.from, h.to = h.from.UTC().Truncate(time.Second), newest.UTC().Truncate(time.Second).Add(time.Second)
	return h, err
}
