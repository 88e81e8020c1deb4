package baseline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
)

// TestNothingPointsIntoTheBlock: what was learnt stays when the block is used for other spans.
func TestNothingPointsIntoTheBlock(t *testing.T) {
	list, err := tracescript.Parse("a SERVER op 0..9 200 res:service.version=1.4.0 res:host.name=n1\n  a CLIENT c 1..8 200 @b res:service.version=1.4.0 res:host.name=n1\n    b SERVER s 2..7 200 res:host.name=n2\n  a PRODUCER send 1..2\n    m CONSUMER take 3..4")
	if err != nil {
		t.Fatal(err)
	}
	block := tracescript.Block(list, spans.TraceID{1})
	var b, merged baseline.Baseline
	f := trace.NewBuilder(block).Build(trace.Group(block)[0].Rows, 0)
	b.Learn(f)
	merged.Merge(&b)
	before := text(&b)
	for _, column := range []*spans.Text{&block.Names, &block.Attrs.Keys, &block.Attrs.Values, &block.Resources.Services, &block.Resources.Attrs.Keys, &block.Resources.Attrs.Values} {
		for i := range column.Bytes {
			column.Bytes[i] = 'x'
		}
	}
	if after := text(&b); !slices.Equal(before, after) || strings.Contains(strings.Join(after, ""), "xxx") {
		t.Errorf("%q\nwas\n%q", after, before)
	}
	if after := text(&merged); !slices.Equal(before, after) {
		t.Errorf("merged: %q\nwas\n%q", after, before)
	}
}
