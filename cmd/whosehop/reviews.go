package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/query/term"
)

// reviewFlags are what confirm and contest have in common.
type reviewFlags struct {
	serverFlags `embed:""`

	TraceID string `arg:"" name:"trace-id" help:"The trace, 32 hexadecimal digits."`
	Entry   string `help:"The span that the request came in with, where the trace has several." placeholder:"SPAN"`
	By      string `help:"Who says so; your user name if not given." placeholder:"NAME"`
}

type confirmCmd struct {
	reviewFlags `embed:""`

	Why string `help:"What shows that it holds." placeholder:"TEXT"`
}

type contestCmd struct {
	reviewFlags `embed:""`

	Why string `help:"Why it does not hold." required:"" placeholder:"TEXT"`
}

func (confirmCmd) Help() string {
	return "Example:\n  whosehop confirm 4bf92f3577b34da6a3ce929d0e0e4736 --why 'fixed by rolling payments back'"
}

func (contestCmd) Help() string {
	return "Example:\n  whosehop contest 4bf92f3577b34da6a3ce929d0e0e4736 --why 'not ours: the load balancer cut the connection'"
}

func (c *confirmCmd) Run(ctx context.Context, s *streams) error {
	return c.send(ctx, s, query.Confirmed, c.Why)
}

func (c *contestCmd) Run(ctx context.Context, s *streams) error {
	return c.send(ctx, s, query.Contested, c.Why)
}

func (f *reviewFlags) send(ctx context.Context, s *streams, kind, why string) error {
	if _, err := query.ParseTraceID(f.TraceID); err != nil {
		return usageError{err}
	}
	by := cmp.Or(f.By, os.Getenv("USER"))
	body, err := json.Marshal(rest.ReviewWanted{EntrySpanID: f.Entry, Kind: kind, By: by, Why: why})
	if err != nil {
		return err
	}
	const patience = 30 * time.Second
	answer, err := f.serverFlags.send(ctx, http.MethodPost, "/api/v1/verdicts/"+url.PathEscape(f.TraceID)+"/reviews", nil, body, patience)
	if err != nil {
		return err
	}
	var kept rest.Review
	if err := json.Unmarshal(answer, &kept); err != nil {
		return fmt.Errorf("read the answer of %s: %w", f.Server, err)
	}
	_, err = fmt.Fprintf(s.out, "%s: %s\n", kept.Kind, kept.Summary)
	return err
}

type reviewsCmd struct {
	serverFlags `embed:""`

	Since  time.Duration `help:"How far to look back." default:"720h"`
	Rule   string        `help:"List only reviews of verdicts by this rule." placeholder:"RULE"`
	Kind   string        `help:"List only these: confirmed or contested." placeholder:"KIND"`
	Owner  string        `help:"List only reviews of verdicts on this owner." placeholder:"OWNER"`
	Limit  int           `help:"How many to list, the newest; 0 for the counts alone." default:"20"`
	Output string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (reviewsCmd) Help() string {
	return `Of how many verdicts people said that they hold, by rule, and what they said.

Examples:
  whosehop reviews
  whosehop reviews --since 168h --kind contested --rule response-lost`
}

func (c *reviewsCmd) Run(ctx context.Context, s *streams) error {
	const most = 500
	if c.Kind != "" && c.Kind != query.Confirmed && c.Kind != query.Contested {
		return usageError{fmt.Errorf("--kind: %q is neither confirmed nor contested", c.Kind)}
	}
	if c.Limit < 0 || c.Limit > most || c.Since <= 0 {
		return usageError{errors.New("--limit is from 0 to 500, and --since more than 0")}
	}
	var answer struct {
		Summary rest.ReviewSummary `json:"summary"`
		Reviews []rest.Review      `json:"reviews"`
	}
	answer.Reviews = []rest.Review{}
	since := url.Values{"since": {c.Since.String()}}
	body, err := c.get(ctx, "/api/v1/reviews/summary", since)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &answer.Summary); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	if c.Limit > 0 {
		since.Set("pageSize", fmt.Sprint(c.Limit))
		for name, value := range map[string]string{"rule": c.Rule, "kind": c.Kind, "owner": c.Owner} {
			if value != "" {
				since.Set(name, value)
			}
		}
		if body, err = c.get(ctx, "/api/v1/reviews", since); err != nil {
			return err
		}
		var page rest.Reviews
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("read the answer of %s: %w", c.Server, err)
		}
		answer.Reviews = page.Reviews
	}
	if c.Output == "json" {
		return json.NewEncoder(s.out).Encode(answer)
	}
	warnOfMissing(s, answer.Summary.Missing)
	counts := make([]term.ReviewCount, 0, len(answer.Summary.Rules)+1)
	for _, r := range append(answer.Summary.Rules, answer.Summary.All) {
		counts = append(counts, term.ReviewCount{Rule: r.Rule, Confirmed: r.Confirmed, Contested: r.Contested, Share: r.ConfirmedShare})
	}
	list := make([]term.Review, len(answer.Reviews))
	for i, r := range answer.Reviews {
		list[i] = term.Review{At: r.At, Kind: r.Kind, By: r.By, Why: r.Why, TraceID: r.TraceID, Summary: r.Summary}
	}
	return term.Painter{Color: wantsColor(s.out)}.Reviews(s.out, counts, list)
}
