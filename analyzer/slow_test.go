package analyzer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/storage"
)

// TestSlowListsEverySLO: however many operations are known, and of those that are not known; but not where nothing is
// judged for being slow.
func TestSlowListsEverySLO(t *testing.T) {
	learnt := new(baseline.Baseline)
	for i := range slowMost + 10 {
		name := fmt.Sprintf("GET /%04d", i)
		learnt.Add(&baseline.Cell{Kind: baseline.CellRuns, Key: [4]string{"shop", name}, Counts: map[int32]int64{0: 100}})
	}
	a := &Analyzer{cfg: Config{Scope: storage.Slow, SLO: map[string]int64{"GET /new": 3, fmt.Sprintf("shop GET /%04d", slowMost+9): 2}}, known: newKnown(1)}
	a.known.replace(learnt, []time.Time{{}})
	list := a.slow()
	for _, want := range []storage.SlowOperation{{Name: "GET /new", OverNs: 3}, {Name: "shop GET /1009", OverNs: 2}, {Service: "shop", Name: "GET /0999"}} {
		if !slices.Contains(list, want) {
			t.Errorf("%+v is missing", want)
		}
	}
	if len(list) != slowMost+2 {
		t.Errorf("%d operations", len(list))
	}
	a.cfg.Scope = storage.Failing
	if list := a.slow(); len(list) != 0 {
		t.Errorf("with the scope failing: %+v", list)
	}
}
