package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

type ownersImportCmd struct {
	Path   []string `arg:"" help:"Files, and folders with all below them."`
	Output string   `help:"yaml, which is the registry's own format, or json (one record a line)." short:"o" enum:"yaml,json" default:"yaml"`
}

func (ownersImportCmd) Help() string {
	return `Reads what is written down about owners, and prints it in the registry's own format: Backstage, Datadog, OpsLevel and
Cortex catalogs, CODEOWNERS of GitHub and GitLab, Sentry's ownership rules, Kubernetes manifests, and the registry's own
files. Each record keeps its source. What is wrong with a file, and what two sources say differently, is said on standard
error, and the others go on. docs/owners.md says which files are found and what is read of them.

Examples:
  whosehop owners import . > owners.yaml
  whosehop owners import catalog-info.yaml .github/CODEOWNERS deploy/
  whosehop owners import -o json repos/ | jq -r 'select(.owner == null) | .name'`
}

func (c *ownersImportCmd) Run(s *streams, set *Settings) error {
	meter := fileMeter{out: s.err, terminal: isTerminal(s.err), last: time.Now()}
	options := set.Ownership.options()
	options.Looked = meter.looked
	records, problems, err := catalog.Read(c.Path, options)
	meter.end()
	if err != nil {
		return fmt.Errorf("owners import: %w", err)
	}
	for _, p := range problems {
		_, _ = fmt.Fprintln(s.err, p)
	}
	if len(records) == 0 {
		return fmt.Errorf("owners import: nothing says who owns what in %s: see docs/owners.md for the files that are read", strings.Join(c.Path, ", "))
	}
	conflicts := ownership.Compile(records, set.Ownership.config()).Conflicts()
	for _, conflict := range conflicts {
		_, _ = fmt.Fprintln(s.err, conflict)
	}
	_, _ = fmt.Fprintf(s.err, "%s, %s (%s), %s, %s\n", count(meter.known, "file"), count(len(records), "record"), byFormat(records),
		count(len(problems), "problem"), count(len(conflicts), "conflict"))
	return c.print(s.out, records)
}

func (c *ownersImportCmd) print(to io.Writer, records []catalog.Record) error {
	out := bufio.NewWriter(to)
	if c.Output == "yaml" {
		return errors.Join(catalog.Write(out, records), out.Flush())
	}
	catalog.Sort(records)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for i := range records {
		if err := lines.Encode(&records[i]); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return out.Flush()
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// byFormat counts records by their format.
func byFormat(records []catalog.Record) string {
	counts := make(map[string]int)
	for i := range records {
		counts[records[i].Source.Format]++
	}
	var list []string
	for format, n := range counts {
		list = append(list, fmt.Sprint(format, " ", n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// fileMeter counts files, and shows on a terminal that it does.
type fileMeter struct {
	out           io.Writer
	terminal      bool
	all, known    int
	last          time.Time
	somethingSaid bool
}

func (m *fileMeter) looked(_ string, known bool) {
	const every = 500 * time.Millisecond
	m.all++
	if known {
		m.known++
	}
	if m.terminal && time.Since(m.last) >= every {
		_, _ = fmt.Fprintf(m.out, "\r%s looked at, %d of them read", count(m.all, "file"), m.known)
		m.last, m.somethingSaid = time.Now(), true
	}
}

func (m *fileMeter) end() {
	if m.somethingSaid {
		_, _ = fmt.Fprintln(m.out)
	}
}
