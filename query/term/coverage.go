package term

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/verdict"
)

// kindCells are those of the longest kind.
const kindCells = 13

// Coverage writes what runs without a real owner, what did most harm first; kind is the one that was asked for, if it was one.
func (p Painter) Coverage(w io.Writer, r *coverage.Report, kind string) error {
	var b strings.Builder
	t := &r.Totals
	if t.Services > 0 {
		fmt.Fprintf(&b, "%d of %d services have an owner, with %s of the spans", t.OwnedServices, t.Services, verdict.Percent(float64(t.OwnedSpans)/float64(max(t.Spans, 1))))
		if t.Failed > t.NobodyFailed || t.ExcessNs > t.NobodyExcessNs {
			fmt.Fprintf(&b, " and %s of the harm", verdict.Percent(t.OwnedHarm))
		}
		b.WriteString("\n")
	}
	for i, group := range coverage.Groups(r.Findings) {
		f := &group[0]
		fmt.Fprintf(&b, "\n%2d  %s  %s\n", i+1, p.paint(bold, printed(f.Subject.String())), p.paint(dim, harm(f)))
		for k := range group {
			fmt.Fprintf(&b, "    %s  %s\n", p.paint(red, pad(string(group[k].Kind), kindCells)), printed(group[k].Text))
		}
		if f.Source != "" {
			fmt.Fprintf(&b, "    %s\n", p.paint(dim, printed(f.Source)))
		}
		if s := f.Suggestion; s != nil {
			fmt.Fprintf(&b, "    %s %s: %s\n", s.Confidence, p.paint(bold, printed(s.Owner)), printed(strings.Join(s.Why, "; ")))
		}
	}
	found := 0
	for k, n := range t.Findings {
		if kind == "" || kind == string(k) {
			found += n
		}
	}
	switch more := found - len(r.Findings); {
	case found == 0:
		b.WriteString("nothing is wrong with the owners of what was seen\n")
	case more > 0:
		fmt.Fprintf(&b, "\n%d more: see --limit and --kind\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// harm is what something did, in a few words.
func harm(f *coverage.Finding) string {
	var words []string
	if f.Share > 0 {
		words = append(words, verdict.Percent(f.Share)+" of all harm:")
	}
	if f.Failed > 0 {
		words = append(words, fmt.Sprintf("%.1f failed requests,", f.Failed))
	}
	if f.ExcessNs > 0 {
		words = append(words, verdict.Took(f.ExcessNs)+" lost,")
	}
	switch {
	case f.Spans > 0 && f.Subject.Kind == coverage.OfPeer:
		words = append(words, fmt.Sprintf("%d calls", f.Spans))
	case f.Spans > 0:
		words = append(words, fmt.Sprintf("%d spans", f.Spans))
	}
	return strings.TrimSuffix(strings.Join(words, " "), ",")
}

// printed keeps names that come from spans from writing anything but text.
func printed(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}
