package analyzer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

const (
	// learnWindow is how much of what was ingested is learnt from at once. Windows are the same for all
	// analyzers, and each is stored once, whoever comes first.
	learnWindow = 5 * time.Second
	// learnBefore is how far back is looked for spans of a trace, which is then of an earlier window. All of that time is
	// looked through for each window.
	learnBefore = time.Minute
	// learnTraces are learnt from in a window at most: a sample, so that the cost does not grow with the
	// traffic. learnSpans bounds what is read of each.
	learnTraces = 250
	learnSpans  = 2000
	// learnBack is how far back is learnt from when nobody has for long.
	learnBack = 10 * time.Minute
	// reloadEvery is how often the stored baseline is read anew by who learns: that learns what others do,
	// and needs it to forget what is too old. followEvery is how often who does not learn reads it.
	reloadEvery = 5 * time.Minute
	followEvery = time.Minute
	// sameTimeMin is how many samples of this hour of the week are enough to be normal by themselves.
	sameTimeMin = 500
	// recentKept is how long what was seen minute by minute is used.
	recentKept = baseline.RecentMinutes * time.Minute
	// cellsMost bounds what is read of the stored baseline. Of the room that a baseline has, that leaves a
	// quarter for what is learnt until the next time: operations whose names never come again, with ids in
	// them, then give way to those that do.
	cellsMost = 1_000_000
	roomRead  = baseline.KeysMost / 4 * 3
)

// learn learns from the next window that has settled, stores what it learnt, and makes it part of normal.
func (s *shard) learn(ctx context.Context) (more bool, err error) {
	// Of other shards, what others learn is enough.
	if _, ok := s.slice(); !ok || !s.reloaded.Load() {
		return false, nil
	}
	s.learning.RLock()
	defer s.learning.RUnlock()
	now, err := s.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	// Judged first, so that no trace is its own normal.
	const afterJudgement = time.Second
	end := now.Add(-s.cfg.Quiet - afterJudgement)
	from := s.known.learntTo(s.index).Truncate(learnWindow)
	if oldest := end.Add(-learnBack); from.Before(oldest) {
		from = oldest.Truncate(learnWindow)
	}
	to := from.Add(learnWindow)
	if to.After(end) {
		return false, nil
	}
	learnt, err := s.learnWindow(ctx, from, to)
	if err != nil {
		return false, err
	}
	sum := s.known.with(learnt)
	var cells []storage.BaselineCell
	learnt.Cells(func(c baseline.Cell) {
		if sum.Has(&c) {
			cells = append(cells, storage.BaselineCell{
				Kind: uint8(c.Kind), Key: c.Key, Failed: c.Failed, Minute: c.Minute, Counts: c.Counts, Low: c.Low, High: c.High,
			})
		}
	})
	if len(cells) > 0 {
		if err := s.store.WriteBaseline(ctx, cells, from, fmt.Sprint("learnt-", from.Unix())); err != nil {
			return false, err
		}
		if err := s.store.SetLearntTo(ctx, to); err != nil {
			return false, err
		}
	}
	s.metrics.leftOut.Set(float64(sum.LeftOut()))
	s.known.add(s.index, learnt, to)
	return true, nil
}

// learnWindow learns from a sample of what was ingested in a window. What is slow counts as seen, not as
// normal; of what failed only how failures spread is learnt. SLOs are not asked: what always breaks its own is normal.
func (s *shard) learnWindow(ctx context.Context, from, to time.Time) (*baseline.Baseline, error) {
	ids, standFor, err := s.store.IngestedTraces(ctx, from, to, learnBefore, learnTraces)
	if err != nil {
		return nil, err
	}
	learnt := new(baseline.Baseline)
	learnt.StandFor(standFor)
	learnt.Knowing(s.known.now())
	judger := blame.NewJudger(blame.Config{Normal: s.known.now(), OnlyTrouble: true})
	q := storage.TraceQuery{From: from, SpansMax: learnSpans}
	err = s.readSome(ctx, s.store, q, ids, func(builder *trace.Builder, rows []uint32) {
		f := builder.Build(rows, learnSpans)
		learnFrom(learnt, f, judger.Judge(f))
	})
	if err != nil {
		return nil, err
	}
	learnt.CameInAt(to.UnixNano())
	return learnt, nil
}

func learnFrom(to *baseline.Baseline, f *trace.Forest, verdicts []verdict.Verdict) {
	failed, slow := false, false
	for i := range verdicts {
		failed = failed || verdicts[i].Symptom == verdict.SymptomError
		slow = slow || verdicts[i].Symptom == verdict.SymptomLatency
	}
	switch {
	case slow:
		to.Witness(f)
	case failed:
		to.LearnFailed(f)
	default:
		to.Learn(f)
	}
}

// reload reads what all analyzers have learnt, and how far they have come. Of a shard that is away, neither is known.
func (a *Analyzer) reload(ctx context.Context) (more bool, err error) {
	a.learning.Lock()
	defer a.learning.Unlock()
	// Before what was learnt: a window that is stored meanwhile is rather learnt twice, until the next
	// time, than not at all.
	learntTo := make([]time.Time, len(a.shards))
	for i, s := range a.shards {
		to, shardErr := s.store.LearntTo(ctx)
		learntTo[i], err = to, errors.Join(err, shardErr)
	}
	if err != nil && len(a.shards) == 1 {
		return false, err
	}
	normal := new(baseline.Baseline)
	normal.Bound(roomRead)
	err = a.store.ReadBaseline(ctx, storage.BaselineQuery{
		Recent: recentKept, Histograms: baseline.Histograms(), SameTimeMin: sameTimeMin, CellsMost: cellsMost,
	}, func(c *storage.BaselineCell) {
		normal.Add(&baseline.Cell{
			Kind: baseline.CellKind(c.Kind), Key: c.Key, Failed: c.Failed, Minute: c.Minute, Counts: c.Counts, Low: c.Low, High: c.High,
		})
	})
	if err != nil {
		return false, err
	}
	normal.Bound(baseline.KeysMost)
	a.reloaded.Store(true)
	a.known.replace(normal, learntTo)
	return false, nil
}

// Follow keeps to what analyzers elsewhere learn, until ctx ends: for a process that judges on demand only.
func (a *Analyzer) Follow(ctx context.Context) error {
	a.repeat(ctx, "read the baseline", followEvery, a.reload)
	return nil
}
