package analyzer

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// History is a judgement of all traces that began in [From, To), of those that have an up-to-date verdict as well.
type History struct {
	From, To time.Time
	// Entry keeps the traces that came in there: an operation, or a service and an operation. Empty keeps all.
	Entry string
}

// HistoryProgress is how far a history has come.
type HistoryProgress struct {
	// Spans is how many spans have been dealt with in this run, of those that were still to come when it began.
	Spans, SpansTotal int64
	// Resumed is where an earlier run had come to, zero if there was none.
	Resumed time.Time
	// To is when the traces began that have been dealt with.
	To time.Time
}

// HistoryResult is what a run did, and where the time went: the seconds of all workers added up, by stage.
type HistoryResult struct {
	Spans, Traces, Verdicts int64
	Seconds                 map[string]float64
}

const (
	// historySpans are looked through at once: each time, the seconds around them are as well.
	historySpans = 10_000_000
	// Where nothing is known, normal is learnt from so many samples, spread over the time, of so many traces of a part
	// with so many spans.
	samples      = 4
	sampleTraces = 500
	sampleSpans  = 100_000
)

// job names a history: the same question under the same rules and SLOs goes on where it was broken off.
func (h *History) job(cfg *Config) string {
	f := fnv.New64a()
	_, _ = fmt.Fprintf(f, "%d %d %q %d %s", h.From.UnixNano(), h.To.UnixNano(), h.Entry, cfg.Scope, verdict.Rules)
	for _, entry := range slices.Sorted(maps.Keys(cfg.SLO)) {
		_, _ = fmt.Fprintf(f, " %q %d", entry, cfg.SLO[entry])
	}
	return fmt.Sprintf("history %016x", f.Sum64())
}

// JudgeHistory judges the past, window by window, and goes on where an earlier run was broken off. progress is not called
// by two at once.
func (a *Analyzer) JudgeHistory(ctx context.Context, h History, progress func(HistoryProgress)) (*HistoryResult, error) {
	// How far it has come is recorded in milliseconds.
	h.From, h.To = h.From.Truncate(time.Millisecond), h.To.Add(time.Millisecond-1).Truncate(time.Millisecond)
	all := &histories{History: h, job: h.job(&a.cfg), progress: progress}
	began := time.Now()
	for _, s := range a.shards {
		past, err := all.of(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.here("judge the past"), err)
		}
		all.shards = append(all.shards, past)
	}
	a.metrics.took("plan", began)
	all.say()
	began = time.Now()
	if err := a.knowSomething(ctx, &h, all.longest()); err != nil {
		return nil, err
	}
	a.metrics.took("learn", began)
	group, groupCtx := errgroup.WithContext(ctx)
	for _, past := range all.shards {
		group.Go(func() error { return past.judge(groupCtx, all) })
	}
	err := group.Wait()
	all.result.Spans, all.result.Verdicts, all.result.Seconds = all.said.Spans, a.metrics.troubles(), a.metrics.stages()
	return &all.result, err
}

// histories are a history on all shards.
type histories struct {
	History
	job    string
	shards []*shardHistory

	mu       sync.Mutex
	said     HistoryProgress
	progress func(HistoryProgress)
	result   HistoryResult
}

// shardHistory is a history on a shard.
type shardHistory struct {
	*shard
	to      time.Time // how far it has come
	minutes []storage.MinuteCount
}

// of finds out what is to be done on a shard.
func (all *histories) of(ctx context.Context, s *shard) (*shardHistory, error) {
	done, err := s.store.HistoryTo(ctx, all.job)
	if err != nil {
		return nil, err
	}
	past := &shardHistory{shard: s, to: all.From}
	if done.After(all.From) && done.Before(all.To) {
		past.to = done
		if all.said.Resumed.IsZero() || done.Before(all.said.Resumed) {
			all.said.Resumed = done
		}
	}
	if past.minutes, err = s.store.SpansPerMinute(ctx, past.to, all.To); err != nil {
		return nil, err
	}
	for _, m := range past.minutes {
		all.said.SpansTotal += m.Spans
	}
	return past, nil
}

// longest is what a shard has that has most to do.
func (all *histories) longest() (minutes []storage.MinuteCount) {
	for _, past := range all.shards {
		if len(past.minutes) > len(minutes) {
			minutes = past.minutes
		}
	}
	return minutes
}

// say tells how far all shards have come; mu is held, or nobody else runs yet.
func (all *histories) say() {
	all.said.To = all.To
	for _, past := range all.shards {
		if past.to.Before(all.said.To) {
			all.said.To = past.to
		}
	}
	all.progress(all.said)
}

// judge judges window by window; while one is judged, the next is looked through.
func (past *shardHistory) judge(ctx context.Context, all *histories) error {
	type looked struct {
		due  []tracked
		done *part // a window of which all was handed on
		last bool  // of the slices of one time
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan looked)
	how := judging{slots: past.fresh, gentle: true, alone: true, done: func(*storage.SettledTrace) {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.result.Traces++
	}}
	group.Go(func() error {
		defer close(ready)
		windows := split(past.to, all.To, past.minutes)
		for i, w := range windows {
			now, err := past.store.ServerTime(ctx)
			if err != nil {
				return err
			}
			w.around, w.entry = past.cfg.WaitMax+past.cfg.Quiet, all.Entry
			w.first = w.from.Equal(all.From)
			hand := func(l looked) error {
				select {
				case ready <- l:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err := past.dueIn(ctx, &w.window, now, how, func(due []tracked) error { return hand(looked{due: due}) }); err != nil {
				return err
			}
			if err := hand(looked{done: &w, last: i+1 == len(windows) || !windows[i+1].from.Equal(w.from)}); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		for l := range ready {
			if err := past.shard.judge(ctx, l.due, how); err != nil {
				return err
			}
			if l.done == nil {
				continue
			}
			if l.last {
				if err := past.store.SetHistoryTo(ctx, all.job, l.done.to); err != nil {
					return err
				}
			}
			past.came(l.done, l.last, all)
		}
		return nil
	})
	return group.Wait()
}

// came takes note of how far the history has come on a shard.
func (past *shardHistory) came(w *part, last bool, all *histories) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.said.Spans += w.spans
	if last {
		past.to = w.to
		all.say()
	}
}

// part is a window, and how many spans it has.
type part struct {
	window
	spans int64
}

// split divides a time into windows of no more than historySpans spans; where a minute has more, into slices of its
// traces.
func split(from, to time.Time, minutes []storage.MinuteCount) (windows []part) {
	for i := 0; i < len(minutes); {
		n, spans := i, int64(0)
		for n < len(minutes) && (n == i || spans+minutes[n].Spans <= historySpans) {
			spans += minutes[n].Spans
			n++
		}
		end := to
		if n < len(minutes) {
			end = minutes[n].At
		}
		slices := int((spans + historySpans - 1) / historySpans)
		for s := range slices {
			n := spans*int64(s+1)/int64(slices) - spans*int64(s)/int64(slices)
			windows = append(windows, part{spans: n, window: window{
				from: from, to: end, byStart: true, again: true, slice: storage.Slice{From: s, To: s + 1, Of: slices},
			}})
		}
		from, i = end, n
	}
	return windows
}

// knowSomething reads what is normal; on first contact it is learnt from a sample of what is to be judged.
func (a *Analyzer) knowSomething(ctx context.Context, h *History, minutes []storage.MinuteCount) error {
	if _, err := a.reload(ctx); err != nil {
		return err
	}
	for _, s := range a.shards {
		if !a.known.learntTo(s.index).IsZero() {
			return nil
		}
	}
	learnt := new(baseline.Baseline)
	judger := blame.NewJudger(blame.Config{Normal: learnt, OnlyTrouble: true})
	for _, s := range samplesOf(h.From, h.To, minutes) {
		err := a.sampleOf(ctx, s.from, s.to, h.Entry, s.traces, func(f *trace.Forest) { learnFrom(learnt, f, judger.Judge(f)) })
		if err != nil {
			return err
		}
	}
	a.known.replace(learnt, slices.Repeat([]time.Time{h.To}, len(a.shards)))
	return nil
}

// sample is so many of the traces that began in a time.
type sample struct {
	from, to time.Time
	traces   int
}

// samplesOf spreads samples over a time. Those that fall into the same minute are one, of as many traces: the same
// traces again would say nothing new.
func samplesOf(from, to time.Time, minutes []storage.MinuteCount) (list []sample) {
	for i := 0; i < samples && len(minutes) > 0; {
		at, n := i*len(minutes)/samples, 1
		for i+n < samples && (i+n)*len(minutes)/samples == at {
			n++
		}
		i += n
		s := sample{from: minutes[at].At, traces: n * sampleTraces}
		if s.from.Before(from) {
			s.from = from
		}
		s.to = s.from.Add(min(time.Minute, time.Minute*time.Duration(n*sampleSpans)/time.Duration(minutes[at].Spans)))
		if s.to.After(to) {
			s.to = to
		}
		list = append(list, s)
	}
	return list
}
