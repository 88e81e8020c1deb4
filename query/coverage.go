package query

import (
	"context"
	"slices"
	"time"

	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/storage"
)

// CoverageRequest asks what runs without a real owner; what is empty selects all, or the default.
type CoverageRequest struct {
	From, To   time.Time
	Kind       string
	ReviewDays int // who was not reviewed for longer is a caretaker
	Limit      int
}

// The defaults and limits of coverage.
const (
	CoverageWindow  = 7 * 24 * time.Hour
	coverageDefault = 50
	reviewDefault   = 180
	reviewMax       = 10_000
)

// CoverageResponse has what did most harm first. Its totals are over all that was seen.
type CoverageResponse struct {
	From, To time.Time
	coverage.Report
	Missing []string
}

// Coverage says what runs without a real owner.
func (s *Service) Coverage(ctx context.Context, r CoverageRequest) (*CoverageResponse, error) {
	ctx, done, err := s.begin(ctx, text{"kind", r.Kind})
	if err != nil {
		return nil, err
	}
	defer done()
	if r.From.IsZero() {
		to := r.To
		if to.IsZero() {
			to = time.Now()
		}
		r.From = to.Add(-CoverageWindow)
	}
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	if r.Kind != "" && !slices.Contains(coverage.Kinds(), coverage.Kind(r.Kind)) {
		return nil, Wrong("kind", "kind %q is none of %v", r.Kind, coverage.Kinds())
	}
	if r.ReviewDays == 0 {
		r.ReviewDays = reviewDefault
	}
	if r.ReviewDays < 0 || r.ReviewDays > reviewMax {
		return nil, Wrong("reviewDays", "reviewDays %d is not within 1 and %d", r.ReviewDays, reviewMax)
	}
	n, err := limit("limit", r.Limit, coverageDefault)
	if err != nil {
		return nil, err
	}
	registry := s.owners.Registry()
	traffic, missing, err := s.traffic(ctx, from, to, append(coverage.Attributes(), registry.Attributes()...))
	if err != nil {
		return nil, err
	}
	report := coverage.Assess(registry, traffic, time.Now(), r.ReviewDays)
	if r.Kind != "" {
		report.Findings = slices.DeleteFunc(report.Findings, func(f coverage.Finding) bool { return f.Kind != coverage.Kind(r.Kind) })
	}
	report.Findings = report.Findings[:min(n, len(report.Findings))]
	return &CoverageResponse{From: from, To: to, Report: *report, Missing: missing}, nil
}

// trafficFor is how long what was seen is kept: a week hardly changes within a minute. What is written down of owners is
// always that of now.
const trafficFor = time.Minute

// keptTraffic is what was seen when somebody last asked. Others who ask for the same meanwhile wait for it.
type keptTraffic struct {
	turn       chan struct{} // to look at what follows
	at         time.Time
	from, to   time.Time
	attributes []string
	traffic    *coverage.Traffic
}

// traffic is what was seen, as far as its ownership is concerned, and the shards that were missing.
func (s *Service) traffic(ctx context.Context, from, to time.Time, attributes []string) (*coverage.Traffic, []string, error) {
	slices.Sort(attributes)
	attributes = slices.Compact(attributes)
	k := &s.seen
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	near := func(a, b time.Time) bool { return a.Sub(b).Abs() < trafficFor }
	if k.traffic != nil && time.Since(k.at) < trafficFor && near(k.from, from) && near(k.to, to) && slices.Equal(k.attributes, attributes) {
		return k.traffic, nil, nil
	}
	traffic, err := s.readTraffic(ctx, from, to, attributes)
	if err != nil {
		return nil, nil, err
	}
	missing := s.reader.Missing(ctx)
	if k.traffic = traffic; len(missing) > 0 {
		k.traffic = nil // it may be whole the next time
	}
	k.at, k.from, k.to, k.attributes = time.Now(), from, to, attributes
	return traffic, missing, nil
}

func (s *Service) readTraffic(ctx context.Context, from, to time.Time, attributes []string) (*coverage.Traffic, error) {
	services, err := s.reader.SeenServices(ctx, from, to, attributes)
	if err != nil {
		return nil, err
	}
	calls, err := s.reader.Calls(ctx, from)
	if err != nil {
		return nil, err
	}
	from, to = s.reader.Align(from, to)
	harm, err := s.reader.Blame(ctx, storage.BlameFilter{From: from, To: to}, harmColumns, 0, groupsMax)
	if err != nil {
		return nil, err
	}
	t := &coverage.Traffic{Services: make([]coverage.Service, len(services)), Calls: make([]coverage.Call, len(calls)), Harm: make([]coverage.Harm, len(harm))}
	for i := range services {
		t.Services[i] = coverage.Service(services[i])
	}
	for i := range calls {
		t.Calls[i] = coverage.Call(calls[i])
	}
	for i := range harm {
		t.Harm[i] = harmOf(&harm[i])
	}
	return t, nil
}

// harmColumns tell apart what coverage is told of.
var harmColumns = []string{"Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer", "Accountable"}

func harmOf(r *storage.BlameRow) coverage.Harm {
	return coverage.Harm{Site: siteOf(r), Accountable: r.Accountable, Failed: requests(r.Failed + r.Degraded), ExcessNs: r.ExcessNs}
}
