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
	"github.com/whosehop/whosehop/storage"
)

// window is a span of time up to now that a page offers.
type window struct{ Since, Text string }

var (
	windows = []window{
		{"15m", "15 minutes"},
		{"1h", "hour"},
		{"6h", "6 hours"},
		{"24h", "24 hours"},
		{"168h", "7 days"},
		{"720h", "30 days"},
		{"8760h", "year"},
	}
	symptoms = []string{"error", "degraded", "latency"}
)

// period is the time that a page looks at, as its URL says it: since, or from and to.
type period struct {
	Since            string
	FromText, ToText string
	From, To         time.Time
}

// periodOf reads from and to, or since.
func periodOf(q url.Values, otherwise string) (p period, err error) {
	p = period{Since: q.Get("since"), FromText: q.Get("from"), ToText: q.Get("to")}
	if p.FromText == "" && p.ToText == "" {
		p.Since = cmp.Or(p.Since, otherwise)
		d, err := time.ParseDuration(p.Since)
		if err != nil || d <= 0 {
			return p, fmt.Errorf("%w: since %q is not a duration like 30m", query.ErrInvalid, p.Since)
		}
		p.From = time.Now().Add(-d)
		return p, nil
	}
	p.Since = ""
	if p.From, err = timeOf("from", p.FromText); err == nil {
		p.To, err = timeOf("to", p.ToText)
	}
	return p, err
}

// timeLayouts are what people write for a time; one without a zone is in UTC.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}

func timeOf(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %s %q is not a time like 2026-11-21 15:04 (UTC) or 2026-11-21T15:04:05+01:00", query.ErrInvalid, name, text)
}

// searchFields are the filters of the search, each under its name in the URL.
var searchFields = []struct{ name, label, hint string }{
	{"owner", "Owner", ""},
	{"service", "Service in the trace", ""},
	{"entry", "Entry", "service, operation or both"},
	{"symptom", "Symptom", ""},
	{"operation", "Operation to blame, or entered", "POST /charges"},
	{"rule", "Rule", "own-error"},
	{"class", "Class", "TIMEOUT"},
	{"errorType", "Type of error", "java.io.IOException"},
	{"fingerprint", "Fingerprint", "16 hexadecimal digits"},
	{"version", "service.version", ""},
	{"caller", "Over the edge from", "service"},
	{"callee", "Over the edge to", "service or peer"},
	{"minDuration", "Took at least", "500ms"},
	{"maxDuration", "Took at most", "30s"},
	{"attribute", "Attribute of a span", "key=value"},
}

// searchShown is how many of them are always there; the rest is folded.
const searchShown = 4

type searchPage struct {
	period

	Windows     []window
	Shown, More []field
	Open        bool // some of More are in use
	Set         []setFilter
	Verdicts    []found
	Older       string
	Newest      string // empty on the first page
	Missing     []string
}

// field is a filter in the form.
type field struct {
	Name, Label, Hint, Value string
	Options                  []string
}

// setFilter is one that is in use, and the search without it.
type setFilter struct{ Label, Value, Without string }

type found struct {
	*storage.VerdictRow

	At moment
}

func searchURL(q url.Values) string { return "/search?" + q.Encode() }

// without is a search without some of its parameters.
func without(q url.Values, names ...string) url.Values {
	rest := url.Values{}
	for name, values := range q {
		if !slices.Contains(names, name) {
			rest[name] = values
		}
	}
	return rest
}

// tidy is the address of a page without empty parameters, which a form sends for all that is not filled in; empty if there are none.
func tidy(r *http.Request) string {
	q := r.URL.Query()
	empty := false
	for name, values := range q {
		if q[name] = slices.DeleteFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" }); len(q[name]) < len(values) {
			empty = true
		}
		if len(q[name]) == 0 {
			delete(q, name)
		}
	}
	if !empty {
		return ""
	}
	return strings.TrimSuffix(r.URL.Path+"?"+q.Encode(), "?")
}

// filterOf reads what verdicts are filtered by.
func filterOf(q url.Values) (f storage.VerdictFilter, err error) {
	f = storage.VerdictFilter{
		Owner: q.Get("owner"), Service: q.Get("service"), Operation: q.Get("operation"), Entry: q.Get("entry"), Symptom: q.Get("symptom"), Rule: q.Get("rule"),
		Class: q.Get("class"), ErrorType: q.Get("errorType"), Fingerprint: q.Get("fingerprint"), Version: q.Get("version"), Caller: q.Get("caller"), Callee: q.Get("callee"),
	}
	for name, into := range map[string]*int64{"minDuration": &f.MinNs, "maxDuration": &f.MaxNs} {
		if text := q.Get(name); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d < 0 {
				return f, fmt.Errorf("%w: %s %q is not a duration like 500ms", query.ErrInvalid, name, text)
			}
			*into = d.Nanoseconds()
		}
	}
	for _, text := range q["attribute"] {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return f, fmt.Errorf("%w: attribute %q is not key=value", query.ErrInvalid, text)
		}
		if f.Attributes == nil {
			f.Attributes = make(map[string]string)
		}
		f.Attributes[key] = value
	}
	return f, nil
}

func (h *handler) search(w http.ResponseWriter, r *http.Request) {
	if to := tidy(r); to != "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	q := r.URL.Query()
	p, err := periodOf(q, "24h")
	if err != nil {
		h.fail(w, err)
		return
	}
	f, err := filterOf(q)
	if err != nil {
		h.fail(w, err)
		return
	}
	f.From, f.To = p.From, p.To
	answer, err := h.service.List(ctx, query.ListRequest{VerdictFilter: f, PageToken: q.Get("pageToken")})
	if err != nil {
		h.fail(w, err)
		return
	}
	page := searchPage{period: p, Windows: windows, Missing: answer.Missing}
	page.fields(q)
	now := time.Now()
	for i := range answer.Verdicts {
		v := &answer.Verdicts[i]
		page.Verdicts = append(page.Verdicts, found{v, momentOf(time.Unix(0, v.Key.StartNs), now)})
	}
	if answer.NextPageToken != "" {
		next := without(q)
		next.Set("pageToken", answer.NextPageToken)
		page.Older = searchURL(next)
	}
	if q.Has("pageToken") {
		page.Newest = searchURL(without(q, "pageToken"))
	}
	h.render(w, http.StatusOK, "search", page)
}

// fields puts the filters of a search into the form.
func (p *searchPage) fields(q url.Values) {
	for i, f := range searchFields {
		value := q.Get(f.name)
		field := field{Name: f.name, Label: f.label, Hint: f.hint, Value: value}
		if f.name == "symptom" {
			field.Options = symptoms
		}
		if i < searchShown {
			p.Shown = append(p.Shown, field)
		} else {
			p.More = append(p.More, field)
			p.Open = p.Open || value != ""
		}
		if value != "" {
			p.Set = append(p.Set, setFilter{f.label, value, searchURL(without(q, f.name, "pageToken"))})
		}
	}
	p.Open = p.Open || p.FromText != "" || p.ToText != ""
}
