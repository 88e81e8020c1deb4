package query

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/whosehop/whosehop/verdict"
)

// Links are the addresses that answers carry; empty ones are left out.
type Links struct {
	// Public is where people reach the pages, without a slash at its end.
	Public string
	// Trace is where a trace is in another store, with {traceId} and perhaps {spanId}, {fromMs} and {toMs} in it.
	Trace string
}

// ParseLinks checks addresses, which the settings query.public-url and query.trace-link give.
func ParseLinks(public, trace string) (Links, error) {
	l := Links{Public: strings.TrimRight(public, "/"), Trace: trace}
	if u, err := url.Parse(public); public != "" && (err != nil || !isWeb(u) || u.RawQuery != "" || u.Fragment != "") {
		return l, fmt.Errorf("query.public-url: %q is not an address such as https://whosehop.example", public)
	}
	if trace == "" {
		return l, nil
	}
	if !strings.Contains(trace, "{traceId}") {
		return l, fmt.Errorf("query.trace-link: there is no {traceId} in %q", trace)
	}
	if u, err := url.Parse(l.trace(strings.Repeat("0", 32), "", 0, 0)); err != nil || !isWeb(u) {
		return l, fmt.Errorf("query.trace-link: %q is not an address such as https://jaeger.example/trace/{traceId}", trace)
	}
	return l, nil
}

func isWeb(u *url.URL) bool { return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" }

func (l Links) trace(traceID, spanID string, fromMs, toMs int64) string {
	return strings.NewReplacer("{traceId}", traceID, "{spanId}", spanID, "{fromMs}", strconv.FormatInt(fromMs, 10), "{toMs}", strconv.FormatInt(toMs, 10)).Replace(l.Trace)
}

// OfTrace is where a trace is in the other store, empty if there is none.
func (l Links) OfTrace(v *verdict.Verdict) string {
	if l.Trace == "" {
		return ""
	}
	const aroundMs = 5 * 60_000 // clocks differ, and stores look for a trace by its time
	fromMs := v.Entry.Start.UnixNs / 1e6
	return l.trace(v.TraceID, v.Entry.SpanID, fromMs-aroundMs, fromMs+v.Entry.DurationNs/1e6+aroundMs)
}

// OfVerdict is the address of a verdict's page that stays; without Public it is relative to that.
func (l Links) OfVerdict(traceID, entrySpanID string) string {
	return l.Public + "/verdicts/" + traceID + "#entry-" + entrySpanID
}

// Reach says how an owner is reached, by the registry in force.
func (s *Service) Reach(owner string) (ways []verdict.Reach) {
	team := s.Team(owner)
	if team == nil {
		return nil
	}
	for _, w := range [...]verdict.Reach{
		{Name: "on call", Target: team.OnCall},
		{Name: "chat", Target: team.Chat},
		{Name: "mail", Target: team.Email},
		{Name: "runbook", Target: team.Runbook},
		{Name: "dashboard", Target: team.Dashboard},
	} {
		if w.Target != "" {
			ways = append(ways, w)
		}
	}
	return ways
}

// Markdown is a verdict as a message for the channel of an incident.
func (s *Service) Markdown(v *verdict.Verdict) string {
	c := verdict.Context{Trace: s.Links.OfTrace(v), Reach: s.Reach}
	if s.Links.Public != "" {
		c.Link = s.Links.OfVerdict(v.TraceID, v.Entry.SpanID)
	}
	return v.Markdown(c)
}
