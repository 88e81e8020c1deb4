package analyzer

import (
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
)

// TestBatches are as large as the memory allows by what spans took, end together, and are small where others wait.
func TestBatches(t *testing.T) {
	const most = 1 << 40
	sized := func(bytes int) *spans.Block {
		b := &spans.Block{TraceIDs: make([]spans.TraceID, 1000)}
		b.Names.Bytes = make([]byte, 1000*bytes-int(b.Bytes()))
		return b
	}
	for _, c := range []struct {
		name  string
		block *spans.Block // that was read before
		left  int64
		how   judging
		want  int64
	}{
		{"nothing was read", nil, most, judging{slots: make(chan struct{}, 2)}, 300_000_000 / 3 / 600},
		{"small spans", sized(160), most, judging{slots: make(chan struct{}, 2)}, 300_000_000 / 3 / (200 + 32)},
		{"nobody else judges", sized(160), most, judging{slots: make(chan struct{}, 2), alone: true}, 300_000_000 / 2 / (200 + 32)},
		{"large spans", sized(80_000), most, judging{slots: make(chan struct{}, 2)}, 300_000_000 / 3 / (100_000 + 32)},
		{"the end comes near", sized(160), 500_000, judging{slots: make(chan struct{}, 2)}, 250_000},
		{"little is left", sized(160), 5, judging{slots: make(chan struct{}, 2)}, batchSpansMin},
		{"others wait", sized(160), most, judging{slots: make(chan struct{}, 2), yield: true}, batchSpansMin},
		{"an empty block says nothing", new(spans.Block), most, judging{slots: make(chan struct{}, 2)}, 300_000_000 / 3 / 600},
	} {
		a := &Analyzer{cfg: Config{Workers: 2, BytesMax: 300_000_000}}
		if c.block != nil {
			a.learnSize(c.block)
		}
		if got := a.batchSpans(c.left, &c.how); got != c.want {
			t.Errorf("%s: %d spans, want %d", c.name, got, c.want)
		}
	}
}
