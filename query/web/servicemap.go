package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/web/layers"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// The map's measures, in pixels, and its bounds.
const (
	nodesDrawn  = 48  // of them, what costs something comes first
	edgesListed = 200 // in the table
	nameDrawn   = 18  // letters of a name
	edgeThin    = 1.5
	edgeThick   = 7.0
	mapMargin   = 12.0
)

var nodeSize = layers.Size{Width: 168, Height: 42, GapX: 86, GapY: 16}

// mapAsked is what a map shows, as its URL says it.
type mapAsked struct {
	period

	Focus, Owner, Edge string
	Depth              int
	ByOwner            bool
}

func mapAskedOf(q url.Values) (a mapAsked, err error) {
	a = mapAsked{Focus: q.Get("focus"), Owner: q.Get("owner"), Edge: q.Get("edge"), Depth: 1, ByOwner: q.Get("by") == "owner"}
	if a.period, err = periodOf(q, "1h"); err != nil {
		return a, err
	}
	if text := q.Get("depth"); text != "" {
		if a.Depth, err = strconv.Atoi(text); err != nil {
			return a, fmt.Errorf("%w: depth %q is not a number", query.ErrInvalid, text)
		}
	}
	return a, nil
}

// url is a map of the same time, at something else.
func (a *mapAsked) url(name, value string) string {
	q := url.Values{name: {value}}
	for key, value := range map[string]string{"since": a.Since, "from": a.FromText, "to": a.ToText} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return "/map?" + q.Encode()
}

type mapPage struct {
	mapAsked

	Windows       []window
	Depths        []int
	WindowText    string
	Width, Height float64
	Nodes         []drawnNode
	Edges         []drawnEdge
	Left          int // nodes that are not drawn
	Table         []edgeRow
	MoreRows      int
	Quiet         bool // nothing cost anything
	Total         query.Amounts
	Panel         *edgePanel
	Missing       []string
}

type drawnNode struct {
	X, Y               float64
	Short, Name, Below string
	Class, Label, URL  string
	Focused, Cost      bool
}

type drawnEdge struct {
	Path, Arrow       string
	Width             float64 // of all lines together
	Class, Label, URL string
	Lines             []drawnLine
	TextX, TextY      float64
	Chosen, Worth     bool
}

// drawnLine is one of the lines of an edge, which lie beside each other: a cost, or that it cost nothing.
type drawnLine struct {
	Class, Text   string
	Width, Offset float64
}

// edgeRow is an edge in the table.
type edgeRow struct {
	query.MapEdge

	Name, URL, CallerURL, CalleeURL string
}

// edgePanel is what is known of one edge.
type edgePanel struct {
	*query.EdgeResponse

	Name     string
	Search   string
	Total    query.Amounts
	Phases   partTable
	Sites    partTable
	Verdicts []found
}

func (h *handler) serviceMap(w http.ResponseWriter, r *http.Request) {
	if to := tidy(r); to != "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	asked, err := mapAskedOf(r.URL.Query())
	if err != nil {
		h.fail(w, err)
		return
	}
	page := &mapPage{mapAsked: asked, Windows: windows, Depths: []int{1, 2, 3, 4, 5}}
	focus := asked.Focus
	var got *query.MapResponse
	group, asking := errgroup.WithContext(ctx)
	if asked.Edge != "" {
		_, callee, _ := strings.Cut(asked.Edge, "->")
		focus = cmp.Or(focus, callee)
		group.Go(func() (err error) { page.Panel, err = h.edgePanel(asking, &asked); return err })
	}
	group.Go(func() (err error) {
		got, err = h.service.Map(asking, query.MapRequest{From: asked.From, To: asked.To, Focus: focus, Depth: asked.Depth, Owner: asked.Owner})
		return err
	})
	if err := group.Wait(); err != nil {
		h.fail(w, err)
		return
	}
	page.WindowText, page.Missing, page.Total = windowText(got.Window), got.Missing, totalOf(got)
	page.table(got)
	if asked.ByOwner {
		got = byOwner(got)
	}
	page.draw(got, focus)
	h.render(w, http.StatusOK, "map", page)
}

func (h *handler) edgePanel(ctx context.Context, asked *mapAsked) (*edgePanel, error) {
	caller, callee, ok := strings.Cut(asked.Edge, "->")
	if !ok {
		return nil, fmt.Errorf("%w: edge %q is not caller->callee", query.ErrInvalid, asked.Edge)
	}
	const exemplars = 5
	var got *query.EdgeResponse
	var list *query.ListResponse
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		got, err = h.service.Edge(asking, query.EdgeRequest{From: asked.From, To: asked.To, Caller: caller, Callee: callee})
		return err
	})
	group.Go(func() (err error) {
		list, err = h.service.List(asking, query.ListRequest{VerdictFilter: storage.VerdictFilter{From: asked.From, To: asked.To, Caller: caller, Callee: callee}, PageSize: exemplars})
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	find := func(name, value string) string {
		q := url.Values{name: {value}}
		for key, value := range map[string]string{"since": asked.Since, "from": asked.FromText, "to": asked.ToText} {
			if value != "" {
				q.Set(key, value)
			}
		}
		return searchURL(q)
	}
	all := url.Values{"caller": {caller}, "callee": {callee}, "since": {cmp.Or(asked.Since, "24h")}}
	panel := &edgePanel{
		EdgeResponse: got, Name: caller + " → " + callee, Search: searchURL(all),
		Phases: newPartTable("Of the edge itself, by phase", "Phase", got.Phases, nil),
		Sites:  newPartTable("To blame", "Site", got.Sites, func(p *query.Part) string { return find("fingerprint", p.Fingerprint) }),
	}
	for _, cost := range []*query.Amounts{&got.Edge.Itself, &got.Edge.ByCallee, &got.Edge.ByCaller} {
		sum(&panel.Total, cost)
	}
	for i := range panel.Phases.Rows {
		r := &panel.Phases.Rows[i]
		r.Name = strings.TrimSuffix(r.Name[strings.LastIndexByte(r.Name, '(')+1:], ")")
	}
	now := time.Now()
	for i := range list.Verdicts {
		v := &list.Verdicts[i]
		panel.Verdicts = append(panel.Verdicts, found{v, momentOf(time.Unix(0, v.Key.StartNs), now)})
	}
	return panel, nil
}

// totalOf is what a map shows the cost of: what a node caused is on its edges once more.
func totalOf(m *query.MapResponse) (total query.Amounts) {
	for i := range m.Nodes {
		sum(&total, &m.Nodes[i].Caused)
	}
	for i := range m.Edges {
		sum(&total, &m.Edges[i].Itself)
	}
	return total
}

// byOwner is a map of owners: what their services call of each other is one edge, what they call of themselves none.
func byOwner(m *query.MapResponse) *query.MapResponse {
	owner := make(map[string]string, len(m.Nodes))
	services := make(map[string]int)
	nodes := make(map[string]*query.MapNode)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		owner[n.Name] = n.Owner
		services[n.Owner]++
		if nodes[n.Owner] == nil {
			nodes[n.Owner] = &query.MapNode{Name: n.Owner}
		}
		sum(&nodes[n.Owner].Caused, &n.Caused)
	}
	grouped := &query.MapResponse{Window: m.Window}
	edges := make(map[[2]string]*query.MapEdge)
	for i := range m.Edges {
		e := &m.Edges[i]
		key := [2]string{owner[e.Caller], owner[e.Callee]}
		if key[0] == key[1] {
			continue
		}
		if edges[key] == nil {
			edges[key] = &query.MapEdge{Caller: key[0], Callee: key[1]}
		}
		edges[key].Calls += e.Calls
		edges[key].Failed += e.Failed
		sum(&edges[key].Itself, &e.Itself)
		sum(&edges[key].ByCallee, &e.ByCallee)
		sum(&edges[key].ByCaller, &e.ByCaller)
	}
	for name, n := range nodes {
		n.Owner = plural(services[name], "service")
		grouped.Nodes = append(grouped.Nodes, *n)
	}
	for _, e := range edges {
		grouped.Edges = append(grouped.Edges, *e)
	}
	slices.SortFunc(grouped.Nodes, func(a, b query.MapNode) int {
		return cmp.Or(cmp.Compare(b.Caused.Requests, a.Caused.Requests), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(grouped.Edges, func(a, b query.MapEdge) int {
		return cmp.Or(cmp.Compare(b.Cost(), a.Cost()), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return grouped
}

func (p *mapPage) table(m *query.MapResponse) {
	for i := range m.Edges {
		if i == edgesListed {
			p.MoreRows = len(m.Edges) - i
			return
		}
		e := &m.Edges[i]
		p.Table = append(p.Table, edgeRow{
			MapEdge: *e, Name: e.Caller + "->" + e.Callee, URL: p.url("edge", e.Caller+"->"+e.Callee), CallerURL: p.url("focus", e.Caller), CalleeURL: p.url("focus", e.Callee),
		})
	}
}

// chosen are the names of the nodes to draw: what costs something, then its neighbours, then what is called most.
func chosen(m *query.MapResponse, focus string) map[string]bool {
	keep := make(map[string]bool)
	add := func(names ...string) {
		for _, name := range names {
			// That users call entries says little, and takes a column.
			if len(keep) < nodesDrawn && (name != storage.UserCaller || focus == name) {
				keep[name] = true
			}
		}
	}
	if focus != "" {
		for i := range m.Nodes {
			if m.Nodes[i].Name == focus {
				add(focus)
			}
		}
	}
	for i := range m.Edges {
		if e := &m.Edges[i]; e.Cost() > 0 {
			add(e.Caller, e.Callee)
		}
	}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Caused.Requests > 0 {
			add(n.Name)
		}
	}
	if focus == "" && len(keep) > 0 {
		near := maps.Clone(keep)
		for i := range m.Edges {
			if e := &m.Edges[i]; near[e.Caller] || near[e.Callee] {
				add(e.Caller, e.Callee)
			}
		}
		return keep
	}
	for i := range m.Edges {
		add(m.Edges[i].Caller, m.Edges[i].Callee)
	}
	for i := range m.Nodes {
		add(m.Nodes[i].Name)
	}
	return keep
}

// draw leaves out calls that cost nothing between services that are only there as neighbours.
func (p *mapPage) draw(m *query.MapResponse, focus string) {
	keep := chosen(m, focus)
	for i := range m.Nodes {
		if name := m.Nodes[i].Name; !keep[name] && name != storage.UserCaller {
			p.Left++
		}
	}
	number := make(map[string]int, len(keep))
	var nodes []*query.MapNode
	for i := range m.Nodes {
		if n := &m.Nodes[i]; keep[n.Name] {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b *query.MapNode) int { return cmp.Compare(a.Name, b.Name) }) // the picture does not jump when costs change
	for i, n := range nodes {
		number[n.Name] = i
	}
	var edges []*query.MapEdge
	var graph []layers.Edge
	most := 0.0
	hot := make(map[string]bool) // what costs something, by itself or with an edge
	for i := range m.Edges {
		if e := &m.Edges[i]; e.Cost() > 0 {
			hot[e.Caller], hot[e.Callee] = true, true
		}
	}
	for _, n := range nodes {
		if n.Caused.Requests > 0 || n.Name == focus {
			hot[n.Name] = true
		}
	}
	for i := range m.Edges {
		e := &m.Edges[i]
		if keep[e.Caller] && keep[e.Callee] && (len(hot) == 0 || focus != "" || hot[e.Caller] || hot[e.Callee]) {
			edges = append(edges, e)
			most = max(most, e.Cost())
		}
	}
	slices.SortFunc(edges, func(a, b *query.MapEdge) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	for _, e := range edges {
		graph = append(graph, layers.Edge{From: number[e.Caller], To: number[e.Callee]})
	}
	d := layers.Place(len(nodes), graph, nodeSize)
	p.Width, p.Height, p.Quiet = d.Width+2*mapMargin, d.Height+2*mapMargin, true
	for i, n := range nodes {
		p.Quiet = p.Quiet && n.Caused.Requests == 0
		p.Nodes = append(p.Nodes, p.node(n, d.Nodes[i], focus))
	}
	for i, e := range edges {
		p.Quiet = p.Quiet && e.Cost() == 0
		if d.Edges[i] != nil {
			p.Edges = append(p.Edges, p.edge(e, d.Edges[i], most))
		}
	}
	// What costs most is drawn last, above the others.
	slices.SortStableFunc(p.Edges, func(a, b drawnEdge) int { return cmp.Compare(a.Width, b.Width) })
}

func (p *mapPage) node(n *query.MapNode, at layers.Point, focus string) drawnNode {
	d := drawnNode{
		X: at.X + mapMargin, Y: at.Y + mapMargin, Name: n.Name, Short: clip(n.Name, nameDrawn), Below: clip(n.Owner, nameDrawn+4), Focused: n.Name == focus,
		Cost: n.Caused.Requests > 0, URL: p.url("focus", n.Name), Class: "node",
	}
	if p.ByOwner {
		d.URL = p.url("owner", n.Name)
	}
	if d.Cost {
		d.Class += " costs"
		d.Below = clip(n.Owner, nameDrawn-3) + " · " + count(n.Caused.Requests)
	}
	// What is read begins with what is seen.
	d.Label = d.Short + " " + d.Below + ": " + n.Name + " of " + n.Owner
	if d.Cost {
		d.Label += " caused " + costText(&n.Caused)
	}
	if n.Kind == verdict.SitePeer {
		d.Class += " peer"
		d.Label += "; it sends no spans"
	}
	if n.Owner == verdict.OwnerUnowned {
		d.Class += " nobody"
	}
	if d.Focused {
		d.Class += " focused"
	}
	return d
}

func (p *mapPage) edge(e *query.MapEdge, line []layers.Point, most float64) drawnEdge {
	name := e.Caller + "->" + e.Callee
	d := drawnEdge{Class: "edge", Label: e.Caller + " calls " + e.Callee, Chosen: name == p.Edge, Worth: e.Cost() > 0}
	if !p.ByOwner {
		d.URL = p.url("edge", name)
	}
	largest := 0.0
	for _, c := range []struct {
		class string
		cost  float64
	}{{"itself", e.Itself.Requests}, {"by-callee", e.ByCallee.Requests}, {"by-caller", e.ByCaller.Requests}} {
		if c.cost == 0 {
			continue
		}
		d.Lines = append(d.Lines, drawnLine{Class: c.class, Text: count(c.cost), Width: edgeThin + (edgeThick-edgeThin)*math.Sqrt(c.cost/most)})
		if c.cost > largest {
			largest, d.Class = c.cost, "edge "+c.class
		}
	}
	if d.Worth {
		d.Label += ": " + edgeText(e)
	} else {
		d.Lines = []drawnLine{{Width: edgeThin}}
	}
	d.Width = float64(len(d.Lines) - 1)
	for _, l := range d.Lines {
		d.Width += l.Width
	}
	at := -d.Width / 2
	for i := range d.Lines {
		d.Lines[i].Offset = at + d.Lines[i].Width/2
		at += d.Lines[i].Width + 1
	}
	if d.Chosen {
		d.Class += " focused"
	}
	var path strings.Builder
	for i, q := range line {
		x, y := q.X+mapMargin, q.Y+mapMargin
		switch {
		case i == 0:
			_, _ = fmt.Fprintf(&path, "M%.1f %.1f", x, y)
		case q.Y == line[i-1].Y:
			_, _ = fmt.Fprintf(&path, "H%.1f", x)
		default:
			middle := (line[i-1].X+q.X)/2 + mapMargin
			_, _ = fmt.Fprintf(&path, "C%.1f %.1f %.1f %.1f %.1f %.1f", middle, line[i-1].Y+mapMargin, middle, y, x, y)
		}
	}
	d.Path = path.String()
	end := line[len(line)-1]
	long, half := 5+d.Width, 2.5+d.Width
	if line[0].X > end.X {
		long = -long
	}
	d.Arrow = fmt.Sprintf("M%.1f %.1fl%.1f %.1fv%.1fz", end.X+mapMargin, end.Y+mapMargin, -long, -half, 2*half)
	a, b := line[0], line[1]
	d.TextX, d.TextY = (a.X+b.X)/2+mapMargin, (a.Y+b.Y)/2+mapMargin-d.Width/2-2
	return d
}

// clip shortens text to n letters.
func clip(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

func costText(a *query.Amounts) string {
	text := plural(int(math.Round(a.Requests)), "request")
	if a.ExcessNs > 0 {
		text += ", " + span(a.ExcessNs) + " lost"
	}
	return text
}

// edgeText is what an edge cost, in words.
func edgeText(e *query.MapEdge) string {
	var parts []string
	for _, c := range []struct {
		by string
		of *query.Amounts
	}{{"by itself", &e.Itself}, {"by its callee", &e.ByCallee}, {"by its caller", &e.ByCaller}} {
		if c.of.Requests > 0 {
			parts = append(parts, costText(c.of)+" "+c.by)
		}
	}
	return strings.Join(parts, "; ")
}
