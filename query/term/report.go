package term

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// Report draws what an owner caused and suffered.
func (p Painter) Report(w io.Writer, r *query.ReportResponse) error {
	var b strings.Builder
	const minute = "2006-01-02 15:04"
	fmt.Fprintf(&b, "%s  %s\n", p.paint(bold, r.Owner), p.paint(dim, r.From.Format(minute)+" to "+r.To.Format(minute+" UTC")))
	share := ""
	if r.Of.Requests > 0 {
		share = ", " + verdict.Percent(r.Caused.Requests/r.Of.Requests) + " of all"
	}
	for _, line := range []struct {
		word        string
		now, before *query.Amounts
		rest        string
	}{{"caused", &r.Caused, &r.CausedBefore, share}, {"suffered", &r.Suffered, &r.SufferedBefore, ""}} {
		fmt.Fprintf(&b, "%-9s %8s requests%s, %s lost; a week before %s, %s\n", line.word, count(line.now.Requests), line.rest, lost(line.now), count(line.before.Requests), lost(line.before))
	}
	for _, list := range []struct {
		title string
		parts []query.Part
	}{
		{"caused by operation", r.Operations},
		{"on edges", r.Edges},
		{"by version", r.Versions},
		{"by rule", r.Rules},
		{"requests that came in at", r.Entries},
		{"suffered in", r.SufferedIn},
		{"suffered from", r.SufferedFrom},
	} {
		p.parts(&b, list.title, list.parts)
	}
	if len(r.Recurring) > 0 {
		fmt.Fprintf(&b, "\n%s\n", p.paint(dim, "comes back"))
		for i := range r.Recurring {
			c := &r.Recurring[i]
			fmt.Fprintf(&b, "%8s  %s  %s on %s, %s\n", count(c.Requests), p.paint(bold, c.Name), plural(c.Episodes, "time"), plural(c.Days, "day"), c.Rule)
		}
	}
	if len(r.Neighbours) > 0 {
		fmt.Fprintf(&b, "\n%s\n", p.paint(dim, "owned by nobody, beside"))
		for i := range r.Neighbours {
			n := &r.Neighbours[i]
			fmt.Fprintf(&b, "%8s  %s  %s\n", count(n.Caused.Requests), p.paint(bold, n.Name), "beside "+strings.Join(n.Services, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func lost(a *query.Amounts) string {
	if a.ExcessNs <= 0 {
		return "no time"
	}
	return verdict.Lasted(a.ExcessNs)
}

func (p Painter) parts(b *strings.Builder, title string, parts []query.Part) {
	if len(parts) == 0 {
		return
	}
	width := 0
	for i := range parts {
		width = max(width, utf8.RuneCountInString(parts[i].Name))
	}
	width = min(width, nameCellsMax)
	fmt.Fprintf(b, "\n%s\n", p.paint(dim, title))
	for i := range parts {
		name := clip(cmp.Or(parts[i].Name, "(none)"), width)
		fmt.Fprintf(b, "%8s  %s  %-14s  %s\n", count(parts[i].Requests), p.paint(bold, name)+pad(name, width)[len(name):], parts[i].Rule, parts[i].Exemplar)
	}
}
