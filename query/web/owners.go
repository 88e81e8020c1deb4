package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
)

// reportWindows are those that an owner is looked at over.
var reportWindows = []window{{"1h", "Hour"}, {"24h", "24 hours"}, {"168h", "7 days"}, {"720h", "30 days"}, {"8760h", "Year"}}

// choice is a window to choose, and where that leads.
type choice struct {
	Text, URL string
	Current   bool
}

// choices are the windows of a page.
func choices(path string, p *period) (list []choice) {
	for _, w := range reportWindows {
		list = append(list, choice{w.Text, path + "?" + url.Values{"since": {w.Since}}.Encode(), w.Since == p.Since})
	}
	return list
}

type ownersPage struct {
	period

	Choices []choice
	Owners  []ownerRow
	Total   query.Amounts
	Chart   *chart
	Window  string
	Missing []string
}

// ownerRow is an owner in the table of all.
type ownerRow struct {
	Name, Class      string
	URL              string
	Nobody           bool
	Caused, Suffered query.Amounts
	Share, OfExcess  float64 // of all
	Trend            sparkline
}

// colours is how many there are: where more owners caused something, the last of them, grey, is of all that have none of their own.
const colours = 8

func (h *handler) owners(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	p, err := periodOf(r.URL.Query(), "24h")
	if err != nil {
		h.fail(w, err)
		return
	}
	got, err := h.service.Attribution(ctx, query.AttributionRequest{From: p.From, To: p.To})
	if err != nil {
		h.fail(w, err)
		return
	}
	h.render(w, http.StatusOK, "owners", newOwnersPage(got, &p))
}

func newOwnersPage(got *query.AttributionResponse, p *period) *ownersPage {
	page := &ownersPage{period: *p, Choices: choices("/owners", p), Total: got.Total, Window: windowText(got.Window), Missing: got.Missing}
	at := make(map[string]int)
	var all []series
	for _, r := range got.Rows {
		i, ok := at[r.Owner]
		if !ok {
			i = len(page.Owners)
			at[r.Owner] = i
			page.Owners = append(page.Owners, ownerRow{Name: r.Owner, URL: ownerURL(r.Owner, p.Since), Nobody: nobody(r.Owner)})
			all = append(all, series{Name: r.Owner, At: make(map[time.Time]float64)})
		}
		sum(&page.Owners[i].Caused, &r.Caused)
		sum(&page.Owners[i].Suffered, &r.Suffered)
		all[i].At[r.At.UTC()] += r.Caused.Requests
	}
	slices.SortFunc(page.Owners, func(a, b ownerRow) int {
		return cmp.Or(cmp.Compare(b.Caused.Requests, a.Caused.Requests), cmp.Compare(b.Suffered.Requests, a.Suffered.Requests), cmp.Compare(a.Name, b.Name))
	})
	var inOrder []series
	for i := range page.Owners {
		o := &page.Owners[i]
		s := all[at[o.Name]]
		o.Class = fmt.Sprintf("c%d", min(i, colours-1))
		s.Class = o.Class
		o.Share, o.OfExcess = ratio(o.Caused.Requests, got.Total.Requests), ratio(float64(o.Caused.ExcessNs), float64(got.Total.ExcessNs))
		o.Trend = newSparkline(stepped(got.Window, got.Step, s.At), got.Step)
		if o.Caused.Requests > 0 {
			inOrder = append(inOrder, s)
		}
	}
	inOrder, others := withOthers(inOrder)
	page.Chart = newChart(got.Window, got.Step, inOrder, count)
	if page.Chart != nil {
		page.Chart.Title, page.Chart.Label = "Requests that failed or were slow, by who caused it", "Bars over time; the table below has the sums."
		if others > 0 {
			page.Chart.Label = fmt.Sprintf("Bars over time, grey of %d other owners together; the table below has the sums.", others)
		}
	}
	return page
}

// withOthers makes one series of those that have no colour of their own, and says of how many.
func withOthers(all []series) (_ []series, others int) {
	if len(all) <= colours {
		return all, 0
	}
	rest := all[colours-1:]
	together := series{Name: fmt.Sprintf("%d other owners", len(rest)), Class: rest[0].Class, At: make(map[time.Time]float64)}
	for i := range rest {
		for at, v := range rest[i].At {
			together.At[at] += v
		}
	}
	return append(slices.Clip(all[:colours-1]), together), len(rest)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func sum(into, a *query.Amounts) {
	into.Requests += a.Requests
	into.Failed += a.Failed
	into.Degraded += a.Degraded
	into.Slow += a.Slow
	into.Stored += a.Stored
	into.ExcessNs += a.ExcessNs
}

// stepped is a series with a value for each step.
func stepped(w query.Window, step time.Duration, at map[time.Time]float64) (values []float64) {
	for t := w.From.UTC().Truncate(step); t.Before(w.To); t = t.Add(step) {
		values = append(values, at[t])
	}
	return values
}

// windowText is the window that a page is of, which may be wider than the one that was asked for.
func windowText(w query.Window) string {
	return w.From.UTC().Format("2 Jan 2006 15:04") + " to " + w.To.UTC().Format("2 Jan 2006 15:04") + " UTC"
}

func ownerURL(name, since string) string {
	u := url.URL{Path: "/owners/" + name}
	if since != "" {
		u.RawQuery = url.Values{"since": {since}}.Encode()
	}
	return u.EscapedPath() + strings.TrimSuffix("?"+u.RawQuery, "?")
}

type ownerPage struct {
	period
	*query.ReportResponse

	Nobody     bool
	Choices    []choice
	Contact    *contact
	Share      float64 // of all that failed or was slow
	Totals     []ownerTotal
	Charts     []*chart
	Parts      []partTable
	Suffered   []partTable
	Again      []again
	Unowned    []neighbour
	WindowText string
	Search     string
}

// ownerTotal is a sum of the window beside that of a week before.
type ownerTotal struct{ What, Value, Before, Change string }

// partTable is what an owner caused or suffered, by something.
type partTable struct {
	Title, Of string
	Rows      []partRow
}

type partRow struct {
	query.Part

	URL, Note string
	Bar       int // of a thousand of the largest
}

type again struct {
	query.Recurrence

	URL         string
	First, Last moment
}

type neighbour struct {
	query.Neighbour

	URL string
}

// owner is all that is known of one owner.
func (h *handler) owner(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	p, err := periodOf(r.URL.Query(), "24h")
	if err != nil {
		h.fail(w, err)
		return
	}
	got, err := h.service.Report(ctx, query.ReportRequest{Owner: r.PathValue("owner"), From: p.From, To: p.To})
	if err != nil {
		h.fail(w, err)
		return
	}
	page := newOwnerPage(got, &p, time.Now())
	page.Contact = h.contact(got.Owner)
	h.render(w, http.StatusOK, "owner", page)
}

func newOwnerPage(got *query.ReportResponse, p *period, now time.Time) *ownerPage {
	page := &ownerPage{
		period: *p, ReportResponse: got, Nobody: nobody(got.Owner), Choices: choices(ownerURL(got.Owner, ""), p), WindowText: windowText(got.Window),
		Share: ratio(got.Caused.Requests, got.Of.Requests),
	}
	find := func(name, value string) string {
		q := url.Values{name: {value}}
		if q.Set("since", p.Since); p.Since == "" {
			q = url.Values{name: {value}, "from": {p.FromText}, "to": {p.ToText}}
		}
		return searchURL(q)
	}
	page.Search = find("owner", got.Owner)
	page.Totals = []ownerTotal{
		newTotal("requests broken or slowed", got.Caused.Requests, got.CausedBefore.Requests, count),
		newTotal("time lost by its fault", float64(got.Caused.ExcessNs), float64(got.CausedBefore.ExcessNs), func(x float64) string { return span(int64(x)) }),
		newTotal("requests suffered", got.Suffered.Requests, got.SufferedBefore.Requests, count),
		newTotal("time lost by others' fault", float64(got.Suffered.ExcessNs), float64(got.SufferedBefore.ExcessNs), func(x float64) string { return span(int64(x)) }),
	}
	page.Totals = slices.DeleteFunc(page.Totals, func(t ownerTotal) bool { return t.Value == "0" && t.Before == "0" })
	page.charts()
	byName := func(name string) func(*query.Part) string {
		return func(part *query.Part) string { return find(name, part.Name) }
	}
	byFingerprint := func(part *query.Part) string { return find("fingerprint", part.Fingerprint) }
	const faults = 3
	page.Parts = []partTable{
		newPartTable("By service", "Service", got.Services, func(part *query.Part) string {
			if strings.Contains(part.Name, "->") {
				return edgeURL(part.Name)
			}
			return find("service", part.Name)
		}),
		newPartTable("By operation", "Site", got.Operations, byFingerprint),
		newPartTable("By edge", "Edge", got.Edges, func(part *query.Part) string { return edgeURL(part.Name) }),
		newPartTable("By fault", "Fingerprint", got.Fingerprints, byFingerprint),
		newPartTable("By version", "Service and version", got.Versions, func(part *query.Part) string {
			return find("version", part.Name[strings.LastIndexByte(part.Name, ' ')+1:])
		}),
		newPartTable("By rule", "Rule", got.Rules, byName("rule")),
		newPartTable("By entry", "Entry", got.Entries, byName("entry")),
	}
	for i := range page.Parts[faults].Rows {
		r := &page.Parts[faults].Rows[i]
		r.Note = r.Rule
	}
	page.Parts = slices.DeleteFunc(page.Parts, func(t partTable) bool { return len(t.Rows) == 0 })
	page.Suffered = slices.DeleteFunc([]partTable{
		newPartTable("What it suffered from", "By the fault of", got.SufferedFrom, func(part *query.Part) string { return ownerURL(part.Name, p.Since) }),
		newPartTable("Where it suffered", "Service", got.SufferedIn, byName("service")),
	}, func(t partTable) bool { return len(t.Rows) == 0 })
	for _, r := range got.Recurring {
		page.Again = append(page.Again, again{r, "/search?" + url.Values{"since": {"720h"}, "fingerprint": {r.Fingerprint}}.Encode(), momentOf(r.FirstSeen, now), momentOf(r.LastSeen, now)})
	}
	for _, n := range got.Neighbours {
		at := "/map?" + url.Values{"focus": {n.Name}}.Encode()
		if strings.Contains(n.Name, "->") {
			at = edgeURL(n.Name)
		}
		page.Unowned = append(page.Unowned, neighbour{n, at})
	}
	return page
}

func newPartTable(title, of string, parts []query.Part, url func(*query.Part) string) partTable {
	t := partTable{Title: title, Of: of}
	for i := range parts {
		row := partRow{Part: parts[i], Bar: int(1000 * ratio(parts[i].Requests, parts[0].Requests))}
		if url != nil {
			row.URL = url(&parts[i])
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// edgeURL is the map at an edge, whose name ends with its phase.
func edgeURL(name string) string {
	if at := strings.LastIndex(name, " ("); at > 0 {
		name = name[:at]
	}
	return "/map?" + url.Values{"edge": {name}}.Encode()
}

func newTotal(what string, value, before float64, say func(float64) string) ownerTotal {
	t := ownerTotal{What: what, Value: say(value), Before: say(before)}
	switch {
	case before == 0 && value == 0:
		t.Change = "as a week before"
	case before == 0:
		t.Change = "none a week before"
	case value == 0:
		t.Change = "gone"
	case value > 2*before:
		t.Change = fmt.Sprintf("▲ %s times as much", count(value/before))
	case value > 1.05*before:
		t.Change = "▲ " + part(value/before-1) + " more"
	case value < 0.95*before:
		t.Change = "▼ " + part(1-value/before) + " less"
	default:
		t.Change = "about the same"
	}
	return t
}

// charts are what was caused, above the line, and suffered, below it: requests, and time.
func (page *ownerPage) charts() {
	add := func(title, caused, suffered string, value func(*query.Amounts) float64, say func(float64) string) {
		up, down := series{Name: caused, Class: "guilt", At: make(map[time.Time]float64)}, series{Name: suffered, Class: "c0", Below: true, At: make(map[time.Time]float64)}
		for i := range page.Rows {
			r := &page.Rows[i]
			up.At[r.At.UTC()] += value(&r.Caused)
			down.At[r.At.UTC()] += value(&r.Suffered)
		}
		if c := newChart(page.Window, page.Step, []series{up, down}, say); c != nil {
			c.Title, c.Label = title, "Bars up are what it caused, bars down what it suffered."
			page.Charts = append(page.Charts, c)
		}
	}
	add("Requests", "caused", "suffered", func(a *query.Amounts) float64 { return a.Requests }, count)
	add("Time over normal", "caused", "suffered", func(a *query.Amounts) float64 { return float64(max(0, a.ExcessNs)) }, func(x float64) string { return span(int64(x)) })
}
