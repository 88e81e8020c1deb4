package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// MapRequest asks who calls whom, and what that cost; of the last hour if nothing else is said.
type MapRequest struct {
	From, To time.Time
	// Focus keeps a service and what is at most Depth calls away from it; 1 if not given.
	Focus string
	Depth int
	Owner string // keeps the services of an owner, and their neighbours
}

// MapResponse has the costliest first, nodes and edges.
type MapResponse struct {
	Window
	Nodes   []MapNode `json:"nodes"`
	Edges   []MapEdge `json:"edges"`
	Missing []string  `json:"missing,omitempty"`
}

// MapNode is a service, a peer that sends no spans, or the user, who calls what requests come in at.
type MapNode struct {
	Name   string           `json:"name"`
	Kind   verdict.SiteKind `json:"kind"`
	Owner  string           `json:"owner"`
	Caused Amounts          `json:"caused"` // by itself
}

// MapEdge is that one service calls another, or a peer. What an edge cost is not a part of what its neighbours did: a failure of
// a callee that its caller was asked to make is on both.
type MapEdge struct {
	Caller string `json:"caller"`
	Callee string `json:"callee"`
	// Type is "messaging_system" or "database" where that is between the two.
	Type   string  `json:"type,omitempty"`
	Calls  float64 `json:"calls"` // 0 where that is not known
	Failed float64 `json:"failed"`
	// Itself is what the edge itself caused; ByCallee and ByCaller what they did where this edge showed it.
	Itself   Amounts `json:"itself"`
	ByCallee Amounts `json:"byCallee"`
	ByCaller Amounts `json:"byCaller"`
}

// Cost is how many requests all of it broke or slowed.
func (e *MapEdge) Cost() float64 {
	return e.Itself.Requests + e.ByCallee.Requests + e.ByCaller.Requests
}

const mapDepthMost = 5

// Map says who calls whom.
func (s *Service) Map(ctx context.Context, r MapRequest) (*MapResponse, error) {
	ctx, done, err := s.begin(ctx, text{"focus", r.Focus}, text{"owner", r.Owner})
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	if r.Depth == 0 {
		r.Depth = 1
	}
	if r.Depth < 0 || r.Depth > mapDepthMost {
		return nil, Wrong("depth", "depth %d is not within 1 and %d", r.Depth, mapDepthMost)
	}
	from, to = s.reader.Align(from, to)
	costs, calls, err := s.costsAndCalls(ctx, storage.BlameFilter{From: from, To: to}, []string{"Kind", "Service", "Caller", "Callee", "Peer", "Via", "Target"})
	if err != nil {
		return nil, err
	}
	g := newGraph()
	for i := range calls {
		g.called(&calls[i])
	}
	for i := range costs {
		g.cost(&costs[i])
	}
	registry := s.owners.Registry()
	for _, n := range g.nodes {
		if n.Kind == verdict.SiteUser {
			n.Owner = verdict.OwnerUser
			continue
		}
		n.Owner = cmp.Or(n.Owner, registry.Resolve(&ownership.Question{Service: n.Name}).Owner, verdict.OwnerUnowned)
	}
	answer := g.answer(g.kept(&r))
	answer.Window, answer.Missing = Window{from, to}, s.reader.Missing(ctx)
	return answer, nil
}

// costsAndCalls asks what was caused and what was called at once.
func (s *Service) costsAndCalls(ctx context.Context, f storage.BlameFilter, by []string) (costs []storage.BlameRow, calls []storage.Edge, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { costs, err = s.reader.Blame(ctx, f, by, 0, groupsMax); return err })
	group.Go(func() (err error) {
		calls, err = s.reader.Edges(ctx, storage.NewTrafficWindow(f.From, f.To, time.Now()))
		return err
	})
	return costs, calls, group.Wait()
}

// graph is a map in the making.
type graph struct {
	nodes map[string]*MapNode
	edges map[[2]string]*MapEdge
	sums  map[*Amounts]*storage.BlameRow // what amounts are made of
}

func newGraph() *graph {
	return &graph{nodes: make(map[string]*MapNode), edges: make(map[[2]string]*MapEdge), sums: make(map[*Amounts]*storage.BlameRow)}
}

func (g *graph) node(name string) *MapNode {
	n := g.nodes[name]
	if n == nil {
		n = &MapNode{Name: name, Kind: verdict.SiteService}
		g.nodes[name] = n
	}
	return n
}

func (g *graph) edge(caller, callee string) *MapEdge {
	key := [2]string{caller, callee}
	e := g.edges[key]
	if e == nil {
		e = &MapEdge{Caller: caller, Callee: callee}
		g.edges[key] = e
		g.node(caller)
		g.node(callee)
	}
	return e
}

func (g *graph) add(to *Amounts, r *storage.BlameRow) {
	sum := g.sums[to]
	if sum == nil {
		sum = new(storage.BlameRow)
		g.sums[to] = sum
	}
	add(sum, r)
	*to = amountsOf(sum)
}

// called adds what was called.
func (g *graph) called(e *storage.Edge) {
	const virtual, database, messaging = "virtual_node", "database", "messaging_system"
	edge := g.edge(e.Caller, e.Callee)
	edge.Calls += float64(e.Calls)
	edge.Failed += float64(e.Failed)
	switch {
	case e.Type == database || e.Type == messaging:
		edge.Type = e.Type
	case e.Type == virtual && e.Caller == storage.UserCaller:
		g.node(e.Caller).Kind = verdict.SiteUser
	}
	if served := slices.ContainsFunc(e.ServerBuckets, func(n uint64) bool { return n > 0 }); !served && e.Caller != storage.UserCaller {
		g.node(e.Callee).Kind = verdict.SitePeer
	}
}

// cost puts what was caused where it shows.
func (g *graph) cost(r *storage.BlameRow) {
	switch verdict.SiteKind(r.Kind) {
	case verdict.SiteEdge:
		g.add(&g.edge(r.Caller, r.Callee).Itself, r)
	case verdict.SitePeer:
		n := g.node(r.Peer)
		n.Kind = verdict.SitePeer
		g.add(&n.Caused, r)
		if r.Via != "" {
			g.add(&g.edge(r.Via, r.Peer).ByCallee, r)
		}
	case verdict.SiteService:
		g.add(&g.node(r.Service).Caused, r)
		if r.Via != "" {
			g.add(&g.edge(r.Via, r.Service).ByCallee, r)
		}
		if r.Target != "" {
			g.add(&g.edge(r.Service, r.Target).ByCaller, r)
		}
	case verdict.SiteUser:
		n := g.node(storage.UserCaller)
		n.Kind = verdict.SiteUser
		g.add(&n.Caused, r)
	case verdict.SiteUnknown:
	}
}

// kept are the nodes that were asked for.
func (g *graph) kept(r *MapRequest) func(name string) bool {
	if r.Focus == "" && r.Owner == "" {
		return func(string) bool { return true }
	}
	near := make(map[string]bool)
	for name, n := range g.nodes {
		if r.Focus == name || r.Owner != "" && n.Owner == r.Owner {
			near[name] = true
		}
	}
	for range r.Depth {
		var next []string
		for key := range g.edges {
			if near[key[0]] != near[key[1]] {
				next = append(next, key[0], key[1])
			}
		}
		for _, name := range next {
			near[name] = true
		}
	}
	return func(name string) bool { return near[name] }
}

func (g *graph) answer(keep func(string) bool) *MapResponse {
	answer := &MapResponse{Nodes: []MapNode{}, Edges: []MapEdge{}}
	for _, n := range g.nodes {
		if keep(n.Name) {
			answer.Nodes = append(answer.Nodes, *n)
		}
	}
	for _, e := range g.edges {
		if keep(e.Caller) && keep(e.Callee) {
			answer.Edges = append(answer.Edges, *e)
		}
	}
	slices.SortFunc(answer.Nodes, func(a, b MapNode) int {
		return cmp.Or(cmp.Compare(b.Caused.Requests, a.Caused.Requests), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(answer.Edges, func(a, b MapEdge) int {
		return cmp.Or(cmp.Compare(b.Cost(), a.Cost()), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return answer
}
