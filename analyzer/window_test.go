package analyzer

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// TestDueInWindow: what was judged on all that is stored is left alone, and nothing is judged on less than before.
func TestDueInWindow(t *testing.T) {
	at := func(second int) int64 { return int64(second) * 1000 }
	const from, to, now = 100, 200, 1000
	plain := window{from: time.UnixMilli(at(from)), to: time.UnixMilli(at(to)), around: 30 * time.Second}
	again, byStart := plain, plain
	again.again = true
	byStart.again, byStart.byStart = true, true
	type state = storage.JudgedState
	for name, tc := range map[string]struct {
		w     window
		trace tracked
		state *state
		want  bool
	}{
		"failed":                      {w: plain, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(111), suspect: true}, want: true},
		"healthy":                     {w: plain, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(111)}},
		"still gets spans":            {w: plain, trace: tracked{rows: 3, firstMs: at(980), lastMs: at(999), suspect: true}},
		"gets spans for too long":     {w: plain, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(999), suspect: true}, want: true},
		"judged on all":               {w: plain, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(111), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(110), LastMs: at(111)}},
		"a late span":                 {w: plain, trace: tracked{rows: 4, firstMs: at(110), lastMs: at(120), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(110), LastMs: at(111)}, want: true},
		"a late healthy span":         {w: plain, trace: tracked{rows: 1, firstMs: at(190), lastMs: at(190)}, state: &state{Version: 1, Rows: 3, FirstMs: at(10), LastMs: at(11)}, want: true},
		"visible late, within":        {w: plain, trace: tracked{rows: 4, firstMs: at(110), lastMs: at(120), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(110), LastMs: at(120)}, want: true},
		"begun before what is seen":   {w: plain, trace: tracked{rows: 2, firstMs: at(75), lastMs: at(120), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(60), LastMs: at(120)}},
		"went on behind what is seen": {w: plain, trace: tracked{rows: 2, firstMs: at(190), lastMs: at(229), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(190), LastMs: at(240)}},
		"fewer than were judged":      {w: plain, trace: tracked{rows: 2, firstMs: at(110), lastMs: at(120), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(110), LastMs: at(120)}},
		"again":                       {w: again, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(111), suspect: true}, state: &state{Version: 1, Rows: 3, FirstMs: at(110), LastMs: at(111)}, want: true},
		"again, never judged, healthy": {
			w: again, trace: tracked{rows: 3, firstMs: at(110), lastMs: at(111)},
		},
		"begun in the window before": {w: byStart, trace: tracked{rows: 3, startNs: at(99) * 1e6, firstMs: at(99), lastMs: at(111), suspect: true}},
		"begun in this window":       {w: byStart, trace: tracked{rows: 3, startNs: at(100) * 1e6, firstMs: at(100), lastMs: at(111), suspect: true}, want: true},
	} {
		a := &Analyzer{cfg: Config{Quiet: 5 * time.Second, WaitMax: time.Minute}}
		s := tc.state
		if s == nil {
			s = new(state)
		}
		if got := a.due(&tc.w, time.UnixMilli(at(now)), &tc.trace, s, tc.state != nil); got != tc.want {
			t.Errorf("%s: due %t, want %t", name, got, tc.want)
		}
	}
}

// manyTraces is a shard on which each trace is due but those that were judged; the first bytes of an id are its hash.
type manyTraces struct {
	ShardStore
	ids   []spans.TraceID
	looks int
}

func (m *manyTraces) Touched(ctx context.Context, q storage.TouchQuery, add func(*storage.TouchedTrace)) error {
	m.looks++
	for _, id := range m.ids {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		of := max(1, q.Slice.Of)
		if part := int(uint64(binary.BigEndian.Uint32(id[:4])) * uint64(of) >> 32); q.Slice.Of == 0 || part >= q.Slice.From && part < q.Slice.To {
			add(&storage.TouchedTrace{ID: id, Rows: 3, FirstMs: 1, LastMs: 2, Suspect: true})
		}
	}
	return nil
}

func (m *manyTraces) Judged(_ context.Context, ids []spans.TraceID, add func(*storage.JudgedState)) error {
	for _, id := range ids {
		if id[15] == 1 {
			add(&storage.JudgedState{ID: id, Version: 1, Rows: 3, FirstMs: 1, LastMs: 2})
		}
	}
	return nil
}

// TestMoreIsDueThanThereIsRoomFor: it is handed on half by half, each trace once.
func TestMoreIsDueThanThereIsRoomFor(t *testing.T) {
	for _, slice := range []storage.Slice{{}, {To: 1, Of: 1}, {From: 1, To: 3, Of: 3}} {
		m := &manyTraces{}
		want := 0
		for i := range uint32(lookMost + 1000) {
			id := spans.TraceID{15: byte(i % 2)}
			binary.BigEndian.PutUint32(id[:4], i*2654435761)
			binary.BigEndian.PutUint32(id[4:8], i)
			m.ids = append(m.ids, id)
			if uint64(i*2654435761)*3>>32 >= uint64(slice.From) && i%2 == 0 {
				want++
			}
		}
		const most = 5000
		a := &Analyzer{cfg: Config{Quiet: time.Second, WaitMax: time.Second, Workers: 1, BytesMax: most * 4 * 104}, known: newKnown(1), metrics: newMetrics(prometheus.NewRegistry())}
		s := newShard(a, 0, 1, m)
		w := window{from: time.UnixMilli(0), to: time.UnixMilli(100), around: time.Second, slice: slice}
		got := make(map[spans.TraceID]bool)
		err := s.dueIn(t.Context(), &w, time.UnixMilli(1e6), judging{}, func(due []tracked) error {
			if len(due) > s.cfg.dueMost() {
				t.Errorf("%d traces at once, and there is room for %d", len(due), s.cfg.dueMost())
			}
			for i := range due {
				if got[due[i].id] || due[i].id[15] == 1 {
					t.Fatalf("%x is handed on twice, or was judged", due[i].id)
				}
				got[due[i].id] = true
			}
			return nil
		})
		if err != nil || len(got) != want {
			t.Errorf("of %+v: %d of %d traces, %v", slice, len(got), want, err)
		}
		if m.looks < 2*want/most {
			t.Errorf("of %+v: %d looks", slice, m.looks)
		}
	}
}
