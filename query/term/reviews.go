package term

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/whosehop/whosehop/verdict"
)

// ReviewCount is how many verdicts of a rule were confirmed and contested; without a rule, of all.
type ReviewCount struct {
	Rule                 string
	Confirmed, Contested uint64
	Share                float64
}

// Review is what somebody said of a verdict.
type Review struct {
	At                              time.Time
	Kind, By, Why, TraceID, Summary string
}

// Reviews draws counts, and then what was said.
func (p Painter) Reviews(w io.Writer, counts []ReviewCount, list []Review) error {
	var b strings.Builder
	width := len("rule")
	for _, c := range counts {
		width = max(width, utf8.RuneCountInString(c.Rule))
	}
	fmt.Fprintf(&b, "%s\n", p.paint(dim, fmt.Sprintf("%s  %9s  %9s  %s", pad("rule", width), "confirmed", "contested", "share confirmed")))
	for _, c := range counts {
		name, share := c.Rule, verdict.Percent(c.Share)
		if name == "" {
			name = "all"
		}
		if c.Confirmed+c.Contested == 0 {
			share = "nobody has said"
		}
		fmt.Fprintf(&b, "%s  %9d  %9d  %s\n", pad(name, width), c.Confirmed, c.Contested, share)
	}
	for _, r := range list {
		said := r.Kind
		if r.By != "" {
			said += " by " + r.By
		}
		if r.Why != "" {
			said += ": " + r.Why
		}
		fmt.Fprintf(&b, "\n%s  %s\n  %s\n  %s\n", p.paint(dim, r.At.UTC().Format("2006-01-02 15:04 UTC")), p.paint(bold, oneLine(said)), r.Summary, p.paint(dim, "whosehop blame "+r.TraceID))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine is a text of others without what moves a terminal's cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// WhyNot draws why a service is not to blame.
func (p Painter) WhyNot(w io.Writer, a *verdict.WhyNot) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", p.paint(bold, strings.Join(a.Answer[:min(1, len(a.Answer))], "")), p.paint(dim, fmt.Sprintf("trace %s · %s %s", a.TraceID, a.Entry.Service, a.Entry.Operation)))
	for _, sentence := range a.Answer[min(1, len(a.Answer)):] {
		fmt.Fprintf(&b, "  · %s\n", sentence)
	}
	p.drawTried(&b, a.Tried)
	_, err := io.WriteString(w, b.String())
	return err
}
