package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/rank"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/query/term"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

type rankCmd struct {
	serverFlags `embed:""`

	Input    string        `help:"Rank over the traces of a file instead, without any server; - is standard input." placeholder:"FILE"`
	Baseline []string      `help:"With --input: learn normal from these traces; may be given again. Without: from the file's own, outside of the window." placeholder:"FILE"`
	Window   string        `help:"With --input: what is breaking the traces that began in FROM..TO. Without: all of them." placeholder:"FROM..TO"`
	Owners   string        `help:"With --input: services and their owners, YAML." type:"file" placeholder:"FILE"`
	Since    time.Duration `help:"How far to look back; what came before it is the baseline." default:"30m"`
	Entry    string        `help:"Only requests that came in here: an operation, or a service and an operation." placeholder:"\"GET /checkout\""`
	Limit    int           `help:"How many suspects." default:"10"`
	Output   string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (rankCmd) Help() string {
	return `What is breaking these requests, and whose is it?

Examples:
  whosehop rank --since 30m --entry "GET /checkout"
  whosehop rank --input traces.jsonl.gz --window 2026-11-20T10:00:00Z..2026-11-20T10:05:00Z
  whosehop rank --input now.json --baseline before.json -o json`
}

func (c *rankCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	var answer rankAnswer
	var err error
	switch {
	case c.Input == "" && (c.Window != "" || c.Owners != "" || len(c.Baseline) > 0):
		return usageError{errors.New("rank: --window, --baseline and --owners go with --input")}
	case c.Input != "":
		answer.Suspects, err = c.fromFile(s, set)
	default:
		var body []byte
		params := url.Values{"since": {c.Since.String()}, "limit": {fmt.Sprint(c.Limit)}}
		if c.Entry != "" {
			params.Set("entry", c.Entry)
		}
		if body, err = c.get(ctx, "/api/v1/rank", params); err == nil {
			err = json.Unmarshal(body, &answer)
		}
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		lines := json.NewEncoder(s.out)
		lines.SetEscapeHTML(false)
		return lines.Encode(answer)
	}
	warnOfMissing(s, answer.Missing)
	out := bufio.NewWriter(s.out)
	if err := (term.Painter{Color: wantsColor(s.out)}).Suspects(out, answer.Suspects); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return out.Flush()
}

type rankAnswer struct {
	Suspects []verdict.Suspect `json:"suspects"`
	Missing  []string          `json:"missing,omitempty"`
}

// normalMin is how many traces before the window make a normal; with fewer, those after it count too.
const normalMin = 20

func (c *rankCmd) fromFile(s *streams, set *Settings) ([]verdict.Suspect, error) {
	from, to := int64(0), int64(1<<63-1)
	if c.Window != "" {
		var err error
		if from, to, err = parseWindow(c.Window); err != nil {
			return nil, usageError{fmt.Errorf("--window: %w", err)}
		}
	}
	owners, err := set.Ownership.load(cmp.Or(c.Owners, set.Ownership.File), s.err)
	if err != nil {
		return nil, err
	}
	var block spans.Block
	if err := readFile(s, c.Input, &block); err != nil {
		return nil, err
	}
	var window, before, after []*trace.Forest
	for _, g := range trace.Group(&block) {
		f := trace.Build(&block, g.Rows, set.Analyze.SpansMax)
		if len(f.Entries) == 0 || !c.wants(f) {
			continue
		}
		switch at := startOf(f); {
		case at >= from && at < to:
			window = append(window, f)
		case at < from:
			before = append(before, f)
		default:
			after = append(after, f)
		}
	}
	if len(window) == 0 {
		return nil, fmt.Errorf("%s holds no trace of the window asked for", c.Input)
	}
	for _, path := range c.Baseline {
		more := new(spans.Block)
		if err := readFile(s, path, more); err != nil {
			return nil, err
		}
		for _, g := range trace.Group(more) {
			if f := trace.Build(more, g.Rows, set.Analyze.SpansMax); len(f.Entries) > 0 && c.wants(f) {
				before = append(before, f)
			}
		}
	}
	if len(before) < normalMin {
		before = append(before, after...)
	}
	sortByTime(before)
	normal := baseline.LearnSteady(before)
	for _, f := range window {
		normal.Witness(f)
	}
	cfg := blame.Config{Owners: owners, Normal: normal}
	ranker := rank.Ranker{Owners: owners}
	for _, f := range before {
		ranker.Normal(f, blame.Judge(f, cfg))
	}
	for _, f := range window {
		ranker.Window(f, blame.Judge(f, cfg))
	}
	return ranker.Suspects(c.Limit), nil
}

// wants says whether the trace came in at the entry that was asked for.
func (c *rankCmd) wants(f *trace.Forest) bool {
	if c.Entry == "" {
		return true
	}
	for _, e := range f.Entries {
		if name := f.Nodes[e].Name; name == c.Entry || f.ServiceOf(e).Name+" "+name == c.Entry {
			return true
		}
	}
	return false
}
