package query

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Timeline is the spans of a trace, laid out; nil where none is stored any more.
type Timeline struct {
	*verdict.Timeline
	// Rows is how many spans are stored: while that stays, a span keeps its index.
	Rows uint64
	// LeftOut is how many of them are not in it.
	LeftOut int
}

// Timeline lays out the spans of a trace, with the exceptions of those that verdicts blame.
func (s *Service) Timeline(ctx context.Context, traceID string, verdicts []verdict.Verdict) (*Timeline, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", traceID})
	if err != nil {
		return nil, err
	}
	defer done()
	id, err := ParseTraceID(traceID)
	if err != nil {
		return nil, err
	}
	stored, err := s.reader.StoredTrace(ctx, id)
	if err != nil || stored.Rows == 0 {
		return nil, err
	}
	key := timelineKey{id, stored.Rows}
	if kept := s.timelines.get(key); kept != nil {
		return kept, nil
	}
	line, err := s.judge.TimelineNow(ctx, id, blamedSpans(verdicts))
	if err != nil || line == nil {
		return nil, err
	}
	arrived := 0
	for i := range line.Spans {
		if !line.Spans[i].Missing {
			arrived++
		}
	}
	t := &Timeline{Timeline: line, Rows: stored.Rows, LeftOut: max(0, int(stored.Rows)-arrived)}
	s.timelines.put(key, t)
	return t, nil
}

// blamedSpans are the spans that carry a share.
func blamedSpans(verdicts []verdict.Verdict) map[spans.SpanID]bool {
	ids := make(map[spans.SpanID]bool)
	for i := range verdicts {
		for k := range verdicts[i].Shares {
			for _, text := range verdicts[i].Shares[k].SpanIDs {
				var id spans.SpanID
				if n, err := hex.Decode(id[:], []byte(text)[:min(len(text), 2*len(id))]); err == nil && n == len(id) {
					ids[id] = true
				}
			}
		}
	}
	return ids
}

type timelineKey struct {
	id   spans.TraceID
	rows uint64
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
