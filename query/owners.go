package query

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/stored"
)

// The errors of an apply that a transport tells apart; what they wrap is for whoever applies.
var (
	ErrAway  = stored.ErrAway
	ErrRaced = stored.ErrRaced
	// ErrDenied is of a ClickHouse that does not let the query server write.
	ErrDenied = errors.New("the query server may not write the registry")
)

// Owners is the registry as it is stored.
type Owners interface {
	Apply(ctx context.Context, w ownership.Wanted, dryRun bool) (*ownership.Applied, error)
}

// OwnersBytesMax is how large what is applied may be, as JSON.
const OwnersBytesMax = 64 << 20

// ApplyOwners makes a set of the registry what read returns. One is read and applied at a time, for it takes memory.
func (s *Service) ApplyOwners(ctx context.Context, dryRun bool, read func() (ownership.Wanted, error)) (*ownership.Applied, error) {
	select {
	case s.applying <- struct{}{}:
		defer func() { <-s.applying }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another apply is under way", ErrRaced)
	}
	w, err := read()
	if err != nil {
		return nil, err
	}
	if w.Set == "" {
		w.Set = stored.DefaultSet
	}
	applied, err := s.stored.Apply(ctx, w, dryRun)
	var denied interface{ Denied() bool }
	switch {
	case errors.Is(err, stored.ErrInvalid):
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.As(err, &denied) && denied.Denied():
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	case err != nil:
		return nil, err
	}
	return applied, nil
}

// OwnersRequest asks for records of the registry in force; what is empty selects all.
type OwnersRequest struct {
	Set, Kind string
	Owner     string // a team, by any of its names
	Name      string // of what a record is about, or an alias; either side of an edge
	Ended     bool   // what holds no more as well
	PageSize  int
	PageToken string
}

// OwnersResponse is a page of records in the order of the registry; NextPageToken is empty on the last. What is applied while
// somebody turns pages may let records be missed, or come twice.
type OwnersResponse struct {
	Records       []catalog.Record
	NextPageToken string
}

// ListOwners lists records of the registry in force.
func (s *Service) ListOwners(r OwnersRequest) (*OwnersResponse, error) {
	if err := bounded(text{"set", r.Set}, text{"kind", r.Kind}, text{"owner", r.Owner}, text{"name", r.Name}, text{"pageToken", r.PageToken}); err != nil {
		return nil, err
	}
	size, err := limit("pageSize", r.PageSize, pageSizeDefault)
	if err != nil {
		return nil, err
	}
	at := 0
	if r.PageToken != "" {
		text, err := base64.RawURLEncoding.DecodeString(r.PageToken)
		if err == nil {
			at, err = strconv.Atoi(string(text))
		}
		if err != nil || at < 0 {
			return nil, Wrong("pageToken", "pageToken %q is not one of ours", r.PageToken)
		}
	}
	registry, now, page := s.owners.Registry(), time.Now(), &OwnersResponse{Records: []catalog.Record{}}
	records := registry.Records()
	for ; at < len(records); at++ {
		if !r.selects(registry, &records[at], now) {
			continue
		}
		if len(page.Records) == size {
			page.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(at)))
			break
		}
		page.Records = append(page.Records, records[at])
	}
	return page, nil
}

func (r *OwnersRequest) selects(registry *ownership.Registry, c *catalog.Record, now time.Time) bool {
	named := r.Name == "" || r.Name == c.Name || r.Name == c.Caller || r.Name == c.Callee || slices.Contains(c.Aliases, r.Name)
	return named && (r.Set == "" || r.Set == c.Set) && (r.Kind == "" || r.Kind == string(c.Kind)) &&
		(r.Ended || c.Until.IsZero() || now.Before(c.Until)) && (r.Owner == "" || sameTeam(registry, r.Owner, c.Owner))
}

func sameTeam(registry *ownership.Registry, a, b string) bool {
	if a == b || b == "" {
		return a == b
	}
	one, other := registry.Team(a, 0), registry.Team(b, 0)
	return one != nil && other != nil && one.Name == other.Name || one != nil && one.Name == b || other != nil && other.Name == a
}

// handoversDefault is how far back hand-overs are listed if nobody says.
const handoversDefault = 90 * 24 * time.Hour

// HandoversRequest asks what changed hands.
type HandoversRequest struct {
	From, To time.Time
	Limit    int
}

// HandoversResponse has the newest first; Total counts those that were left out too.
type HandoversResponse struct {
	Handovers []ownership.Handover
	Total     int
}

// ListHandovers lists what changed hands, those to come among it if to lies in the future.
func (s *Service) ListHandovers(r HandoversRequest) (*HandoversResponse, error) {
	if r.From.IsZero() {
		to := r.To
		if to.IsZero() {
			to = time.Now()
		}
		r.From = to.Add(-handoversDefault)
	}
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	n, err := limit("limit", r.Limit, pageSizeMax)
	if err != nil {
		return nil, err
	}
	all := s.owners.Registry().Handovers(from, to)
	return &HandoversResponse{Handovers: all[:min(n, len(all))], Total: len(all)}, nil
}
