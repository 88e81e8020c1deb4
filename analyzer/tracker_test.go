package analyzer

import (
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// trackerTest is a tracker that waits 1 s for quiet and 5 s at most, and so forgets after 36 s.
type trackerTest struct {
	*testing.T
	*tracker
	late bool // each look is at times that were looked at before
}

const trackerTestKeepMs = 36_000

// move is one thing that happens to a tracker, or is asked of it. Times are in milliseconds.
type move func(t *trackerTest)

func traceNumber(n byte) spans.TraceID { return spans.TraceID{1, 15: n} }

// healthy spans of a trace were stored at a time, and began then; those of a suspect trace have a symptom.
func healthy(trace byte, atMs int64) move { return saw(trace, 2, atMs, atMs, atMs, false) }

func suspect(trace byte, atMs int64) move { return saw(trace, 2, atMs, atMs, atMs, true) }

func saw(trace byte, rows, firstMs, lastMs, startMs int64, suspect bool) move {
	return func(t *trackerTest) { t.Helper(); t.saw(trace, rows, firstMs, lastMs, startMs, suspect, t.late) }
}

// sawAgain is of a look at a time that was looked at before.
func sawAgain(trace byte, rows, firstMs, lastMs, startMs int64, suspect bool) move {
	return func(t *trackerTest) { t.Helper(); t.saw(trace, rows, firstMs, lastMs, startMs, suspect, true) }
}

func (t *trackerTest) saw(trace byte, rows, firstMs, lastMs, startMs int64, suspect, again bool) {
	t.Helper()
	seen := storage.TouchedTrace{ID: traceNumber(trace), Rows: rows, FirstMs: firstMs, LastMs: lastMs, StartNs: startMs * 1e6, Suspect: suspect}
	if k := t.touch(&seen, again); k == nil || k.id != seen.ID {
		t.Fatalf("trace %d, which was seen from %d to %d, is tracked as %+v", trace, firstMs, lastMs, k)
	}
}

// lookedAt is for a trace that was to be judged.
func lookedAt(trace byte) move {
	return func(t *trackerTest) { k := t.traces[t.of[traceNumber(trace)]]; t.looked(&k) }
}

// noRoom is for a healthy trace that was seen, and is left out.
func noRoom(trace byte, atMs int64) move {
	return func(t *trackerTest) {
		t.Helper()
		if k := t.touch(&storage.TouchedTrace{ID: traceNumber(trace), Rows: 2, FirstMs: atMs, LastMs: atMs, StartNs: atMs * 1e6}, t.late); k != nil {
			t.Fatalf("there is room for trace %d: %+v", trace, k)
		}
	}
}

// judgedOn is a judgement on more spans than were seen here.
func judgedOn(trace byte, version, firstMs, lastMs, atMs int64) move {
	return func(t *trackerTest) {
		t.judged(&storage.JudgedState{ID: traceNumber(trace), Version: version, Rows: 100, FirstMs: firstMs, LastMs: lastMs, JudgedMs: atMs})
	}
}

// judgedRows is a judgement on so many spans, of which the first was stored at 1000.
func judgedRows(trace byte, version, rows, lastMs int64) move {
	return func(t *trackerTest) {
		t.judged(&storage.JudgedState{ID: traceNumber(trace), Version: version, Rows: rows, FirstMs: 1000, LastMs: lastMs, JudgedMs: lastMs})
	}
}

func dueAt(nowMs int64, want ...byte) move {
	return func(t *trackerTest) {
		t.Helper()
		var got []byte
		for _, k := range t.due(nowMs) {
			got = append(got, k.id[15])
		}
		if !slices.Equal(got, want) {
			t.Fatalf("at %d the traces %d are due, want %d", nowMs, got, want)
		}
	}
}

// knows holds which traces are tracked.
func knows(want ...byte) move {
	return func(t *trackerTest) {
		t.Helper()
		got := make([]byte, 0, len(t.of))
		for id, at := range t.of {
			if t.traces[at].id != id {
				t.Fatalf("at the place of trace %d is %+v", id[15], t.traces[at])
			}
			got = append(got, id[15])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("the traces %d are tracked, want %d", got, want)
		}
		if len(t.of)+len(t.free) != len(t.traces) {
			t.Fatalf("of %d places %d are taken and %d free", len(t.traces), len(t.of), len(t.free))
		}
	}
}

// is holds what is known of a trace.
func is(want tracked, trace byte) move {
	return func(t *trackerTest) {
		t.Helper()
		want.id = traceNumber(trace)
		at, ok := t.of[want.id]
		got := t.traces[at]
		got.freshMs = 0 // when it is due says what that is
		if !ok || got != want {
			t.Fatalf("of trace %d (%t) is known\n%+v, want\n%+v", trace, ok, got, want)
		}
	}
}

func places(n int) move {
	return func(t *trackerTest) {
		t.Helper()
		if len(t.traces) != n {
			t.Fatalf("there are %d places, want %d", len(t.traces), n)
		}
	}
}

func TestTracker(t *testing.T) {
	for _, c := range []struct {
		name  string
		most  int
		late  time.Duration
		moves []move
	}{
		{name: "settles by quiet", moves: []move{
			suspect(1, 1000), dueAt(1000), dueAt(1999), dueAt(2000, 1), dueAt(2500, 1),
			judgedOn(1, 1, 1000, 1000, 1000), dueAt(2500), dueAt(9000),
		}},
		{name: "each span makes the quiet begin anew", moves: []move{
			suspect(1, 1000), healthy(1, 1900), dueAt(2000), dueAt(2899), dueAt(2900, 1),
		}},
		{name: "gets no quiet, and is waited for long enough", moves: []move{
			suspect(1, 1000), healthy(1, 1800), healthy(1, 2600), healthy(1, 3400), healthy(1, 4200), healthy(1, 5000), healthy(1, 5800),
			dueAt(5999), dueAt(6000, 1),
		}},
		{name: "after a judgement it is waited for as long again", moves: []move{
			suspect(1, 1000), healthy(1, 5800), dueAt(6000, 1), judgedOn(1, 1, 1000, 5800, 6000),
			healthy(1, 6600), healthy(1, 7400), dueAt(7500), healthy(1, 8200), healthy(1, 9000), healthy(1, 9800), healthy(1, 10_600),
			dueAt(11_599), dueAt(11_600, 1),
		}},
		{name: "healthy ones are not due", moves: []move{
			healthy(1, 1000), dueAt(2000), dueAt(7000), knows(1),
		}},
		{name: "a healthy one fails later", moves: []move{
			saw(1, 3, 1000, 1200, 900, false), dueAt(2500),
			saw(1, 2, 3000, 3100, 800, true), dueAt(4099), dueAt(4100, 1),
			is(tracked{rows: 5, firstMs: 1000, lastMs: 3100, startNs: 800e6, suspect: true}, 1),
		}},
		{name: "what was stored earlier becomes visible later", moves: []move{
			saw(1, 1, 3000, 3100, 2900, true), saw(1, 1, 2000, 2100, 2800, false),
			is(tracked{rows: 2, firstMs: 2000, lastMs: 3100, startNs: 2800e6, suspect: true}, 1),
		}},
		{name: "seen again after it was judged", moves: []move{
			suspect(1, 1000), dueAt(2000, 1), judgedOn(1, 1, 1000, 1000, 1000), suspect(1, 1000), dueAt(3000), dueAt(30_000),
		}},
		{name: "late spans make it due again", moves: []move{
			suspect(1, 1000), dueAt(2000, 1), judgedOn(1, 1, 1000, 1000, 1000), dueAt(3000),
			suspect(1, 4000), dueAt(4999), dueAt(5000, 1),
			judgedOn(1, 2, 1000, 4000, 4000), dueAt(5500),
			is(tracked{rows: 4, firstMs: 1000, lastMs: 4000, startNs: 1000e6, suspect: true, version: 2, judgedRows: 100, judgedFirstMs: 1000, judgedLastMs: 4000}, 1),
			healthy(1, 20_000), dueAt(20_999), dueAt(21_000, 1),
		}},
		{name: "late healthy spans of what another one judged make it due again", moves: []move{
			saw(1, 1, 20_000, 20_000, 1000, false), judgedOn(1, 3, 1500, 2500, 4000),
			is(tracked{rows: 1, firstMs: 1500, lastMs: 20_000, startNs: 1000e6, version: 3, judgedRows: 100, judgedFirstMs: 1500, judgedLastMs: 2500}, 1),
			dueAt(21_000, 1), judgedOn(1, 4, 1500, 20_000, 20_000), dueAt(22_000),
		}},
		{name: "judged while spans came in", moves: []move{
			suspect(1, 1000), dueAt(2000, 1), healthy(1, 2100), judgedOn(1, 1, 1000, 1000, 1000), dueAt(3099), dueAt(3100, 1),
		}},
		{name: "judged on more than was seen of it yet", moves: []move{
			suspect(1, 1000), dueAt(2000, 1), judgedOn(1, 1, 1000, 2050, 2050), healthy(1, 2050), dueAt(4000),
		}},
		{name: "an older judgement says nothing new", moves: []move{
			suspect(1, 1000), judgedOn(1, 5, 900, 1000, 3000), judgedOn(1, 4, 900, 950, 2500), dueAt(9000),
			is(tracked{rows: 2, firstMs: 900, lastMs: 1000, startNs: 1000e6, suspect: true, version: 5, judgedRows: 100, judgedFirstMs: 900, judgedLastMs: 1000}, 1),
		}},
		{name: "nothing of it can be read", moves: []move{
			suspect(1, 1000), dueAt(2000, 1), lookedAt(1), dueAt(3000), healthy(1, 4000), dueAt(5000, 1), lookedAt(1), dueAt(4000 + trackerTestKeepMs), knows(),
		}},
		{name: "a judgement of what is not tracked", moves: []move{
			judgedOn(1, 7, 100, 9000, 9000), knows(), dueAt(9000), suspect(1, 1000), dueAt(2000, 1),
			is(tracked{rows: 2, firstMs: 1000, lastMs: 1000, startNs: 1000e6, suspect: true}, 1),
		}},
		{name: "forgets what is healthy", moves: []move{
			healthy(1, 1000), healthy(2, 2000), dueAt(999 + trackerTestKeepMs), knows(1, 2), dueAt(1000 + trackerTestKeepMs), knows(2),
			healthy(2, 30_000), dueAt(2000 + trackerTestKeepMs), knows(2), dueAt(30_000 + trackerTestKeepMs), knows(),
		}},
		{name: "forgets what is judged", moves: []move{
			suspect(1, 1000), judgedOn(1, 1, 1000, 1000, 1000), dueAt(999 + trackerTestKeepMs), knows(1), dueAt(1000 + trackerTestKeepMs), knows(),
		}},
		{name: "does not forget what is not judged", moves: []move{
			suspect(1, 1000), suspect(2, 1100), judgedOn(2, 1, 1100, 1100, 1100), healthy(2, 1500),
			dueAt(10*trackerTestKeepMs, 1, 2), knows(1, 2), dueAt(20*trackerTestKeepMs, 1, 2), knows(1, 2),
		}},
		{name: "what comes in the place of a forgotten one is new", moves: []move{
			suspect(1, 1000), judgedOn(1, 4, 900, 1000, 1000), healthy(2, 1000), dueAt(60_000), knows(),
			healthy(3, 61_000), healthy(4, 62_000), places(2), knows(3, 4), dueAt(63_000),
			is(tracked{rows: 2, firstMs: 61_000, lastMs: 61_000, startNs: 61_000e6}, 3),
			is(tracked{rows: 2, firstMs: 62_000, lastMs: 62_000, startNs: 62_000e6}, 4),
		}},
		{name: "no room for healthy ones", most: 2, moves: []move{
			healthy(1, 1000), suspect(2, 1010), noRoom(3, 1020), knows(1, 2),
			suspect(4, 1030), suspect(5, 1040), knows(1, 2, 4, 5), noRoom(3, 1050),
			// What is known goes on being followed, and may fail.
			healthy(2, 1100), suspect(1, 1200), dueAt(2300, 1, 2, 4, 5),
		}},
		{name: "room again", most: 2, moves: []move{
			healthy(1, 1000), healthy(2, 10_000), noRoom(3, 20_000), dueAt(1000 + trackerTestKeepMs), knows(2),
			healthy(3, 40_000), knows(2, 3), noRoom(4, 40_000), places(2),
		}},
		{name: "the earliest first, by what is read", moves: []move{
			saw(1, 1, 20_000, 20_000, 19_000, true),        // from 14,000
			saw(2, 1, 20_100, 20_100, 9000, true),          // from 4000
			saw(3, 1, 18_000, 18_000, 25_000, true),        // from 13,000: a clock that is ahead
			saw(4, 1, 7_300_000, 7_300_000, 1000, true),    // from 3,700,000: an hour is the most
			saw(5, 1, 3_704_000, 3_704_000, 3704e3, true),  // from 3,699,000
			saw(6, 1, 3_706_000, 3_706_000, 3706e3, false), // healthy
			dueAt(7_400_000, 2, 3, 1, 5, 4),
		}},
		{name: "looked at again", moves: []move{
			saw(1, 3, 1000, 1200, 900, false), sawAgain(1, 3, 1000, 1200, 900, false), sawAgain(1, 2, 1100, 1200, 950, false),
			is(tracked{rows: 3, firstMs: 1000, lastMs: 1200, startNs: 900e6}, 1),
			// Two more, of which one was not visible before.
			sawAgain(1, 5, 1000, 1300, 800, true), saw(1, 1, 1400, 1400, 1400, false),
			is(tracked{rows: 6, firstMs: 1000, lastMs: 1400, startNs: 800e6, suspect: true}, 1), dueAt(2399), dueAt(2400, 1),
			judgedRows(1, 1, 6, 1400), sawAgain(1, 6, 1000, 1400, 800, true), dueAt(3000),
			sawAgain(2, 4, 1150, 1150, 1100, true), dueAt(3000, 2),
		}},
		{name: "late, and looked at again and again", late: 2 * time.Second, moves: []move{
			saw(1, 3, 1000, 2000, 900, true), saw(1, 2, 1500, 2000, 1500, false), saw(1, 3, 1000, 2000, 900, true), dueAt(4999), dueAt(5000, 1),
			judgedRows(1, 1, 3, 2000), dueAt(5500),
			is(tracked{rows: 3, firstMs: 1000, lastMs: 2000, startNs: 900e6, suspect: true, version: 1, judgedRows: 3, judgedFirstMs: 1000, judgedLastMs: 2000}, 1),
			// One more is there, of the time of those before.
			saw(1, 4, 1000, 2000, 900, false), dueAt(5600, 1), judgedRows(1, 2, 4, 2000), judgedRows(1, 1, 3, 2000), dueAt(5700),
			saw(1, 4, 1000, 2000, 900, false), dueAt(9000),
		}},
		{name: "late, and gets no quiet", late: 2 * time.Second, moves: []move{
			suspect(1, 1000), healthy(1, 3900), healthy(1, 6800), dueAt(7999), dueAt(8000, 1),
		}},
		{name: "late, and is forgotten later", late: 2 * time.Second, moves: []move{
			healthy(1, 1000), dueAt(2999 + trackerTestKeepMs), knows(1), dueAt(3000 + trackerTestKeepMs), knows(),
		}},
		{name: "begins anew", moves: []move{
			suspect(1, 1000), healthy(2, 1000), suspect(3, 1000), judgedOn(3, 1, 1000, 1000, 1000), dueAt(1000+trackerTestKeepMs, 1), knows(1),
			func(t *trackerTest) { t.forgetAll() }, knows(), places(0), dueAt(50_000),
			healthy(1, 50_000), suspect(4, 50_000), knows(1, 4), dueAt(52_000, 4),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTracker(&Config{Quiet: time.Second, WaitMax: 5 * time.Second, Late: c.late}, 1)
			if c.most > 0 {
				tr.most = c.most
			}
			for _, move := range c.moves {
				move(&trackerTest{T: t, tracker: tr, late: c.late > 0})
			}
		})
	}
}
