// Accuracy scores the judgement on recorded faults with known causes, beside what trace tools do without
// one ("the deepest error span", "every error span") and beside chance. The data sets' own script is the
// referee; ranks are strict.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/analyzer/tracefile"
	"github.com/whosehop/whosehop/storage/spans"
)

// label is a case of a data set, as its labels.json has it.
type label struct {
	Case       string   `json:"case"`
	Dataset    string   `json:"dataset"`
	System     string   `json:"system"`
	File       string   `json:"file"`
	Start      string   `json:"fault_start"`
	End        string   `json:"fault_end"`
	Causes     []string `json:"root_cause_services"`
	Visibility struct {
		Kinds []string `json:"kinds"`
	} `json:"visibility"`
}

func (l *label) visible() bool { return !slices.Contains(l.Visibility.Kinds, "none") }

func main() {
	log.SetFlags(0)
	dir := flag.String("datasets", "../../shared/datasets", "the data sets, with score.py")
	bin := flag.String("bin", "../bin/whosehop", "the program that is scored")
	flag.Parse()
	labels, err := read(filepath.Join(*dir, "dev", "labels.json"))
	if err != nil {
		log.Fatal(err)
	}
	scored, err := referee(*dir, *bin)
	if err != nil {
		log.Fatal(err)
	}
	tables := newTables()
	for i := range labels {
		l := &labels[i]
		tables.add("whosehop", l, scored.AC[l.Case])
		services, deepest, every, err := naive(filepath.Join(*dir, "dev", l.File), l)
		if err != nil {
			log.Fatal(err)
		}
		tables.add("deepest error span", l, hits(deepest, l.Causes))
		tables.add("every error span", l, hits(every, l.Causes))
		tables.add("chance", l, chance(services, len(l.Causes)))
	}
	tables.print(os.Stdout)
	fmt.Printf("\nShapleyIQ, single traces: %.0f of %d blamed rightly (%.3f); with one cause %.0f of %d (%.3f), with two %.0f of %d (%.3f)\n",
		scored.Hits[0]+scored.Hits[1], scored.Traces[0]+scored.Traces[1], (scored.Hits[0]+scored.Hits[1])/float64(scored.Traces[0]+scored.Traces[1]),
		scored.Hits[0], scored.Traces[0], scored.Hits[0]/float64(scored.Traces[0]), scored.Hits[1], scored.Traces[1], scored.Hits[1]/float64(scored.Traces[1]))
}

func read(path string) ([]label, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var labels []label
	return labels, json.Unmarshal(data, &labels)
}

// score is what the referee says: AC@1 to AC@5 of every case, and the single traces of cases with one
// cause and with two.
type score struct {
	AC     map[string][]float64
	Hits   [2]float64
	Traces [2]int
}

func referee(dir, bin string) (*score, error) {
	out, err := os.CreateTemp("", "score-*.json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	cmd := exec.CommandContext(context.Background(), "python3", filepath.Join(dir, "score.py"), "--bin", bin, "--traces", "--json", out.Name())
	cmd.Stderr = os.Stderr
	if text, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("score.py: %w\n%s", err, text)
	}
	var rows []struct {
		Case  string    `json:"case"`
		AC    []float64 `json:"ac"`
		Ranks []any     `json:"ranks"`
		Hits  float64   `json:"trace_hits"`
		N     int       `json:"traces"`
		Error string    `json:"error"`
	}
	data, err := io.ReadAll(out)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, err
	}
	s := &score{AC: make(map[string][]float64)}
	for _, r := range rows {
		if r.Error != "" {
			return nil, fmt.Errorf("%s: %s", r.Case, r.Error)
		}
		s.AC[r.Case] = r.AC
		causes := min(1, len(r.Ranks)-1)
		s.Hits[causes] += r.Hits
		s.Traces[causes] += r.N
	}
	return s, nil
}

// naive ranks services by the window's traces in which theirs is the deepest failed span, and by those
// in which any span of theirs failed; services are all that the window's traces name.
func naive(path string, l *label) (services int, deepest, every []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, nil, err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return 0, nil, nil, err
	}
	var block spans.Block
	if err := tracefile.Read(unzipped, &block); err != nil {
		return 0, nil, nil, err
	}
	from, _ := strconv.ParseInt(l.Start, 10, 64)
	to, _ := strconv.ParseInt(l.End, 10, 64)
	deep, anywhere, seen := make(map[string]int), make(map[string]int), make(map[string]bool)
	for _, g := range trace.Group(&block) {
		f := trace.Build(&block, g.Rows, 0)
		if len(f.Entries) == 0 || f.Nodes[f.Entries[0]].StartNs < from || f.Nodes[f.Entries[0]].StartNs >= to {
			continue
		}
		lowest, failed := trace.None, make(map[string]bool)
		for i := range f.Nodes {
			name := f.ServiceOf(int32(i)).Name
			seen[name] = true
			if !f.Nodes[i].Outcome.Failed() {
				continue
			}
			failed[name] = true
			if lowest == trace.None || f.Nodes[i].Depth > f.Nodes[lowest].Depth {
				lowest = int32(i)
			}
		}
		for name := range failed {
			anywhere[name]++
		}
		if lowest != trace.None {
			deep[f.ServiceOf(lowest).Name]++
		}
	}
	return len(seen), order(deep), order(anywhere), nil
}

func order(votes map[string]int) []string {
	names := make([]string, 0, len(votes))
	for name := range votes {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if votes[a] != votes[b] {
			return votes[b] - votes[a]
		}
		return strings.Compare(a, b)
	})
	return names
}

// hits is AC@1 to AC@5: with two causes both must be among the first k+1.
func hits(names, causes []string) []float64 {
	ac := make([]float64, 5)
	for k := range ac {
		ac[k] = 1
		for _, c := range causes {
			if at := slices.Index(names, c); at < 0 || at >= k+len(causes) {
				ac[k] = 0
			}
		}
	}
	return ac
}

// chance is what a random order of the services would score on average.
func chance(services, causes int) []float64 {
	ac := make([]float64, 5)
	for k := range ac {
		ac[k] = 1
		for c := range causes {
			ac[k] *= min(1, float64(k+causes-c)/float64(max(1, services-c)))
		}
	}
	return ac
}

type tables struct {
	rows map[[2]string][][]float64 // by system and method
}

func newTables() *tables { return &tables{rows: make(map[[2]string][][]float64)} }

func (t *tables) add(method string, l *label, ac []float64) {
	name := l.Dataset + " " + l.System
	groups := []string{name}
	if l.visible() {
		groups = append(groups, name+", where the fault leaves a mark")
	} else {
		groups = append(groups, name+", where it leaves none")
	}
	for _, g := range groups {
		t.rows[[2]string{g, method}] = append(t.rows[[2]string{g, method}], ac)
	}
}

func (t *tables) print(w io.Writer) {
	keys := make([][2]string, 0, len(t.rows))
	for key := range t.rows {
		keys = append(keys, key)
	}
	rank := []string{"whosehop", "deepest error span", "every error span", "chance"}
	slices.SortFunc(keys, func(a, b [2]string) int {
		if a[0] != b[0] {
			return strings.Compare(a[0], b[0])
		}
		return slices.Index(rank, a[1]) - slices.Index(rank, b[1])
	})
	_, _ = fmt.Fprintf(w, "| cases | method | n | AC@1 | AC@3 | AC@5 | Avg@5 |\n|---|---|---|---|---|---|---|\n")
	for _, key := range keys {
		rows := t.rows[key]
		var mean [5]float64
		all := 0.0
		for _, ac := range rows {
			for k := range mean {
				mean[k] += ac[k] / float64(len(rows))
				all += ac[k] / float64(5*len(rows))
			}
		}
		_, _ = fmt.Fprintf(w, "| %s | %s | %d | %.3f | %.3f | %.3f | %.3f |\n", key[0], key[1], len(rows), mean[0], mean[2], mean[4], all)
	}
}
