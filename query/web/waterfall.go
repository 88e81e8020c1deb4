package web

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// A waterfall is drawn of a timeline, whose spans are in the order of a walk. Some are drawn; each run of those between two that
// are drawn is a fold, cut where the parent changes: a row that says what is in it, and is unfolded by its first and last index alone.
// So a span is drawn once or lies in one fold, whatever is unfolded.

// row is a line of a waterfall: a span, a gap, a note or a fold. X, Width and the like are in thousandths of the whole.
type row struct {
	Kind                         string // span, gap, note or fold
	Service, Name, Status, Title string
	Indent                       int // pixels
	Level                        int // from 1
	OffsetNs, DurationNs         int64
	X, Width                     int64
	UnsureX, UnsureWidth         int64 // of a gap: where it may or may not reach
	Text                         string
	Normal                       string // what it normally takes, in words
	Attempt                      string
	Link                         string // of a fold: where its rows are
	Guilty, Failed, Path, Slow   bool
}

const (
	// smallMost is up to how many spans a trace is drawn whole, rowsMost how many of a larger one are drawn at first.
	smallMost = 100
	rowsMost  = 100
	// unfoldedMost are drawn of a fold at once; siblingsMost beside what is to blame.
	unfoldedMost = 100
	siblingsMost = 6
	// levelsAbove and levelsBelow are drawn of a way that is deeper than that.
	levelsAbove, levelsBelow = 15, 30
)

// waterfall draws spans of one timeline.
type waterfall struct {
	line       *query.Timeline
	start, end int64
	base       string        // of the links of folds
	depth      map[int32]int // of spans, as far as it was counted
	guilty     map[int]bool
	// edges are the calls of which an edge is to blame.
	edges map[int][]verdict.Site
}

// newWaterfall draws what lies below the entry of span i.
func newWaterfall(line *query.Timeline, traceID string, i int) *waterfall {
	w := &waterfall{line: line, base: fmt.Sprintf("/verdicts/%s/rows?of=%d", traceID, line.Rows), depth: make(map[int32]int)}
	root := i
	for line.Spans[root].Parent >= 0 {
		root = int(line.Spans[root].Parent)
	}
	w.start, w.end = line.Spans[root].StartNs, line.Spans[root].EndNs
	for _, s := range line.Spans[root : root+1+int(line.Spans[root].Below)] {
		if !s.Missing {
			w.start, w.end = min(w.start, s.StartNs), max(w.end, s.EndNs)
		}
	}
	w.end = max(w.end, w.start+1)
	return w
}

// entryOf is the index of the topmost span of a verdict's entry, -1 where it is not among the spans.
func entryOf(line *query.Timeline, v *verdict.Verdict) int {
	at := slices.IndexFunc(line.Spans, func(s verdict.TimelineSpan) bool { return hex.EncodeToString(s.ID[:]) == v.Entry.SpanID })
	for at >= 0 && line.Spans[at].Parent >= 0 {
		at = int(line.Spans[at].Parent)
	}
	return at
}

// verdictRows is the waterfall of a verdict: what is to blame with all above it, the critical path, and some of what is beside.
func verdictRows(line *query.Timeline, v *verdict.Verdict) []row {
	entry := entryOf(line, v)
	if entry < 0 {
		return nil
	}
	w := newWaterfall(line, v.TraceID, entry)
	blamed := w.blame(v)
	from, to := entry, entry+1+int(line.Spans[entry].Below)
	drawn := make(map[int]bool)
	if to-from <= smallMost {
		for i := from; i < to; i++ {
			drawn[i] = true
		}
		w.foldRetries(drawn, blamed, from, to)
		w.foldAlike(drawn, blamed, from, to)
	} else {
		w.choose(drawn, blamed, entry)
	}
	return w.rows(from, to, drawn)
}

// blame finds the spans that carry a share, and those below which a gap is to blame.
func (w *waterfall) blame(v *verdict.Verdict) (blamed []int) {
	shares := make(map[string][]*verdict.Share)
	for k := range v.Shares {
		for _, id := range v.Shares[k].SpanIDs {
			shares[id] = append(shares[id], &v.Shares[k])
		}
	}
	w.guilty, w.edges = make(map[int]bool), make(map[int][]verdict.Site)
	var id [16]byte
	for i := range w.line.Spans {
		s := &w.line.Spans[i]
		hex.Encode(id[:], s.ID[:])
		for _, share := range shares[string(id[:])] {
			if !slices.Contains(blamed, i) {
				blamed = append(blamed, i)
			}
			switch site := share.Site; {
			case site.Kind == verdict.SitePeer, site.Kind == verdict.SiteService && site.Service == s.Service:
				w.guilty[i] = true
			case site.Kind == verdict.SiteEdge && site.Caller == s.Service && s.Kind != "server" && s.Kind != "consumer":
				w.edges[i] = append(w.edges[i], site)
			}
		}
	}
	return blamed
}

// foldRetries takes attempts away that came to nothing, unless what is to blame lies in them.
func (w *waterfall) foldRetries(drawn map[int]bool, blamed []int, from, to int) {
	for _, r := range w.line.Retries {
		for _, at := range r.Attempts[:len(r.Attempts)-1] {
			if int(at) >= from && int(at) < to {
				w.hide(drawn, blamed, int(at))
			}
		}
	}
}

// hide takes a span away with all below it, unless what is to blame lies there.
func (w *waterfall) hide(drawn map[int]bool, blamed []int, first int) {
	behind := first + 1 + int(w.line.Spans[first].Below)
	if slices.ContainsFunc(blamed, func(i int) bool { return i >= first && i < behind }) {
		return
	}
	for i := first; i < behind; i++ {
		delete(drawn, i)
	}
}

// alikeMost is how many spans of one name are drawn below one.
const alikeMost = 3

// foldAlike takes away what is done again and again, but for what failed.
func (w *waterfall) foldAlike(drawn map[int]bool, blamed []int, from, to int) {
	type kind struct{ service, name, kind string }
	for parent := from; parent < to; parent++ {
		count := make(map[kind]int)
		for c := range w.children(parent) {
			s := &w.line.Spans[c]
			count[kind{s.Service, s.Name, s.Kind}]++
		}
		seen := make(map[kind]int)
		for c := range w.children(parent) {
			s := &w.line.Spans[c]
			k := kind{s.Service, s.Name, s.Kind}
			if seen[k]++; seen[k] > alikeMost && count[k] > 2*alikeMost && !s.Failed {
				w.hide(drawn, blamed, c)
			}
		}
	}
}

// choose picks what is drawn at first of a large trace.
func (w *waterfall) choose(drawn map[int]bool, blamed []int, entry int) {
	drawn[entry] = true
	var ways []int // what was drawn for its own sake, top down
	way := func(i int) {
		var up []int
		for at := i; at >= 0 && at != entry; at = int(w.line.Spans[at].Parent) {
			up = append(up, at)
		}
		slices.Reverse(up)
		for k, at := range up {
			if (k < levelsAbove || k >= len(up)-levelsBelow) && !drawn[at] && len(drawn) < rowsMost {
				drawn[at] = true
				ways = append(ways, at)
			}
		}
	}
	for _, i := range blamed {
		if i >= entry && i <= entry+int(w.line.Spans[entry].Below) {
			way(i)
		}
	}
	for i := entry + 1; i <= entry+int(w.line.Spans[entry].Below) && len(drawn) < rowsMost; i++ {
		if s := &w.line.Spans[i]; s.OnPath && drawn[int(s.Parent)] && !drawn[i] && w.long(s) {
			drawn[i] = true
			ways = append(ways, i)
		}
	}
	shown := blamed
	if len(blamed) == 0 {
		shown = []int{entry}
	}
	for _, parent := range shown {
		w.add(drawn, parent, func(*verdict.TimelineSpan) bool { return true })
	}
	for _, parent := range append([]int{entry}, ways...) {
		w.add(drawn, parent, func(s *verdict.TimelineSpan) bool { return s.Failed || w.long(s) })
	}
}

// add draws some of the children of a span, of which want says whether they matter.
func (w *waterfall) add(drawn map[int]bool, parent int, want func(*verdict.TimelineSpan) bool) {
	beside := 0
	for c := range w.children(parent) {
		if beside == siblingsMost || len(drawn) >= rowsMost {
			return
		}
		if !drawn[c] && want(&w.line.Spans[c]) {
			drawn[c] = true
			beside++
		}
	}
}

// long is what takes a twentieth of the whole.
func (w *waterfall) long(s *verdict.TimelineSpan) bool { return s.EndNs-s.StartNs >= w.longNs() }

func (w *waterfall) longNs() int64 { return max(1_000_000, (w.end-w.start)/20) }

// children are the spans right below one.
func (w *waterfall) children(parent int) func(yield func(int) bool) {
	return w.siblings(parent+1, parent+1+int(w.line.Spans[parent].Below))
}

// siblings are the topmost spans of a run.
func (w *waterfall) siblings(from, to int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for c := from; c < to; c += 1 + int(w.line.Spans[c].Below) {
			if !yield(c) {
				return
			}
		}
	}
}

// unfold draws a fold: its topmost spans, and what lies below them while there is room.
func (w *waterfall) unfold(from, to int) []row {
	drawn := make(map[int]bool, unfoldedMost)
	type run struct{ from, to int }
	for queue := []run{{from, to}}; len(queue) > 0 && len(drawn) < unfoldedMost; queue = queue[1:] {
		for c := range w.siblings(queue[0].from, queue[0].to) {
			if len(drawn) == unfoldedMost {
				break
			}
			drawn[c] = true
			if below := min(to, c+1+int(w.line.Spans[c].Below)); below > c+1 {
				queue = append(queue, run{c + 1, below})
			}
		}
	}
	return w.rows(from, to, drawn)
}

// rows draws a run of spans, of which those are drawn.
func (w *waterfall) rows(from, to int, drawn map[int]bool) []row {
	var rows []row
	for i := from; i < to; {
		if drawn[i] {
			rows = w.span(rows, i)
			i++
			continue
		}
		behind := i + 1
		for behind < to && !drawn[behind] {
			behind++
		}
		for i < behind {
			end := w.foldEnd(i, behind)
			rows = append(rows, w.fold(i, end))
			i = end
		}
	}
	return rows
}

// foldEnd is where a fold that begins at span i ends: it is under one parent, and attempts at one request are by themselves.
func (w *waterfall) foldEnd(i, behind int) int {
	spans := w.line.Spans
	if parent := int(spans[i].Parent); parent >= 0 {
		behind = min(behind, parent+1+int(spans[parent].Below))
	}
	retry := spans[i].Retry
	for c := range w.siblings(i, behind) {
		if spans[c].Retry != retry && (retry != 0 || spans[c].Retry != 0) {
			return c
		}
	}
	return behind
}

// depthOf counts the spans above one, 0 for an entry. What was counted before is not counted again.
func (w *waterfall) depthOf(i int) int {
	var way []int32
	n := 0
	for at := int32(i); at >= 0; at = w.line.Spans[at].Parent {
		if known, ok := w.depth[at]; ok {
			n = known + 1
			break
		}
		way = append(way, at)
	}
	for _, at := range slices.Backward(way) {
		w.depth[at] = n
		n++
	}
	return w.depth[int32(i)]
}

const (
	indentPixels = 14
	indentMost   = 16
)

func (w *waterfall) row(kind string, depth int) row {
	return row{Kind: kind, Indent: indentPixels * min(depth, indentMost), Level: depth + 1}
}

// span adds the row of a span, and those of the gaps and notes below it.
func (w *waterfall) span(rows []row, i int) []row {
	s := &w.line.Spans[i]
	depth := w.depthOf(i)
	r := w.row("span", depth)
	r.Service, r.Name, r.Status, r.Title = s.Service, s.Name, s.Status, strings.Join(strings.Fields(s.Service+" "+s.Kind+" "+s.Name), " ")+" "+hex.EncodeToString(s.ID[:])
	r.Failed, r.Path, r.Guilty = s.Failed, s.OnPath, w.guilty[i]
	if s.Missing {
		r.Status = "was never received"
	}
	if s.Retry > 0 {
		retry := &w.line.Retries[s.Retry-1]
		r.Attempt = fmt.Sprintf("attempt %d of %d", slices.Index(retry.Attempts, int32(i))+1, len(retry.Attempts))
	}
	r.place(s.StartNs, s.EndNs, w.start, w.end)
	r.DurationNs = max(0, s.EndNs-s.StartNs)
	if s.NormalToNs > 0 {
		r.Normal, r.Slow = between(s.NormalNs, s.NormalToNs), r.DurationNs > s.NormalToNs+s.NormalToNs/5
	}
	rows = append(rows, r)
	for _, often := range w.line.Often[i] {
		note := w.row("note", depth+1)
		note.Text = fmt.Sprintf("called %s %d times, one after the other; normally %s", often.Name, often.Calls, number(often.Usual))
		rows = append(rows, note)
	}
	return w.gaps(rows, i, depth+1)
}

// gaps adds the rows of the gaps of a call that are to blame, or long.
func (w *waterfall) gaps(rows []row, i, depth int) []row {
	call := &w.line.Spans[i]
	var drawn []verdict.Phase
	for _, site := range w.edges[i] {
		r := w.row("gap", depth)
		r.Guilty, r.Service = true, site.Caller+" → "+site.Callee
		if site.Callee == "" {
			r.Service = site.Caller
		}
		if !w.leg(&r, i, site.Phase) {
			from, to := w.around(i, site.Phase)
			r.place(from, to, w.start, w.end)
			r.Text = fmt.Sprintf("%s %s", site.Phase, verdict.Took(r.DurationNs))
		}
		drawn, rows = append(drawn, site.Phase), append(rows, r)
	}
	gap, ok := w.line.Gaps[i]
	if !ok {
		return rows
	}
	longNs := w.longNs()
	for _, phase := range [...]verdict.Phase{verdict.PhaseRequest, verdict.PhaseResponse} {
		low, high := legOf(&gap, phase)
		if low/2+high/2 < longNs || slices.Contains(drawn, phase) {
			continue
		}
		r := w.row("gap", depth)
		r.Service = call.Service + " → " + w.line.Spans[gap.Server].Service
		w.leg(&r, i, phase)
		rows = append(rows, r)
	}
	return rows
}

func legOf(gap *verdict.Gap, phase verdict.Phase) (lowNs, highNs int64) {
	if phase == verdict.PhaseRequest {
		return gap.RequestLowNs, gap.RequestHighNs
	}
	return gap.ResponseLowNs, gap.ResponseHighNs
}

// leg places the request or the response of a call, as sure as the clocks are; false where its server side is not known.
func (w *waterfall) leg(r *row, i int, phase verdict.Phase) bool {
	gap, ok := w.line.Gaps[i]
	if !ok || phase != verdict.PhaseRequest && phase != verdict.PhaseResponse {
		return false
	}
	call := &w.line.Spans[i]
	low, high := legOf(&gap, phase)
	var unsure row
	if phase == verdict.PhaseRequest {
		r.place(call.StartNs, call.StartNs+low, w.start, w.end)
		unsure.place(call.StartNs+low, call.StartNs+high, w.start, w.end)
	} else {
		r.place(call.EndNs-low, call.EndNs, w.start, w.end)
		unsure.place(call.EndNs-high, call.EndNs-low, w.start, w.end)
	}
	r.DurationNs = low/2 + high/2
	if high == low {
		r.Text = fmt.Sprintf("%s %s", phase, verdict.Took(low))
		return true
	}
	r.UnsureX, r.UnsureWidth = unsure.X, unsure.Width
	if gap.Known {
		r.Text = fmt.Sprintf("%s %s, clocks ±%s", phase, between(low, high), verdict.Took((high-low)/2))
	} else {
		r.Text = fmt.Sprintf("%s %s: how the two clocks agree is known from this call alone", phase, between(low, high))
	}
	return true
}

// around is the time of a phase that is no leg of a call: in a queue behind it, before it, or all of it.
func (w *waterfall) around(i int, phase verdict.Phase) (from, to int64) {
	call := &w.line.Spans[i]
	switch {
	case phase == verdict.PhaseQueue:
		for c := range w.children(i) {
			if s := &w.line.Spans[c]; s.Kind == "consumer" {
				return call.EndNs, s.StartNs
			}
		}
	case call.Parent < 0:
	case phase == verdict.PhaseBackoff, phase == verdict.PhasePool && !call.Failed:
		from = w.line.Spans[call.Parent].StartNs
		for c := range w.children(int(call.Parent)) {
			if c >= i {
				break
			}
			from = max(from, min(w.line.Spans[c].EndNs, call.StartNs))
		}
		return from, call.StartNs
	}
	return call.StartNs, call.EndNs
}

// fold is the row of spans that are not drawn.
func (w *waterfall) fold(from, to int) row {
	spans := w.line.Spans
	parent := int(spans[from].Parent)
	depth := w.depthOf(from)
	r := w.row("fold", depth)
	r.Link = fmt.Sprintf("%s&from=%d&to=%d", w.base, from, to)
	first, last, failed := spans[from].StartNs, spans[from].EndNs, 0
	kinds := make(map[string]int)
	var names []string
	for i := range spans[from:to] {
		s := &spans[from+i]
		first, last = min(first, s.StartNs), max(last, s.EndNs)
		if s.Failed {
			failed++
		}
	}
	attempts := 0
	for c := range w.siblings(from, to) {
		attempts++
		name := spans[c].Service + " " + spans[c].Name
		if kinds[name]++; kinds[name] == 1 && len(names) < 3 {
			names = append(names, name)
		}
	}
	switch under := ""; {
	case spans[from].Retry > 0:
		retry := &w.line.Retries[spans[from].Retry-1]
		r.Text, failed = fmt.Sprintf("%d attempts of %s, %d failed", len(retry.Attempts), w.called(from), retry.Failed), 0
		switch {
		case attempts == len(retry.Attempts):
		case attempts == 1:
			r.Text += ": one is folded"
		default:
			r.Text += fmt.Sprintf(": %d are folded", attempts)
		}
	case len(kinds) == 1 && attempts > 1:
		r.Text = fmt.Sprintf("%d more of %s", attempts, w.called(from))
		if to-from > attempts {
			r.Text += ", " + plural(to-from, "span")
		}
	default:
		if parent >= 0 {
			under = " under " + spans[parent].Service + " " + spans[parent].Name
		}
		r.Text = plural(to-from, "more span") + under
		for k, name := range names {
			names[k] = name
			if n := kinds[name]; n > 1 {
				names[k] = fmt.Sprintf("%d × %s", n, name)
			}
		}
		if more := len(kinds) - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d other kinds", more))
		}
		r.Title = strings.Join(names, ", ")
	}
	if failed > 0 {
		r.Text += fmt.Sprintf(", %d failed", failed)
	}
	r.place(first, last, w.start, w.end)
	return r
}

// called is what a call asked for, by the name of its server side where that is known.
func (w *waterfall) called(i int) string {
	if gap, ok := w.line.Gaps[i]; ok {
		i = int(gap.Server)
	}
	return w.line.Spans[i].Service + " " + w.line.Spans[i].Name
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// between is an interval of time, with the unit once where it is the same.
func between(fromNs, toNs int64) string {
	from, to := verdict.Took(fromNs), verdict.Took(toNs)
	if from == to {
		return to
	}
	if number, unit, _ := strings.Cut(from, " "); strings.HasSuffix(to, " "+unit) {
		return number + "–" + to
	}
	return from + "–" + to
}

// place puts a row where it is in time.
func (r *row) place(from, to, start, end int64) {
	from, to = max(from, start), min(max(to, from), end)
	r.OffsetNs, r.DurationNs = from-start, to-from
	scale := float64(end - start)
	r.X = int64(1000 * float64(from-start) / scale)
	r.Width = max(3, int64(1000*float64(to-from)/scale))
	r.X = max(0, min(r.X, 1000-r.Width))
}
