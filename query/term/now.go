package term

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// Now draws what is breaking, as of a time.
func (p Painter) Now(w io.Writer, n *query.NowResponse, at time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", p.paint(bold, nowHead(n)), p.paint(dim, n.From.Format("15:04")+" to "+n.To.Format("15:04 UTC")))
	for i := range n.Entries {
		e := &n.Entries[i]
		of := ""
		if e.All > 0 {
			of = fmt.Sprintf(" of %s", count(e.All))
		}
		fmt.Fprintf(&b, "\n%s  %s%s %s  %s\n", p.paint(bold, e.Service+" "+e.Operation), count(e.Requests), of, symptoms(&e.Amounts), p.paint(amber, spark(e.Trend)))
		for k := range e.Hops {
			p.nowHop(&b, &e.Hops[k], at)
		}
	}
	if n.More > 0 {
		fmt.Fprintf(&b, "\n%s\n", p.paint(dim, fmt.Sprintf("%d more entries; --entry or --owner narrows this down", n.More)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func nowHead(n *query.NowResponse) string {
	if n.Total.Requests == 0 {
		return "nothing failed or was slow"
	}
	text := fmt.Sprintf("%s %s", count(n.Total.Requests), symptoms(&n.Total))
	if n.Total.Stored < n.Total.Requests-0.5 {
		text += fmt.Sprintf(" (by %s that were sampled)", count(n.Total.Stored))
	}
	return text
}

// symptoms says how many of the requests failed and were slow, where that is not all of them.
func symptoms(a *query.Amounts) string {
	type symptom struct {
		n    float64
		word string
	}
	var parts []string
	for _, s := range []symptom{{a.Failed, "failed"}, {a.Degraded, "degraded"}, {a.Slow, "slow"}} {
		switch {
		case s.n >= a.Requests-0.005:
			return s.word
		case s.n > 0:
			parts = append(parts, count(s.n)+" "+s.word)
		}
	}
	return "failed or slow (" + strings.Join(parts, ", ") + ")"
}

func (p Painter) nowHop(b *strings.Builder, h *query.NowHop, at time.Time) {
	const siteCells, ownerCells = 44, 20
	site := clip(h.Site.String(), siteCells)
	fmt.Fprintf(b, "  %3.0f %%  %s  %s  %s  %s\n", 100*h.Share, p.paint(red, site)+strings.Repeat(" ", max(0, siteCells-len([]rune(site)))),
		pad(clip(h.Owner, ownerCells), ownerCells), spark(h.Trend), strings.Join(about(h, at), ", "))
	fmt.Fprintf(b, "         %s\n", p.paint(dim, "whosehop blame "+h.Exemplar))
}

// about is what else there is to say of a hop.
func about(h *query.NowHop, at time.Time) []string {
	parts := []string{h.Rule}
	switch since := at.Sub(h.Since); {
	case h.Since.IsZero():
		parts = append(parts, "for more than a week")
	case since < time.Minute:
		parts = append(parts, "since just now")
	default:
		parts = append(parts, "for "+verdict.Lasted(since.Nanoseconds()))
	}
	if h.NewVersion {
		parts = append(parts, "with the new version "+h.Version)
	}
	if h.ExcessNs > 0 {
		parts = append(parts, verdict.Lasted(h.ExcessNs)+" lost")
	}
	return parts
}

// count is a number of requests, which may be a part of one.
func count(x float64) string {
	if x >= 10 || x == float64(int64(x)) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.1f", x)
}

// spark draws a trend, each step as high as it is of the highest.
func spark(trend []float64) string {
	heights := []rune("▁▂▃▄▅▆▇█")
	if len(trend) == 0 {
		return ""
	}
	most := cmp.Or(slices.Max(trend), 1)
	line := make([]rune, len(trend))
	for i, x := range trend {
		line[i] = heights[min(int(x/most*float64(len(heights))), len(heights)-1)]
	}
	return string(line)
}
