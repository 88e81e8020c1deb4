// Package term draws answers for a terminal.
package term

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/whosehop/whosehop/verdict"
)

// Painter draws; with Color, in ANSI colours.
type Painter struct{ Color bool }

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[1;31m"
	amber = "\x1b[33m"
)

func (p Painter) paint(code, text string) string {
	if !p.Color || text == "" {
		return text
	}
	return code + text + "\x1b[0m"
}

// line is one row of the tree.
type line struct {
	tree, name, took, role, why string
	guilty                      bool
}

// Verdict draws one verdict: the sentence, the path of the failure as a tree, the evidence.
func (p Painter) Verdict(w io.Writer, v *verdict.Verdict) error {
	var b strings.Builder
	b.WriteString(p.paint(bold, v.Summary) + "\n")
	fmt.Fprintf(&b, "%s\n", p.paint(dim, head(v)))
	if lines := tree(v); len(lines) > 0 {
		b.WriteString("\n")
		p.drawTree(&b, lines)
	}
	for i := range v.Shares {
		p.drawShare(&b, &v.Shares[i], len(v.Shares) > 1)
	}
	for _, note := range v.Notes {
		fmt.Fprintf(&b, "%s\n", p.paint(dim, "note: "+note))
	}
	p.drawTried(&b, v.Tried)
	_, err := io.WriteString(w, b.String())
	return err
}

// drawTried lists the rules that were tried, span by span.
func (p Painter) drawTried(b *strings.Builder, tried []verdict.Tried) {
	for i, t := range tried {
		if i == 0 || tried[i-1].Span != t.Span {
			fmt.Fprintf(b, "\n%s %s\n", p.paint(bold, t.Of), p.paint(dim, t.Span))
		}
		sign, why := "-", p.paint(dim, t.Why)
		if t.Fits {
			sign, why = p.paint(amber, "+"), t.Why
		}
		fmt.Fprintf(b, "  %s %-15s %s\n", sign, t.Rule, why)
	}
}

func head(v *verdict.Verdict) string {
	parts := []string{
		"trace " + v.TraceID, string(v.Symptom), time.Unix(0, v.Entry.Start.UnixNs).UTC().Format("2006-01-02 15:04:05.000 UTC"), took(v.Entry.DurationNs),
	}
	if v.Provisional {
		parts = append(parts, "provisional: the trace has not settled")
	}
	if v.Completeness < 0.995 {
		parts = append(parts, verdict.Percent(v.Completeness)+" complete")
	}
	return strings.Join(parts, " · ")
}

// hopsMost is how many hops are drawn before those that have nothing to do with it are left out.
const hopsMost = 24

// tree lays out the hops under their callers, with a row for every edge that is to blame.
func tree(v *verdict.Verdict) []line {
	children := make(map[string][]int)
	for i, h := range v.Hops {
		if len(v.Hops) > hopsMost && h.Role == verdict.RoleCleared && h.Caller != "" && !carries(v, h.Service) {
			continue
		}
		children[h.Caller] = append(children[h.Caller], i)
	}
	edges := make(map[string][]verdict.Site)
	for _, s := range v.Shares {
		if s.Site.Kind == verdict.SiteEdge {
			edges[s.Site.Caller] = append(edges[s.Site.Caller], s.Site)
		}
	}
	var lines []line
	type open struct {
		hop    int
		indent string
		last   bool
	}
	var stack []open
	push := func(caller, indent string, root bool) {
		list := children[caller]
		delete(children, caller) // a service that calls itself is drawn once
		for k, hop := range slices.Backward(list) {
			stack = append(stack, open{hop, indent, root || k == len(list)-1})
		}
	}
	push("", "", true)
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		h := &v.Hops[at.hop]
		branch, below := "", ""
		if h.Caller != "" {
			branch, below = at.indent+"├─ ", at.indent+"│  "
			if at.last {
				branch, below = at.indent+"└─ ", at.indent+"   "
			}
		}
		guilty := guiltyHop(v, h)
		l := line{tree: branch, name: strings.TrimSpace(h.Service + " " + h.Operation), took: took(h.DurationNs), role: string(h.Role), why: h.Why, guilty: guilty}
		lines = append(lines, l)
		for _, e := range edges[h.Service] {
			to := e.Callee
			if to == "" {
				to = "?"
			}
			lines = append(lines, line{tree: below + "├─ ", name: fmt.Sprintf("%s → %s", e.Caller, to), role: string(e.Phase), why: "between the two", guilty: true})
		}
		push(h.Service, below, false)
	}
	return lines
}

func carries(v *verdict.Verdict, service string) bool {
	for _, s := range v.Shares {
		if s.Site.Caller == service || s.Site.Callee == service || s.Accountable == service {
			return true
		}
	}
	return false
}

func guiltyHop(v *verdict.Verdict, h *verdict.Hop) bool {
	for _, s := range v.Shares {
		if (s.Site.Kind == verdict.SiteService && s.Site.Service == h.Service) || (s.Site.Kind == verdict.SitePeer && s.Site.Peer == h.Service) {
			return true
		}
	}
	return false
}

// nameCellsMax bounds the first column.
const nameCellsMax = 56

func (p Painter) drawTree(b *strings.Builder, lines []line) {
	width := 0
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l.tree)+utf8.RuneCountInString(l.name))
	}
	width = min(width, nameCellsMax)
	for _, l := range lines {
		mark, code := "  ", ""
		switch {
		case l.guilty:
			mark, code = "▶ ", red
		case l.role == string(verdict.RoleCleared):
			code = dim
		default:
			code = amber
		}
		name := clip(l.name, width-utf8.RuneCountInString(l.tree))
		pad := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(l.tree)-utf8.RuneCountInString(name)))
		fmt.Fprintf(b, "%s%s%s%s  %8s  %s  %s\n", p.paint(red, mark), p.paint(dim, l.tree), p.paint(code, name), pad, l.took, p.paint(code, fmt.Sprintf("%-10s", l.role)), l.why)
	}
}

func (p Painter) drawShare(b *strings.Builder, s *verdict.Share, several bool) {
	title := "Why"
	if several {
		title = fmt.Sprintf("%s %s, %s", verdict.Percent(s.Weight), s.Site.String(), s.Owner)
	}
	fmt.Fprintf(b, "\n%s %s\n", p.paint(bold, title), p.paint(dim, fmt.Sprintf("(rule %s, confidence %.2f)", s.Rule, s.Confidence)))
	for _, e := range s.Evidence {
		fmt.Fprintf(b, "  · %s\n", e)
	}
	if s.Amplification > 1 {
		fmt.Fprintf(b, "  · retries made %d attempts of it\n", s.Amplification)
	}
	if r := s.RunnerUp; r != nil && r.Confidence > 0 {
		fmt.Fprintf(b, "  %s\n", p.paint(dim, fmt.Sprintf("else it would be %s (%.2f)", r.Site.String(), r.Confidence)))
	}
}

func clip(s string, cells int) string {
	if utf8.RuneCountInString(s) <= cells {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(0, cells-1)]) + "…"
}

// took leaves out what took no time that is known.
func took(ns int64) string {
	if ns <= 0 {
		return ""
	}
	return verdict.Took(ns)
}

// TopRow is one line of a ranking.
type TopRow struct {
	Name, Owner, Rule, Exemplar string
	Caused                      float64
}

// Top draws a ranking.
func (p Painter) Top(w io.Writer, by string, rows []TopRow) error {
	const ownerCells = 20
	var b strings.Builder
	width := len(by)
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.Name))
	}
	width = min(width, nameCellsMax)
	owner := func(name string) string {
		if by == "owner" {
			return "" // which is the name already
		}
		return pad(clip(name, ownerCells), ownerCells) + "  "
	}
	fmt.Fprintf(&b, "%s\n", p.paint(dim, fmt.Sprintf("%8s  %s  %s%-16s  %s", "caused", pad(by, width), owner("owner"), "mostly", "for example")))
	for _, r := range rows {
		name := clip(r.Name, width)
		fmt.Fprintf(&b, "%8.1f  %s  %s%-16s  %s\n", r.Caused, p.paint(bold, name)+pad(name, width)[len(name):], owner(r.Owner), r.Rule, r.Exemplar)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// pad fills a text up to so many cells.
func pad(s string, cells int) string {
	return s + strings.Repeat(" ", max(0, cells-utf8.RuneCountInString(s)))
}

// Suspects writes what is breaking requests, the likeliest first.
func (p Painter) Suspects(w io.Writer, suspects []verdict.Suspect) error {
	if len(suspects) == 0 {
		_, err := io.WriteString(w, "nothing stands out against what is normal\n")
		return err
	}
	var b strings.Builder
	for i := range suspects {
		s := &suspects[i]
		fmt.Fprintf(&b, "%2d  %s  %s  %s\n", s.Rank, p.paint(bold, s.Site.String()), s.Owner, p.paint(dim, fmt.Sprintf("score %.3f", s.Score)))
		fmt.Fprintf(&b, "    %s\n", s.Why)
		for _, id := range s.Exemplars[:min(1, len(s.Exemplars))] {
			fmt.Fprintf(&b, "    %s\n", p.paint(dim, "whosehop blame "+id))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
