package analyzer

import (
	"context"
	"errors"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// Everything that was stored is looked through a second time once it has had the time to settle, window by window:
// what is not judged, or not on all its spans, is judged then. That finds late spans, and what was stored while no
// analyzer ran.

// catchUpStep is how much of the past is looked through at once.
const catchUpStep = 10 * time.Minute

// catchUpEvery is how often the second look goes on. Each looks around its window for other spans of the same
// traces, as far as they are waited for: in windows shorter than that, most would be looked at many times.
func catchUpEvery(c *Config) time.Duration { return c.WaitMax + c.Quiet }

// catchUp looks through the next window, and records how far it has come.
func (s *shard) catchUp(ctx context.Context) (more bool, err error) {
	slice, ok := s.slice()
	if !ok {
		return false, nil
	}
	now, err := s.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	from, err := s.store.ScannedTo(ctx, slice)
	if err != nil {
		return false, err
	}
	s.looked(from)
	end := now.Add(-s.cfg.recent())
	to := from.Add(catchUpStep)
	if to.After(end) {
		to = end
	}
	if !to.After(from) {
		return false, nil
	}
	w := window{from: from, to: to, slice: slice, around: s.cfg.WaitMax + s.cfg.Quiet}
	how := judging{slots: s.past, gentle: true, yield: true}
	if err := s.dueIn(ctx, &w, now, how, func(due []tracked) error { return s.judge(ctx, due, how) }); err != nil {
		return false, err
	}
	return to.Before(end), s.store.SetScannedTo(ctx, slice, to)
}

// window is a time of which all traces are to be judged.
type window struct {
	from, to time.Time
	byStart  bool
	around   time.Duration
	slice    storage.Slice
	// again judges what has an up-to-date verdict, too.
	again bool
	// entry keeps the traces that came in there; empty keeps all.
	entry string
	// first says that no window comes before, in which traces could have begun.
	first bool
}

// dueIn gives the traces of a window to use that are to be judged, by time: those that are not judged on all that is
// stored of them. Those that still get spans are left to the judgement of fresh ones. Where more are due than there is
// memory for, use gets them half by half.
func (s *shard) dueIn(ctx context.Context, w *window, now time.Time, how judging, use func(due []tracked) error) error {
	due, err := s.lookThrough(ctx, w, now, how)
	if errors.Is(err, errTooMany) {
		first, second := *w, *w
		first.slice, second.slice = w.slice.Halves()
		if err := s.dueIn(ctx, &first, now, how, use); err != nil {
			return err
		}
		return s.dueIn(ctx, &second, now, how, use)
	}
	if err != nil {
		return err
	}
	sortByTime(due, false)
	return use(due)
}

// errTooMany says that more traces are due than there is memory for.
var errTooMany = errors.New("too many traces are due at once")

// lookMost is of how many traces it is asked at once whether they are judged.
const lookMost = 100_000

// lookThrough lists the traces of a window that are to be judged.
func (s *shard) lookThrough(ctx context.Context, w *window, now time.Time, how judging) (due []tracked, err error) {
	began := time.Now()
	defer func() { s.metrics.took("select", began) }()
	most := s.cfg.dueMost()
	var seen []tracked
	sift := func() error {
		ids := make([]spans.TraceID, len(seen))
		for i := range seen {
			ids[i] = seen[i].id
		}
		states := make(map[spans.TraceID]storage.JudgedState)
		if err := s.store.Judged(ctx, ids, func(j *storage.JudgedState) { states[j.ID] = *j }); err != nil {
			return err
		}
		for _, k := range seen {
			j, judged := states[k.id]
			if !s.due(w, now, &k, &j, judged) {
				continue
			}
			if judged {
				// It is judged anew on all of that, and what has come.
				k.version, k.judgedFirstMs, k.firstMs, k.lastMs = j.Version, j.FirstMs, min(k.firstMs, j.FirstMs), max(k.lastMs, j.LastMs)
			}
			due = append(due, k)
		}
		seen = seen[:0]
		if len(due) > most {
			return errTooMany
		}
		return nil
	}
	looking, stop := context.WithCancel(ctx)
	defer stop()
	var failed error
	err = s.store.Touched(looking, storage.TouchQuery{
		From: w.from, To: w.to, ByStart: w.byStart, Around: w.around, Scope: s.cfg.Scope, Slow: s.slow(), Slice: w.slice, Entry: w.entry, Gentle: how.gentle,
	}, func(t *storage.TouchedTrace) {
		if failed != nil {
			return
		}
		seen = append(seen, tracked{id: t.ID, rows: t.Rows, firstMs: t.FirstMs, lastMs: t.LastMs, startNs: t.StartNs, suspect: t.Suspect})
		if len(seen) == lookMost {
			if failed = sift(); failed != nil {
				stop()
			}
		}
	})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	return due, sift()
}

func (a *Analyzer) due(w *window, now time.Time, k *tracked, j *storage.JudgedState, judged bool) bool {
	fresh := k.lastMs > now.Add(-a.cfg.Quiet).UnixMilli() && max(k.firstMs, j.JudgedMs) > now.Add(-a.cfg.WaitMax).UnixMilli()
	switch {
	case fresh, w.byStart && !w.first && k.startNs < w.from.UnixNano(): // the window before has it
		return false
	case !judged:
		return k.suspect
	case w.again:
		return true
	}
	// What was judged on spans beyond what is looked at here cannot be counted here.
	counted := j.FirstMs >= w.from.Add(-w.around).UnixMilli() && j.LastMs < w.to.Add(w.around).UnixMilli()
	return k.lastMs > j.LastMs || counted && k.rows > j.Rows
}
