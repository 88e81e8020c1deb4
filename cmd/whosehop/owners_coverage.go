package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/query/term"
)

type ownersCoverageCmd struct {
	serverFlags `embed:""`

	Since      time.Duration `help:"How far to look back." default:"168h"`
	Kind       string        `help:"Only what is wrong in this way: ${enum}." enum:"no-owner,edge-no-owner,owner-gone,no-on-call,no-runbook,no-dashboard,no-reviewer,not-reviewed," default:"" placeholder:"KIND"`
	ReviewDays int           `help:"Who was not reviewed for more days is a caretaker, and not an owner." default:"180"`
	Limit      *int          `help:"How many findings; 20 if not given, and with --patch as many as there can be." placeholder:"N"`
	Patch      bool          `help:"Print the suggested owners as a patch for git apply, which makes a new file."`
	PatchFile  string        `help:"With --patch: that file." default:"owners-suggested.yaml" placeholder:"FILE"`
	Output     string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (ownersCoverageCmd) Help() string {
	return `What runs without a real owner, ranked by the harm that it caused, and who might own it.

Examples:
  whosehop owners coverage
  whosehop owners coverage --since 24h --kind owner-gone
  whosehop owners coverage --patch | git apply`
}

const (
	coverageLines = 20
	coverageMost  = 500 // that a server lists
)

// plainPath is of a file whose name needs no quotes in a patch.
var plainPath = regexp.MustCompile(`^[\w.-]+(/[\w.-]+)*$`)

func (c *ownersCoverageCmd) Run(ctx context.Context, s *streams) error {
	switch { // to the server, 0 is what is usual
	case c.ReviewDays < 1:
		return usageError{errors.New("owners coverage: --review-days is 1 or more")}
	case c.Limit != nil && *c.Limit < 1:
		return usageError{errors.New("owners coverage: --limit is 1 or more")}
	case c.Patch && c.Output == "json":
		return usageError{errors.New("owners coverage: --patch is no JSON; the suggestions are in that of -o json as well")}
	case c.Patch && (!plainPath.MatchString(c.PatchFile) || path.Clean(c.PatchFile) != c.PatchFile || strings.HasPrefix(c.PatchFile, "..")):
		return usageError{fmt.Errorf("owners coverage: --patch-file %q is not the plain path of a file within a repository", c.PatchFile)}
	}
	limit := coverageLines
	switch {
	case c.Limit != nil:
		limit = *c.Limit
	case c.Patch:
		limit = coverageMost
	}
	params := url.Values{"since": {c.Since.String()}, "reviewDays": {fmt.Sprint(c.ReviewDays)}, "limit": {fmt.Sprint(limit)}}
	if c.Kind != "" {
		params.Set("kind", c.Kind)
	}
	body, err := c.get(ctx, "/api/v1/owners/coverage", params)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := s.out.Write(body)
		return err
	}
	var answer struct {
		coverage.Report
		Missing []string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	warnOfMissing(s, answer.Missing)
	if c.Patch {
		return c.patch(s, answer.Findings)
	}
	out := bufio.NewWriter(s.out)
	if err := (term.Painter{Color: wantsColor(s.out)}).Coverage(out, &answer.Report, c.Kind); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return out.Flush()
}

func (c *ownersCoverageCmd) patch(s *streams, findings []coverage.Finding) error {
	text, n := coverage.Suggested(findings)
	if n == 0 {
		_, err := fmt.Fprintf(s.err, "there is no suggestion for any of %d findings\n", len(findings))
		return err
	}
	_, err := io.WriteString(s.out, coverage.Patch(c.PatchFile, text))
	return err
}
