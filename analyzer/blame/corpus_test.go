package blame

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

var update = flag.Bool("update", false, "rewrite the verdicts of the corpus")

// corpusCase is a file of testdata: a story, the traces on trial, their verdicts, and perhaps a history, and SLOs.
// Lines of the story say what the case stands for:
//
//	situation 12: an optional dependency fails all the time     of those that every engine must get right
//	near miss 12: …                                              looks like it, and is not
//	near miss of crash: …                                        looks like a case for the rule, and is not
type corpusCase struct {
	name, path string
	archive    *txtar.Archive
}

func (c *corpusCase) file(name string) *txtar.File {
	for i := range c.archive.Files {
		if c.archive.Files[i].Name == name {
			return &c.archive.Files[i]
		}
	}
	return nil
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("the corpus is empty: %v", err)
	}
	cases := make([]corpusCase, len(paths))
	for i, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cases[i] = corpusCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, archive: archive}
	}
	return cases
}

// traces are those of a file of the case, in the order in which they are written.
func (c *corpusCase) traces(t testing.TB, file string) [][]tracescript.Span {
	t.Helper()
	sections, err := tracescript.Sections(string(c.file(file).Data))
	if err != nil {
		t.Fatalf("%s: %s: %v", c.path, file, err)
	}
	var traces [][]tracescript.Span
	for i := range sections {
		traces = append(traces, sections[i].Traces()...)
	}
	return traces
}

// historyTraces is how many copies of a history of one trace are learnt from.
const historyTraces = 12

// config is what is known when the traces on trial are judged. They were seen as well, in a window
// as the command line and the analyzer have it.
func (c *corpusCase) config(t testing.TB) Config {
	t.Helper()
	cfg := Config{Owners: teamOf{}}
	if f := c.file("owners"); f != nil {
		records, problems := catalog.Own("owners.yaml", f.Data)
		if len(problems) > 0 {
			t.Fatalf("%s: owners: %v", c.path, problems)
		}
		cfg.Owners = ownership.Compile(records, ownership.Config{})
	}
	if f := c.file("slo"); f != nil {
		cfg.SLO = make(map[string]int64)
		for line := range strings.Lines(string(f.Data)) {
			entry, text, _ := strings.Cut(strings.TrimSpace(line), "=")
			slo, err := time.ParseDuration(text)
			if err != nil {
				t.Fatalf("%s: slo: %v", c.path, err)
			}
			cfg.SLO[entry] = slo.Nanoseconds()
		}
	}
	if c.file("history") == nil {
		return cfg
	}
	history := c.traces(t, "history")
	if len(history) == 1 {
		history = slices.Repeat(history, historyTraces)
	}
	cfg.Normal = learn(history, c.traces(t, "trace"))
	return cfg
}

// learn makes a baseline of a history, and shows it the traces that are on trial.
func learn(history, trial [][]tracescript.Span) *baseline.Baseline {
	slices.SortStableFunc(history, func(a, b []tracescript.Span) int { return cmp.Compare(a[0].StartNs, b[0].StartNs) })
	forests := make([]*trace.Forest, len(history))
	for i := range history {
		forests[i] = build(tracescript.Block(history[i], spans.TraceID{1, 14: byte(i >> 8), 15: byte(i)}))
	}
	normal := baseline.LearnSteady(forests)
	for i := range trial {
		normal.Witness(build(tracescript.Block(trial[i], trialID(i))))
	}
	return normal
}

// trialID is the id of a trace on trial.
func trialID(i int) spans.TraceID { return spans.TraceID{0xab, 14: byte(i), 15: 1} }

// judgeAll judges traces that lie in one block.
func judgeAll(traces [][]tracescript.Span, cfg Config) []verdict.Verdict {
	b := new(spans.Block)
	for i, list := range traces {
		tracescript.Append(b, list, trialID(i))
	}
	var verdicts []verdict.Verdict
	builder, judger := trace.NewBuilder(b), NewJudger(cfg)
	for _, g := range trace.Group(b) {
		verdicts = append(verdicts, judger.Judge(builder.Build(g.Rows, 0))...)
	}
	return verdicts
}

func build(b *spans.Block) *trace.Forest {
	rows := make([]uint32, b.Len())
	for i := range rows {
		rows[i] = uint32(i)
	}
	return trace.Build(b, rows, 0)
}

var traceID = spans.TraceID{0xab, 15: 1}

// brief is a verdict in a few lines: what the corpus holds fast.
func brief(verdicts []verdict.Verdict) string {
	var b strings.Builder
	for i := range verdicts {
		v := &verdicts[i]
		fmt.Fprintf(&b, "%s: %s\n", v.Symptom, v.Summary)
		for _, s := range v.Shares {
			fmt.Fprintf(&b, "  %.2f %s %s, accountable %q, rule %s", s.Weight, s.Site.Kind, s.Site, s.Accountable, s.Rule)
			if s.Class != "" {
				fmt.Fprintf(&b, ", class %s", s.Class)
			}
			if s.ExcessNs != 0 {
				fmt.Fprintf(&b, ", %s over", verdict.Took(s.ExcessNs))
			}
			b.WriteByte('\n')
		}
		for _, note := range v.Notes {
			fmt.Fprintf(&b, "  note: %s\n", note)
		}
		for _, h := range v.Hops {
			fmt.Fprintf(&b, "  %s %s: %s\n", h.Service, h.Role, h.Why)
		}
	}
	return b.String()
}

func TestCorpus(t *testing.T) {
	for _, c := range corpus(t) {
		t.Run(c.name, func(t *testing.T) {
			got := brief(judgeAll(c.traces(t, "trace"), c.config(t)))
			if *update {
				if f := c.file("verdict"); f != nil {
					f.Data = []byte(got)
				} else {
					c.archive.Files = append(c.archive.Files, txtar.File{Name: "verdict", Data: []byte(got)})
				}
				if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := c.file("verdict")
			if want == nil {
				t.Fatal("the case has no verdict; write it, or look at what -update makes of it")
			}
			if got != string(want.Data) {
				t.Errorf("got\n%swant\n%s", got, want.Data)
			}
		})
	}
}

func asJSON(t testing.TB, v []verdict.Verdict) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestVerdictsDoNotDependOnDelivery: spans in any order, some of them sent twice, all of them some
// time later, give the same verdicts.
func TestVerdictsDoNotDependOnDelivery(t *testing.T) {
	for _, c := range corpus(t) {
		traces, cfg := c.traces(t, "trace"), c.config(t)
		want := asJSON(t, judgeAll(traces, cfg))
		for seed := range uint64(8) {
			r := rand.New(rand.NewPCG(seed, 1))
			again := make([][]tracescript.Span, len(traces))
			for i, list := range traces {
				again[i] = delivered(r, list)
			}
			if got := asJSON(t, judgeAll(again, cfg)); got != want {
				t.Fatalf("%s with seed %d: got\n%s\nwant\n%s", c.name, seed, got, want)
			}
		}
		if c.file("history") != nil {
			continue // TestProperties moves both
		}
		for i := range traces {
			traces[i] = later(traces[i], 3600_000_000_000)
		}
		if got, want := brief(judgeAll(traces, cfg)), brief(judgeAll(c.traces(t, "trace"), cfg)); got != want {
			t.Errorf("%s: another verdict an hour later:\n%s", c.name, got)
		}
	}
}

// delivered are the spans of a trace as they might come in: in any order, some of them twice.
func delivered(r *rand.Rand, list []tracescript.Span) []tracescript.Span {
	again := slices.Clone(list)
	for range 3 {
		again = append(again, list[r.IntN(len(list))])
	}
	r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	return again
}

// later are the spans as they would be if all had happened so much later.
func later(list []tracescript.Span, ns int64) []tracescript.Span {
	moved := slices.Clone(list)
	for i := range moved {
		moved[i].StartNs += ns
		moved[i].EndNs += ns
		if moved[i].ExceptionNs != 0 {
			moved[i].ExceptionNs += ns
		}
	}
	return moved
}

// TestVerdictsOutliveTheBlock: blocks are used again, and verdicts must not point into them.
func TestVerdictsOutliveTheBlock(t *testing.T) {
	for _, c := range corpus(t) {
		b := tracescript.Block(c.traces(t, "trace")[0], traceID)
		verdicts := Judge(build(b), c.config(t))
		want := asJSON(t, verdicts)
		for _, text := range [][]byte{
			b.Names.Bytes, b.StatusMessages.Bytes, b.Attrs.Keys.Bytes, b.Attrs.Values.Bytes, b.Resources.Services.Bytes, b.Resources.Attrs.Values.Bytes,
			b.Events.Names.Bytes, b.Events.Attrs.Keys.Bytes, b.Events.Attrs.Values.Bytes,
		} {
			for i := range text {
				text[i] = '#'
			}
		}
		if got := asJSON(t, verdicts); got != want {
			t.Errorf("%s: the verdict has changed with the block:\n%s\nwas\n%s", c.name, got, want)
		}
	}
}

// checkInvariants holds what is true of every verdict.
func checkInvariants(t testing.TB, f *trace.Forest, verdicts []verdict.Verdict) {
	t.Helper()
	if len(verdicts) != len(f.Entries) {
		t.Fatalf("%d verdicts for %d entries", len(verdicts), len(f.Entries))
	}
	for i := range verdicts {
		v := &verdicts[i]
		sum := 0.0
		for _, s := range v.Shares {
			sum += s.Weight
			if s.Confidence < 0 || s.Confidence > 1 || s.Rule == "" || s.Owner == "" || len(s.Evidence) == 0 {
				t.Fatalf("share %+v", s)
			}
		}
		if v.Symptom != verdict.SymptomNone && math.Abs(sum-1) > 1e-6 {
			t.Fatalf("%s: the weights sum to %v", v.Summary, sum)
		}
		if len(v.Hops) == 0 || v.Completeness < 0 || v.Completeness > 1 {
			t.Fatalf("%+v", v)
		}
	}
}

// TestRandomTraces: whatever forest the spans make, every node is judged, and the sums are right.
func TestRandomTraces(t *testing.T) {
	for seed := range uint64(400) {
		b := randomBlock(rand.New(rand.NewPCG(seed, 2)), 60)
		f := build(b)
		seen := 0
		for i := range f.Nodes {
			if f.Nodes[i].Entry == trace.None {
				t.Fatalf("seed %d: node %d belongs to no entry", seed, i)
			}
			seen++
		}
		checkInvariants(t, f, Judge(f, Config{}))
		if seen == 0 {
			t.Fatalf("seed %d: no node", seed)
		}
	}
}

// randomBlock makes spans with few ids, so that parents are missing, doubled, and in circles.
func randomBlock(r *rand.Rand, n int) *spans.Block {
	kinds := []spans.Kind{spans.KindInternal, spans.KindServer, spans.KindClient, spans.KindProducer, spans.KindConsumer}
	codes := []string{"200", "404", "500", "503", "504", "429", "499", ""}
	errorsOf := []string{"", "ECONNREFUSED", "context canceled", "timeout", "java.lang.NullPointerException", "JsonParseException", "CERT_HAS_EXPIRED"}
	list := make([]tracescript.Span, n)
	for i := range list {
		start := int64(1_780_000_000_000_000_000) + r.Int64N(1e9)
		s := tracescript.Span{
			ID: spans.SpanID{7: byte(1 + r.IntN(n))}, Parent: spans.SpanID{7: byte(r.IntN(n + 5))}, Service: fmt.Sprint("s", r.IntN(6)), Name: fmt.Sprint("op", r.IntN(4)),
			Kind: kinds[r.IntN(len(kinds))], StartNs: start, EndNs: start + r.Int64N(3e8) - 1e7, Status: spans.Status(r.IntN(3)),
		}
		if code := codes[r.IntN(len(codes))]; code != "" {
			s.Attrs = append(s.Attrs, [2]string{"http.response.status_code", code})
		}
		if e := errorsOf[r.IntN(len(errorsOf))]; e != "" {
			s.Attrs = append(s.Attrs, [2]string{"error.type", e})
			s.ExceptionType = e
		}
		if r.IntN(3) == 0 {
			s.Attrs = append(s.Attrs, [2]string{"server.address", fmt.Sprint("s", r.IntN(8))})
		}
		if r.IntN(6) == 0 {
			s.Attrs = append(s.Attrs, [2]string{"db.system.name", "postgresql"}, [2]string{"db.response.status_code", "40P01"})
		}
		list[i] = s
	}
	return tracescript.Block(list, traceID)
}

// FuzzJudge: no bytes make the model or the rules panic, hang or break a sum, with or without
// something learnt.
func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), uint8(20), uint8(0))
	f.Add(uint64(2), uint8(60), uint8(9))
	f.Add(uint64(11), uint8(99), uint8(40))
	f.Fuzz(func(t *testing.T, seed uint64, n, learnt uint8) {
		r := rand.New(rand.NewPCG(seed, 3))
		forest := build(randomBlock(r, int(n%100)+1))
		var cfg Config
		if learnt > 0 {
			cfg.Normal = new(baseline.Baseline)
			for range learnt % 50 {
				cfg.Normal.Learn(build(randomBlock(r, int(n%100)+1)))
			}
			cfg.Normal.Witness(forest)
		}
		verdicts := Judge(forest, cfg)
		checkInvariants(t, forest, verdicts)
		checkSums(t, forest, cfg, verdicts)
	})
}

// TestDepthAndWidth: no recursion, so depth costs nothing but time.
func TestDepthAndWidth(t *testing.T) {
	const n = 100_000
	for name, parent := range map[string]func(i int) int{
		"deep": func(i int) int { return i - 1 },
		"wide": func(i int) int { return min(i-1, 0) },
		"torn": func(int) int { return -1 },
	} {
		list := make([]tracescript.Span, n)
		for i := range list {
			list[i] = tracescript.Span{
				ID: id4(i + 1), Service: fmt.Sprint("s", i%7), Name: "op", Kind: spans.KindServer, Status: spans.StatusError,
				StartNs: int64(1e18) + int64(i)*1000, EndNs: int64(1e18) + 2e9 - int64(i),
			}
			if p := parent(i); p >= 0 {
				list[i].Parent = id4(p + 1)
			}
		}
		forest := build(tracescript.Block(list, traceID))
		verdicts := Judge(forest, Config{})
		checkInvariants(t, forest, verdicts)
		if (len(verdicts) != 1 && name != "torn") || verdicts[0].Symptom != verdict.SymptomError {
			t.Errorf("%s: %d verdicts", name, len(verdicts))
		}
	}
}

func id4(i int) spans.SpanID {
	return spans.SpanID{1, 4: byte(i >> 24), 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}
}

// teamOf has a team for each service, and nothing to say of edges.
type teamOf struct{}

func (teamOf) Resolve(q *ownership.Question) ownership.Answer {
	if q.Callee != "" {
		return ownership.Answer{Owner: ownership.Unowned, Rule: ownership.ByNobody}
	}
	return ownership.Answer{Owner: "team-" + q.Service, Rule: ownership.ByService}
}
