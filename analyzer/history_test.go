package analyzer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
)

// minutesOf are minutes from noon on with so many spans each; those without any are left out, as ClickHouse does.
func minutesOf(counts ...int64) (minutes []storage.MinuteCount) {
	for i, n := range counts {
		if n > 0 {
			minutes = append(minutes, storage.MinuteCount{At: noon.Add(time.Duration(i) * time.Minute), Spans: n})
		}
	}
	return minutes
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestSplit(t *testing.T) {
	const m, most = time.Minute, historySpans
	type want struct {
		from, to time.Duration // since noon
		spans    int64
		slices   int // that lie beside each other
	}
	from, to := 10*time.Second, 6*time.Minute+30*time.Second
	for _, c := range []struct {
		name   string
		counts []int64
		want   []want
	}{
		{"nothing", nil, nil},
		{"one window", []int64{1, 2, 3}, []want{{from, to, 6, 1}}},
		{"exactly full", []int64{most - 1, 1, 1}, []want{{from, 2 * m, most, 1}, {2 * m, to, 1, 1}}},
		{"one too many", []int64{most - 1, 2}, []want{{from, m, most - 1, 1}, {m, to, 2, 1}}},
		{"a full minute is no slice", []int64{1, most, 1}, []want{{from, m, 1, 1}, {m, 2 * m, most, 1}, {2 * m, to, 1, 1}}},
		{"empty minutes belong to the window before", []int64{0, most, 0, 0, most}, []want{{from, 4 * m, most, 1}, {4 * m, to, most, 1}}},
		{"a minute that is too full", []int64{5, most + 2, 7}, []want{{from, m, 5, 1}, {m, 2 * m, (most + 2) / 2, 2}, {2 * m, to, 7, 1}}},
		{"the first and the last are too full", []int64{2 * most, 1, 1, 3*most - 3}, []want{{from, m, most, 2}, {m, 3 * m, 2, 1}, {3 * m, to, most - 1, 3}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := split(noon.Add(from), noon.Add(to), minutesOf(c.counts...))
			for _, w := range c.want {
				for s := range w.slices {
					if len(got) == 0 {
						t.Fatalf("no window for slice %d of %+v", s, w)
					}
					should := part{spans: w.spans, window: window{
						from: noon.Add(w.from), to: noon.Add(w.to), byStart: true, again: true, slice: storage.Slice{From: s, To: s + 1, Of: w.slices},
					}}
					if got[0] != should {
						t.Errorf("got  %+v\nwant %+v", got[0], should)
					}
					got = got[1:]
				}
			}
			if len(got) > 0 {
				t.Errorf("and more: %+v", got)
			}
		})
	}
}

// TestSplitAnything: whatever the traffic was, the windows cover the time without a gap or an overlap, none has too
// many spans, and there are no more of them than need be.
func TestSplitAnything(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		counts := make([]int64, 1+rng.IntN(30))
		for i := range counts {
			switch rng.IntN(4) {
			case 0:
			case 1:
				counts[i] = rng.Int64N(4 * historySpans)
			default:
				counts[i] = rng.Int64N(historySpans / 2)
			}
		}
		counts[rng.IntN(len(counts))]++ // else there is nothing to split
		minutes := minutesOf(counts...)
		// From within the first minute that has spans to within the last, or to its end.
		from := minutes[0].At.Add(time.Duration(rng.Int64N(int64(time.Minute))))
		to := minutes[len(minutes)-1].At.Add(time.Duration(1 + rng.Int64N(int64(time.Minute))))
		if !from.Before(to) {
			continue
		}
		if windows := split(from, to, minutes); !coverAll(t, windows, from, to, minutes) {
			t.Fatalf("from %s to %s, %v is split into %+v", from, to, minutes, windows)
		}
	}
}

func coverAll(t *testing.T, windows []part, from, to time.Time, minutes []storage.MinuteCount) bool {
	spansIn := func(w *part) (spans, most int64) {
		for _, m := range minutes {
			// The first minute may have begun before.
			if began := m.At; began.Before(w.to) && (!began.Before(w.from) || w.from.Equal(from)) {
				spans, most = spans+m.Spans, max(most, m.Spans)
			}
		}
		return spans, most
	}
	at, before := from, int64(historySpans)
	for len(windows) > 0 {
		w := &windows[0]
		spans, most := spansIn(w)
		of := w.slice.Of
		switch {
		case !w.from.Equal(at) || !w.from.Before(w.to):
			t.Errorf("a window from %s to %s follows on %s", w.from, w.to, at)
		case of < 1 || of > len(windows):
			t.Errorf("%d slices, and %d windows are left", of, len(windows))
		case of == 1 && spans > historySpans:
			t.Errorf("%d spans in one window", spans)
		case of > 1 && spans != most:
			t.Errorf("slices of more than a minute: %d spans, %d in the fullest minute", spans, most)
		case of > 1 && (spans > int64(of)*historySpans || spans <= int64(of-1)*historySpans):
			t.Errorf("%d slices of %d spans", of, spans)
		case of == 1 && before+first(minutes, w.from, from) <= historySpans:
			t.Errorf("the window from %s could be part of the one before", w.from)
		}
		if t.Failed() {
			return false
		}
		left := spans
		for s := range of {
			// Slices divide traces, not spans: that a part is even is only about right. Together they are all.
			got, should := windows[s], *w
			left -= got.spans
			should.slice.From, should.slice.To, should.spans = s, s+1, got.spans
			if got != should || !got.byStart || !got.again || got.spans-spans/int64(of) > 1 || got.spans < spans/int64(of) {
				t.Errorf("slice %d is %+v, of %d spans", s, got, spans)
				return false
			}
		}
		if left != 0 {
			t.Errorf("%d slices leave %d of %d spans", of, left, spans)
		}
		at, before, windows = w.to, spans, windows[of:]
	}
	if !at.Equal(to) {
		t.Errorf("the last window ends at %s", at)
	}
	return !t.Failed()
}

// first is how many spans the first minute of a window has; none goes before the first of all.
func first(minutes []storage.MinuteCount, from, begin time.Time) int64 {
	for _, m := range minutes {
		if m.At.Equal(from) && !from.Equal(begin) {
			return m.Spans
		}
	}
	return historySpans
}

// TestHistoryJob: the same question goes on where it was broken off, and no other does.
func TestHistoryJob(t *testing.T) {
	type question struct {
		History
		cfg Config
	}
	asked := question{
		History{From: noon, To: noon.Add(time.Hour), Entry: "GET /checkout"},
		Config{Quiet: time.Second, WaitMax: 5 * time.Second, Workers: 2, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100},
	}
	job := asked.job(&asked.cfg)
	for name, c := range map[string]struct {
		change func(*question)
		same   bool
	}{
		"nothing":         {func(*question) {}, true},
		"another zone":    {func(q *question) { q.From = q.From.In(time.FixedZone("", 3600)) }, true},
		"more workers":    {func(q *question) { q.cfg.Workers = 7 }, true},
		"more memory":     {func(q *question) { q.cfg.BytesMax *= 2 }, true},
		"from":            {func(q *question) { q.From = q.From.Add(1) }, false},
		"to":              {func(q *question) { q.To = q.To.Add(1) }, false},
		"entry":           {func(q *question) { q.Entry = "GET /cart" }, false},
		"all entries":     {func(q *question) { q.Entry = "" }, false},
		"scope":           {func(q *question) { q.cfg.Scope = storage.All }, false},
		"an SLO":          {func(q *question) { q.cfg.SLO = map[string]int64{"GET /checkout": 1} }, false},
		"an entry quoted": {func(q *question) { q.Entry = `GET /checkout" 1` }, false},
	} {
		q := asked
		c.change(&q)
		if got := q.job(&q.cfg); (got == job) != c.same {
			t.Errorf("%s: %s after %s", name, got, job)
		}
	}
}

// TestSamples are spread over the time, and no minute is looked at twice.
func TestSamples(t *testing.T) {
	const m, many = time.Minute, 4 * sampleSpans
	type want struct {
		from, to time.Duration // since noon
		traces   int
	}
	from, to := 10*time.Second, 7*m+30*time.Second
	for _, c := range []struct {
		name   string
		counts []int64
		want   []want
	}{
		{"nothing", nil, nil},
		{"one minute, looked at whole", []int64{many}, []want{{from, m + from, 2000}}},
		{"one minute of many spans", []int64{2 * many}, []want{{from, 30*time.Second + from, 2000}}},
		{"two minutes", []int64{10, many}, []want{{from, m + from, 1000}, {m, m + 30*time.Second, 1000}}},
		{"three", []int64{10, many, 10}, []want{{from, m + from, 1000}, {m, m + 15*time.Second, 500}, {2 * m, 3 * m, 500}}},
		{"eight", []int64{1, 1, 1, 1, 1, 1, 1, 1}, []want{{from, m + from, 500}, {2 * m, 3 * m, 500}, {4 * m, 5 * m, 500}, {6 * m, 7 * m, 500}}},
		{"beyond the end", []int64{0, 0, 0, 0, 0, 0, 0, 1}, []want{{7 * m, to, 2000}}},
	} {
		var should []sample
		for _, w := range c.want {
			should = append(should, sample{noon.Add(w.from), noon.Add(w.to), w.traces})
		}
		if got := samplesOf(noon.Add(from), noon.Add(to), minutesOf(c.counts...)); !slices.Equal(got, should) {
			t.Errorf("%s: got %v, want %v", c.name, got, should)
		}
	}
}
