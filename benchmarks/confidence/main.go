// Confidence holds the confidence that verdicts state against the share of them that are right, by
// tenths: over the conformance cases, the shop's faults, and single recorded traces of faults with known causes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/verdict"
)

func main() {
	log.SetFlags(0)
	conformance := flag.String("conformance", "../../shared/conformance", "cases with the right verdicts")
	datasets := flag.String("datasets", "../../shared/datasets", "recorded traces with labels")
	bin := flag.String("bin", "../bin/whosehop", "the program that is scored")
	flag.Parse()
	corpus, err := cases(*conformance, *bin)
	if err != nil {
		log.Fatal(err)
	}
	recorded, err := traces(*datasets, *bin)
	if err != nil {
		log.Fatal(err)
	}
	ofShop, err := shop(*bin)
	if err != nil {
		log.Fatal(err)
	}
	table("conformance cases", corpus)
	table("the shop", ofShop)
	table("recorded traces (ShapleyIQ)", recorded)
	table("all", slices.Concat(corpus, ofShop, recorded))
}

// stated is one share: how sure it was, and whether it was right.
type stated struct {
	confidence float64
	right      bool
}

func table(name string, list []stated) {
	var n, right [10]int
	var sum [10]float64
	gap := 0.0
	for _, s := range list {
		k := min(9, int(s.confidence*10))
		n[k]++
		sum[k] += s.confidence
		if s.right {
			right[k]++
		}
	}
	fmt.Printf("| %s: stated | n | mean stated | share right |\n|---|---|---|---|\n", name)
	for k := range n {
		if n[k] == 0 {
			continue
		}
		mean, share := sum[k]/float64(n[k]), float64(right[k])/float64(n[k])
		gap += float64(n[k]) * max(mean-share, share-mean)
		fmt.Printf("| %.1f-%.1f | %d | %.2f | %.2f |\n", float64(k)/10, float64(k+1)/10, n[k], mean, share)
	}
	fmt.Printf("\nexpected calibration error: %.3f over %d verdicts\n\n", gap/float64(max(1, len(list))), len(list))
}

func judge(bin string, args ...string) ([]verdict.Verdict, error) {
	out, err := exec.CommandContext(context.Background(), bin, append([]string{"blame", "-o", "json"}, args...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("blame %s: %w", strings.Join(args, " "), err)
	}
	var verdicts []verdict.Verdict
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var v verdict.Verdict
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// expected is what a conformance case says of the top share.
type expected struct {
	Entry       string           `json:"entryService"`
	TraceID     string           `json:"traceId"`
	Site        map[string]any   `json:"site"`
	Also        []map[string]any `json:"alsoAcceptSites"`
	Accountable *string          `json:"accountable"`
}

func cases(dir, bin string) ([]stated, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []stated
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "expect.json"))
		if err != nil {
			continue
		}
		var want expected
		if err := json.Unmarshal(text, &want); err != nil {
			return nil, err
		}
		if want.Site == nil {
			continue
		}
		args := []string{"--input", filepath.Join(dir, e.Name(), "trace.json")}
		if history := filepath.Join(dir, e.Name(), "history.jsonl"); exists(history) {
			args = append(args, "--baseline", history)
		}
		verdicts, err := judge(bin, args...)
		if err != nil {
			return nil, err
		}
		for _, v := range verdicts {
			if len(v.Shares) == 0 || want.Entry != "" && v.Entry.Service != want.Entry || want.TraceID != "" && v.TraceID != want.TraceID {
				continue
			}
			top := v.Shares[0]
			right := slices.ContainsFunc(append([]map[string]any{want.Site}, want.Also...), func(site map[string]any) bool { return same(site, top.Site) })
			if want.Accountable != nil {
				right = right && top.Accountable == *want.Accountable
			}
			list = append(list, stated{top.Confidence, right})
			break
		}
	}
	return list, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// same compares the keys that the case names.
func same(want map[string]any, site verdict.Site) bool {
	text, _ := json.Marshal(site)
	var got map[string]any
	_ = json.Unmarshal(text, &got)
	for key, value := range want {
		if fmt.Sprint(got[key]) != fmt.Sprint(value) && (got[key] != nil || fmt.Sprint(value) != "") {
			return false
		}
	}
	return true
}

func traces(dir, bin string) ([]stated, error) {
	text, err := os.ReadFile(filepath.Join(dir, "dev", "labels.json"))
	if err != nil {
		return nil, err
	}
	var labels []struct {
		File   string                 `json:"file"`
		Start  string                 `json:"fault_start"`
		Window struct{ Start string } `json:"window"`
		Causes []string               `json:"root_cause_services"`
		Traces json.RawMessage        `json:"eval_traces"`
	}
	if err := json.Unmarshal(text, &labels); err != nil {
		return nil, err
	}
	var list []stated
	for _, l := range labels {
		ids := idsOf(l.Traces)
		if len(ids) == 0 {
			continue
		}
		file := filepath.Join(dir, "dev", l.File)
		args := []string{"--input", file, "--baseline", file, "--baseline-window", l.Window.Start + ".." + l.Start}
		for _, id := range ids {
			args = append(args, "--trace", id)
		}
		verdicts, err := judge(bin, args...)
		if err != nil {
			return nil, err
		}
		for _, v := range verdicts {
			if len(v.Shares) == 0 {
				continue
			}
			top := v.Shares[0]
			who := top.Accountable
			for _, name := range []string{top.Site.Service, top.Site.Caller, top.Site.Peer} {
				if who == "" {
					who = name
				}
			}
			list = append(list, stated{top.Confidence, slices.Contains(l.Causes, who)})
		}
	}
	return list, nil
}

// idsOf reads a list of ids, or an object whose keys they are.
func idsOf(text json.RawMessage) []string {
	var ids []string
	if json.Unmarshal(text, &ids) == nil {
		return ids
	}
	var keyed map[string]json.RawMessage
	if json.Unmarshal(text, &keyed) == nil {
		for id := range keyed {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
