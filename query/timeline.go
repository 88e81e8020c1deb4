package query

import (
	"context"
	"slices"
	"sync"

	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Timeline is the spans of a trace, laid out, and what is thought of it.
type Timeline struct {
	// Timeline is nil where no spans are stored any more.
	*verdict.Timeline
	Verdicts []verdict.Verdict
	// Rows is how many spans are stored: while that stays, a span keeps its index.
	Rows uint64
	// LeftOut is how many of them are not in it.
	LeftOut int
}

// Timeline lays out the spans of a trace, with the exceptions of those that its verdicts blame. They are read once for both.
func (s *Service) Timeline(ctx context.Context, traceID string) (*Timeline, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", traceID})
	if err != nil {
		return nil, err
	}
	defer done()
	before, err := s.judgedBefore(ctx, traceID)
	if err != nil {
		return nil, err
	}
	rows := before.of.Rows
	if !before.settled {
		now, err := s.reader.StoredTrace(ctx, before.of.TraceID)
		if err != nil {
			return nil, err
		}
		rows = now.Rows
	}
	key := timelineKey{before.of.TraceID, rows, before.of.Version}
	if kept := s.timelines.get(key); kept != nil {
		return kept, nil
	}
	t := &Timeline{Rows: rows}
	if t.Timeline, t.Verdicts, err = s.judge.TimelineNow(ctx, before.of, before.verdicts); err != nil {
		return nil, err
	}
	if len(before.verdicts) == 0 {
		if err := s.mark(ctx, t.Verdicts, &before); err != nil {
			return nil, err
		}
	}
	if t.Timeline == nil {
		t.Verdicts = before.verdicts
		return t, nil
	}
	arrived := 0
	for i := range t.Spans {
		if !t.Spans[i].Missing {
			arrived++
		}
	}
	t.LeftOut = max(0, int(rows)-arrived)
	s.timelines.put(key, t)
	return t, nil
}

type timelineKey struct {
	id      spans.TraceID
	rows    uint64
	version uint32 // of the verdict
}

// keptTimelines are those that were asked for last: whoever reads a page unfolds it bit by bit.
type keptTimelines struct {
	mu   sync.Mutex
	list []keptTimeline // the one that was used last is the last
}

type keptTimeline struct {
	key  timelineKey
	line *Timeline
}

// keptSpansMax bounds what is kept, some 200 bytes a span; keptMost how many.
const (
	keptSpansMax = 200_000
	keptMost     = 32
)

func (k *keptTimelines) get(key timelineKey) *Timeline {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := slices.IndexFunc(k.list, func(t keptTimeline) bool { return t.key == key })
	if at < 0 {
		return nil
	}
	found := k.list[at]
	k.list = append(slices.Delete(k.list, at, at+1), found)
	return found.line
}

func (k *keptTimelines) put(key timelineKey, line *Timeline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = slices.DeleteFunc(k.list, func(t keptTimeline) bool { return t.key.id == key.id })
	k.list = append(k.list, keptTimeline{key, line})
	held := 0
	for _, t := range k.list {
		held += len(t.line.Spans)
	}
	for len(k.list) > 1 && (held > keptSpansMax || len(k.list) > keptMost) {
		held -= len(k.list[0].line.Spans)
		k.list = slices.Delete(k.list, 0, 1)
	}
}
