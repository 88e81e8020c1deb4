package baseline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
)

// forests are traces of several kinds: healthy, failed, queued, over two minutes and two clocks.
func forests(t *testing.T, n int) []*trace.Forest {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 3))
	var list []*trace.Forest
	for k := range n {
		took := 20 + random.IntN(30)
		code := 200
		if k%5 == 0 {
			code = 500
		}
		script := fmt.Sprintf("a SERVER op 0..%d %d res:service.version=%d res:host.name=n1\n  a CLIENT c 2..%d %d @b res:host.name=n1\n    b SERVER s 3..%d %d res:host.name=n2\n"+
			"  a PRODUCER send %d..%d res:host.name=n1\n    m CONSUMER handle %d..%d res:host.name=n3", took+9, code, k%2, took+2, code, took+1, code, took+3, took+4, took+40, took+50)
		spansOf, err := tracescript.Parse(script)
		if err != nil {
			t.Fatal(err)
		}
		for i := range spansOf {
			spansOf[i].StartNs += int64(k) * 2e9
			spansOf[i].EndNs += int64(k) * 2e9
		}
		block := tracescript.Block(spansOf, spans.TraceID{byte(k + 1)})
		list = append(list, trace.Build(block, trace.Group(block)[0].Rows, 0))
	}
	return list
}

func learnAll(b *baseline.Baseline, list []*trace.Forest) {
	for k, f := range list {
		if k%7 == 0 {
			b.LearnFailed(f)
		} else {
			b.Learn(f)
		}
	}
}

// text is all that a baseline holds.
func text(b *baseline.Baseline) []string {
	var cells []string
	b.Cells(func(c baseline.Cell) { cells = append(cells, fmt.Sprint(c)) })
	slices.Sort(cells)
	return cells
}

func TestLearntInPartsIsLearntInOne(t *testing.T) {
	list := forests(t, 60)
	var whole baseline.Baseline
	learnAll(&whole, list)
	for parts := 2; parts < 5; parts++ {
		split := make([]baseline.Baseline, parts)
		for k, f := range list {
			if k%7 == 0 {
				split[k%parts].LearnFailed(f)
			} else {
				split[k%parts].Learn(f)
			}
		}
		var forth, back baseline.Baseline
		for k := range split {
			forth.Merge(&split[k])
			back.Merge(&split[len(split)-1-k])
		}
		if !slices.Equal(text(&forth), text(&whole)) || !slices.Equal(text(&back), text(&whole)) {
			t.Errorf("%d parts:\n%q\nwant\n%q", parts, text(&forth), text(&whole))
		}
	}
	if len(text(&whole)) < 25 {
		t.Errorf("only %d cells", len(text(&whole)))
	}
}

func TestMergedSaysTheSame(t *testing.T) {
	list := forests(t, 60)
	var whole, merged baseline.Baseline
	learnAll(&whole, list)
	merged.Merge(&whole)
	now := list[59].Nodes[0].StartNs
	if fmt.Sprint(merged.RoutesTo("b", now)) != fmt.Sprint(whole.RoutesTo("b", now)) || len(merged.RoutesTo("b", now)) != 1 {
		t.Errorf("%v, %v", merged.RoutesTo("b", now), whole.RoutesTo("b", now))
	}
	a, ok := merged.ClockOffset("n1", "n2", now)
	if b, ok2 := whole.ClockOffset("n1", "n2", now); !ok || !ok2 || a != b {
		t.Errorf("clocks: %v, %v", a, b)
	}
	if merged.Operation("a", "op").MeanNs() != whole.Operation("a", "op").MeanNs() || merged.Queue("a", "m", "send").Count() == 0 {
		t.Error("durations differ")
	}
}
