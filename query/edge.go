package query

import (
	"context"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// EdgeRequest asks what went wrong where one service calls another, or a peer; in the last hour if nothing else is said.
type EdgeRequest struct {
	From, To       time.Time
	Caller, Callee string
	Limit          int // of each list
}

// EdgeResponse is what one edge cost, as a map has it, and by what.
type EdgeResponse struct {
	Window
	Edge MapEdge `json:"edge"`
	// Phases are those of what the edge itself caused; Sites are to blame for any of the three costs.
	Phases  []Part   `json:"phases"`
	Sites   []Part   `json:"sites"`
	Missing []string `json:"missing,omitempty"`
}

// edgeColumns tell apart what an edge cost.
var edgeColumns = []string{"Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer", "Accountable", "Via", "Target", "Fingerprint", "Owner"}

// Edge says what went wrong on one edge.
func (s *Service) Edge(ctx context.Context, r EdgeRequest) (*EdgeResponse, error) {
	ctx, done, err := s.begin(ctx, text{"caller", r.Caller}, text{"callee", r.Callee})
	if err != nil {
		return nil, err
	}
	defer done()
	if r.Caller == "" {
		return nil, Wrong("caller", "an edge has a caller and a callee")
	}
	if r.Callee == "" {
		return nil, Wrong("callee", "an edge has a caller and a callee")
	}
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	n, err := limit("limit", r.Limit, reportDefault)
	if err != nil {
		return nil, err
	}
	from, to = s.reader.Align(from, to)
	rows, calls, err := s.costsAndCalls(ctx, storage.BlameFilter{From: from, To: to, Caller: r.Caller, Callee: r.Callee}, edgeColumns)
	if err != nil {
		return nil, err
	}
	g := newGraph()
	var own []storage.BlameRow
	for i := range rows {
		g.cost(&rows[i])
		if rows[i].Kind == string(verdict.SiteEdge) {
			own = append(own, rows[i])
		}
	}
	for i := range calls {
		if calls[i].Caller == r.Caller && calls[i].Callee == r.Callee {
			g.called(&calls[i])
		}
	}
	answer := &EdgeResponse{Window: Window{from, to}, Edge: *g.edge(r.Caller, r.Callee)}
	answer.Phases, answer.Sites = partsOf(own, "edge", n), partsOf(rows, "operation", n)
	answer.Missing = s.reader.Missing(ctx)
	return answer, nil
}
