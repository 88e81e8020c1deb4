package baseline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
)

func TestWithIsMergeAndLeavesBothAlone(t *testing.T) {
	list := forests(t, 60)
	random := rand.New(rand.NewPCG(7, 7))
	for round := range 20 {
		var sum, merged baseline.Baseline
		current := &sum
		for len(list) > 0 {
			var part baseline.Baseline
			for range 1 + random.IntN(9) {
				learnAll(&part, []*trace.Forest{list[random.IntN(len(list))]})
			}
			before, partBefore := text(current), text(&part)
			next := current.With(&part)
			merged.Merge(&part)
			if !slices.Equal(text(next), text(&merged)) {
				t.Fatalf("round %d:\n%q\nwant\n%q", round, text(next), text(&merged))
			}
			if !slices.Equal(text(current), before) || !slices.Equal(text(&part), partBefore) {
				t.Fatalf("round %d: what was added to has changed", round)
			}
			if current = next; random.IntN(8) == 0 {
				break
			}
		}
		// Means over the runs of an operation, which edges know by a pointer.
		f := list[1]
		call := f.Nodes[f.Entries[0]].FirstChild
		if got, want := current.EdgeOf(f, f.Entries[0], call), merged.EdgeOf(f, f.Entries[0], call); got.CallsMean() != want.CallsMean() {
			t.Errorf("%v calls, want %v", got.CallsMean(), want.CallsMean())
		}
	}
}

// TestReadWhileAdding is for the race detector: readers of a baseline do not notice what is added to it.
func TestReadWhileAdding(t *testing.T) {
	list := forests(t, 20)
	var first, part baseline.Baseline
	learnAll(&first, list)
	learnAll(&part, list)
	current := &first
	for range 20 {
		var group sync.WaitGroup
		group.Go(func() { _ = text(current) })
		next := current.With(&part)
		group.Wait()
		current = next
	}
}

func script(t *testing.T, text string, atNs int64) *trace.Forest {
	t.Helper()
	list, err := tracescript.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	first := list[0].StartNs
	for i := range list {
		list[i].StartNs += atNs - first
		list[i].EndNs += atNs - first
	}
	block := tracescript.Block(list, spans.TraceID{1})
	return trace.Build(block, trace.Group(block)[0].Rows, 0)
}

const call = "a SERVER %s 0..100 200 res:host.name=n1\n  a CLIENT c 10..90 200 @b res:host.name=n1\n    b SERVER s 11..81 200 res:host.name=n2"

func TestBounded(t *testing.T) {
	var b baseline.Baseline
	b.Bound(10)
	for k := range 100 {
		b.Learn(script(t, fmt.Sprintf(call, fmt.Sprint("op", k)), 1e18))
	}
	cells := text(&b)
	if b.LeftOut() < 90 || len(cells) > 100 {
		t.Errorf("%d cells, %d left out", len(cells), b.LeftOut())
	}
	for name, want := range map[string]bool{"op0": true, "op99": false} {
		c := baseline.Cell{Kind: baseline.CellRuns, Key: [4]string{"a", name}}
		if b.Has(&c) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	b.Cells(func(c baseline.Cell) {
		if !b.Has(&c) {
			t.Errorf("it does not have %v", c)
		}
	})
}

// TestClocksOfSpansMaySayAnything: what they say that cannot be is forgotten.
func TestClocksOfSpansMaySayAnything(t *testing.T) {
	const now, hour = int64(1_800_000_000e9), int64(3600e9)
	for name, test := range map[string]struct {
		atNs          int64
		routes, clock bool
	}{
		"now":              {now, true, true},
		"an hour ago":      {now - hour, true, true},
		"five hours ago":   {now - 5*hour, true, true},
		"in an hour":       {now + hour, false, true},
		"in the year 1970": {1e9, true, true},
		"in the year 2200": {7_258_000_000e9, false, false},
	} {
		var b baseline.Baseline
		b.Learn(script(t, fmt.Sprintf(call, "op")+" res:service.version=2", test.atNs))
		b.CameInAt(now)
		cells := strings.Join(text(&b), "\n")
		if got := strings.Contains(cells, fmt.Sprintf("{%d [", baseline.CellRoute)); got != test.routes {
			t.Errorf("%s: routes are kept: %v", name, got)
		}
		if got := strings.Contains(cells, fmt.Sprintf("{%d [", baseline.CellClock)); got != test.clock {
			t.Errorf("%s: clocks are kept: %v", name, got)
		}
		if seen := b.LastSeenNs("b"); seen > now+hour {
			t.Errorf("%s: b was last seen at %d", name, seen)
		}
		b.Cells(func(c baseline.Cell) {
			if c.Kind == baseline.CellVersion && (c.High > now+hour) {
				t.Errorf("%s: a version was seen from %d to %d", name, c.Low, c.High)
			}
		})
	}
}

func TestRatesCountWhatTheSampleStandsFor(t *testing.T) {
	const at = int64(1_800_000_000e9)
	var b baseline.Baseline
	b.StandFor(20)
	b.Learn(script(t, fmt.Sprintf(call, "op"), at))
	var sum baseline.Baseline
	got := sum.With(&b).RoutesTo("b", at)
	if len(got) != 1 || got[0].Late.Calls != 1 || got[0].Late.RatePerMinute() != 20 {
		t.Errorf("%+v", got)
	}
}
