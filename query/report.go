package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// ReportRequest asks for everything that is known of one owner over a time.
type ReportRequest struct {
	Owner    string
	From, To time.Time // the last day if not given
	Step     time.Duration
	Limit    int // of each list
}

// ReportResponse is what an owner caused and suffered.
type ReportResponse struct {
	Owner string          `json:"owner"`
	Team  *catalog.Record `json:"team,omitempty"` // what the registry knows of it
	Window
	Steps
	// Caused and Suffered are sums over the window; those Before over as long a time that ended where a week before
	// the window ended. Of are all requests with a symptom, whoever caused them.
	Caused         Amounts          `json:"caused"`
	Suffered       Amounts          `json:"suffered"`
	CausedBefore   Amounts          `json:"causedBefore"`
	SufferedBefore Amounts          `json:"sufferedBefore"`
	Of             Amounts          `json:"of"`
	Rows           []AttributionRow `json:"attributions"`
	// What was caused, by service, operation, edge and so on.
	Services     []Part `json:"services"`
	Operations   []Part `json:"operations"`
	Edges        []Part `json:"edges"`
	Fingerprints []Part `json:"fingerprints"`
	Versions     []Part `json:"versions"`
	Rules        []Part `json:"rules"`
	Entries      []Part `json:"entries"`
	// What was suffered, by the own service, and by whose fault.
	SufferedIn   []Part `json:"sufferedIn"`
	SufferedFrom []Part `json:"sufferedFrom"`
	// Recurring are faults that came back, those of the most days first.
	Recurring []Recurrence `json:"recurring"`
	// Neighbours are services, or what sends no spans, that nobody owns and that have to do with the owner's services.
	Neighbours []Neighbour `json:"neighbours"`
	Missing    []string    `json:"missing,omitempty"`
}

// Recurrence is a fault that comes back: there were hours without it in between.
type Recurrence struct {
	Part
	Days     int `json:"days"`     // on which it was there
	Episodes int `json:"episodes"` // with at least an hour without it between them
}

// Neighbour is something unowned that an owner's services have to do with in requests that failed or were slow.
type Neighbour struct {
	Name     string   `json:"name"`
	Caused   Amounts  `json:"caused"`
	Services []string `json:"services"` // the owner's that have to do with it
}

const (
	reportDefault = 10
	reportWindow  = 24 * time.Hour
	week          = 7 * 24 * time.Hour
	// recurringWindow is how far back is looked for faults that come back.
	recurringWindow = 30 * 24 * time.Hour
)

// Report is everything that is known of one owner.
func (s *Service) Report(ctx context.Context, r ReportRequest) (*ReportResponse, error) {
	ctx, done, err := s.begin(ctx, text{"owner", r.Owner})
	if err != nil {
		return nil, err
	}
	defer done()
	if r.Owner == "" {
		return nil, Wrong("owner", "owner is missing: whose report?")
	}
	if r.From.IsZero() {
		to := r.To
		if to.IsZero() {
			to = time.Now()
		}
		r.From = to.Add(-reportWindow)
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
	step, err := stepOf(from, to, r.Step)
	if err != nil {
		return nil, err
	}
	answer := &ReportResponse{Owner: r.Owner, Team: s.Team(r.Owner), Window: Window{from, to}, Steps: stepsOf(step)}
	group, asking := errgroup.WithContext(ctx)
	const atOnce = 4
	group.SetLimit(atOnce)
	f := storage.BlameFilter{From: from, To: to, Owner: r.Owner}
	var caused, suffered []storage.BlameRow
	hurt := f
	hurt.Suffered = true
	group.Go(func() (err error) { caused, err = s.reader.Blame(asking, f, causedColumns, 0, groupsMax); return err })
	group.Go(func() (err error) {
		suffered, err = s.reader.Blame(asking, hurt, []string{"Kind", "Service", "Cause"}, 0, groupsMax)
		return err
	})
	group.Go(func() error {
		caused, suffered, err := s.causedAndSuffered(asking, f, []string{"Owner"}, step)
		answer.Rows, answer.Caused, answer.Suffered = joined(caused, suffered), totals(caused), totals(suffered)
		return err
	})
	group.Go(func() error {
		before := f
		before.From, before.To = from.Add(-week), to.Add(-week)
		caused, suffered, err := s.causedAndSuffered(asking, before, []string{"Owner"}, 0)
		answer.CausedBefore, answer.SufferedBefore = totals(caused), totals(suffered)
		return err
	})
	group.Go(func() error {
		all, err := s.reader.Blame(asking, storage.BlameFilter{From: from, To: to}, nil, 0, 1)
		answer.Of = totals(all)
		return err
	})
	group.Go(func() (err error) { answer.Recurring, err = s.recurring(asking, r.Owner, to, n); return err })
	var unowned []storage.BlameRow
	group.Go(func() (err error) {
		nobody := storage.BlameFilter{From: from, To: to, Owner: verdict.OwnerUnowned}
		unowned, err = s.reader.Blame(asking, nobody, neighbourColumns, 0, groupsMax)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for by, into := range map[string]*[]Part{
		"service": &answer.Services, "operation": &answer.Operations, "edge": &answer.Edges, "fingerprint": &answer.Fingerprints,
		"version": &answer.Versions, "rule": &answer.Rules, "entry": &answer.Entries,
	} {
		*into = partsOf(caused, by, n)
	}
	answer.SufferedIn, answer.SufferedFrom = partsOf(suffered, "service", n), partsOf(suffered, "cause", n)
	answer.Neighbours = s.neighbours(r.Owner, unowned, slices.Concat(caused, suffered), n)
	answer.Missing = s.reader.Missing(ctx)
	return answer, nil
}

// recurring finds the faults that came back within the month before to.
func (s *Service) recurring(ctx context.Context, owner string, to time.Time, n int) ([]Recurrence, error) {
	f := storage.BlameFilter{From: to.Add(-recurringWindow), To: to, Owner: owner, Hours: true}
	f.From, f.To = s.reader.Align(f.From, f.To)
	rows, err := s.reader.Blame(ctx, f, []string{"Fingerprint", "Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer"}, 0, groupsMax)
	if err != nil {
		return nil, err
	}
	return recurrences(rows, n), nil
}

// recurrences counts the days and the episodes of faults, and leaves out what came but once.
func recurrences(rows []storage.BlameRow, n int) []Recurrence {
	const hour, day = 60 * 60, 24 * 60 * 60
	list := []Recurrence{}
	for i := range rows {
		r := &rows[i]
		c := Recurrence{Part: Part{
			Name: siteOf(r).String(), Owner: r.MainOwner, Amounts: amountsOf(r), Rule: r.MainRule, Fingerprint: r.Fingerprint,
			Exemplar: r.Exemplar, FirstSeen: instant(r.FirstNs), LastSeen: instant(r.LastNs),
		}}
		for k, at := range r.Hours {
			if k == 0 || at-r.Hours[k-1] > hour {
				c.Episodes++
			}
			if k == 0 || at/day != r.Hours[k-1]/day {
				c.Days++
			}
		}
		if c.Episodes > 1 {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b Recurrence) int {
		return cmp.Or(cmp.Compare(b.Days, a.Days), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return list[:min(n, len(list))]
}

// causedColumns are all that the parts of a report are made of.
var causedColumns = []string{
	"Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer", "Accountable", "Fingerprint", "ServiceVersion", "Rule", "EntryService", "EntryOperation",
}

var neighbourColumns = []string{"Kind", "Service", "Caller", "Callee", "Phase", "Peer", "Accountable", "Via", "Target"}

// neighbours are what nobody owns beside the owner's services, by what that caused. A service is the owner's by the registry, or by
// what it says of itself, as its verdicts have it.
func (s *Service) neighbours(owner string, unowned, own []storage.BlameRow, n int) []Neighbour {
	owned := make(map[string]bool)
	for i := range own {
		if r := &own[i]; r.Kind == string(verdict.SiteService) {
			owned[r.Service] = true
		}
	}
	registry := s.owners.Registry()
	owns := func(service string) bool {
		own, known := owned[service]
		if !known && service != "" {
			own = registry.Resolve(&ownership.Question{Service: service}).Owner == owner
			owned[service] = own
		}
		return own
	}
	at := make(map[string]int)
	sums := make([]storage.BlameRow, 0, len(unowned))
	list := []Neighbour{}
	for i := range unowned {
		r := &unowned[i]
		var own []string
		for _, service := range []string{r.Caller, r.Callee, r.Via, r.Target} {
			if owns(service) && !slices.Contains(own, service) {
				own = append(own, service)
			}
		}
		if len(own) == 0 {
			continue
		}
		name := serviceOf(r)
		k, ok := at[name]
		if !ok {
			k = len(list)
			at[name] = k
			sums, list = append(sums, storage.BlameRow{}), append(list, Neighbour{Name: name})
		}
		add(&sums[k], r)
		list[k].Caused = amountsOf(&sums[k])
		for _, service := range own {
			if !slices.Contains(list[k].Services, service) {
				list[k].Services = append(list[k].Services, service)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(b.Caused.Requests, a.Caused.Requests), cmp.Compare(b.Caused.ExcessNs, a.Caused.ExcessNs), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(n, len(list))]
}
