package baseline_test

import (
	"math"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
)

func TestQuantiles(t *testing.T) {
	var d baseline.Durations
	for ms := int64(1); ms <= 1000; ms++ {
		d.Add(ms * 1_000_000)
	}
	for q, want := range map[float64]float64{0.5: 500e6, 0.95: 950e6, 0.99: 990e6} {
		if got := float64(d.QuantileNs(q)); math.Abs(got-want)/want > 0.026 {
			t.Errorf("quantile %v is %v, want %v within 2.6 %%", q, got, want)
		}
	}
	var none baseline.Durations
	none.Add(0)
	if none.QuantileNs(0.5) > 1 {
		t.Errorf("nothing takes %d ns", none.QuantileNs(0.5))
	}
}

func learn(t *testing.T, b *baseline.Baseline, script string, times int) {
	t.Helper()
	list, err := tracescript.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		block := tracescript.Block(list, spans.TraceID{1})
		b.Learn(trace.Build(block, trace.Group(block)[0].Rows, 0))
		block.Reset() // what was learnt must not point into it
		for i := range block.Resources.Services.Bytes[:cap(block.Resources.Services.Bytes)] {
			block.Resources.Services.Bytes[:cap(block.Resources.Services.Bytes)][i] = 'x'
		}
	}
}

func TestLearn(t *testing.T) {
	var b baseline.Baseline
	learn(t, &b, "a SERVER r 0..100 200\n  a CLIENT c 10..90 200 @b\n    b SERVER s 11..81 200\n  a CLIENT q 1..4 200 @third", 4)
	if b.Operation("b", "s") != nil {
		t.Error("four samples make a normal")
	}
	learn(t, &b, "a SERVER r 0..100 200\n  a CLIENT c 10..90 200 @b\n    b SERVER s 11..81 200\n  a CLIENT q 1..4 200 @third", 4)
	learn(t, &b, "a SERVER r 0..9000 500\n  a CLIENT c 10..8990 500 @b\n    b SERVER s 11..8981 500", 8)
	if d := b.Operation("b", "s"); d == nil || d.QuantileNs(0.99) > 72_000_000 {
		t.Errorf("failures count as normal: %+v", d)
	}
	if d := b.Call("a", "b", "c"); d == nil || d.QuantileNs(0.5) < 77_000_000 || d.QuantileNs(0.5) > 83_000_000 {
		t.Errorf("the call takes %+v", d)
	}
	if sends, known := b.SendsSpans("a", "b", "c"); !sends || !known {
		t.Error("b sends spans")
	}
	if sends, known := b.SendsSpans("a", "third", "q"); sends || !known {
		t.Error("the third party sends none")
	}
	if _, known := b.SendsSpans("a", "nobody", "q"); known {
		t.Error("nothing is known of nobody")
	}
	if got := b.CalleeService("a", "b", "c"); got != "b" {
		t.Errorf("the callee is %q", got)
	}
	if b.LastSeenNs("b") == 0 || b.LastSeenNs("nobody") != 0 {
		t.Error("when b was last seen")
	}
	var nothing *baseline.Baseline
	if _, known := nothing.SendsSpans("a", "b", "c"); known || nothing.Operation("a", "r") != nil || nothing.LastSeenNs("a") != 0 {
		t.Error("without a baseline something is known")
	}
}
