package blame

import (
	"testing"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// TestSameMemorySameVerdicts: a judger that has judged others before says what a new one says, and what
// it said before stays as it was.
func TestSameMemorySameVerdicts(t *testing.T) {
	for round := range uint64(20) {
		history, _ := drawn(round * 1000)
		normal := learn(history, nil)
		reused := NewJudger(Config{Normal: normal})
		var said [][]verdict.Verdict
		var want []string
		for seed := range uint64(30) {
			_, trial := drawn(round*1000 + seed)
			block := tracescript.Block(trial, spans.TraceID{1, 15: byte(seed)})
			rows := trace.Group(block)[0].Rows
			want = append(want, asJSON(t, Judge(trace.Build(block, rows, 0), Config{Normal: normal})))
			builder := trace.NewBuilder(block)
			builder.Build(rows[:1], 0) // another one before
			said = append(said, reused.Judge(builder.Build(rows, 0)))
		}
		for seed := range said {
			if got := asJSON(t, said[seed]); got != want[seed] {
				t.Fatalf("round %d, trace %d:\n%s\nwant\n%s", round, seed, got, want[seed])
			}
		}
	}
}
