// Package analyzer judges traces once they have settled. It keeps no state of its own: what has been
// judged, on which spans, and how far the table has been looked through is in ClickHouse, so that it
// can be killed and started anywhere.
package analyzer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Config is what an analyzer is given.
type Config struct {
	// Quiet is how long a trace must have got no span before it is judged.
	Quiet time.Duration
	// WaitMax is how long a trace that gets no quiet is waited for.
	WaitMax time.Duration
	// Workers is how many traces are judged at once.
	Workers int
	// SpansMax is how many spans of one trace are looked at.
	SpansMax int
}

// Validate names the first key that cannot be.
func (c *Config) Validate() error {
	switch {
	case c.Quiet < 100*time.Millisecond:
		return fmt.Errorf("analyzer.quiet: %s is less than 100ms", c.Quiet)
	case c.WaitMax < c.Quiet:
		return fmt.Errorf("analyzer.wait-max: %s is less than analyzer.quiet", c.WaitMax)
	case c.Workers < 1:
		return fmt.Errorf("analyzer.workers: %d is less than 1", c.Workers)
	case c.SpansMax < 1:
		return fmt.Errorf("analyzer.spans-max: %d is less than 1", c.SpansMax)
	}
	return nil
}

// Store is what the analyzer needs of the storage.
type Store interface {
	ServerTime(ctx context.Context) (time.Time, error)
	Settled(ctx context.Context, q storage.SettleQuery) ([]storage.SettledTrace, error)
	ScannedTo(ctx context.Context) (time.Time, error)
	SetScannedTo(ctx context.Context, at time.Time) error
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
	WriteJudged(ctx context.Context, judged []storage.JudgedTrace) error
	IngestedTraces(ctx context.Context, from, to time.Time, limit int) (ids []spans.TraceID, standFor int, err error)
	LearntTo(ctx context.Context) (time.Time, error)
	SetLearntTo(ctx context.Context, at time.Time) error
	WriteBaseline(ctx context.Context, cells []storage.BaselineCell, at time.Time, token string) error
	ReadBaseline(ctx context.Context, q storage.BaselineQuery, add func(*storage.BaselineCell)) error
	SampleTraces(ctx context.Context, from, to time.Time, entry string, limit int) ([]spans.TraceID, error)
}

// Owner names the team of a service; attr looks its resource attributes up.
type Owner func(service, namespace string, attr func(string) (string, bool)) string

// Analyzer is safe for concurrent use.
type Analyzer struct {
	cfg     Config
	store   Store
	owner   Owner
	log     *slog.Logger
	metrics *metrics
	known   *known
	blocks  sync.Pool // of *spans.Block
	// lastRound is when the last round ended well, in Unix nanoseconds.
	lastRound atomic.Int64
	// reloaded is of the one who learns: when the stored baseline was last read.
	reloaded time.Time
}

// New checks the configuration and starts nothing.
func New(cfg Config, store Store, owner Owner, log *slog.Logger, reg prometheus.Registerer) (*Analyzer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Analyzer{cfg: cfg, store: store, owner: owner, log: log, metrics: newMetrics(reg), known: newKnown()}
	a.blocks.New = func() any { return new(spans.Block) }
	return a, nil
}

const (
	// settledMax traces are judged between two looks at what is due.
	settledMax = 5000
	// batchSpansMax bounds what is read at once: some 100 MB of columns. A larger trace is read alone.
	batchSpansMax = 100_000
	// slowMost operations are looked at for runs that are too slow: those that run most.
	slowMost = 1000
	// visibleWithin is how long a row may take from getting its ingest time to being seen.
	visibleWithin = 2 * time.Minute
	// catchUpStep is how much of the past is looked through at once.
	catchUpStep  = 10 * time.Minute
	catchUpEvery = 5 * time.Second
	// idlePause is how long there may be nothing to do before it is looked again.
	idlePause = time.Second
	errorMax  = 15 * time.Second
)

// Run judges until ctx ends; the round that is under way is finished, for a while.
func (a *Analyzer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	pause := min(idlePause, a.cfg.Quiet/4)
	group.Go(func() error { a.repeat(ctx, "judge", pause, pause, a.judgeRecent); return nil })
	group.Go(func() error { a.repeat(ctx, "catch up", catchUpEvery, catchUpEvery, a.catchUp); return nil })
	// The first verdicts after a start need a normal as well.
	group.Go(func() error { a.repeat(ctx, "learn", time.Second, time.Second, a.learn); return nil })
	return group.Wait()
}

// repeat runs step again and again: at once while it has more to do, else after a pause, which doubles
// up to pauseMax. Errors are logged and tried again, less and less eagerly.
func (a *Analyzer) repeat(ctx context.Context, what string, pause, pauseMax time.Duration, step func(context.Context) (more bool, err error)) {
	wait, onError := time.Duration(0), time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		more, err := step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.metrics.errors.Inc()
			a.log.Warn("round failed and is tried again", "step", what, "error", err)
			wait, onError = onError, min(2*onError, errorMax)
		case more:
			wait, onError = 0, time.Second
		default:
			wait, onError = pause, time.Second
			pause = min(2*pause, pauseMax)
		}
	}
}

// judgeRecent judges what has settled of late.
func (a *Analyzer) judgeRecent(ctx context.Context) (more bool, err error) {
	now, err := a.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	due, err := a.store.Settled(ctx, a.query(now.Add(-a.recent()), time.Time{}))
	if err != nil {
		return false, err
	}
	lag := 0.0
	if len(due) > 0 {
		lag = max(0, (now.Sub(due[0].LastIngest) - a.cfg.Quiet).Seconds())
	}
	a.metrics.lag.Set(lag)
	a.metrics.backlog.Set(float64(len(due)))
	if err := a.judge(ctx, due); err != nil {
		return false, err
	}
	a.lastRound.Store(time.Now().UnixNano())
	return len(due) == settledMax, nil
}

// recent is how far back the live round looks: behind it, everything has had the time to settle.
func (a *Analyzer) recent() time.Duration { return a.cfg.WaitMax + a.cfg.Quiet + visibleWithin }

func (a *Analyzer) query(from, to time.Time) storage.SettleQuery {
	q := storage.SettleQuery{From: from, To: to, Quiet: a.cfg.Quiet, WaitMax: a.cfg.WaitMax, Limit: settledMax}
	a.known.now().Slow(slowMost, func(service, name string, overNs int64) {
		q.Slow = append(q.Slow, storage.SlowOperation{Service: service, Name: name, OverNs: overNs})
	})
	return q
}

// catchUp goes through what the live round no longer looks at, step by step, and records how far it
// has come: no further than where nothing is due any more.
func (a *Analyzer) catchUp(ctx context.Context) (more bool, err error) {
	now, err := a.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	from, err := a.store.ScannedTo(ctx)
	if err != nil {
		return false, err
	}
	end := now.Add(-a.recent())
	to := from.Add(catchUpStep)
	if to.After(end) {
		to = end
	}
	if !to.After(from) {
		return false, nil
	}
	due, err := a.store.Settled(ctx, a.query(from, to))
	if err != nil {
		return false, err
	}
	if len(due) > 0 {
		return true, a.judge(ctx, due)
	}
	return to.Before(end), a.store.SetScannedTo(ctx, to)
}

// judge judges traces and stores the verdicts, batch by batch.
func (a *Analyzer) judge(ctx context.Context, due []storage.SettledTrace) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.cfg.Workers)
	for len(due) > 0 {
		n, rows := 0, uint64(0)
		for n < len(due) && (n == 0 || rows+due[n].Rows <= batchSpansMax) {
			rows += due[n].Rows
			n++
		}
		batch := due[:n]
		due = due[n:]
		group.Go(func() error { return a.judgeBatch(ctx, batch) })
	}
	return group.Wait()
}

func (a *Analyzer) judgeBatch(ctx context.Context, batch []storage.SettledTrace) error {
	block := a.blocks.Get().(*spans.Block)
	defer a.blocks.Put(block)
	block.Reset()
	ids := make([]spans.TraceID, len(batch))
	of := make(map[spans.TraceID]int, len(batch))
	for i := range batch {
		ids[i] = batch[i].TraceID
		of[ids[i]] = i
	}
	if err := a.store.ReadTraces(ctx, storage.TraceQuery{IDs: ids, SpansMax: a.cfg.SpansMax, Keep: trace.Reads}, block); err != nil {
		return err
	}
	judged := make([]storage.JudgedTrace, 0, len(batch))
	builder := trace.NewBuilder(block)
	groups := trace.Group(block)
	a.known.witness(arrivals(groups, batch, of), func(rows []uint32) *trace.Forest { return builder.Build(rows, learnSpans) })
	judger := blame.NewJudger(blame.Config{Owner: a.owner, Normal: a.known.now(), OnlyTrouble: true})
	for _, g := range groups {
		i, ok := of[g.ID]
		if !ok {
			continue
		}
		j := storage.JudgedTrace{SettledTrace: batch[i]}
		j.Version++
		forest := builder.Build(g.Rows, a.cfg.SpansMax)
		forest.LeftOut += max(0, int(batch[i].Rows)-len(g.Rows)) // stored, and not read
		j.Verdicts = judger.Judge(forest)
		for k := range j.Verdicts {
			j.Verdicts[k].Version = j.Version
			a.metrics.verdicts.WithLabelValues(string(j.Verdicts[k].Symptom)).Inc()
		}
		judged = append(judged, j)
	}
	a.metrics.traces.Add(float64(len(judged)))
	return a.store.WriteJudged(ctx, judged)
}

// arrivals are the traces of a batch that were not judged before.
func arrivals(groups []trace.Rows, batch []storage.SettledTrace, of map[spans.TraceID]int) []arrival {
	list := make([]arrival, 0, len(groups))
	for _, g := range groups {
		if i, ok := of[g.ID]; ok && batch[i].Version == 0 {
			list = append(list, arrival{id: g.ID, at: batch[i].FirstIngest, rows: g.Rows})
		}
	}
	return list
}

// JudgeNow judges a trace on what is stored of it at this moment; nil where nothing is.
func (a *Analyzer) JudgeNow(ctx context.Context, id spans.TraceID) ([]verdict.Verdict, error) {
	block := a.blocks.Get().(*spans.Block)
	defer a.blocks.Put(block)
	block.Reset()
	if err := a.store.ReadTraces(ctx, storage.TraceQuery{IDs: []spans.TraceID{id}, SpansMax: a.cfg.SpansMax, Keep: trace.Reads}, block); err != nil {
		return nil, err
	}
	groups := trace.Group(block)
	if len(groups) == 0 {
		return nil, nil
	}
	return blame.Judge(trace.Build(block, groups[0].Rows, a.cfg.SpansMax), blame.Config{Owner: a.owner, Normal: a.known.now()}), nil
}

// Ready says why no verdicts are written at the moment, nil when they are.
func (a *Analyzer) Ready(context.Context) error {
	const lateAfter = time.Minute
	if at := a.lastRound.Load(); at == 0 {
		return fmt.Errorf("the analyzer has not finished a round yet")
	} else if late := time.Since(time.Unix(0, at)); late > lateAfter {
		return fmt.Errorf("the analyzer has not finished a round for %s", late.Round(time.Second))
	}
	return nil
}

type metrics struct {
	traces, errors prometheus.Counter
	verdicts       *prometheus.CounterVec
	lag, backlog   prometheus.Gauge
	leftOut        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		traces: prometheus.NewCounter(prometheus.CounterOpts{Name: "whosehop_analyzer_traces_judged_total", Help: "Traces judged, again or for the first time."}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{Name: "whosehop_analyzer_errors_total", Help: "Rounds that failed and were tried again."}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "whosehop_analyzer_verdicts_total", Help: "Verdicts by symptom.",
		}, []string{"symptom"}),
		lag:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_lag_seconds", Help: "How long the oldest trace that is due has been."}),
		backlog: prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_backlog_traces", Help: "Traces that were due at the last look."}),
	}
	m.leftOut = prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_baseline_left_out", Help: "What the baseline had no room for since it was last read."})
	reg.MustRegister(m.traces, m.errors, m.verdicts, m.lag, m.backlog, m.leftOut)
	return m
}
