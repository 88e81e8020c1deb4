package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// Requests are counted in millionths of one: of a request that two sites share the blame for, both carry a part.
const millionths = 1_000_000

func requests(amount int64) float64 { return float64(amount) / millionths }

// groupsMax bounds the groups of one question. What is beyond it is the least.
const groupsMax = 100_000

// Amounts are what was caused, or suffered.
type Amounts struct {
	Requests float64 `json:"requests"` // with a symptom, by what samplers say
	// Failed, Degraded and Slow are Requests by symptom.
	Failed   float64 `json:"failed"`
	Degraded float64 `json:"degraded"`
	Slow     float64 `json:"slow"`
	Stored   float64 `json:"stored"`   // of Requests, those that are stored
	ExcessNs int64   `json:"excessNs"` // time over the baseline
}

func amountsOf(r *storage.BlameRow) Amounts {
	return Amounts{
		Requests: requests(r.Amount), Failed: requests(r.Failed), Degraded: requests(r.Degraded), Slow: requests(r.Slow),
		Stored: requests(r.Stored), ExcessNs: r.ExcessNs,
	}
}

func instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// totals adds rows up, as integers: the sum does not depend on their order.
func totals(rows []storage.BlameRow) Amounts {
	var sum storage.BlameRow
	for i := range rows {
		add(&sum, &rows[i])
	}
	return amountsOf(&sum)
}

func add(sum, r *storage.BlameRow) {
	sum.Amount += r.Amount
	sum.Failed += r.Failed
	sum.Degraded += r.Degraded
	sum.Slow += r.Slow
	sum.Stored += r.Stored
	sum.ExcessNs += r.ExcessNs
}

// AttributionRequest asks what owners caused and suffered.
type AttributionRequest struct {
	From, To time.Time
	Step     time.Duration
	Owner    string
}

// AttributionResponse has a row for each owner and step in which there was something. Longer windows are of whole hours.
type AttributionResponse struct {
	Window
	Steps
	Rows []AttributionRow `json:"attributions"`
	// Total is what all owners caused, "unowned", "user" and "unknown" among them: all requests with a symptom, or those of
	// the owner who was asked for.
	Total   Amounts  `json:"total"`
	Missing []string `json:"missing,omitempty"`
}

// Window is the time that an answer is of: [From, To).
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Steps is the length of the steps that an answer is in.
type Steps struct {
	Step        time.Duration `json:"-"`
	StepSeconds float64       `json:"stepSeconds"`
}

func stepsOf(step time.Duration) Steps { return Steps{Step: step, StepSeconds: step.Seconds()} }

// AttributionRow is what one owner caused and suffered in one step.
type AttributionRow struct {
	At     time.Time `json:"at"`
	Owner  string    `json:"owner"`
	Caused Amounts   `json:"caused"`
	// Suffered are the requests in which services of the owner failed or were cut off, or that they delayed, through no fault
	// of their own.
	Suffered Amounts `json:"suffered"`
}

// Attribution sums up by owner, over time.
func (s *Service) Attribution(ctx context.Context, r AttributionRequest) (*AttributionResponse, error) {
	ctx, done, err := s.begin(ctx, text{"owner", r.Owner})
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	from, to = s.reader.Align(from, to)
	step, err := stepOf(from, to, r.Step)
	if err != nil {
		return nil, err
	}
	caused, suffered, err := s.causedAndSuffered(ctx, storage.BlameFilter{From: from, To: to, Owner: r.Owner}, []string{"Owner"}, step)
	if err != nil {
		return nil, err
	}
	if max(len(caused), len(suffered)) == groupsMax {
		return nil, Wrong("step", "the answer has more than %d rows; ask for longer steps, or for one owner", groupsMax)
	}
	return &AttributionResponse{
		Window: Window{from, to}, Steps: stepsOf(step), Rows: joined(caused, suffered), Total: totals(caused), Missing: s.reader.Missing(ctx),
	}, nil
}

// causedAndSuffered asks both at once.
func (s *Service) causedAndSuffered(ctx context.Context, f storage.BlameFilter, by []string, step time.Duration) (caused, suffered []storage.BlameRow, err error) {
	group, ctx := errgroup.WithContext(ctx)
	ask := func(into *[]storage.BlameRow, of bool) func() error {
		f := f
		f.Suffered = of
		return func() (err error) { *into, err = s.reader.Blame(ctx, f, by, step, groupsMax); return err }
	}
	group.Go(ask(&caused, false))
	group.Go(ask(&suffered, true))
	err = group.Wait()
	return caused, suffered, err
}

// joined puts beside each other what was caused and suffered by the same owner in the same step.
func joined(caused, suffered []storage.BlameRow) []AttributionRow {
	type key struct {
		atNs  int64
		owner string
	}
	at := make(map[key]int)
	rows := []AttributionRow{}
	row := func(b *storage.BlameRow) *AttributionRow {
		k := key{b.At.UnixNano(), b.Owner}
		i, ok := at[k]
		if !ok {
			i = len(rows)
			at[k] = i
			rows = append(rows, AttributionRow{At: b.At, Owner: b.Owner})
		}
		return &rows[i]
	}
	for i := range caused {
		row(&caused[i]).Caused = amountsOf(&caused[i])
	}
	for i := range suffered {
		row(&suffered[i]).Suffered = amountsOf(&suffered[i])
	}
	slices.SortFunc(rows, func(a, b AttributionRow) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Owner, b.Owner)) })
	return rows
}

// stepOf fills in and checks the length of a step.
func stepOf(from, to time.Time, step time.Duration) (time.Duration, error) {
	whole := from.Truncate(time.Hour).Equal(from) && to.Truncate(time.Hour).Equal(to)
	if step == 0 {
		if step = niceStep(to.Sub(from) / stepsWanted); whole {
			step = max(step, time.Hour)
		}
	}
	switch {
	case step < time.Second || to.Sub(from)/step > stepsMax:
		return 0, Wrong("step", "step %s makes more than %d steps, or is less than 1s", step, stepsMax)
	case step%time.Second != 0:
		return 0, Wrong("step", "step %s is not a whole number of seconds", step)
	case whole && step%time.Hour != 0:
		return 0, Wrong("step", "a window of more than six hours, or of long ago, goes by whole hours, and step %s does not", step)
	}
	return step, nil
}

// TopRequest asks what caused the most.
type TopRequest struct {
	From, To time.Time
	By       string // owner, service, operation, edge, fingerprint, rule, class, version or entry
	Owner    string
	Entry    string
	Limit    int
}

// TopResponse has what caused the most first.
type TopResponse struct {
	Window
	Rows []Part `json:"top"`
	// Total is all that was caused by what was asked about: also what is beyond the limit, or has no such name.
	Total   Amounts  `json:"total"`
	Missing []string `json:"missing,omitempty"`
}

// Part is what one owner, service, edge or the like caused or suffered.
type Part struct {
	Name  string `json:"name"`
	Owner string `json:"owner"` // of most of it
	Amounts
	Rule        string `json:"rule,omitempty"`        // the most frequent one
	Fingerprint string `json:"fingerprint,omitempty"` // the most frequent one
	Exemplar    string `json:"exemplarTraceId"`       // the newest
	// FirstSeen and LastSeen are when the first and the last of the requests began.
	FirstSeen time.Time `json:"firstSeen"`
	LastSeen  time.Time `json:"lastSeen"`
}

// topColumns are what a question groups by; the name is made of them.
var topColumns = map[string][]string{
	"owner":       {"Owner"},
	"service":     {"Kind", "Service", "Caller", "Callee", "Peer", "Accountable"},
	"operation":   {"Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer"},
	"edge":        {"Kind", "Caller", "Callee", "Phase"},
	"fingerprint": {"Fingerprint"},
	"rule":        {"Rule"},
	"class":       {"Class"},
	"version":     {"Kind", "Service", "Accountable", "ServiceVersion"},
	"entry":       {"EntryService", "EntryOperation"},
	"cause":       {"Cause"},
}

// topNames are what can be asked for, in the order of a help text.
var topNames = []string{"owner", "service", "operation", "edge", "fingerprint", "rule", "class", "version", "entry"}

// nameOf is what a row is of; empty if it is none of those that were asked for.
func nameOf(by string, r *storage.BlameRow) string {
	switch by {
	case "owner":
		return r.Owner
	case "cause":
		return r.Cause
	case "service":
		return serviceOf(r)
	case "operation":
		return siteOf(r).String()
	case "edge":
		if r.Kind != string(verdict.SiteEdge) {
			return ""
		}
		return siteOf(r).String()
	case "fingerprint":
		return r.Fingerprint
	case "rule":
		return r.Rule
	case "class":
		return r.Class
	case "version":
		if service := cmp.Or(r.Accountable, r.Service); service != "" && r.ServiceVersion != "" {
			return service + " " + r.ServiceVersion
		}
		return ""
	}
	return r.EntryService + " " + r.EntryOperation
}

// serviceOf is the service, or what sends no spans, that a site is or that must act for it.
func serviceOf(r *storage.BlameRow) string {
	switch verdict.SiteKind(r.Kind) {
	case verdict.SiteEdge:
		return cmp.Or(r.Accountable, r.Caller+"->"+r.Callee)
	case verdict.SiteService:
		return r.Service
	case verdict.SitePeer:
		return r.Peer
	case verdict.SiteUser, verdict.SiteUnknown:
	}
	return r.Kind
}

func siteOf(r *storage.BlameRow) verdict.Site {
	return verdict.Site{
		Kind: verdict.SiteKind(r.Kind), Service: r.Service, Operation: r.Operation, Caller: r.Caller, Callee: r.Callee, Phase: verdict.Phase(r.Phase), Peer: r.Peer,
	}
}

// Top ranks what caused the most.
func (s *Service) Top(ctx context.Context, r TopRequest) (*TopResponse, error) {
	ctx, done, err := s.begin(ctx, text{"by", r.By}, text{"owner", r.Owner}, text{"entry", r.Entry})
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	if r.By == "" {
		r.By = "owner"
	}
	if !slices.Contains(topNames, r.By) {
		return nil, Wrong("by", "by %q is none of %v", r.By, topNames)
	}
	n, err := limit("limit", r.Limit, topDefault)
	if err != nil {
		return nil, err
	}
	from, to = s.reader.Align(from, to)
	f := storage.BlameFilter{From: from, To: to, Owner: r.Owner, Entry: r.Entry}
	rows, err := s.reader.Blame(ctx, f, topColumns[r.By], 0, groupsMax)
	if err != nil {
		return nil, err
	}
	all := rows
	if len(rows) == groupsMax {
		if all, err = s.reader.Blame(ctx, f, nil, 0, 1); err != nil {
			return nil, err
		}
	}
	return &TopResponse{Window: Window{from, to}, Rows: partsOf(rows, r.By, n), Total: totals(all), Missing: s.reader.Missing(ctx)}, nil
}

// partsOf adds up rows that have the same name by what was asked for; the largest come first, and what is of most of it is of the largest row.
func partsOf(rows []storage.BlameRow, by string, n int) []Part {
	at := make(map[string]int, len(rows))
	sums := make([]storage.BlameRow, 0, len(rows))
	parts := make([]Part, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		name := nameOf(by, r)
		if name == "" {
			continue
		}
		k, ok := at[name]
		if !ok {
			k = len(parts)
			at[name] = k
			sums = append(sums, storage.BlameRow{})
			parts = append(parts, Part{Name: name, Owner: r.MainOwner, Rule: r.MainRule, Fingerprint: r.MainFingerprint, FirstSeen: instant(r.FirstNs)})
		}
		p := &parts[k]
		add(&sums[k], r)
		p.Amounts = amountsOf(&sums[k])
		if first := instant(r.FirstNs); first.Before(p.FirstSeen) {
			p.FirstSeen = first
		}
		if last := instant(r.LastNs); last.After(p.LastSeen) {
			p.LastSeen, p.Exemplar = last, r.Exemplar
		}
	}
	slices.SortStableFunc(parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(b.ExcessNs, a.ExcessNs), cmp.Compare(a.Name, b.Name))
	})
	return parts[:min(n, len(parts))]
}
