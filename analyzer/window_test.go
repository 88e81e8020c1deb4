package analyzer

import (
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
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
