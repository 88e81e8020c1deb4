package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/internal/telemetry"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/stored"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

type analyzeCmd struct {
	From   string `help:"Judge what began from here on: RFC 3339, or Unix nanoseconds." required:"" placeholder:"TIME"`
	To     string `help:"… and before this; now, if not given." placeholder:"TIME"`
	Entry  string `help:"Only requests that came in here: an operation, or a service and an operation." placeholder:"\"GET /checkout\""`
	Output string `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (analyzeCmd) Help() string {
	return `Judges the past, or judges it again: under new rules, with new owners, or because nobody has yet. New verdicts
replace old ones. The same command goes on where it was broken off, if --to is given.

Examples:
  whosehop analyze --storage-dsn clickhouse://user:password@ch:9000/whosehop --from 2026-11-17T00:00:00Z --to 2026-11-18T00:00:00Z
  whosehop analyze --storage-dsn clickhouse://user:password@ch:9000/whosehop --from 2026-11-20T09:00:00Z --entry "GET /checkout" -o json`
}

func (c *analyzeCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	if err := set.validate(roles{analyze: true}); err != nil {
		return usageError{err}
	}
	from, err := query.ParseInstant(c.From)
	if err != nil {
		return usageError{fmt.Errorf("--from: %w", err)}
	}
	to := time.Now().UnixNano()
	if c.To != "" {
		if to, err = query.ParseInstant(c.To); err != nil {
			return usageError{fmt.Errorf("--to: %w", err)}
		}
	}
	h := analyzer.History{From: time.Unix(0, from).UTC(), To: time.Unix(0, to).UTC(), Entry: c.Entry}
	if !h.From.Before(h.To) {
		return usageError{errors.New("--from is not before --to")}
	}
	log, err := telemetry.NewLogger(s.err, set.Log.Level, set.Log.Format)
	if err != nil {
		return usageError{err}
	}
	file, err := set.Ownership.read(set.Ownership.File, log)
	if err != nil {
		return err
	}
	limitMemory(set.Analyze.MemoryBytesMax, analyzerBeside)
	ch, err := server.Start(ctx, server.Config{
		DSN: set.Storage.DSN, Dir: set.Storage.Dir, Engine: set.Storage.Engine, MemoryBytesMax: uint64(set.Storage.MemoryBytesMax),
	}, log)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		_ = ch.Stop(stop)
	}()
	db, err := openStorage(ctx, ch.DSN(), set, log)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() { _ = db.Close() }()
	owners, reg := new(ownership.Current), prometheus.NewRegistry()
	if err := stored.New(db, set.Ownership.config(), owners, log, reg).Start(ctx, file); err != nil {
		return unlessEnded(ctx, err)
	}
	judge, err := analyzer.New(set.analyzerConfig(), db, shardsOf(db), owners, log, reg)
	if err != nil {
		return usageError{err}
	}
	began := time.Now()
	result, err := judge.JudgeHistory(ctx, h, (&meter{out: s.err, began: began, overwrite: isTerminal(s.err)}).show)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("broken off; the same command goes on from here")
		}
		return err
	}
	warnOfMissing(s, db.Missing(ctx))
	sums, err := sumsByOwner(ctx, db, h.From, h.To)
	if err != nil {
		return err
	}
	return c.print(s.out, result, time.Since(began), sums)
}

// ownerSum is what one owner caused and suffered.
type ownerSum struct {
	Owner         string  `json:"owner"`
	Caused        float64 `json:"caused"`
	Suffered      float64 `json:"suffered"`
	ExcessSeconds float64 `json:"excessSeconds"`
}

// sumsByOwner are counted from the verdicts: those that were just made are not summed up yet.
func sumsByOwner(ctx context.Context, db *storage.DB, from, to time.Time) (sums []ownerSum, err error) {
	const ownersMax = 100_000
	sums = []ownerSum{}
	of := make(map[string]int)
	for _, suffered := range []bool{false, true} {
		rows, err := db.Blame(ctx, storage.BlameFilter{From: from, To: to, Suffered: suffered, Exact: true}, []string{"Owner"}, 0, ownersMax)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			r := &rows[i]
			at, ok := of[r.Owner]
			if !ok {
				at = len(sums)
				of[r.Owner] = at
				sums = append(sums, ownerSum{Owner: r.Owner})
			}
			const millionths = 1e6
			if suffered {
				sums[at].Suffered = float64(r.Amount) / millionths
			} else {
				sums[at].Caused, sums[at].ExcessSeconds = float64(r.Amount)/millionths, float64(r.ExcessNs)/1e9
			}
		}
	}
	slices.SortFunc(sums, func(a, b ownerSum) int {
		return cmp.Or(cmp.Compare(b.Caused, a.Caused), cmp.Compare(b.Suffered, a.Suffered), cmp.Compare(a.Owner, b.Owner))
	})
	return sums, nil
}

func (c *analyzeCmd) print(out io.Writer, r *analyzer.HistoryResult, took time.Duration, owners []ownerSum) error {
	if c.Output == "json" {
		return json.NewEncoder(out).Encode(struct {
			Spans    int64              `json:"spans"`
			Traces   int64              `json:"traces"`
			Verdicts int64              `json:"verdicts"`
			Seconds  float64            `json:"seconds"`
			Time     map[string]float64 `json:"time"`
			Owners   []ownerSum         `json:"owners"`
		}{r.Spans, r.Traces, r.Verdicts, took.Seconds(), r.Seconds, owners})
	}
	if _, err := fmt.Fprintf(out, "%d spans looked through, %d traces judged, %d verdicts, in %s\n", r.Spans, r.Traces, r.Verdicts, took.Round(time.Second)); err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "owner\tcaused\tsuffered\texcess seconds")
	for _, o := range owners {
		_, _ = fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\n", cmp.Or(o.Owner, "(nobody)"), o.Caused, o.Suffered, o.ExcessSeconds)
	}
	return t.Flush()
}

// meter shows progress: in one line on a terminal, else a line now and then.
type meter struct {
	out       io.Writer
	began     time.Time
	last      time.Time
	overwrite bool
}

func (m *meter) show(p analyzer.HistoryProgress) {
	const every = 10 * time.Second // where lines stay
	if p.Spans == 0 {
		if !p.Resumed.IsZero() {
			_, _ = fmt.Fprintf(m.out, "going on from %s, where an earlier run was broken off\n", p.Resumed.Format(time.RFC3339))
		}
		_, _ = fmt.Fprintf(m.out, "%d spans to look through\n", p.SpansTotal)
		return
	}
	over := p.Spans >= p.SpansTotal
	if !m.overwrite && !over && time.Since(m.last) < every {
		return
	}
	m.last = time.Now()
	left := time.Duration(float64(time.Since(m.began)) * float64(p.SpansTotal-p.Spans) / float64(p.Spans)).Round(time.Second)
	line := fmt.Sprintf("%3d %%, to %s, %s left", 100*p.Spans/max(1, p.SpansTotal), p.To.Format(time.RFC3339), left)
	switch {
	case m.overwrite && over:
		_, _ = fmt.Fprintf(m.out, "\r%s\n", line)
	case m.overwrite:
		_, _ = fmt.Fprintf(m.out, "\r%s", line)
	default:
		_, _ = fmt.Fprintln(m.out, line)
	}
}
