package analyzer

import (
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
	to     time.Time // the end of the last window that was learnt from
	seen   []*seenWindow
}

type seenWindow struct {
	from   time.Time
	of     *baseline.Baseline
	traces map[spans.TraceID]bool
}

// seenWindows is how many windows are held that were not learnt from: when learning lags behind, what
// counts is what is seen now.
const seenWindows = 60

func newKnown() *known {
	k := &known{learnt: new(baseline.Baseline)}
	k.current.Store(k.learnt)
	return k
}

// now is what is known at this moment; it is not to be changed.
func (k *known) now() *baseline.Baseline { return k.current.Load() }

func (k *known) learntTo() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.to
}

// with is what was learnt, and more.
func (k *known) with(more *baseline.Baseline) *baseline.Baseline {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.learnt.With(more)
}

// replace takes over what was learnt up to a moment, which never moves back.
func (k *known) replace(learnt *baseline.Baseline, to time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.learnt = learnt
	if to.After(k.to) {
		k.to = to
	}
	still := k.seen[:0]
	for _, w := range k.seen {
		if !w.from.Before(k.to) {
			still = append(still, w)
		}
	}
	clear(k.seen[len(still):])
	k.seen = still
	k.publish()
}

// publish makes what is known what is judged by.
func (k *known) publish() {
	seen := new(baseline.Baseline)
	for _, w := range k.seen {
		seen.Merge(w.of)
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
func (k *known) witness(arrivals []arrival, build func([]uint32) *trace.Forest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	saw := false
	for i := range arrivals {
		w := k.window(arrivals[i].at.Truncate(learnWindow))
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
func (k *known) window(from time.Time) *seenWindow {
	if from.Before(k.to) {
		return nil
	}
	for _, w := range k.seen {
		if w.from.Equal(from) {
			return w
		}
	}
	if len(k.seen) >= seenWindows {
		oldest := 0
		for i, w := range k.seen {
			if w.from.Before(k.seen[oldest].from) {
				oldest = i
			}
		}
		if from.Before(k.seen[oldest].from) {
			return nil
		}
		k.seen[oldest] = k.seen[len(k.seen)-1]
		k.seen = k.seen[:len(k.seen)-1]
	}
	w := &seenWindow{from: from, of: new(baseline.Baseline), traces: make(map[spans.TraceID]bool)}
	k.seen = append(k.seen, w)
	return w
}
