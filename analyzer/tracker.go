package analyzer

import (
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// tracker knows of the traces that got spans of late: all of them, for a healthy one may still fail. Whatever it
// forgets, or never saw, is found again when the window that it came in is looked through a second time.
//
// Times are those of ClickHouse's clock, in milliseconds. It is not safe for concurrent use.
type tracker struct {
	quietMs, waitMs, keepMs int64
	most                    int

	of     map[spans.TraceID]int32
	traces []tracked
	free   []int32
}

// tracked is a trace; a zero one is free.
type tracked struct {
	id              spans.TraceID
	rows            int64
	firstMs, lastMs int64 // when its spans were stored
	startNs         int64
	suspect         bool
	// freshMs is when the first span was stored that is not judged, 0 if all are.
	freshMs int64
	// What the newest verdict was judged on, as far as is known.
	version, judgedRows, judgedFirstMs, judgedLastMs int64
}

// forgetAfter is how much longer a trace is known of than it is waited for.
const forgetAfter = 30 * time.Second

func newTracker(cfg *Config, shards int) *tracker {
	return &tracker{
		quietMs: (cfg.Quiet + cfg.Late).Milliseconds(), waitMs: (cfg.WaitMax + cfg.Late).Milliseconds(),
		keepMs: (cfg.WaitMax + cfg.Quiet + cfg.Late + forgetAfter).Milliseconds(), most: trackedMax / shards, of: make(map[spans.TraceID]int32),
	}
}

// trackedMax bounds the memory of all trackers, at some 200 bytes a trace.
const trackedMax = 500_000

// touch adds what was seen of a trace, or with again what may have been seen already. When there is no room, healthy
// traces are left to the second look.
func (t *tracker) touch(seen *storage.TouchedTrace, again bool) *tracked {
	at, ok := t.of[seen.ID]
	if !ok {
		switch {
		case len(t.free) > 0:
			at = t.free[len(t.free)-1]
			t.free = t.free[:len(t.free)-1]
		case len(t.traces) < t.most || seen.Suspect:
			at = int32(len(t.traces))
			t.traces = append(t.traces, tracked{})
		default:
			return nil
		}
		t.of[seen.ID] = at
		t.traces[at] = tracked{id: seen.ID, firstMs: seen.FirstMs, lastMs: seen.LastMs, startNs: seen.StartNs, freshMs: seen.FirstMs}
	}
	k := &t.traces[at]
	if k.freshMs == 0 && seen.LastMs > k.judgedLastMs {
		k.freshMs = max(seen.FirstMs, k.judgedLastMs)
	}
	if again {
		k.rows = max(k.rows, seen.Rows)
	} else {
		k.rows += seen.Rows
	}
	k.firstMs, k.lastMs, k.startNs = min(k.firstMs, seen.FirstMs), max(k.lastMs, seen.LastMs), min(k.startNs, seen.StartNs)
	k.suspect = k.suspect || seen.Suspect
	return k
}

// judged says what a trace was judged on.
func (t *tracker) judged(s *storage.JudgedState) {
	if at, ok := t.of[s.ID]; ok {
		k := &t.traces[at]
		k.version, k.judgedLastMs = max(k.version, s.Version), max(k.judgedLastMs, s.LastMs)
		k.judgedRows, k.judgedFirstMs, k.firstMs = max(k.judgedRows, s.Rows), s.FirstMs, min(k.firstMs, s.FirstMs)
		if k.freshMs = max(k.freshMs, s.LastMs); s.LastMs >= k.lastMs {
			k.freshMs = 0
		}
	}
}

// looked says that a trace was to be judged on all that is known of it. If nothing of it could be read (it was deleted,
// or its id is not written as ids are), that was all.
func (t *tracker) looked(k *tracked) {
	if at, ok := t.of[k.id]; ok {
		now := &t.traces[at]
		now.judgedLastMs, now.judgedRows = max(now.judgedLastMs, k.lastMs), max(now.judgedRows, k.rows)
	}
}

// settledMs is when a trace is to be judged, if it gets no more spans.
func (t *tracker) settledMs(k *tracked) int64 {
	if k.freshMs == 0 {
		return k.lastMs + t.quietMs
	}
	return min(k.lastMs+t.quietMs, k.freshMs+t.waitMs)
}

// due are the traces that are to be judged now: those with a symptom, or a verdict, and spans that are not judged,
// that have got no span for the quiet period or were waited for long enough. The earliest come first. It forgets
// what is long over.
func (t *tracker) due(nowMs int64) []tracked {
	var list []tracked
	for i := range t.traces {
		k := &t.traces[i]
		if k.id == (spans.TraceID{}) {
			continue
		}
		wanted := (k.suspect || k.version > 0) && (k.lastMs > k.judgedLastMs || k.rows > k.judgedRows)
		switch {
		case wanted && t.settledMs(k) <= nowMs:
			list = append(list, *k)
		case !wanted && k.lastMs <= nowMs-t.keepMs:
			delete(t.of, k.id)
			*k = tracked{}
			t.free = append(t.free, int32(i))
		}
	}
	sortByTime(list, true)
	return list
}

// forgetAll begins anew.
func (t *tracker) forgetAll() {
	clear(t.of)
	t.traces, t.free = t.traces[:0], t.free[:0]
}
