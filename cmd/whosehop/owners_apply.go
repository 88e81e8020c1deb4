package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/query/rest"
)

type ownersApplyCmd struct {
	serverFlags `embed:""`

	Paths      []string `arg:"" name:"path" help:"Files, and folders with all files in them that say who owns what."`
	Set        string   `help:"The set of records that these files are: what is in it and in none of them any more ends. Several repositories apply a set each." default:"default" placeholder:"NAME"`
	DryRun     bool     `help:"Only say what would change."`
	SkipBroken bool     `help:"Apply the files that can be read; what the others said before stays."`
	Output     string   `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (ownersApplyCmd) Help() string {
	return `All roles heed what is applied within seconds. What has another owner changes hands now, unless the file says when:
from and until can lie in the past. Nothing is applied if a file is broken.

Examples:
  whosehop owners apply owners/ --dry-run
  whosehop owners apply --set shop catalog-info.yaml .github/CODEOWNERS`
}

// applyPatience is with the server, which may have many records to store.
const applyPatience = time.Minute

func (c *ownersApplyCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	if c.Set == "" {
		return usageError{errors.New("--set: it has no name; leave it out for the set default")}
	}
	paths := make([]string, len(c.Paths)) // by which files are known, wherever a repository is checked out
	for i, path := range c.Paths {
		paths[i] = fromHere(path)
	}
	records, problems, err := catalog.Read(paths, set.Ownership.options())
	if err != nil {
		return fmt.Errorf("read owners: %w", err)
	}
	for _, p := range problems {
		_, _ = fmt.Fprintln(s.err, p)
	}
	wanted := rest.OwnersWanted{Records: records}
	switch {
	case len(problems) > 0 && !c.SkipBroken:
		return fmt.Errorf("nothing is applied: %s; mend them, or leave out the files with --skip-broken", count(len(problems), "problem"))
	case len(problems) > 0:
		wanted.Records, wanted.Keep = unbroken(records, problems)
	case len(records) == 0:
		return fmt.Errorf("nothing is applied: nothing in %s says who owns what", strings.Join(c.Paths, ", "))
	}
	if wanted.Records == nil {
		wanted.Records = []catalog.Record{}
	}
	body, err := json.Marshal(wanted)
	if err != nil {
		return fmt.Errorf("write down the records: %w", err)
	}
	params := url.Values{"set": {c.Set}, "dryRun": {strconv.FormatBool(c.DryRun)}}
	answer, err := c.send(ctx, http.MethodPut, "/api/v1/owners", params, body, applyPatience)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := s.out.Write(answer)
		return err
	}
	var applied rest.OwnersApplied
	if err := json.Unmarshal(answer, &applied); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	return printApplied(s.out, &applied)
}

func printApplied(out io.Writer, a *rest.OwnersApplied) error {
	var text strings.Builder
	for _, c := range a.Changes {
		sign := map[string]string{ownership.Added: "+", ownership.Ended: "-", ownership.Changed: "~"}[c.What]
		fmt.Fprintf(&text, "%s %s", sign, c.About)
		switch {
		case c.Before != c.After && c.Before != "" && c.After != "":
			fmt.Fprintf(&text, ": %s, before %s", c.After, c.Before)
		case c.After != "":
			fmt.Fprintf(&text, ": %s", c.After)
		case c.Before != "":
			fmt.Fprintf(&text, ": %s", c.Before)
		}
		fmt.Fprintf(&text, "  (%s)\n", c.Source)
	}
	if more := a.Added + a.Ended + a.Changed - len(a.Changes); more > 0 {
		fmt.Fprintf(&text, "and %s\n", count(more, "further change"))
	}
	if len(a.Handovers) > 0 {
		fmt.Fprintln(&text, "hand-overs:")
		for _, h := range a.Handovers {
			fmt.Fprintf(&text, "  %s\n", inWords(&h))
		}
	}
	if len(a.Conflicts) > 0 {
		fmt.Fprintln(&text, "conflicts:")
		for _, c := range a.Conflicts {
			fmt.Fprintf(&text, "  %s\n", c)
		}
	}
	done := "applied"
	if a.DryRun {
		done = "not applied, a dry run"
	}
	fmt.Fprintf(&text, "set %s: %d added, %d ended, %d changed, %d as before; %s\n", a.Set, a.Added, a.Ended, a.Changed, a.Unchanged, done)
	_, err := io.WriteString(out, text.String())
	return err
}

// inWords says who handed what over to whom: "service payments: team-a until 3 Nov 2026, team-b since".
func inWords(h *rest.Handover) string {
	layout := "2 Jan 2006 15:04 UTC"
	if at := h.At.UTC(); at.Equal(at.Truncate(24 * time.Hour)) {
		layout = "2 Jan 2006"
	}
	when := h.At.UTC().Format(layout)
	switch ownership.Unowned {
	case h.Before:
		return fmt.Sprintf("%s: nobody until %s, %s since", h.About, when, h.After)
	case h.After:
		return fmt.Sprintf("%s: %s until %s, nobody since", h.About, h.Before, when)
	}
	return fmt.Sprintf("%s: %s until %s, %s since", h.About, h.Before, when, h.After)
}

type ownersHandoversCmd struct {
	serverFlags `embed:""`

	Since  time.Duration `help:"How far to look back." default:"2160h"`
	Output string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (ownersHandoversCmd) Help() string { return "Example:\n  whosehop owners handovers --since 720h" }

func (c *ownersHandoversCmd) Run(ctx context.Context, s *streams) error {
	if c.Since <= 0 {
		return usageError{errors.New("--since: how far to look back is more than nothing")}
	}
	body, err := c.get(ctx, "/api/v1/owners/handovers", url.Values{"since": {c.Since.String()}})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := s.out.Write(body)
		return err
	}
	var list rest.Handovers
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	var text strings.Builder
	for i := range list.Handovers {
		fmt.Fprintln(&text, inWords(&list.Handovers[i]))
	}
	switch more := list.Total - len(list.Handovers); {
	case list.Total == 0:
		fmt.Fprintf(&text, "nothing changed hands in the last %s\n", c.Since)
	case more > 0:
		fmt.Fprintf(&text, "and %s\n", count(more, "earlier hand-over"))
	}
	_, err = io.WriteString(s.out, text.String())
	return err
}
