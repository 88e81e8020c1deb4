// Package analyzer judges traces once they have settled. It keeps no state of its own: what has been
// judged, on which spans, and how far the table has been looked through is in ClickHouse, so that it
// can be killed and started anywhere.
package analyzer

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/ownership"
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
	// Late is how long a span may take from the time that is recorded as that of its storing to being seen, where that is
	// its start. Quiet and WaitMax begin after it.
	Late time.Duration
	// Workers is how many traces are judged at once.
	Workers int
	// SpansMax is how many spans of one trace are looked at.
	SpansMax int
	// Scope is which traces are judged.
	Scope storage.Scope
	// BytesMax is what the spans that are being judged may take, of all workers.
	BytesMax int64
	// SLO is how long entries and consumers may take, in nanoseconds: by "service operation", or else by operation.
	SLO map[string]int64
	// SeriesMax is how many combinations of labels a metric about services and owners may have.
	SeriesMax int
	// Slice is the part of all traces that this analyzer judges; without one, all that run share the work.
	Slice storage.Slice
	// KeepVerdicts is how long verdicts are kept; 0 is for ever. An hour of which some may have gone is not summed up again.
	KeepVerdicts time.Duration
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
	case c.BytesMax < bytesMin:
		return fmt.Errorf("analyzer.memory-bytes-max: %d is less than %d", c.BytesMax, int64(bytesMin))
	case c.SeriesMax < 1:
		return fmt.Errorf("analyzer.metrics-series-max: %d is less than 1", c.SeriesMax)
	case len(c.SLO) > sloMost:
		return fmt.Errorf("analyzer.slo: %d entries are more than %d", len(c.SLO), sloMost)
	case c.Slice.Of < 0 || c.Slice.From < 0 || c.Slice.Of > 0 && c.Slice.From >= c.Slice.Of:
		return fmt.Errorf("analyzer.shard: %d/%d is no part: write 0/2 and 1/2 for two halves", c.Slice.From, c.Slice.Of)
	}
	return nil
}

const bytesMin = 16 << 20

// Store is what the analyzer needs of the storage as a whole.
type Store interface {
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
	SampleTraces(ctx context.Context, from, to time.Time, entry string, limit int) ([]spans.TraceID, error)
	ReadBaseline(ctx context.Context, q storage.BaselineQuery, add func(*storage.BaselineCell)) error
}

// ShardStore is what it needs of each shard: all of a trace lies on one, and so do its verdicts.
type ShardStore interface {
	ServerTime(ctx context.Context) (time.Time, error)
	Touched(ctx context.Context, q storage.TouchQuery, add func(*storage.TouchedTrace)) error
	Judged(ctx context.Context, ids []spans.TraceID, add func(*storage.JudgedState)) error
	ScannedTo(ctx context.Context, slice storage.Slice) (time.Time, error)
	SetScannedTo(ctx context.Context, slice storage.Slice, at time.Time) error
	Heartbeat(ctx context.Context, name string) error
	Leave(ctx context.Context, name string) error
	Members(ctx context.Context, within time.Duration) ([]string, error)
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
	WriteJudged(ctx context.Context, judged iter.Seq[*storage.JudgedTrace]) error
	IngestedTraces(ctx context.Context, from, to time.Time, before time.Duration, limit int) (ids []spans.TraceID, standFor int, err error)
	LearntTo(ctx context.Context) (time.Time, error)
	SetLearntTo(ctx context.Context, at time.Time) error
	WriteBaseline(ctx context.Context, cells []storage.BaselineCell, at time.Time, token string) error
	SpansPerMinute(ctx context.Context, from, to time.Time) ([]storage.MinuteCount, error)
	HistoryTo(ctx context.Context, job string) (time.Time, error)
	SetHistoryTo(ctx context.Context, job string, at time.Time) error
	RollUp(ctx context.Context, oldest time.Time) (hours int, err error)
	IndexDays(ctx context.Context) (days int, err error)
	MakeTraffic(ctx context.Context, from, to time.Time, grain storage.Grain) error
	AddUpTraffic(ctx context.Context, hour time.Time) error
	TrafficMade(ctx context.Context, from time.Time, grain storage.Grain) (map[time.Time]uint64, error)
	Stored(ctx context.Context, from, to time.Time, grain storage.Grain) (map[time.Time]uint64, error)
	OldestStored(ctx context.Context) (time.Time, error)
	CallsByStatus(ctx context.Context, w storage.TrafficWindow) ([]storage.StatusCalls, error)
	Edges(ctx context.Context, w storage.TrafficWindow) ([]storage.Edge, error)
}

// Owners says who owns what is asked about, as *ownership.Registry does. What it answers may change while it is asked.
type Owners interface {
	Resolve(q *ownership.Question) ownership.Answer
}

// Analyzer is safe for concurrent use.
type Analyzer struct {
	cfg     Config
	store   Store
	owners  Owners
	log     *slog.Logger
	metrics *metrics
	blamed  *blameMetrics
	called  *trafficMetrics
	known   *known
	blocks  sync.Pool // of *spans.Block
	// spanBytes is about what a span takes while it is judged, by the last that were; 0 before any.
	spanBytes atomic.Int64
	name      string // among the analyzers
	shards    []*shard
	// fresh and past bound how many batches are judged at once, of all shards.
	fresh, past chan struct{}
	// While the stored baseline is read anew, nobody adds to what is known.
	learning sync.RWMutex
	reloaded atomic.Bool
}

// New checks the configuration and starts nothing. Without a cluster the storage has one shard: itself.
func New(cfg Config, store Store, shards []ShardStore, owners Owners, log *slog.Logger, reg prometheus.Registerer) (*Analyzer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Analyzer{
		cfg: cfg, store: store, owners: owners, log: log, metrics: newMetrics(reg), known: newKnown(len(shards)), name: fmt.Sprintf("%016x", rand.Uint64()),
		fresh: make(chan struct{}, cfg.Workers), past: make(chan struct{}, 1),
	}
	a.blamed, a.called = newBlameMetrics(reg, cfg.SeriesMax), newTrafficMetrics(cfg.SeriesMax)
	reg.MustRegister(a.called)
	for i, store := range shards {
		a.shards = append(a.shards, newShard(a, i, len(shards), store))
	}
	a.blocks.New = func() any { return new(spans.Block) }
	return a, nil
}

const (
	// slowMost operations are looked at for runs that are too slow: those that run most.
	slowMost = 1000
	// sloMost entries may have an SLO: all of them are in every question which traces got spans.
	sloMost = 500
	// idlePause is how long there may be nothing to do before it is looked again.
	idlePause = time.Second
	errorMax  = 15 * time.Second
)

// Run judges until ctx ends; the round that is under way is finished, for a while.
func (a *Analyzer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.repeat(ctx, "read the baseline", reloadEvery, a.reload); return nil })
	for _, s := range a.shards {
		group.Go(func() error { return s.run(ctx) })
	}
	return group.Wait()
}

// repeat runs step again and again: at once while it has more to do, else after a pause. Errors are logged and
// tried again, less and less eagerly.
func (a *Analyzer) repeat(ctx context.Context, what string, pause time.Duration, step func(context.Context) (more bool, err error)) {
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
		}
	}
}

// slow are the operations of which it is known what is too slow, and all that have an SLO.
func (a *Analyzer) slow() (list []storage.SlowOperation) {
	if a.cfg.Scope == storage.Failing {
		return nil
	}
	for _, entry := range slices.Sorted(maps.Keys(a.cfg.SLO)) {
		list = append(list, storage.SlowOperation{Name: entry, OverNs: a.cfg.SLO[entry]})
	}
	a.known.now().Slow(slowMost, func(service, name string, overNs int64) {
		list = append(list, storage.SlowOperation{Service: service, Name: name, OverNs: overNs})
	})
	return list
}

// JudgeNow judges a trace on what is stored of it at this moment; nil where nothing is. What is known of its spans helps to find them.
func (a *Analyzer) JudgeNow(ctx context.Context, of storage.SettledTrace) (verdicts []verdict.Verdict, err error) {
	err = a.lookAt(ctx, of, func(f *trace.Forest, cfg blame.Config) { verdicts = blame.Judge(f, cfg) })
	return verdicts, err
}

// ExplainNow is like JudgeNow; the verdicts say as well which rules were tried on the spans of a service, and on calls to it.
func (a *Analyzer) ExplainNow(ctx context.Context, of storage.SettledTrace, service string) (verdicts []verdict.Verdict, err error) {
	err = a.lookAt(ctx, of, func(f *trace.Forest, cfg blame.Config) {
		cfg.Explain, cfg.ExplainOf = true, service
		verdicts = blame.Judge(f, cfg)
	})
	return verdicts, err
}

// TimelineNow lays out what is stored of a trace, with the exceptions of the spans that verdicts blame; nil where nothing is stored.
// Without verdicts it judges as well.
func (a *Analyzer) TimelineNow(ctx context.Context, of storage.SettledTrace, verdicts []verdict.Verdict) (line *verdict.Timeline, judged []verdict.Verdict, err error) {
	err = a.lookAt(ctx, of, func(f *trace.Forest, cfg blame.Config) {
		if judged = verdicts; len(judged) == 0 {
			judged = blame.Judge(f, cfg)
		}
		line = blame.Timeline(f, cfg, judged)
	})
	return line, judged, err
}

// lookAt gives a trace to use, if anything of it is stored. Use must not keep the forest.
func (a *Analyzer) lookAt(ctx context.Context, of storage.SettledTrace, use func(*trace.Forest, blame.Config)) error {
	block := a.blocks.Get().(*spans.Block)
	defer a.blocks.Put(block)
	block.Reset()
	q := storage.TraceQuery{IDs: []spans.TraceID{of.TraceID}, From: of.FirstIngest, SpansMax: a.cfg.SpansMax, Keep: trace.Reads}
	if err := a.store.ReadTraces(ctx, q, block); err != nil {
		return err
	}
	if groups := trace.Group(block); len(groups) > 0 {
		use(trace.Build(block, groups[0].Rows, a.cfg.SpansMax), blame.Config{Owners: a.owners, Normal: a.known.now(), SLO: a.cfg.SLO})
	}
	return nil
}

// Ready says why no verdicts are written at the moment, nil when they are, on some shard at least.
func (a *Analyzer) Ready(context.Context) error {
	const lateAfter = time.Minute
	last := int64(0)
	for _, s := range a.shards {
		last = max(last, s.lastRound.Load())
	}
	if last == 0 {
		return fmt.Errorf("the analyzer has not finished a round yet")
	} else if late := time.Since(time.Unix(0, last)); late > lateAfter {
		return fmt.Errorf("the analyzer has not finished a round for %s", late.Round(time.Second))
	}
	return nil
}

// State says how far the analyzer has come, a line a shard.
func (a *Analyzer) State() string {
	lines := make([]string, len(a.shards))
	for i, s := range a.shards {
		lines[i] = s.state()
	}
	return strings.Join(lines, "\n")
}

type metrics struct {
	traces, errors prometheus.Counter
	verdicts       *prometheus.CounterVec
	lag, backlog   prometheus.Gauge
	lookedTo       prometheus.Gauge
	slices         prometheus.Gauge
	leftOut        prometheus.Gauge
	seconds        *prometheus.CounterVec
	spans          prometheus.Counter
	summedTo       prometheus.Gauge
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
	m.lookedTo = prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_looked_through_to_seconds", Help: "Until when everything that was stored has been looked through twice, in Unix seconds."})
	m.slices = prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_slices", Help: "Among how many analyzers the traces are divided."})
	m.spans = prometheus.NewCounter(prometheus.CounterOpts{Name: "whosehop_analyzer_spans_read_total", Help: "Spans read to be judged."})
	m.seconds = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "whosehop_analyzer_seconds_total", Help: "Where the time goes, all workers added up."}, []string{"stage"})
	m.leftOut = prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_baseline_left_out", Help: "What the baseline had no room for since it was last read."})
	m.summedTo = prometheus.NewGauge(prometheus.GaugeOpts{Name: "whosehop_analyzer_traffic_summed_to_seconds", Help: "Until when what is called was summed up last, in Unix seconds; 0 where others do it."})
	reg.MustRegister(m.summedTo, m.traces, m.errors, m.verdicts, m.lag, m.backlog, m.lookedTo, m.slices, m.leftOut, m.spans, m.seconds)
	return m
}

// took adds what has passed since began to a stage's time.
func (m *metrics) took(stage string, began time.Time) { m.spent(stage, time.Since(began)) }

func (m *metrics) spent(stage string, d time.Duration) {
	m.seconds.WithLabelValues(stage).Add(d.Seconds())
}

var stages = []string{"plan", "learn", "select", "read", "engine", "write"}

// stages gives the seconds that each stage has taken.
func (m *metrics) stages() map[string]float64 {
	all := make(map[string]float64, len(stages))
	for _, s := range stages {
		all[s] = valueOf(m.seconds.WithLabelValues(s))
	}
	return all
}

// troubles is how many verdicts had a symptom.
func (m *metrics) troubles() (n int64) {
	for _, s := range []verdict.Symptom{verdict.SymptomError, verdict.SymptomLatency, verdict.SymptomDegraded} {
		n += int64(valueOf(m.verdicts.WithLabelValues(string(s))))
	}
	return n
}

// valueOf is the value of a counter or a gauge.
func valueOf(m prometheus.Metric) float64 {
	var value dto.Metric
	if m.Write(&value) != nil {
		return 0
	}
	return value.GetCounter().GetValue() + value.GetGauge().GetValue()
}
