package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/analyzer/tracefile"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/query/term"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

type serverFlags struct {
	Server string `help:"The query server." default:"http://127.0.0.1:8080" placeholder:"URL"`
	Token  string `help:"Its token, if it has one."`
}

type blameCmd struct {
	serverFlags `embed:""`

	TraceID        string   `arg:"" optional:"" name:"trace-id" help:"The trace, 32 hexadecimal digits."`
	Input          string   `help:"Judge the traces of a file instead, without any server: OTLP JSON or protobuf, Jaeger, Zipkin v2 or Tempo JSON, gzipped or not; - is standard input." placeholder:"FILE"`
	Owners         string   `help:"With --input: services and their owners, YAML." type:"file" placeholder:"FILE"`
	Trace          []string `help:"With --input: judge only this trace; may be given again." placeholder:"ID"`
	TracesFrom     string   `help:"With --input: judge only the traces that a file lists, one id a line." placeholder:"FILE"`
	Baseline       []string `help:"With --input: learn normal from these traces; may be given again." placeholder:"FILE"`
	BaselineWindow string   `help:"With --baseline: only from traces that began in FROM..TO." placeholder:"FROM..TO"`
	Explain        bool     `help:"With --input: say which rules were tried on which span, and why they did or did not fit."`
	WhyNot         string   `help:"Say why this service is not to blame, and which rules were tried on it." placeholder:"SERVICE"`
	Output         string   `help:"text, json (one object a line) or markdown (for the channel of an incident)." short:"o" enum:"text,json,markdown" default:"text"`
}

func (blameCmd) Help() string {
	return `Examples:
  whosehop blame 4bf92f3577b34da6a3ce929d0e0e4736
  whosehop blame --input trace.json --owners owners.yaml
  whosehop blame --input trace.json --baseline yesterday.jsonl.gz --explain
  whosehop blame 4bf92f3577b34da6a3ce929d0e0e4736 --why-not inventory
  whosehop blame 4bf92f3577b34da6a3ce929d0e0e4736 -o markdown
  zcat spans.jsonl.gz | whosehop blame --input - -o json`
}

func (c *blameCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	var verdicts []verdict.Verdict
	var err error
	switch {
	case (c.TraceID == "") == (c.Input == ""):
		return usageError{errors.New("blame: give a trace id, or a file with --input")}
	case c.Input == "" && (c.Owners != "" || c.Explain || len(c.Trace) > 0 || c.TracesFrom != "" || len(c.Baseline) > 0):
		return usageError{errors.New("blame: --owners, --explain, --trace, --traces-from and --baseline go with --input")}
	case c.BaselineWindow != "" && len(c.Baseline) == 0:
		return usageError{errors.New("blame: --baseline-window goes with --baseline")}
	case c.WhyNot != "" && (c.Explain || c.Output == "markdown"):
		return usageError{errors.New("blame: --why-not goes neither with --explain nor with -o markdown")}
	case c.Input != "":
		verdicts, err = c.fromFile(s, set)
	case c.WhyNot != "":
		return c.askWhyNot(ctx, s)
	case c.Output == "markdown":
		return c.printMarkdown(ctx, s)
	default:
		verdicts, err = c.fromServer(ctx)
	}
	if err != nil {
		return err
	}
	if c.WhyNot != "" {
		return c.tellWhyNot(s, verdicts)
	}
	return c.print(s, verdicts)
}

func (c *blameCmd) print(s *streams, verdicts []verdict.Verdict) error {
	out := bufio.NewWriter(s.out)
	painter := term.Painter{Color: wantsColor(s.out)}
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for i := range verdicts {
		var err error
		if i > 0 && c.Output != "json" {
			_, _ = out.WriteString("\n")
		}
		switch c.Output {
		case "json":
			err = lines.Encode(&verdicts[i])
		case "markdown":
			_, err = out.WriteString(verdicts[i].Markdown(verdict.Context{}))
		default:
			err = painter.Verdict(out, &verdicts[i])
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return out.Flush()
}

// wantsColor: a terminal that was not asked to stay plain (no-color.org).
func wantsColor(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && isTerminal(w)
}

// isTerminal says whether lines can be written over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (c *blameCmd) fromServer(ctx context.Context) ([]verdict.Verdict, error) {
	if _, err := query.ParseTraceID(c.TraceID); err != nil {
		return nil, usageError{err}
	}
	body, err := c.get(ctx, "/api/v1/verdicts/"+url.PathEscape(c.TraceID), nil)
	if err != nil {
		return nil, err
	}
	var verdicts []verdict.Verdict
	for d := json.NewDecoder(bytes.NewReader(body)); d.More(); {
		var v verdict.Verdict
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", c.Server, err)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// printMarkdown prints what the server makes of a verdict: it knows how an owner is reached, and where its pages are.
func (c *blameCmd) printMarkdown(ctx context.Context, s *streams) error {
	if _, err := query.ParseTraceID(c.TraceID); err != nil {
		return usageError{err}
	}
	body, err := c.get(ctx, "/api/v1/verdicts/"+url.PathEscape(c.TraceID), url.Values{"format": {"markdown"}})
	if err != nil {
		return err
	}
	_, err = s.out.Write(body)
	return err
}

func (c *blameCmd) askWhyNot(ctx context.Context, s *streams) error {
	if _, err := query.ParseTraceID(c.TraceID); err != nil {
		return usageError{err}
	}
	body, err := c.get(ctx, "/api/v1/verdicts/"+url.PathEscape(c.TraceID)+"/why-not", url.Values{"service": {c.WhyNot}})
	if err != nil {
		return err
	}
	var answer rest.WhyNotAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	return c.printWhyNot(s, answer.Answers)
}

// tellWhyNot explains verdicts that came from a file, which say what was tried on the service.
func (c *blameCmd) tellWhyNot(s *streams, verdicts []verdict.Verdict) error {
	var answers []verdict.WhyNot
	for i := range verdicts {
		if answer, ok := verdicts[i].WhyNot(c.WhyNot, &verdicts[i]); ok {
			answers = append(answers, answer)
		}
	}
	if len(answers) == 0 {
		return fmt.Errorf("%q has no part in these traces; whosehop blame without --why-not shows who has", c.WhyNot)
	}
	return c.printWhyNot(s, answers)
}

func (c *blameCmd) printWhyNot(s *streams, answers []verdict.WhyNot) error {
	painter := term.Painter{Color: wantsColor(s.out)}
	lines := json.NewEncoder(s.out)
	lines.SetEscapeHTML(false)
	for i := range answers {
		var err error
		if c.Output == "json" {
			err = lines.Encode(&answers[i])
		} else {
			if i > 0 {
				_, _ = fmt.Fprintln(s.out)
			}
			err = painter.WhyNot(s.out, &answers[i])
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// get asks the query server.
func (f *serverFlags) get(ctx context.Context, path string, params url.Values) ([]byte, error) {
	const patience = 30 * time.Second
	return f.send(ctx, http.MethodGet, path, params, nil, patience)
}

// send sends the query server a request, with JSON in it unless that is nil, and gives its answer.
func (f *serverFlags) send(ctx context.Context, method, path string, params url.Values, body []byte, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := strings.TrimSuffix(f.Server, "/") + path
	if len(params) > 0 {
		address += "?" + params.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{fmt.Errorf("--server: %w", err)}
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if f.Token != "" {
		request.Header.Set("Authorization", "Bearer "+f.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no query server answers at %s; start one with `whosehop up` or name it with --server: %w", f.Server, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 256<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", f.Server, err)
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		if json.Unmarshal(answer, &problem) != nil || problem.Detail == "" {
			problem.Detail = strings.TrimSpace(string(answer[:min(len(answer), 200)]))
		}
		return nil, fmt.Errorf("%s says %d: %s", f.Server, response.StatusCode, problem.Detail)
	}
	return answer, nil
}

// fromFile judges the traces of a file, in the order of their ids.
func (c *blameCmd) fromFile(s *streams, set *Settings) ([]verdict.Verdict, error) {
	only, err := c.wanted()
	if err != nil {
		return nil, err
	}
	owners, err := set.Ownership.load(cmp.Or(c.Owners, set.Ownership.File), s.err)
	if err != nil {
		return nil, err
	}
	normal, learnt, err := c.learn(s)
	if err != nil {
		return nil, err
	}
	var block spans.Block
	if err := readFile(s, c.Input, &block); err != nil {
		return nil, err
	}
	groups := trace.Group(&block)
	for _, g := range groups {
		if !learnt[g.ID] {
			normal.Witness(trace.Build(&block, g.Rows, set.Analyze.SpansMax))
		}
	}
	cfg := blame.Config{Owners: owners, Normal: normal, SLO: set.Analyze.SLO, Explain: c.Explain || c.WhyNot != "", ExplainOf: c.WhyNot}
	var verdicts []verdict.Verdict
	for _, g := range groups {
		if only != nil && !only[g.ID] {
			continue
		}
		verdicts = append(verdicts, blame.Judge(trace.Build(&block, g.Rows, set.Analyze.SpansMax), cfg)...)
	}
	if len(verdicts) == 0 {
		return nil, fmt.Errorf("%s holds no span of the traces asked for", c.Input)
	}
	return verdicts, nil
}

// wanted is the traces that were asked for; nil is all.
func (c *blameCmd) wanted() (map[spans.TraceID]bool, error) {
	ids := slices.Clone(c.Trace)
	if c.TracesFrom != "" {
		data, err := os.ReadFile(c.TracesFrom)
		if err != nil {
			return nil, fmt.Errorf("--traces-from: %w", err)
		}
		ids = append(ids, strings.Fields(string(data))...)
	}
	if len(ids) == 0 && c.TracesFrom == "" {
		return nil, nil
	}
	only := make(map[spans.TraceID]bool, len(ids))
	for _, text := range ids {
		id, err := query.ParseTraceID(text)
		if err != nil {
			return nil, usageError{err}
		}
		only[id] = true
	}
	return only, nil
}

func readFile(s *streams, path string, b *spans.Block) error {
	in := s.in
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the user names the file
		if err != nil {
			return fmt.Errorf("open the traces: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	if err := tracefile.Read(in, b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// learn makes a baseline of the files given for it, and says which traces are in it.
func (c *blameCmd) learn(s *streams) (*baseline.Baseline, map[spans.TraceID]bool, error) {
	from, to := int64(0), int64(1<<63-1)
	if c.BaselineWindow != "" {
		var err error
		if from, to, err = parseWindow(c.BaselineWindow); err != nil {
			return nil, nil, usageError{fmt.Errorf("--baseline-window: %w", err)}
		}
	}
	learnt := make(map[spans.TraceID]bool)
	var history []*trace.Forest
	for _, path := range c.Baseline {
		block := new(spans.Block)
		if err := readFile(s, path, block); err != nil {
			return nil, nil, err
		}
		for _, g := range trace.Group(block) {
			f := trace.Build(block, g.Rows, 0)
			if len(f.Entries) == 0 {
				continue
			}
			if at := startOf(f); at >= from && at < to {
				history = append(history, f)
				learnt[g.ID] = true
			}
		}
	}
	sortByTime(history)
	return baseline.LearnSteady(history), learnt, nil
}

func startOf(f *trace.Forest) int64 { return f.Nodes[f.Entries[0]].StartNs }

func sortByTime(forests []*trace.Forest) {
	slices.SortFunc(forests, func(a, b *trace.Forest) int {
		return cmp.Or(cmp.Compare(startOf(a), startOf(b)), bytes.Compare(a.ID[:], b.ID[:]))
	})
}

// parseWindow reads FROM..TO, each as query.ParseInstant does.
func parseWindow(text string) (from, to int64, err error) {
	a, b, ok := strings.Cut(text, "..")
	if !ok {
		return 0, 0, fmt.Errorf("%q is not FROM..TO", text)
	}
	if from, err = query.ParseInstant(a); err != nil {
		return 0, 0, err
	}
	to, err = query.ParseInstant(b)
	return from, to, err
}

type topCmd struct {
	serverFlags `embed:""`

	Since  time.Duration `help:"How far to look back." default:"1h"`
	By     string        `help:"owner, service, operation, edge, fingerprint, rule, class, version or entry." enum:"owner,service,operation,edge,fingerprint,rule,class,version,entry" default:"owner"`
	Owner  string        `help:"Only what this owner caused."`
	Entry  string        `help:"Only requests that came in here: a service, an operation, or both."`
	Limit  int           `help:"How many lines." default:"20"`
	Output string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (topCmd) Help() string { return "Example:\n  whosehop top --since 30m --by edge" }

func (c *topCmd) Run(ctx context.Context, s *streams) error {
	body, err := c.get(ctx, "/api/v1/top", url.Values{
		"since": {c.Since.String()}, "by": {c.By}, "owner": {c.Owner}, "entry": {c.Entry}, "limit": {fmt.Sprint(c.Limit)},
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := s.out.Write(body)
		return err
	}
	var answer query.TopResponse
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	warnOfMissing(s, answer.Missing)
	if len(answer.Rows) == 0 {
		_, err := fmt.Fprintf(s.out, "nothing failed in the last %s\n", c.Since)
		return err
	}
	rows := make([]term.TopRow, len(answer.Rows))
	for i, t := range answer.Rows {
		rows[i] = term.TopRow{Name: t.Name, Owner: t.Owner, Rule: t.Rule, Exemplar: t.Exemplar, Caused: t.Requests}
	}
	return term.Painter{Color: wantsColor(s.out)}.Top(s.out, c.By, rows)
}

// warnOfMissing says which shards of the storage did not answer.
func warnOfMissing(s *streams, missing []string) {
	if len(missing) > 0 {
		_, _ = fmt.Fprintf(s.err, "a part of the storage does not answer, and what lies there is missing: %s\n", strings.Join(missing, ", "))
	}
}

type completeCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completeCmd) Help() string { return "Example:\n  source <(whosehop completion bash)" }

// Run writes a script that knows the commands and flags of this very program.
func (c *completeCmd) Run(s *streams, app *kong.Application) error {
	var commands, below, flags []string
	add := func(node *kong.Node) {
		for _, f := range node.Flags {
			flags = append(flags, "--"+f.Name)
		}
	}
	for _, node := range app.Children {
		commands = append(commands, node.Name)
		add(node)
		for _, child := range node.Children {
			below = append(below, child.Name)
			add(child)
		}
	}
	for _, f := range app.Flags {
		flags = append(flags, "--"+f.Name)
	}
	slices.Sort(flags)
	words := strings.Join(slices.Concat(commands, below, slices.Compact(flags)), " ")
	var err error
	switch c.Shell {
	case "bash":
		_, err = fmt.Fprintf(s.out, "complete -o default -W %q whosehop\n", words)
	case "zsh":
		_, err = fmt.Fprintf(s.out, "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -W %q whosehop\n", words)
	case "fish":
		_, err = fmt.Fprintf(s.out, "complete -c whosehop -a %q\n", words)
	}
	return err
}
