package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/term"
)

type reportCmd struct {
	serverFlags `embed:""`

	Owner  string        `arg:"" help:"Whose report; \"unowned\", \"user\" and \"unknown\" are nobody's."`
	Since  time.Duration `help:"How far to look back." default:"24h"`
	Limit  int           `help:"Lines of each list." default:"10"`
	Output string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (reportCmd) Help() string {
	return "Examples:\n  whosehop report team-payments --since 168h\n  whosehop report unowned"
}

func (c *reportCmd) Run(ctx context.Context, s *streams) error {
	body, err := c.get(ctx, "/api/v1/report", url.Values{"owner": {c.Owner}, "since": {c.Since.String()}, "limit": {strconv.Itoa(c.Limit)}})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := s.out.Write(body)
		return err
	}
	var answer query.ReportResponse
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	warnOfMissing(s, answer.Missing)
	return term.Painter{Color: wantsColor(s.out)}.Report(s.out, &answer)
}
