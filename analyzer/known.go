package analyzer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// known is what traces are judged by: what was learnt, and what was seen in traces that are judged before
// their window is learnt from, so that the first callers that are refused are seen beside each other. A
// trace counts once: when its window is learnt from, what was seen of it is forgotten.
//
// It is safe for concurrent use. Readers do not wait: a baseline that was handed out is never changed.
type known struct {
	current atomic.Pointer[baseline.Baseline]

	mu     sync.Mutex
	learnt *baseline.Baseline
	shards []knownShard
}

// knownShard is how far was learnt of a shard, and what was seen since.
type knownShard struct {
	to   time.Time // the end of the last window that was learnt from
	seen []*seenWindow
}

type seenWindow struct {
	from   time.Time
	of     *baseline.Baseline
	traces map[spans.TraceID]bool
}

// seenWindows is how many windows are held that were not learnt from: when learning lags behind, what
// counts is what is seen now.
const seenWindows = 60

func newKnown(shards int) *known {
	k := &known{learnt: new(baseline.Baseline), shards: make([]knownShard, shards)}
	k.current.Store(k.learnt)
	return k
}

// now is what is known at this moment; it is not to be changed.
func (k *known) now() *baseline.Baseline { return k.current.Load() }

func (k *known) learntTo(shard int) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.shards[shard].to
}

// with is what was learnt, and more.
func (k *known) with(more *baseline.Baseline) *baseline.Baseline {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.learnt.With(more)
}

// add takes over what was learnt more from a shard, up to a moment.
func (k *known) add(shard int, more *baseline.Baseline, to time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.learnt = k.learnt.With(more)
	k.shards[shard].forgetBefore(to)
	k.publish()
}

// replace takes over what was learnt in all, of each shard up to a moment, which never moves back.
func (k *known) replace(learnt *baseline.Baseline, to []time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.learnt = learnt
	for i := range k.shards {
		k.shards[i].forgetBefore(to[i])
	}
	k.publish()
}

// forgetBefore forgets what was seen of windows that were learnt from.
func (s *knownShard) forgetBefore(to time.Time) {
	if to.After(s.to) {
		s.to = to
	}
	s.seen = slices.DeleteFunc(s.seen, func(w *seenWindow) bool { return w.from.Before(s.to) })
}

// publish makes what is known what is judged by.
func (k *known) publish() {
	seen := new(baseline.Baseline)
	for i := range k.shards {
		for _, w := range k.shards[i].seen {
			seen.Merge(w.of)
		}
	}
	k.current.Store(k.learnt.With(seen))
}

// arrival is a trace, and when its first span came in.
type arrival struct {
	id   spans.TraceID
	at   time.Time
	rows []uint32
}

// witness sees traces that are about to be judged and whose window was not learnt from, no more of each
// window than will be. They are built one after the other.
func (k *known) witness(shard int, arrivals []arrival, build func([]uint32) *trace.Forest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	saw := false
	for i := range arrivals {
		w := k.shards[shard].window(arrivals[i].at.Truncate(learnWindow))
		if w == nil || w.traces[arrivals[i].id] || len(w.traces) >= learnTraces {
			continue
		}
		w.traces[arrivals[i].id] = true
		w.of.Knowing(k.learnt)
		w.of.Witness(build(arrivals[i].rows))
		w.of.CameInAt(w.from.Add(learnWindow).UnixNano())
		saw = true
	}
	if saw {
		k.publish()
	}
}

// window is the one that begins at a moment, nil for one that was learnt from.
func (s *knownShard) window(from time.Time) *seenWindow {
	if from.Before(s.to) {
		return nil
	}
	for _, w := range s.seen {
		if w.from.Equal(from) {
			return w
		}
	}
	if len(s.seen) >= seenWindows {
		oldest := 0
		for i, w := range s.seen {
			if w.from.Before(s.seen[oldest].from) {
				oldest = i
			}
		}
		if from.Before(s.seen[oldest].from) {
			return nil
		}
		s.seen[oldest] = s.seen[len(s.seen)-1]
		s.seen = s.seen[:len(s.seen)-1]
	}
	w := &seenWindow{from: from, of: new(baseline.Baseline), traces: make(map[spans.TraceID]bool)}
	s.seen = append(s.seen, w)
	return w
}
