package analyzer

import (
	"context"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// Fresh traces are followed as they are stored: each round asks which traces got spans since the last one, and
// judges those that have settled. What a round cannot see, it leaves to the second look (window.go): spans that
// become visible long after they were stored, and late ones of traces that are forgotten by then.

// live is what the rounds hand on to each other.
type live struct {
	tracker *tracker
	slice   storage.Slice
	to      time.Time // everything that was stored before has been seen, as far as it was visible
	again   time.Time // when it was last looked again
}

const (
	// visibleSoon is how long a span mostly takes at most from its ingest time to being seen.
	visibleSoon = time.Second
	// Now and then a round looks again at what was stored a little earlier: on a busy ClickHouse an insert may take
	// some seconds.
	againEvery = 3 * time.Second
	againFor   = 15 * time.Second
	// visibleWithin is how long it may take.
	visibleWithin = 2 * time.Minute
	// behindAfter is how late fresh traces may be judged before the second look waits for them.
	behindAfter = time.Second
)

// recent is how far back fresh traces go: behind it, everything has had the time to settle.
func (c *Config) recent() time.Duration { return c.WaitMax + c.Quiet + c.Late + visibleWithin }

func (s *shard) judgeFresh(ctx context.Context) (more bool, err error) {
	defer func() {
		if err != nil {
			s.behind.Store(false) // nothing is won by waiting for a shard that is away
		}
	}()
	slice, ok := s.slice()
	if !ok {
		s.idle()
		return false, nil
	}
	now, err := s.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	if err := s.see(ctx, now, slice); err != nil {
		s.live.to = time.Time{} // some of it may have been seen: begin anew
		return false, err
	}
	due, err := s.dueNow(ctx, now)
	if err != nil {
		return false, err
	}
	lag, l := 0.0, s.live.tracker
	for i := range due {
		settled := l.settledMs(&due[i])
		lag = max(lag, float64(now.UnixMilli()-settled)/1000)
	}
	s.saw(lag, len(due))
	s.behind.Store(lag > behindAfter.Seconds())
	if err := s.judge(ctx, due, judging{slots: s.fresh, fresh: true, done: func(j *storage.SettledTrace) {
		s.live.tracker.judged(stateOf(j))
	}}); err != nil {
		return false, err
	}
	for i := range due {
		l.looked(&due[i])
	}
	s.lastRound.Store(time.Now().UnixNano())
	return false, nil
}

// dueNow lists what is to be judged. A trace of which no verdict is known may have one all the same: it was judged
// elsewhere, or forgotten.
func (s *shard) dueNow(ctx context.Context, now time.Time) ([]tracked, error) {
	t := s.live.tracker
	due := t.due(now.UnixMilli())
	var unknown []spans.TraceID
	for i := range due {
		if due[i].version == 0 {
			unknown = append(unknown, due[i].id)
		}
	}
	known := false
	if err := s.store.Judged(ctx, unknown, func(j *storage.JudgedState) { known = true; t.judged(j) }); err != nil {
		return nil, err
	}
	if known {
		due = t.due(now.UnixMilli())
	}
	return due, nil
}

// see brings the tracker up to date.
func (s *shard) see(ctx context.Context, now time.Time, slice storage.Slice) error {
	l := &s.live
	end := now.Add(-min(visibleSoon, s.cfg.Quiet/2))
	from := l.to.Add(-s.cfg.Late)
	again := s.cfg.Late > 0 || now.Sub(l.again) >= againEvery
	if again {
		from = l.to.Add(-max(s.cfg.Late, againFor))
		l.again = now
	}
	fresh := l.to.IsZero() || slice != l.slice
	if fresh {
		l.tracker.forgetAll()
		l.slice, l.to = slice, now.Add(-s.cfg.recent())
		from = l.to
	}
	if !end.After(l.to) {
		return nil
	}
	// Traces that began before anything that the tracker knows may have a verdict.
	before := now.UnixMilli() - l.tracker.keepMs
	var old []spans.TraceID
	began := time.Now()
	err := s.store.Touched(ctx, storage.TouchQuery{From: from, To: end, Scope: s.cfg.Scope, Slow: s.slow(), Slice: slice}, func(seen *storage.TouchedTrace) {
		if k := l.tracker.touch(seen, again); k != nil && k.version == 0 && (fresh || k.startNs/1e6 < before) {
			old = append(old, k.id)
		}
	})
	s.metrics.took("select", began)
	if err != nil {
		return err
	}
	if err := s.store.Judged(ctx, old, l.tracker.judged); err != nil {
		return err
	}
	l.to = end
	return nil
}

// stateOf is what will be known of a trace that has been judged.
func stateOf(j *storage.SettledTrace) *storage.JudgedState {
	last := j.LastIngest.UnixMilli()
	return &storage.JudgedState{
		ID: j.TraceID, Version: int64(j.Version), Rows: int64(j.Rows), FirstMs: j.FirstIngest.UnixMilli(), LastMs: last, JudgedMs: last,
	}
}
