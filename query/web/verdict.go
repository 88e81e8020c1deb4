package web

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

type verdictPage struct {
	Title, TraceID string
	Verdicts       []verdictView
	Others         []entryLink // entries that are not drawn here
	Only           bool        // one entry was asked for
	Store, StoreOf string      // where the trace is in another store, and who that is
	Expired        bool
	LeftOut        int
}

type entryLink struct {
	V    *verdict.Verdict
	Link string
}

type verdictView struct {
	V        *verdict.Verdict
	Start    string
	Shares   []shareView
	Rows     []row
	Spans    int
	Hops     []*verdict.Hop
	MoreHops int
	Reviews  []storage.Review // the newest first, which counts
	Markdown string
	Link     string // that stays
}

type shareView struct {
	*verdict.Share
	Contact *contact
	Logs    []logView
}

// logView is an exception, and the span that it is of.
type logView struct {
	verdict.Log
	Of    string
	AtNs  int64 // from the start of the entry
	Title string
}

// entriesMost is how many entries of a trace are drawn on one page, hopsMost how many hops of each; logsMost how many exceptions of a
// share, othersMost how many entries are listed.
const (
	hopsMost    = 100
	entriesMost = 4
	logsMost    = 6
	othersMost  = 200
)

func (h *handler) verdict(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	id, only := r.PathValue("traceId"), r.URL.Query().Get("entry")
	var line *query.Timeline
	var reviews *query.ReviewsResponse
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) { line, err = h.service.Timeline(asking, id); return err })
	group.Go(func() (err error) {
		reviews, err = h.service.ListReviews(asking, query.ReviewsRequest{TraceID: id, PageSize: reviewsMost})
		return err
	})
	if err := group.Wait(); err != nil {
		h.failTrace(w, id, err)
		return
	}
	verdicts := line.Verdicts
	page := verdictPage{Title: verdicts[0].Summary, TraceID: verdicts[0].TraceID, Expired: line.Timeline == nil, Only: only != "", LeftOut: line.LeftOut}
	if page.Store = h.service.Links.OfTrace(&verdicts[0]); page.Store != "" {
		page.StoreOf = hostOf(page.Store)
	}
	for _, v := range worstFirst(verdicts) {
		drawn := len(page.Verdicts) == 0 || v.Symptom != verdict.SymptomNone && len(page.Verdicts) < entriesMost
		if only == v.Entry.SpanID || only == "" && drawn {
			page.Verdicts = append(page.Verdicts, h.verdictView(v, line, reviews.Reviews))
		} else if len(page.Others) < othersMost {
			page.Others = append(page.Others, entryLink{V: v, Link: "/verdicts/" + v.TraceID + "?entry=" + v.Entry.SpanID})
		}
	}
	if len(page.Verdicts) == 0 {
		h.fail(w, fmt.Errorf("%w: no request of this trace entered with span %q", query.ErrInvalid, only))
		return
	}
	page.Title = page.Verdicts[0].V.Summary
	h.render(w, http.StatusOK, "verdict", page)
}

// worstFirst are the entries with a symptom before those without, and otherwise in their order.
func worstFirst(verdicts []verdict.Verdict) []*verdict.Verdict {
	var bad, fine []*verdict.Verdict
	for i := range verdicts {
		if verdicts[i].Symptom == verdict.SymptomNone {
			fine = append(fine, &verdicts[i])
		} else {
			bad = append(bad, &verdicts[i])
		}
	}
	return append(bad, fine...)
}

func (h *handler) verdictView(v *verdict.Verdict, line *query.Timeline, reviews []storage.Review) verdictView {
	view := verdictView{V: v, Start: when(v.Entry.Start.UnixNs), Link: h.service.Links.OfVerdict(v.TraceID, v.Entry.SpanID), Markdown: h.service.Markdown(v)}
	view.Hops = drawnHops(v)
	view.MoreHops = len(v.Hops) - len(view.Hops)
	for i := range v.Shares {
		s := &v.Shares[i]
		share := shareView{Share: s, Contact: h.contact(s.Owner)}
		if line.Timeline != nil {
			share.Logs = logsOf(line, v, s)
		}
		view.Shares = append(view.Shares, share)
	}
	if line.Timeline != nil {
		view.Rows = verdictRows(line, v)
		if entry := entryOf(line, v); entry >= 0 {
			view.Spans = 1 + int(line.Spans[entry].Below)
		}
	}
	for _, r := range reviews {
		if r.EntrySpanID == v.Entry.SpanID {
			view.Reviews = append(view.Reviews, r)
		}
	}
	return view
}

// drawnHops are the hops that say most, in their order: those that did something, then those on the way, then the cleared.
func drawnHops(v *verdict.Verdict) []*verdict.Hop {
	rank := func(h *verdict.Hop) int {
		switch h.Role {
		case verdict.RoleCleared:
			return 2
		case verdict.RolePropagated:
			return 1
		}
		return 0
	}
	var count [3]int
	for i := range v.Hops {
		count[rank(&v.Hops[i])]++
	}
	var room [3]int
	left := hopsMost
	for k, n := range count {
		room[k] = min(n, left)
		left -= room[k]
	}
	hops := make([]*verdict.Hop, 0, hopsMost-left)
	for i := range v.Hops {
		if k := rank(&v.Hops[i]); room[k] > 0 {
			room[k]--
			hops = append(hops, &v.Hops[i])
		}
	}
	return hops
}

// logsOf are the exceptions of the spans of a share.
func logsOf(line *query.Timeline, v *verdict.Verdict, s *verdict.Share) (logs []logView) {
	for _, id := range s.SpanIDs {
		for _, i := range slices.Sorted(maps.Keys(line.Logs)) {
			span, of := &line.Spans[i], line.Logs[i]
			if hex.EncodeToString(span.ID[:]) != id {
				continue
			}
			for _, l := range of {
				if len(logs) == logsMost {
					return logs
				}
				title := strings.Join(strings.Fields(strings.TrimPrefix(l.Type+": "+l.Message, ": ")), " ")
				if r := []rune(title); len(r) > logTitleMost {
					title = string(r[:logTitleMost]) + "…"
				}
				if !strings.HasSuffix(title, "…") && !strings.Contains(l.Message, "\n") {
					l.Message = "" // it is all in the title
				}
				logs = append(logs, logView{Log: l, Of: span.Service + " " + span.Name, AtNs: max(0, l.TimeNs-v.Entry.Start.UnixNs), Title: cmp.Or(strings.TrimSuffix(title, ":"), "an exception without a text")})
			}
		}
	}
	return logs
}

const logTitleMost = 160

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the trace store"
	}
	return u.Host
}

// failTrace is fail for a page of a trace: where nothing is known of it, another store may know it.
func (h *handler) failTrace(w http.ResponseWriter, id string, err error) {
	if !errors.Is(err, query.ErrNotFound) {
		h.fail(w, err)
		return
	}
	page := struct{ TraceID, Store, StoreOf string }{TraceID: id}
	const back = 24 * time.Hour
	v := verdict.Verdict{TraceID: id, Entry: verdict.Entry{Start: verdict.Time{UnixNs: time.Now().Add(-back).UnixNano()}, DurationNs: int64(back)}}
	if page.Store = h.service.Links.OfTrace(&v); page.Store != "" {
		page.StoreOf = hostOf(page.Store)
	}
	h.render(w, http.StatusNotFound, "unknown", page)
}

// rows are those of a fold: alone for a script, which puts them in its place, or else as a page.
func (h *handler) rows(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	id, q := r.PathValue("traceId"), r.URL.Query()
	line, err := h.timeline(ctx, id)
	if err != nil {
		h.failTrace(w, id, err)
		return
	}
	from, fromErr := strconv.Atoi(q.Get("from"))
	to, toErr := strconv.Atoi(q.Get("to"))
	of, ofErr := strconv.ParseUint(q.Get("of"), 10, 64)
	switch {
	case fromErr != nil || toErr != nil || ofErr != nil:
		h.fail(w, fmt.Errorf("%w: from, to and of are numbers", query.ErrInvalid))
		return
	case of != line.Rows:
		h.errorPage(w, http.StatusConflict, "More spans have come in", "The trace has grown since its page was drawn. Load that again.")
		return
	case from < 0 || to > len(line.Spans) || from >= to:
		h.fail(w, fmt.Errorf("%w: the trace has no spans %d to %d", query.ErrInvalid, from, to))
		return
	}
	page := struct {
		Title, TraceID string
		Rows           []row
	}{Title: "Spans of trace " + id, TraceID: id, Rows: newWaterfall(line, id, from).unfold(from, to)}
	if q.Get("part") != "" {
		h.render(w, http.StatusOK, "rows", page.Rows)
		return
	}
	h.render(w, http.StatusOK, "unfolded", page)
}

// timeline is the one of a trace of which spans are stored.
func (h *handler) timeline(ctx context.Context, id string) (*query.Timeline, error) {
	line, err := h.service.Timeline(ctx, id)
	if err == nil && line.Timeline == nil {
		err = fmt.Errorf("trace %s: %w", id, query.ErrNotFound)
	}
	return line, err
}

func (h *handler) whyNot(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	id, q := r.PathValue("traceId"), r.URL.Query()
	answers, err := h.service.WhyNot(ctx, id, q.Get("service"))
	if err != nil {
		h.failTrace(w, id, err)
		return
	}
	if entry := q.Get("entry"); entry != "" {
		for _, a := range answers {
			if a.Entry.SpanID == entry {
				answers = []verdict.WhyNot{a}
				break
			}
		}
	}
	page := struct {
		Title, TraceID, Service string
		Answers                 []verdict.WhyNot
	}{Title: "Why not " + q.Get("service") + "?", TraceID: id, Service: q.Get("service"), Answers: answers}
	if q.Get("part") != "" {
		h.render(w, http.StatusOK, "whynot-part", page)
		return
	}
	h.render(w, http.StatusOK, "whynot", page)
}

// reviewsMost is how many reviews of a trace are shown; reviewFormBytes bounds the form that sends one.
const (
	reviewsMost     = 100
	reviewFormBytes = 16 << 10
)

// review takes the form of a verdict's page, and nobody else's: another site that sends it has another origin.
func (h *handler) review(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	if err := h.own.Check(r); err != nil {
		h.errorPage(w, http.StatusForbidden, "Another site may not do this", "A verdict is confirmed and contested on its own page. If this is it, whosehop is reached by another address than it knows: set query.public-url.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, reviewFormBytes)
	if err := r.ParseForm(); err != nil {
		h.fail(w, fmt.Errorf("%w: read the form: %w", query.ErrInvalid, err))
		return
	}
	review, err := h.service.Review(ctx, query.ReviewRequest{
		TraceID: r.PathValue("traceId"), EntrySpanID: r.PostForm.Get("entry"), Kind: r.PostForm.Get("kind"), Author: r.PostForm.Get("by"), Why: r.PostForm.Get("why"),
	})
	switch {
	case errors.Is(err, query.ErrDenied):
		h.log.Warn("review not kept", "error", err)
		h.errorPage(w, http.StatusForbidden, "This server may only read", "ClickHouse does not let the query server write reviews.")
	case err != nil:
		h.failTrace(w, r.PathValue("traceId"), err)
	default:
		http.Redirect(w, r, fmt.Sprintf("/verdicts/%x#entry-%s", review.TraceID[:], review.EntrySpanID), http.StatusSeeOther)
	}
}

// tracePageSpans is how many spans a page of a whole trace has.
const tracePageSpans = 500

func (h *handler) trace(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	id := r.PathValue("traceId")
	line, err := h.timeline(ctx, id)
	if err != nil {
		h.failTrace(w, id, err)
		return
	}
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	number = min(max(number, 1), (len(line.Spans)+tracePageSpans-1)/tracePageSpans)
	first, last := (number-1)*tracePageSpans, min(number*tracePageSpans, len(line.Spans))
	drawn := make(map[int]bool, last-first)
	for i := first; i < last; i++ {
		drawn[i] = true
	}
	page := struct {
		Title, TraceID     string
		Rows               []row
		First, Last, Total int
		Prev, Next         int
	}{Title: "Trace " + id, TraceID: id, Rows: newWaterfall(line, id, first).rows(first, last, drawn), First: first + 1, Last: last, Total: len(line.Spans), Prev: number - 1}
	if last < len(line.Spans) {
		page.Next = number + 1
	}
	h.render(w, http.StatusOK, "trace", page)
}
