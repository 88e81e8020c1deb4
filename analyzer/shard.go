package analyzer

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/storage"
)

// shard is the work on one shard of the storage. It shares with the others what memory there is for batches, and else does not
// wait for them.
type shard struct {
	*Analyzer
	index   int
	store   ShardStore
	live    live
	traffic traffic
	mine    atomic.Pointer[storage.Slice] // the part that is judged here; nil until the other analyzers are known
	// lastRound is when the last round ended well, in Unix nanoseconds; behind, that fresh traces wait; lookedTo,
	// how far the second look has come, in Unix milliseconds.
	lastRound atomic.Int64
	behind    atomic.Bool
	lookedTo  atomic.Int64
	lagMs     atomic.Int64 // how long the oldest trace that is due has been
	backlog   atomic.Int64 // traces that were due at the last look
}

func newShard(a *Analyzer, index, shards int, store ShardStore) *shard {
	s := &shard{Analyzer: a, index: index, store: store}
	s.live.tracker = newTracker(&a.cfg, shards)
	if slice := a.cfg.Slice; slice.Of > 0 {
		mine := sliceOf(slice.From, slice.Of, index, shards)
		s.mine.Store(&mine)
	}
	return s
}

// run judges until ctx ends; the round that is under way is finished, for a while.
func (s *shard) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if s.cfg.Slice.Of == 0 {
		group.Go(func() error { s.repeat(ctx, s.here("share the work"), heartbeatEvery, s.share); return nil })
		defer s.leave(ctx)
	}
	pause := min(idlePause/2, s.cfg.Quiet/4)
	group.Go(func() error { s.repeat(ctx, s.here("judge"), pause, s.judgeFresh); return nil })
	group.Go(func() error { s.repeat(ctx, s.here("catch up"), catchUpEvery(&s.cfg), s.catchUp); return nil })
	// The first verdicts after a start need a normal as well.
	group.Go(func() error { s.repeat(ctx, s.here("learn"), time.Second, s.learn); return nil })
	group.Go(func() error { s.repeat(ctx, s.here("sum verdicts up"), rollUpEvery, s.rollUp); return nil })
	group.Go(func() error {
		s.repeat(ctx, s.here("have days indexed"), indexEvery, func(ctx context.Context) (more bool, err error) {
			if s.first() {
				_, err = s.store.IndexDays(ctx)
			}
			return false, err
		})
		return nil
	})
	group.Go(func() error { s.repeat(ctx, s.here("sum up what is called"), trafficEvery, s.sumUp); return nil })
	return group.Wait()
}

// rollUpEvery is how often is looked for hours of verdicts that can be summed up. Until then they are counted one by one.
const rollUpEvery = 10 * time.Second

// indexEvery is how often is looked for days that are over.
const indexEvery = time.Minute

// first says that the first part of the shard's traces is judged here: what is to be done once for a shard is done here as well.
func (s *shard) first() bool {
	slice, ok := s.slice()
	return ok && slice.From == 0
}

// rollUp sums verdicts up.
func (s *shard) rollUp(ctx context.Context) (more bool, err error) {
	if !s.first() {
		return false, nil
	}
	oldest := time.Time{}
	if s.cfg.KeepVerdicts > 0 {
		now, err := s.store.ServerTime(ctx)
		if err != nil {
			return false, err
		}
		const around = 2 * time.Hour
		oldest = now.Add(around - s.cfg.KeepVerdicts)
	}
	_, err = s.store.RollUp(ctx, oldest)
	return false, err
}

// here is something that is done on this shard, in words.
func (s *shard) here(what string) string {
	if len(s.shards) == 1 {
		return what
	}
	return fmt.Sprintf("%s on shard %d", what, s.index+1)
}

// slice is the part of the shard's traces that is judged here, if there is one.
func (s *shard) slice() (slice storage.Slice, ok bool) {
	if mine := s.mine.Load(); mine != nil {
		slice = *mine
	}
	return slice, slice.To > slice.From
}

// saw takes note of what is due.
func (s *shard) saw(lagSeconds float64, due int) {
	s.lagMs.Store(int64(lagSeconds * 1000))
	s.backlog.Store(int64(due))
	lagMs, backlog := int64(0), int64(0)
	for _, other := range s.shards {
		lagMs, backlog = max(lagMs, other.lagMs.Load()), backlog+other.backlog.Load()
	}
	s.metrics.lag.Set(float64(lagMs) / 1000)
	s.metrics.backlog.Set(float64(backlog))
}

// someBehind says that fresh traces wait, on any shard.
func (a *Analyzer) someBehind() bool {
	return slices.ContainsFunc(a.shards, func(s *shard) bool { return s.behind.Load() })
}

// looked takes note of how far the second look has come.
func (s *shard) looked(to time.Time) {
	least := to.UnixMilli()
	s.lookedTo.Store(least)
	for _, other := range s.shards {
		if at := other.lookedTo.Load(); at > 0 {
			least = min(least, at)
		}
	}
	s.metrics.lookedTo.Set(float64(least) / 1000)
}

// idle is a round of an analyzer that has no part of this shard.
func (s *shard) idle() {
	s.saw(0, 0)
	s.behind.Store(false)
	s.lookedTo.Store(0)
	if s.mine.Load() != nil {
		s.lastRound.Store(time.Now().UnixNano())
	}
}

// state says in a line how far the analyzer has come.
func (s *shard) state() string {
	what := s.here("analyzer")
	slice, ok := s.slice()
	switch {
	case s.mine.Load() == nil:
		return what + ": not known yet which part of the traces is its own"
	case !ok:
		return what + ": others judge all of it"
	}
	looked := "nothing yet"
	if to := s.lookedTo.Load(); to > 0 {
		looked = "to " + time.UnixMilli(to).UTC().Format(time.RFC3339)
	}
	part := fmt.Sprint(slice.From + 1)
	if slice.To-slice.From > 1 {
		part = fmt.Sprintf("%d-%d", slice.From+1, slice.To)
	}
	return fmt.Sprintf("%s, part %s of %d: %.1f s behind, %d traces due, looked through again %s",
		what, part, slice.Of, float64(s.lagMs.Load())/1000, s.backlog.Load(), looked)
}
