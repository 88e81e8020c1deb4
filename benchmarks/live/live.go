package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/benchmarks/store"
)

const (
	// quiet is the default of analyzer.quiet.
	quiet = 5 * time.Second
	// afterLast is how long after the last span all verdicts must be there.
	afterLast = 20 * time.Second
)

// liveResult is what the live part has shown.
type liveResult struct {
	sent    paced
	samples []sample
	peakMB  [3]float64
	cpu     [3]time.Duration
	stored  uint64
	verdictTimes
	missing uint64 // failing traces without a verdict
}

// verdictTimes is how long after they could be there first verdicts of failing traces were, in seconds.
type verdictTimes struct {
	verdicts         uint64
	median, p99, max float64
	unknown          uint64 // verdicts that do not say when
	again            uint64 // traces that were judged more than once
}

func live(ctx context.Context, o *options) (r liveResult, err error) {
	dir, err := os.MkdirTemp("", "bench-live-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := store.Start(ctx, dir, o.engine)
	if err != nil {
		return r, err
	}
	defer s.Stop(context.WithoutCancel(ctx))
	program, err := startRoles(ctx, o, s, dir)
	if err != nil {
		return r, err
	}
	defer program.stop()
	err = program.said(r.measure(ctx, o, program))
	return r, err
}

func (r *liveResult) measure(ctx context.Context, o *options, program *roles) (err error) {
	group, both := errgroup.WithContext(ctx)
	watching, end := context.WithCancel(both)
	group.Go(func() (err error) {
		r.samples, err = program.watch(watching)
		return err
	})
	group.Go(func() (err error) {
		defer end()
		r.sent, err = pace(both, program.grpc, o.rate, time.Duration(o.minutes)*time.Minute)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(afterLast):
	}
	for i, p := range program.measured {
		if r.peakMB[i], err = p.PeakMB(); err != nil {
			return err
		}
		if r.cpu[i], err = p.CPU(); err != nil {
			return err
		}
	}
	return r.ask(ctx, program.store)
}

// ask asks ClickHouse what has come of the spans.
func (r *liveResult) ask(ctx context.Context, s *store.Store) error {
	const (
		failing = "has(Entries.Symptom, 'error')"
		times   = `SELECT count(), quantileExact(0.5)(Late), quantileExact(0.99)(Late), max(Late), countIf(Unknown) FROM (
			SELECT toUnixTimestamp64Milli(JudgedAt) = 0 OR toUnixTimestamp64Milli(LastIngest) = 0 AS Unknown,
				(toUnixTimestamp64Milli(JudgedAt) - toUnixTimestamp64Milli(LastIngest)) / 1000 - ? AS Late
			FROM whosehop.verdicts WHERE Version = 1 AND ` + failing + ")"
		again   = "SELECT count() FROM (SELECT TraceId FROM whosehop.verdicts GROUP BY TraceId HAVING max(Version) > 1)"
		stored  = "SELECT count(), uniqExactIf(TraceId, StatusCode = 'Error') FROM whosehop.otel_traces"
		missing = "SELECT uniqExact(TraceId) FROM whosehop.otel_traces WHERE StatusCode = 'Error' AND TraceId NOT IN (SELECT TraceId FROM whosehop.verdicts WHERE " + failing + ")"
	)
	var failed uint64
	for _, q := range []struct {
		text string
		args []any
		into []any
	}{
		{times, []any{quiet.Seconds()}, []any{&r.verdicts, &r.median, &r.p99, &r.max, &r.unknown}},
		{again, nil, []any{&r.again}},
		{stored, nil, []any{&r.stored, &failed}},
		{missing, nil, []any{&r.missing}},
	} {
		if err := s.Conn.QueryRow(ctx, q.text, q.args...).Scan(q.into...); err != nil {
			return err
		}
	}
	if r.stored != uint64(r.sent.spans) || failed != uint64(r.sent.failing) {
		return fmt.Errorf("%d spans and %d failing traces are stored, where %d and %d were sent", r.stored, failed, r.sent.spans, r.sent.failing)
	}
	return nil
}
