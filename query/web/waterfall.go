package web

import (
	"slices"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// row is a line of a waterfall. X and Width are in thousandths of the whole.
type row struct {
	Service, Name, Status, Title string
	Indent                       int // pixels
	OffsetNs, DurationNs         int64
	X, Width                     int64
	Guilty, Failed, Gap          bool
}

// forest is the spans of a trace under their parents, for drawing.
type forest struct {
	spans    []query.Span
	byID     map[string]int
	children map[string][]int // of a parent id; the roots, and whose parent is missing, are of ""
}

func newForest(spans []query.Span) *forest {
	f := &forest{spans: spans, byID: make(map[string]int, len(spans)), children: make(map[string][]int)}
	for i := range spans {
		if at, known := f.byID[spans[i].ID]; !known || spans[at].Kind == "server" {
			f.byID[spans[i].ID] = i // of a shared id the caller's side
		}
	}
	for i := range spans {
		parent := spans[i].ParentID
		if _, known := f.byID[parent]; !known || parent == spans[i].ID {
			parent = ""
		}
		if at := f.byID[spans[i].ID]; at != i {
			parent = spans[i].ID
		}
		f.children[parent] = append(f.children[parent], i)
	}
	for _, list := range f.children {
		slices.SortStableFunc(list, func(a, b int) int { return int(min(max(spans[a].StartNs-spans[b].StartNs, -1), 1)) })
	}
	return f
}

// drawn is a span in the order of drawing.
type drawn struct{ span, depth int }

// walk lists the spans below the roots, parents first. What hangs in a cycle comes last.
func (f *forest) walk(roots []int) []drawn {
	var order []drawn
	seen := make([]bool, len(f.spans))
	var stack []drawn
	push := func(list []int, depth int) {
		for _, i := range slices.Backward(list) {
			stack = append(stack, drawn{i, depth})
		}
	}
	push(roots, 0)
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[at.span] {
			continue
		}
		seen[at.span] = true
		order = append(order, at)
		if f.byID[f.spans[at.span].ID] == at.span || len(f.children[f.spans[at.span].ID]) > 0 {
			push(f.children[f.spans[at.span].ID], at.depth+1)
		}
	}
	return order
}

func (f *forest) bounds(order []drawn) (start, end int64) {
	for k, d := range order {
		s := &f.spans[d.span]
		if k == 0 || s.StartNs < start {
			start = s.StartNs
		}
		end = max(end, s.EndNs)
	}
	return start, max(end, start+1)
}

const (
	indentPixels = 14
	indentMost   = 16
)

func (f *forest) row(d drawn, start, end int64) row {
	s := &f.spans[d.span]
	r := row{
		Service: s.Service, Name: s.Name, Status: s.Status, Title: s.Service + " " + s.Kind + " " + s.Name + " " + s.ID,
		Indent: indentPixels * min(d.depth, indentMost), Failed: s.Failed,
	}
	r.place(s.StartNs, s.EndNs, start, end)
	return r
}

func (r *row) place(from, to, start, end int64) {
	from, to = max(from, start), min(max(to, from), end)
	r.OffsetNs, r.DurationNs = from-start, to-from
	scale := float64(end - start)
	r.X = int64(1000 * float64(from-start) / scale)
	r.Width = max(3, int64(1000*float64(to-from)/scale))
	r.X = min(r.X, 1000-r.Width)
}

// allRows is the whole trace.
func (f *forest) allRows() []row {
	order := f.walk(f.children[""])
	start, end := f.bounds(order)
	rows := make([]row, len(order))
	for i, d := range order {
		rows[i] = f.row(d, start, end)
	}
	return rows
}

// rowsMost is how many rows of a verdict are drawn: what it is about, and what stands beside that.
const rowsMost = 300

// verdictRows is the waterfall of one entry, and how many of its spans are left out: the spans of
// the shares with their ancestors come first, then what is next to them.
func (f *forest) verdictRows(v *verdict.Verdict) (rows []row, left int) {
	root, ok := f.byID[v.Entry.SpanID]
	if !ok {
		return nil, 0
	}
	order := f.walk([]int{root})
	start, end := f.bounds(order)
	wanted := f.wanted(v, order)
	guilty := make(map[int]bool)
	for i := range v.Shares {
		s := &v.Shares[i]
		for _, id := range s.SpanIDs {
			at, ok := f.byID[id]
			if ok && (s.Site.Kind == verdict.SitePeer || (s.Site.Kind == verdict.SiteService && f.spans[at].Service == s.Site.Service)) {
				guilty[at] = true
			}
		}
	}
	for _, d := range order {
		if !wanted[d.span] {
			left++
			continue
		}
		r := f.row(d, start, end)
		r.Guilty = guilty[d.span]
		rows = append(rows, r)
		for i := range v.Shares {
			if gap, ok := f.gap(&v.Shares[i], d, start, end); ok {
				rows = append(rows, gap)
			}
		}
	}
	return rows, left
}

// wanted chooses the spans to draw.
func (f *forest) wanted(v *verdict.Verdict, order []drawn) map[int]bool {
	wanted := make(map[int]bool, rowsMost)
	if len(order) <= rowsMost {
		for _, d := range order {
			wanted[d.span] = true
		}
		return wanted
	}
	inTree := make(map[int]bool, len(order))
	for _, d := range order {
		inTree[d.span] = true
	}
	add := func(i int) bool {
		if len(wanted) < rowsMost && inTree[i] {
			wanted[i] = true
		}
		return len(wanted) < rowsMost
	}
	var path []int
	for i := range v.Shares {
		for _, id := range v.Shares[i].SpanIDs {
			for at, ok := f.byID[id]; ok && !wanted[at] && add(at); at, ok = f.byID[f.spans[at].ParentID] {
				path = append(path, at)
			}
		}
	}
	for _, at := range path {
		for _, c := range f.children[f.spans[at].ID] {
			add(c)
		}
	}
	for _, d := range order {
		if !add(d.span) {
			break
		}
	}
	return wanted
}

// gap is the row of an edge that is to blame, below the call that it is part of.
func (f *forest) gap(s *verdict.Share, d drawn, start, end int64) (row, bool) {
	call := &f.spans[d.span]
	if s.Site.Kind != verdict.SiteEdge || len(s.SpanIDs) == 0 || s.SpanIDs[0] != call.ID || call.Service != s.Site.Caller {
		return row{}, false
	}
	from, to := call.StartNs, call.EndNs
	for _, c := range f.children[call.ID] {
		switch {
		case f.spans[c].Kind != "server":
		case s.Site.Phase == verdict.PhaseRequest:
			to = f.spans[c].StartNs
		case s.Site.Phase == verdict.PhaseResponse:
			from = f.spans[c].EndNs
		}
	}
	r := row{Service: s.Site.Caller + " → " + s.Site.Callee, Name: string(s.Site.Phase), Indent: indentPixels * min(d.depth+1, indentMost), Guilty: true, Gap: true}
	r.Title = "between " + s.Site.Caller + " and " + s.Site.Callee
	r.place(from, to, start, end)
	return r, true
}
