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

// NowRequest asks what is breaking; of the last hour if nothing else is said.
type NowRequest struct {
	From, To time.Time
	Entry    string // the entry's service, its operation, or both
	Owner    string // only hops that are this owner's
	Limit    int    // of the hops of an entry
}

// The bounds of what is shown of a window.
const (
	nowHops    = 5
	nowEntries = 100
	nowSteps   = 12
	// nowMost is the longest window: trends are counted from verdicts.
	nowMost = 6 * time.Hour
	// sinceMost is how far back is looked for the beginning of what is breaking, in hours that have some of it.
	sinceMost = 7 * 24 * time.Hour
)

// NowResponse has the entry with the most requests with a symptom first.
type NowResponse struct {
	Window
	Steps              // of the trends
	Total   Amounts    `json:"total"`
	Entries []NowEntry `json:"entries"`
	More    int        `json:"more,omitempty"` // entries that are left out
	Missing []string   `json:"missing,omitempty"`
}

// NowEntry is where requests come in that fail or are slow.
type NowEntry struct {
	Service   string `json:"service"`
	Operation string `json:"operation"`
	Amounts
	// All is how many requests came in, by the minute they were stored in; 0 where that is not known.
	All   float64   `json:"all,omitempty"`
	Trend []float64 `json:"trend"` // requests with a symptom in each step
	Hops  []NowHop  `json:"hops"`  // what is to blame for most comes first
}

// NowHop is a hop that is to blame.
type NowHop struct {
	Site        verdict.Site `json:"site"`
	Accountable string       `json:"accountable"`
	Owner       string       `json:"owner"`
	Amounts
	Share       float64   `json:"share"` // of the entry's requests with a symptom, 0 to 1
	Trend       []float64 `json:"trend"`
	Rule        string    `json:"rule"`
	Fingerprint string    `json:"fingerprint"`
	Exemplar    string    `json:"exemplarTraceId"` // the newest
	// Since is when it began, zero where that is longer ago than was looked back.
	Since time.Time `json:"since,omitzero"`
	// Version is the service.version of who must act. NewVersion says that it was first seen when this began.
	Version    string `json:"version,omitempty"`
	NewVersion bool   `json:"newVersion,omitempty"`
}

// nowColumns tell hops apart.
var nowColumns = []string{"EntryService", "EntryOperation", "Owner", "Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer", "Accountable"}

func placeOf(r *storage.BlameRow) storage.Site {
	return storage.Site{
		Owner: r.Owner, Kind: r.Kind, Service: r.Service, Operation: r.Operation, Caller: r.Caller, Callee: r.Callee, Phase: r.Phase, Peer: r.Peer,
		Accountable: r.Accountable,
	}
}

// place is where the hop is, whatever requests it breaks.
func (h *NowHop) place() storage.Site {
	return storage.Site{
		Owner: h.Owner, Kind: string(h.Site.Kind), Service: h.Site.Service, Operation: h.Site.Operation, Caller: h.Site.Caller, Callee: h.Site.Callee,
		Phase: string(h.Site.Phase), Peer: h.Site.Peer, Accountable: h.Accountable,
	}
}

// Now says what is breaking, and whose it is.
func (s *Service) Now(ctx context.Context, r NowRequest) (*NowResponse, error) {
	ctx, done, err := s.begin(ctx, text{"entry", r.Entry}, text{"owner", r.Owner})
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	if to.Sub(from) > nowMost+2*time.Minute {
		return nil, Wrong("from", "a window of more than %s is no longer now; /api/v1/top ranks longer ones", nowMost)
	}
	most, err := limit("limit", r.Limit, nowHops)
	if err != nil {
		return nil, err
	}
	step := niceStep(to.Sub(from) / nowSteps)
	f := storage.BlameFilter{From: from, To: to, Owner: r.Owner, Entry: r.Entry}
	var rows []storage.BlameRow
	var operations []storage.Operation
	group, all := errgroup.WithContext(ctx)
	group.Go(func() (err error) { rows, err = s.reader.Blame(all, f, nowColumns, step, groupsMax); return err })
	group.Go(func() (err error) {
		operations, err = s.reader.Operations(all, storage.NewTrafficWindow(from, to, time.Now()))
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(rows) == groupsMax { // the latest are not among them
		return nil, Wrong("from", "the answer has more than %d rows; ask for a shorter window, or for one entry or owner", groupsMax)
	}
	answer := &NowResponse{Window: Window{from, to}, Steps: stepsOf(step), Total: totals(rows)}
	answer.Entries, answer.More = nowOf(rows, from, to, step, most)
	answer.countAll(operations)
	if len(answer.Entries) > 0 {
		var versions []storage.SeenVersion
		group, all := errgroup.WithContext(ctx)
		group.Go(func() error { return s.sinceWhen(all, answer) })
		group.Go(func() (err error) { versions, err = s.versionsOf(all, answer); return err })
		if err := group.Wait(); err != nil {
			return nil, err
		}
		answer.newVersions(versions)
	}
	answer.Missing = s.reader.Missing(ctx)
	return answer, nil
}

// nowOf puts hops under the entries that they break.
func nowOf(rows []storage.BlameRow, from, to time.Time, step time.Duration, most int) (entries []NowEntry, more int) {
	first := from.Unix() / int64(step.Seconds())
	steps := int(to.Unix()/int64(step.Seconds())-first) + 1
	entries = []NowEntry{}
	type hop struct {
		NowHop
		sum, largest storage.BlameRow
	}
	type entry struct {
		NowEntry
		sum  storage.BlameRow
		hops []*hop
		at   map[storage.Site]*hop
	}
	var list []*entry
	at := make(map[[2]string]*entry)
	for i := range rows {
		r := &rows[i]
		key := [2]string{r.EntryService, r.EntryOperation}
		e := at[key]
		if e == nil {
			e = &entry{NowEntry: NowEntry{Service: r.EntryService, Operation: r.EntryOperation, Trend: make([]float64, steps)}, at: make(map[storage.Site]*hop)}
			at[key] = e
			list = append(list, e)
		}
		k := placeOf(r)
		h := e.at[k]
		if h == nil {
			h = &hop{NowHop: NowHop{Site: siteOf(r), Accountable: r.Accountable, Owner: r.Owner, Trend: make([]float64, steps)}}
			e.at[k] = h
			e.hops = append(e.hops, h)
		}
		when := min(max(int(r.At.Unix()/int64(step.Seconds())-first), 0), steps-1)
		e.Trend[when] += requests(r.Amount)
		h.Trend[when] += requests(r.Amount)
		add(&e.sum, r)
		add(&h.sum, r)
		if r.Amount >= h.largest.Amount {
			h.largest = *r
			h.Rule, h.Fingerprint, h.Version = r.MainRule, r.MainFingerprint, r.MainVersion
		}
		if h.Since.IsZero() || r.FirstNs < h.Since.UnixNano() {
			h.Since = time.Unix(0, r.FirstNs).UTC()
		}
		h.Exemplar = r.Exemplar // steps come in their order
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.sum.Amount, a.sum.Amount), cmp.Compare(b.sum.ExcessNs, a.sum.ExcessNs), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	for _, e := range list[:min(len(list), nowEntries)] {
		e.Amounts = amountsOf(&e.sum)
		for _, h := range e.hops {
			h.Amounts = amountsOf(&h.sum)
			if e.sum.Amount > 0 {
				h.Share = float64(h.sum.Amount) / float64(e.sum.Amount)
			}
		}
		slices.SortStableFunc(e.hops, func(a, b *hop) int {
			return cmp.Or(cmp.Compare(b.sum.Amount, a.sum.Amount), cmp.Compare(b.sum.ExcessNs, a.sum.ExcessNs), cmp.Compare(a.Site.String(), b.Site.String()))
		})
		for _, h := range e.hops[:min(most, len(e.hops))] {
			e.Hops = append(e.Hops, h.NowHop)
		}
		entries = append(entries, e.NowEntry)
	}
	return entries, len(list) - len(entries)
}

// sinceWhen finds for each hop when it began, if that is before the window: spells of it that follow each other soon.
func (s *Service) sinceWhen(ctx context.Context, answer *NowResponse) error {
	var hops []*NowHop
	var places []storage.Site
	for i := range answer.Entries {
		for k := range answer.Entries[i].Hops {
			h := &answer.Entries[i].Hops[k]
			hops = append(hops, h)
			if place := h.place(); !slices.Contains(places, place) {
				places = append(places, place)
			}
		}
	}
	f := storage.BlameFilter{From: answer.From.Add(-sinceMost), To: answer.From}
	f.From, f.To = s.reader.Align(f.From, f.To)
	spells, err := s.reader.Spells(ctx, f, places)
	if err != nil {
		return err
	}
	for _, list := range spells {
		slices.SortFunc(list, func(a, b storage.Spell) int { return cmp.Compare(b.LastNs, a.LastNs) })
	}
	for _, h := range hops {
		h.Since = beganAt(h.Since, spells[h.place()], f.From)
	}
	return nil
}

// beganAt goes back from spell to spell, the last comes first, while no more than an hour or two is between them. It is zero where
// that leads to before what was looked at.
func beganAt(since time.Time, spells []storage.Spell, from time.Time) time.Time {
	const gapMost = 2 * time.Hour
	first := since.UnixNano()
	for _, spell := range spells {
		if first-spell.LastNs > gapMost.Nanoseconds() {
			break
		}
		first = min(first, spell.FirstNs)
	}
	if first-from.UnixNano() < gapMost.Nanoseconds() {
		return time.Time{}
	}
	return instant(first)
}

// countAll says how many requests came in at each entry: spans that were the first of their traces.
func (n *NowResponse) countAll(operations []storage.Operation) {
	all := make(map[[2]string]uint64)
	for i := range operations {
		o := &operations[i]
		all[[2]string{o.Service, o.Name}] += o.Entries
	}
	for i := range n.Entries {
		e := &n.Entries[i]
		e.All = float64(all[[2]string{e.Service, e.Operation}])
	}
}

// actor is the service that must act.
func (h *NowHop) actor() string { return cmp.Or(h.Accountable, h.Site.Service) }

// versionsOf are the versions that the services which must act had.
func (s *Service) versionsOf(ctx context.Context, answer *NowResponse) ([]storage.SeenVersion, error) {
	var services []string
	for i := range answer.Entries {
		for k := range answer.Entries[i].Hops {
			if h := &answer.Entries[i].Hops[k]; h.Version != "" {
				services = append(services, h.actor())
			}
		}
	}
	if len(services) == 0 {
		return nil, nil
	}
	slices.Sort(services)
	return s.reader.Versions(ctx, storage.NewTrafficWindow(answer.From.Add(-sinceMost), answer.To, time.Now()), slices.Compact(services)...)
}

// newVersions says of which hops the version is new: first seen about when it began, where there was another one before.
func (n *NowResponse) newVersions(versions []storage.SeenVersion) {
	// A new version may serve for a while before it is asked for what it breaks; clocks differ.
	const before, after = 30 * time.Minute, 10 * time.Minute
	for i := range n.Entries {
		for k := range n.Entries[i].Hops {
			h := &n.Entries[i].Hops[k]
			other, at := false, time.Time{}
			for _, v := range versions { // those of a service in the order in which they were first seen
				if v.Service != h.actor() || !at.IsZero() {
					continue
				}
				if v.Version == h.Version {
					at = v.First
				} else {
					other = true
				}
			}
			h.NewVersion = other && !at.IsZero() && !h.Since.IsZero() && at.After(h.Since.Add(-before)) && at.Before(h.Since.Add(after))
		}
	}
}
