package blame

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/verdict"
)

// sloOfAll gives every operation of a forest an SLO: by its name, or with its service.
func sloOfAll(f *trace.Forest, of func(longestNs int64) int64) map[string]int64 {
	longest, slo := make(map[string]int64), make(map[string]int64)
	for i := range f.Nodes {
		n := &f.Nodes[i]
		for _, entry := range []string{n.Name, f.ServiceOf(int32(i)).Name + " " + n.Name} {
			longest[entry] = max(longest[entry], n.DurationNs())
			slo[entry] = of(longest[entry])
		}
	}
	return slo
}

// TestSLOThatNothingExceedsChangesNothing: to the byte, whatever is wrong with the trace.
func TestSLOThatNothingExceedsChangesNothing(t *testing.T) {
	for seed := range uint64(propertySeeds) {
		history, trial := drawn(seed)
		verdicts, cfg := judgeDrawn(history, trial)
		want := asJSON(t, verdicts)
		cfg.SLO = sloOfAll(build(tracescript.Block(trial, trialID(0))), func(longestNs int64) int64 { return max(1, longestNs) })
		if got := asJSON(t, judgeAll([][]tracescript.Span{trial}, cfg)); got != want {
			t.Fatalf("seed %d: another verdict with SLOs that are kept\n%s\nwas\n%s", seed, got, want)
		}
	}
}

// TestSLOProperties: whatever the SLOs are, an entry that ended well and exceeds its own is not fine, the shares sum to
// the excess, and the order of the spans changes nothing.
func TestSLOProperties(t *testing.T) {
	symptoms := make(map[verdict.Symptom]int)
	for seed := range uint64(propertySeeds) {
		r := rand.New(rand.NewPCG(seed, 9))
		history, trial := drawn(seed)
		_, cfg := judgeDrawn(history, trial)
		if seed%3 == 0 {
			cfg.Normal = nil
		}
		forest := build(tracescript.Block(trial, trialID(0)))
		cfg.SLO = sloOfAll(forest, func(longestNs int64) int64 { return 1 + r.Int64N(2*longestNs+1) })
		verdicts := judgeAll([][]tracescript.Span{trial}, cfg)
		checkInvariants(t, forest, verdicts)
		checkSums(t, forest, cfg, verdicts)
		for i := range verdicts {
			v, n := &verdicts[i], &forest.Nodes[forest.Entries[i]]
			slo, ok := cfg.SLO[forest.ServiceOf(forest.Entries[i]).Name+" "+n.Name]
			if ok && n.DurationNs() > slo && !n.Outcome.Failed() && !n.Phantom() {
				symptoms[v.Symptom]++
				if v.Symptom == verdict.SymptomNone {
					t.Fatalf("seed %d: %s took %d ns, its SLO is %d", seed, v.Summary, n.DurationNs(), slo)
				}
			}
		}
		if got, want := asJSON(t, judgeAll([][]tracescript.Span{delivered(r, trial)}, cfg)), asJSON(t, verdicts); got != want {
			t.Fatalf("seed %d: another verdict in another order\n%s\nwas\n%s", seed, got, want)
		}
	}
	if t.Log(symptoms); symptoms[verdict.SymptomLatency] < propertySeeds/4 {
		t.Errorf("only %d entries broke their SLO: they do not test much", symptoms[verdict.SymptomLatency])
	}
}

// TestSLOOfAnything: forests of any shape, torn and in circles.
func TestSLOOfAnything(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		forest := build(randomBlock(r, 60))
		cfg := Config{SLO: sloOfAll(forest, func(longestNs int64) int64 { return 1 + r.Int64N(longestNs+1) })}
		if seed%2 == 0 {
			cfg.Normal = new(baseline.Baseline)
			for range 12 {
				cfg.Normal.Learn(build(randomBlock(r, 60)))
			}
		}
		verdicts := Judge(forest, cfg)
		checkInvariants(t, forest, verdicts)
		checkSums(t, forest, cfg, verdicts)
	}
}

// TestSLOEvidence: the largest share says that the SLO was broken, and claims less where nobody knows what is usual.
func TestSLOEvidence(t *testing.T) {
	const (
		fast = `web SERVER "GET /" 0..20 200
  web CLIENT GET 2..18 200 @shop
    shop SERVER "GET /shop" 3..17 200`
		slow = `web SERVER "GET /" 0..420 200
  web CLIENT GET 2..418 200 @shop
    shop SERVER "GET /shop" 3..417 200`
		slowBelow = `web SERVER "GET /" 0..420 200
  web CLIENT GET 2..418 200 @shop
    shop SERVER "GET /shop" 3..417 200
      shop INTERNAL "new step" 5..415`
		broken = "web GET / took 420 ms, slower than its SLO of 400 ms"
	)
	for name, c := range map[string]struct {
		history, trace string
		slo            map[string]int64
		excessNs       int64
		claim          float64
		says           bool
	}{
		"nothing known":             {"", slow, map[string]int64{"GET /": 400e6}, 20e6, 0.8 * spentNotGrown, true},
		"always so":                 {slow, slow, map[string]int64{"GET /": 400e6}, 20e6, 0.8 * spentNotGrown, true},
		"slow, and beyond its SLO":  {fast, slow, map[string]int64{"GET /": 400e6}, 400e6, 0.8, true},
		"slow, and within its SLO":  {fast, slow, map[string]int64{"GET /": 420e6}, 400e6, 0.8, false},
		"slow below what was known": {fast, slowBelow, nil, 400e6, 0.8, false},
	} {
		var cfg Config
		trial := parse(t, c.trace)
		if c.history != "" {
			cfg.Normal = learn(slices.Repeat([][]tracescript.Span{parse(t, c.history)}, historyTraces), nil)
		}
		cfg.SLO = c.slo
		v := judgeAll([][]tracescript.Span{trial}, cfg)[0]
		if v.Symptom != verdict.SymptomLatency || v.Shares[0].Site.Service != "shop" {
			t.Fatalf("%s: %s", name, v.Summary)
		}
		sum := int64(0)
		for _, s := range v.Shares {
			sum += s.ExcessNs
		}
		// What is normal is known to 2.5 %.
		if diff := sum - c.excessNs; max(diff, -diff) > 1e6 {
			t.Errorf("%s: the excess is %d ns", name, sum)
		}
		if want := round(calibrated(c.claim)); v.Shares[0].Confidence != want {
			t.Errorf("%s: confidence %v, want %v", name, v.Shares[0].Confidence, want)
		}
		if slices.Contains(v.Shares[0].Evidence, broken) != c.says || strings.Contains(v.Summary, "slower than its SLO of 400 ms") != c.says {
			t.Errorf("%s: %s: %q", name, v.Summary, v.Shares[0].Evidence)
		}
	}
}

func parse(t *testing.T, script string) []tracescript.Span {
	t.Helper()
	list, err := tracescript.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
