package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/term"
)

type nowCmd struct {
	serverFlags `embed:""`

	Since  time.Duration `help:"How far to look back, six hours at most." default:"1h"`
	Entry  string        `help:"Only requests that came in here: a service, an operation, or both."`
	Owner  string        `help:"Only hops that are this owner's."`
	Limit  int           `help:"Hops of each entry." default:"5"`
	Every  time.Duration `help:"On a terminal: how often to look again; 0 looks once." default:"5s"`
	Output string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (nowCmd) Help() string {
	return `On a terminal it looks again and again, in place, until it is interrupted.

Examples:
  whosehop now
  whosehop now --entry "web GET /checkout" --since 15m
  whosehop now --owner team-payments -o json`
}

func (c *nowCmd) Run(ctx context.Context, s *streams) error {
	const everyLeast = time.Second
	again := c.Output == "text" && c.Every > 0 && isTerminal(s.out)
	if again && c.Every < everyLeast {
		return usageError{fmt.Errorf("now: --every %s is less than %s", c.Every, everyLeast)}
	}
	if !again {
		drawn, err := c.draw(ctx, s)
		if err == nil {
			_, err = s.out.Write(drawn)
		}
		return err
	}
	for ctx.Err() == nil {
		drawn, err := c.draw(ctx, s)
		if err != nil {
			drawn = []byte("whosehop: " + oneLine(err) + "\n")
		}
		const home, clearLine, clearRest = "\x1b[H", "\x1b[K\n", "\x1b[J"
		if _, err := s.out.Write([]byte(home + strings.ReplaceAll(string(drawn), "\n", clearLine) + clearRest)); err != nil {
			return fmt.Errorf("draw: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.Every):
		}
	}
	return nil
}

// draw asks once.
func (c *nowCmd) draw(ctx context.Context, s *streams) ([]byte, error) {
	body, err := c.get(ctx, "/api/v1/now", url.Values{"since": {c.Since.String()}, "entry": {c.Entry}, "owner": {c.Owner}, "limit": {strconv.Itoa(c.Limit)}})
	if err != nil || c.Output == "json" {
		return body, err
	}
	var answer query.NowResponse
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	warnOfMissing(s, answer.Missing)
	var out bytes.Buffer
	err = term.Painter{Color: wantsColor(s.out)}.Now(&out, &answer, time.Now())
	return out.Bytes(), err
}
