package analyzer

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// HistoryStore is what judging the past needs beyond what an analyzer does.
type HistoryStore interface {
	SpansPerMinute(ctx context.Context, from, to time.Time) ([]storage.MinuteCount, error)
	HistoryTo(ctx context.Context, job string) (time.Time, error)
	SetHistoryTo(ctx context.Context, job string, at time.Time) error
}

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
	// historySpans are looked through at once: what is known of their traces is held in memory.
	historySpans = 4_000_000
	// Where nothing is known, normal is learnt from so many samples, spread over the time, of so many traces of a part
	// with so many spans.
	samples      = 4
	sampleTraces = 500
	sampleSpans  = 100_000
)

// job names a history: the same question under the same rules goes on where it was broken off.
func (h *History) job(cfg *Config) string {
	f := fnv.New64a()
	_, _ = fmt.Fprintf(f, "%d %d %q %d %s", h.From.UnixNano(), h.To.UnixNano(), h.Entry, cfg.Scope, verdict.Rules)
	return fmt.Sprintf("history %016x", f.Sum64())
}

// JudgeHistory judges the past, window by window, and goes on where an earlier run was broken off.
func (a *Analyzer) JudgeHistory(ctx context.Context, store HistoryStore, h History, progress func(HistoryProgress)) (*HistoryResult, error) {
	// How far it has come is recorded in milliseconds.
	h.From, h.To = h.From.Truncate(time.Millisecond), h.To.Add(time.Millisecond-1).Truncate(time.Millisecond)
	job := h.job(&a.cfg)
	done, err := store.HistoryTo(ctx, job)
	if err != nil {
		return nil, err
	}
	p := HistoryProgress{To: h.From}
	if done.After(h.From) && done.Before(h.To) {
		p.Resumed, p.To = done, done
	}
	began := time.Now()
	minutes, err := store.SpansPerMinute(ctx, p.To, h.To)
	a.metrics.took("plan", began)
	if err != nil {
		return nil, err
	}
	for _, m := range minutes {
		p.SpansTotal += m.Spans
	}
	progress(p)
	began = time.Now()
	if err := a.knowSomething(ctx, &h, minutes); err != nil {
		return nil, err
	}
	a.metrics.took("learn", began)
	result := &HistoryResult{}
	for windows := split(p.To, h.To, minutes); len(windows) > 0; {
		n := 1 // the slices of one time
		for n < len(windows) && windows[n].from.Equal(windows[0].from) {
			n++
		}
		if err := a.judgeSlices(ctx, windows[:n], &h, result); err != nil {
			return result, err
		}
		p.To = windows[n-1].to
		for _, w := range windows[:n] {
			p.Spans += w.spans
		}
		windows = windows[n:]
		if err := store.SetHistoryTo(ctx, job, p.To); err != nil {
			return result, err
		}
		progress(p)
	}
	result.Spans, result.Verdicts, result.Seconds = p.Spans, a.metrics.troubles(), a.metrics.stages()
	return result, nil
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
				from: from, to: end, byStart: true, again: true, slice: storage.Slice{Index: s, Of: slices},
			}})
		}
		from, i = end, n
	}
	return windows
}

// judgeSlices judges windows; while one is judged, the next is looked through.
func (a *Analyzer) judgeSlices(ctx context.Context, windows []part, h *History, result *HistoryResult) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan []tracked)
	now, err := a.store.ServerTime(ctx)
	if err != nil {
		return err
	}
	how := judging{workers: a.cfg.Workers, gentle: true, alone: true, done: func(*storage.SettledTrace) { result.Traces++ }}
	group.Go(func() error {
		defer close(ready)
		for i := range windows {
			w := windows[i].window
			w.around, w.entry = a.cfg.WaitMax+a.cfg.Quiet, h.Entry
			w.first = w.from.Equal(h.From)
			due, err := a.dueIn(ctx, &w, now, how)
			if err != nil {
				return err
			}
			select {
			case ready <- due:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		for due := range ready {
			if err := a.judge(ctx, due, how); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// knowSomething reads what is normal; on first contact it is learnt from a sample of what is to be judged.
func (a *Analyzer) knowSomething(ctx context.Context, h *History, minutes []storage.MinuteCount) error {
	if err := a.reload(ctx); err != nil {
		return err
	}
	if !a.known.learntTo().IsZero() {
		return nil
	}
	learnt := new(baseline.Baseline)
	judger := blame.NewJudger(blame.Config{Normal: learnt, OnlyTrouble: true})
	for _, s := range samplesOf(h.From, h.To, minutes) {
		err := a.sampleOf(ctx, s.from, s.to, h.Entry, s.traces, func(f *trace.Forest) { learnFrom(learnt, f, judger.Judge(f)) })
		if err != nil {
			return err
		}
	}
	a.known.replace(learnt, h.To)
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
