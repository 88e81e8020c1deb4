package blame

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// ahead sets the clock of a host wrong, in all traces.
func ahead(traces [][]tracescript.Span, host string, ns int64) [][]tracescript.Span {
	moved := make([][]tracescript.Span, len(traces))
	for i := range traces {
		moved[i] = slices.Clone(traces[i])
		for k := range moved[i] {
			if moved[i][k].Resource[0][1] == host {
				moved[i][k].StartNs += ns
				moved[i][k].EndNs += ns
			}
		}
	}
	return moved
}

// A timeline has each span once, in the order of a walk, whatever order they came in; and what it says of a gap is true, whatever
// a clock says.
func TestTimelineProperties(t *testing.T) {
	gaps, known, exact, retries, often := 0, 0, 0, 0, 0
	for seed := range uint64(propertySeeds) {
		history, trial := drawn(seed)
		truth := make(map[spans.SpanID]tracescript.Span)
		for _, s := range trial {
			truth[s.ID] = s
		}
		all := ahead(append(slices.Clone(history), trial), "host-of-s1", int64(seed%5-2)*40_000_000)
		history, trial = all[:len(all)-1], all[len(all)-1]
		cfg := Config{Normal: learn(slices.Clone(history), [][]tracescript.Span{trial})}
		forest := build(tracescript.Block(trial, trialID(0)))
		line := Timeline(forest, cfg, nil)

		if len(line.Spans) != len(forest.Nodes) {
			t.Fatalf("seed %d: %d of %d spans", seed, len(line.Spans), len(forest.Nodes))
		}
		below := make([]int32, len(line.Spans))
		for i, s := range slices.Backward(line.Spans) {
			if s.Below != below[i] || int(s.Parent) >= i {
				t.Fatalf("seed %d: span %d has parent %d, and %d spans below it, not %d", seed, i, s.Parent, s.Below, below[i])
			}
			if s.Parent < 0 {
				continue
			}
			below[s.Parent] += 1 + s.Below
			if s.OnPath && !line.Spans[s.Parent].OnPath {
				t.Fatalf("seed %d: span %d is on the critical path, and what called it is not", seed, i)
			}
			if p := &line.Spans[s.Parent]; i > int(s.Parent+p.Below) {
				t.Fatalf("seed %d: span %d is not among those below its parent", seed, i)
			}
		}
		bare := Timeline(forest, Config{}, nil) // nothing is known but the trace itself
		for _, gapsOf := range []map[int]verdict.Gap{line.Gaps, bare.Gaps} {
			for i, g := range gapsOf {
				call, server := truth[line.Spans[i].ID], truth[line.Spans[g.Server].ID]
				requestNs, responseNs := server.StartNs-call.StartNs, call.EndNs-server.EndNs
				if requestNs < g.RequestLowNs || requestNs > g.RequestHighNs || responseNs < g.ResponseLowNs || responseNs > g.ResponseHighNs {
					t.Fatalf("seed %d: request %d ns, response %d ns; said is %+v", seed, requestNs, responseNs, g)
				}
				gaps++
				if g.Known {
					known++
				}
				if g.RequestLowNs == g.RequestHighNs {
					exact++
				}
			}
		}
		for number, r := range line.Retries {
			retries++
			for k, at := range r.Attempts {
				s := &line.Spans[at]
				if int(s.Retry) != number+1 || s.Parent != line.Spans[r.Attempts[0]].Parent || k > 0 && s.StartNs < line.Spans[r.Attempts[k-1]].StartNs {
					t.Fatalf("seed %d: %+v are no attempts at one request", seed, r)
				}
			}
			if r.Failed == 0 || r.Failed < len(r.Attempts)-1 {
				t.Fatalf("seed %d: of %d attempts %d failed", seed, len(r.Attempts), r.Failed)
			}
		}
		often += len(line.Often)
		shuffled := Timeline(build(tracescript.Block(delivered(rand.New(rand.NewPCG(seed, 8)), trial), trialID(0))), cfg, nil)
		if !reflect.DeepEqual(line, shuffled) {
			t.Fatalf("seed %d: another timeline in another order", seed)
		}
	}
	t.Log(gaps, known, exact, retries, often)
	if known < gaps/2 || known == gaps || exact == 0 || retries < 20 {
		t.Errorf("%d gaps, %d of known clocks, %d exact; %d retries: they do not test much", gaps, known, exact, retries)
	}
}

// timelineOf lays out a script against a history, with the exceptions of all spans.
func timelineOf(t *testing.T, history, script string) *verdict.Timeline {
	t.Helper()
	parse := func(text string) []tracescript.Span {
		list, err := tracescript.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	var healthy [][]tracescript.Span
	for range 20 {
		healthy = append(healthy, parse(history))
	}
	trial := parse(script)
	var all verdict.Share
	for _, s := range trial {
		all.SpanIDs = append(all.SpanIDs, hex.EncodeToString(s.ID[:]))
	}
	return Timeline(build(tracescript.Block(trial, trialID(0))), Config{Normal: learn(healthy, [][]tracescript.Span{trial})}, []verdict.Verdict{{Shares: []verdict.Share{all}}})
}

func TestTimelineSaysWhatIsKnown(t *testing.T) {
	line := timelineOf(t, `
shop SERVER "GET /cart" 0..30 200
  shop CLIENT "SELECT item" 5..9 db.system.name=postgresql @db
  shop CLIENT POST 10..25 200 @pay
    pay SERVER "POST /pay" 12..22 200
`, `
shop SERVER "GET /cart" 0..130 500
  shop CLIENT "SELECT item" 5..9 db.system.name=postgresql @db
  shop CLIENT "SELECT item" 10..14 db.system.name=postgresql @db
  shop CLIENT "SELECT item" 15..19 db.system.name=postgresql @db
  shop CLIENT "SELECT item" 20..24 db.system.name=postgresql @db
  shop CLIENT POST 30..60 503 @pay url.full=http://pay/x
  shop CLIENT POST 70..125 500 @pay url.full=http://pay/x resend=1
    pay SERVER "POST /pay" 90..110 500 exc="a.b.Broken: it <broke>"
`)
	var texts []string
	for i, s := range line.Spans {
		text := []string{fmt.Sprintf("%s %s %s path=%v failed=%v normal=%s", s.Service, s.Name, s.Status, s.OnPath, s.Failed, verdict.Took(s.NormalToNs))}
		if g, ok := line.Gaps[i]; ok {
			text = append(text, fmt.Sprintf("request=%s..%s known=%v", verdict.Took(g.RequestLowNs), verdict.Took(g.RequestHighNs), g.Known))
		}
		for _, o := range line.Often[i] {
			text = append(text, fmt.Sprintf("often=%s %d/%.0f", o.Name, o.Calls, o.Usual))
		}
		for _, l := range line.Logs[i] {
			text = append(text, fmt.Sprintf("log=%s: %s", l.Type, l.Message))
		}
		texts = append(texts, strings.Join(text, " "))
	}
	const want = `shop GET /cart 500 path=true failed=true normal=29 ms often=postgresql db SELECT item 4/1
shop SELECT item  path=true failed=false normal=4.0 ms
shop SELECT item  path=true failed=false normal=4.0 ms
shop SELECT item  path=true failed=false normal=4.0 ms
shop SELECT item  path=true failed=false normal=4.0 ms
shop POST 503 path=true failed=true normal=15 ms
shop POST 500 path=true failed=true normal=15 ms request=18 ms..23 ms known=true
pay POST /pay 500 path=true failed=true normal=10 ms log=a.b.Broken: it <broke>`
	if got := strings.Join(texts, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(line.Retries) != 1 || len(line.Retries[0].Attempts) != 2 || line.Retries[0].Failed != 2 {
		t.Errorf("%+v", line.Retries)
	}
}

func BenchmarkTimeline(b *testing.B) {
	const n = 100_000
	list := []tracescript.Span{{ID: spans.SpanID{1}, Service: "web", Name: "GET /", Kind: spans.KindServer, Status: spans.StatusError, StartNs: 1e18, EndNs: 1e18 + 20e9}}
	for i := 1; i < n; i++ {
		list = append(list, tracescript.Span{
			ID: spans.SpanID{2, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}, Parent: list[i/3].ID, Service: fmt.Sprint("s", i%40), Name: fmt.Sprint("op", i%100), Kind: spans.Kind(1 + i%3),
			StartNs: 1e18 + int64(i)*1000, EndNs: 1e18 + int64(i)*1000 + 1e6,
		})
	}
	block := tracescript.Block(list, trialID(0))
	b.ReportAllocs()
	for b.Loop() {
		if len(Timeline(build(block), Config{}, nil).Spans) != n {
			b.Fatal("spans are missing")
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}
