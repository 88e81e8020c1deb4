package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// nowWindow is what the first page looks at.
const (
	nowWindow = time.Hour
	skew      = time.Minute // senders' clocks differ
)

type nowPage struct {
	Entry, Owner string
	Headline     string
	From, To     string
	Total        query.Amounts
	Entries      []nowEntry
	More         int
	Missing      []string
	Week         string // the search for what broke before
	// What is said when nothing is breaking: how many requests came in, 0 where that is not known, and what broke last.
	All  float64
	Last *found
}

type nowEntry struct {
	ID                 string
	Service, Operation string
	query.Amounts

	All    float64
	Rate   string // of the requests that came in, those that failed
	Trend  sparkline
	Hops   []nowHop
	Search string
}

// nowHop is a hop to blame, and where its parts lead to.
type nowHop struct {
	query.NowHop

	Number   int
	Name     string // without what the edge says
	Map      string
	Search   string
	Bar      int // of a thousand
	Trend    sparkline
	Began    *moment // nil where it is longer ago than was looked back
	NotOwned bool
}

// now is the first page: what is breaking right now, and whose it is.
func (h *handler) now(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if slices.ContainsFunc([]string{"since", "service", "symptom", "pageToken"}, q.Has) { // the first page was the list of verdicts once
		http.Redirect(w, r, searchURL(q), http.StatusSeeOther)
		return
	}
	if to := tidy(r); to != "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	now := time.Now()
	got, err := h.service.Now(ctx, query.NowRequest{From: now.Add(skew - nowWindow), To: now.Add(skew), Entry: q.Get("entry"), Owner: q.Get("owner")})
	if err != nil {
		h.fail(w, err)
		return
	}
	page := newNowPage(got, q, now)
	if len(page.Entries) == 0 {
		if err := h.nothing(ctx, page, got, now); err != nil {
			h.fail(w, err)
			return
		}
	}
	h.render(w, http.StatusOK, "now", page)
}

// nothing says how much that is worth: of how many requests, and since when.
func (h *handler) nothing(ctx context.Context, p *nowPage, got *query.NowResponse, now time.Time) error {
	const back = 7 * 24 * time.Hour
	last, err := h.service.List(ctx, query.ListRequest{VerdictFilter: storage.VerdictFilter{From: now.Add(-back), Entry: p.Entry, Owner: p.Owner}, PageSize: 1})
	if err != nil {
		return err
	}
	if len(last.Verdicts) > 0 {
		v := &last.Verdicts[0]
		p.Last = &found{v, momentOf(time.Unix(0, v.Key.StartNs), now)}
	}
	if p.Entry != "" {
		return nil
	}
	calls, err := h.service.Map(ctx, query.MapRequest{From: got.From, To: got.To, Focus: storage.UserCaller})
	if err != nil {
		return err
	}
	for i := range calls.Edges {
		if calls.Edges[i].Caller == storage.UserCaller {
			p.All += calls.Edges[i].Calls
		}
	}
	return nil
}

func newNowPage(got *query.NowResponse, q url.Values, now time.Time) *nowPage {
	p := &nowPage{
		Entry: q.Get("entry"), Owner: q.Get("owner"), From: got.From.UTC().Format("15:04"), To: now.UTC().Format("15:04:05"),
		Total: got.Total, More: got.More, Missing: got.Missing,
	}
	week := url.Values{"since": {"168h"}}
	for _, name := range []string{"entry", "owner"} {
		if v := q.Get(name); v != "" {
			week.Set(name, v)
		}
	}
	p.Week = searchURL(week)
	for i := range got.Entries {
		p.Entries = append(p.Entries, newNowEntry(&got.Entries[i], got, now))
	}
	p.Headline = headline(got)
	return p
}

// headline is the whole page in one sentence.
func headline(got *query.NowResponse) string {
	failing, slow := 0, 0
	for i := range got.Entries {
		if got.Entries[i].Failed > 0 {
			failing++
		} else {
			slow++
		}
	}
	switch {
	case len(got.Entries) == 0:
		return "Nothing is breaking"
	case failing == 0:
		return countOf(slow, "entry is slow or degraded", "entries are slow or degraded")
	case slow == 0:
		return countOf(failing, "entry is failing", "entries are failing")
	}
	return countOf(failing, "entry is failing", "entries are failing") + fmt.Sprintf(", %d slow or degraded", slow)
}

func newNowEntry(e *query.NowEntry, got *query.NowResponse, now time.Time) nowEntry {
	entry := nowEntry{
		ID: "entry-" + slug(e.Service+" "+e.Operation), Service: e.Service, Operation: e.Operation, Amounts: e.Amounts, All: e.All,
		Trend: newSparkline(e.Trend, got.Step), Search: searchURL(url.Values{"since": {"1h"}, "entry": {e.Service + " " + e.Operation}}),
	}
	if e.All > 0 && e.Failed > 0 {
		entry.Rate = part(min(1, e.Failed/e.All))
	}
	for i := range e.Hops {
		hop := &e.Hops[i]
		n := nowHop{
			NowHop: *hop, Number: i + 1, Name: siteName(hop.Site), Map: mapOf(hop.Site), Trend: newSparkline(hop.Trend, got.Step), Bar: int(1000 * min(1, hop.Share)),
			Search: searchURL(url.Values{"since": {"1h"}, "fingerprint": {hop.Fingerprint}}), NotOwned: nobody(hop.Owner),
		}
		if hop.Accountable == hop.Site.Service || hop.Accountable == hop.Site.Peer {
			n.Accountable = "" // that goes without saying
		}
		if !hop.Since.IsZero() {
			began := momentOf(hop.Since, now)
			n.Began = &began
		}
		entry.Hops = append(entry.Hops, n)
	}
	return entry
}

// sampled says whether requests stand for others that are not stored.
func sampled(a query.Amounts) bool { return a.Requests > 1.001*a.Stored }

// nobody says whether an owner is no team.
func nobody(owner string) bool {
	return owner == verdict.OwnerUnowned || owner == verdict.OwnerUser || owner == verdict.OwnerUnknown
}

// siteName is a site as pages call it.
func siteName(s verdict.Site) string {
	if s.Kind == verdict.SiteEdge {
		return s.Caller + " → " + s.Callee + " (" + string(s.Phase) + ")"
	}
	return s.String()
}

// mapOf is where the map shows a site; empty where it has no place.
func mapOf(s verdict.Site) string {
	switch s.Kind {
	case verdict.SiteEdge:
		return "/map?" + url.Values{"edge": {s.Caller + "->" + s.Callee}}.Encode()
	case verdict.SiteService, verdict.SitePeer:
		return "/map?" + url.Values{"focus": {cmp.Or(s.Service, s.Peer)}}.Encode()
	case verdict.SiteUser, verdict.SiteUnknown:
	}
	return ""
}
