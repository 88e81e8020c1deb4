package analyzer

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/whosehop/whosehop/storage"
)

// Analyzers find each other in ClickHouse: each writes down again and again that it is there, and all that are
// divide the traces among them by the order of their names. Who has just come, or not noticed yet that another one
// has gone, may judge what another one judges as well: that costs time, and the verdicts are the same.

const (
	heartbeatEvery = 3 * time.Second
	// deadAfter is how long an analyzer may be silent before the others take over its part.
	deadAfter = 15 * time.Second
)

type members struct {
	name  string
	slice atomic.Pointer[storage.Slice] // of none until the others are known
}

// slice is the part of all traces that is judged here; Of is 0 until that is known.
func (a *Analyzer) slice() storage.Slice { return *a.members.slice.Load() }

// share says that this analyzer is there, and finds out which part is its own.
func (a *Analyzer) share(ctx context.Context) (more bool, err error) {
	if err := a.store.Heartbeat(ctx, a.members.name); err != nil {
		return false, err
	}
	names, err := a.store.Members(ctx, deadAfter)
	if err != nil {
		return false, err
	}
	index := slices.Index(names, a.members.name)
	if index < 0 {
		return false, nil // not visible yet
	}
	mine := storage.Slice{Index: index, Of: len(names)}
	if before := a.slice(); before != mine {
		a.members.slice.Store(&mine)
		a.metrics.slices.Set(float64(mine.Of))
		a.log.Info("this analyzer's part of all traces", "part", index, "of", len(names))
	}
	return false, nil
}

// leave lets the others take over at once.
func (a *Analyzer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := a.store.Leave(ctx, a.members.name); err != nil {
		a.log.Warn("the other analyzers will notice late that this one has gone", "error", err)
	}
}

const leaveTimeout = 2 * time.Second
