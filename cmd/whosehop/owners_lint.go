package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/lint"
)

type ownersLintCmd struct {
	Path   []string `arg:"" help:"Files, and folders with all below them."`
	Policy string   `help:"What the catalog must have beyond that; docs/owners.md says how it is written." placeholder:"FILE"`
	Output string   `help:"text, json (one finding a line) or sarif." short:"o" enum:"text,json,sarif" default:"text"`
}

func (ownersLintCmd) Help() string {
	return `Finds what is wrong with catalogs of any format: what cannot be read, references to what is not there, two owners of one
thing, circles, records that never count, teams that are no more, and what a policy demands and is missing. The exit code
is 1 when there are errors, or no records at all; warnings pass.

Examples:
  whosehop owners lint owners.yaml
  whosehop owners lint --policy policy.yaml services/ .github/CODEOWNERS
  whosehop owners lint -o sarif . > owners.sarif`
}

func (c *ownersLintCmd) Run(s *streams, set *Settings) error {
	policy := new(lint.Policy)
	if c.Policy != "" {
		data, err := os.ReadFile(c.Policy)
		if err != nil {
			return fmt.Errorf("read the policy: %w", err)
		}
		if policy, err = lint.ParsePolicy(data); err != nil {
			return fmt.Errorf("read the policy %s: %w", c.Policy, err)
		}
	}
	paths := make([]string, len(c.Path))
	for i, path := range c.Path {
		paths[i] = fromHere(path)
	}
	records, problems, err := catalog.Read(paths, set.Ownership.options())
	if err != nil {
		return fmt.Errorf("owners lint: %w", err)
	}
	if len(records)+len(problems) == 0 {
		return fmt.Errorf("owners lint: nothing says who owns what in %s: see docs/owners.md for the files that are read", strings.Join(c.Path, ", "))
	}
	findings := lint.Check(records, problems, set.Ownership.config(), policy, time.Now())
	if err := c.print(s, findings); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	failed := 0
	for i := range findings {
		if findings[i].Severity == lint.Error {
			failed++
		}
	}
	summary := fmt.Sprintf("%s and %s in %s", count(failed, "error"), count(len(findings)-failed, "warning"), count(len(records), "record"))
	if failed > 0 {
		return fmt.Errorf("owners lint: %s", summary)
	}
	if c.Output == "text" {
		_, err = fmt.Fprintln(s.out, summary)
	}
	return err
}

func (c *ownersLintCmd) print(s *streams, findings []lint.Finding) error {
	out := bufio.NewWriter(s.out)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if c.Output == "sarif" {
		if err := lint.WriteSARIF(out, version, findings); err != nil {
			return err
		}
		return out.Flush()
	}
	for i := range findings {
		if c.Output == "json" {
			if err := lines.Encode(&findings[i]); err != nil {
				return err
			}
		} else {
			_, _ = fmt.Fprintln(out, findings[i].String())
		}
	}
	return out.Flush()
}
