package analyzer

import (
	"context"
	"slices"
	"time"

	"github.com/whosehop/whosehop/storage"
)

// Analyzers find each other in ClickHouse: each writes down again and again that it is there, and all that are
// divide the traces among them by the order of their names. Who has just come, or not noticed yet that another one
// has gone, may judge what another one judges as well: that costs time, and the verdicts are the same.

const (
	heartbeatEvery = 3 * time.Second
	// deadAfter is how long an analyzer may be silent before the others take over its part.
	deadAfter    = 15 * time.Second
	leaveTimeout = 2 * time.Second
)

// sliceOf is what an analyzer judges of a shard, where all traces of all shards are divided among so many analyzers, in
// order. Each has as much as any other, of as few shards as can be.
func sliceOf(analyzer, analyzers, shard, shards int) storage.Slice {
	begin := shard * analyzers
	from, to := max(analyzer*shards, begin), min((analyzer+1)*shards, begin+analyzers)
	return storage.Slice{From: from - begin, To: max(from, to) - begin, Of: analyzers}
}

// share says that this analyzer is there, and finds out which part of the shard is its own.
func (s *shard) share(ctx context.Context) (more bool, err error) {
	if err := s.store.Heartbeat(ctx, s.name); err != nil {
		return false, err
	}
	names, err := s.store.Members(ctx, deadAfter)
	if err != nil {
		return false, err
	}
	index := slices.Index(names, s.name)
	if index < 0 {
		return false, nil // not visible yet
	}
	mine := sliceOf(index, len(names), s.index, len(s.shards))
	if before := s.mine.Load(); before == nil || *before != mine {
		s.mine.Store(&mine)
		s.metrics.slices.Set(float64(mine.Of))
		s.log.Info("this analyzer's part of the traces", "shard", s.index+1, "parts", mine.To-mine.From, "from", mine.From, "of", mine.Of)
	}
	return false, nil
}

// leave lets the others take over at once.
func (s *shard) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := s.store.Leave(ctx, s.name); err != nil {
		s.log.Warn("the other analyzers will notice late that this one has gone", "error", err)
	}
}
