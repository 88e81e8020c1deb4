package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

type reviewsPage struct {
	Kind, Rule, Owner string
	All               ruleReviews
	Rules             []ruleReviews
	Reviews           []reviewRow
	Older, Newest     string
	Missing           []string
}

// ruleReviews are the verdicts by a rule that were reviewed.
type ruleReviews struct {
	storage.ReviewCount

	Share float64 // of them that hold
	URL   string
}

type reviewRow struct {
	*storage.Review

	When moment
	URL  string
}

// reviews lists what was said of verdicts in the last 30 days, and how often which rule was right.
func (h *handler) reviews(w http.ResponseWriter, r *http.Request) {
	if to := tidy(r); to != "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	q := r.URL.Query()
	list, err := h.service.ListReviews(ctx, query.ReviewsRequest{Kind: q.Get("kind"), Rule: q.Get("rule"), Owner: q.Get("owner"), PageToken: q.Get("pageToken")})
	if err != nil {
		h.fail(w, err)
		return
	}
	counts, err := h.service.SummarizeReviews(ctx, time.Time{}, time.Time{})
	if err != nil {
		h.fail(w, err)
		return
	}
	page := reviewsPage{Kind: q.Get("kind"), Rule: q.Get("rule"), Owner: q.Get("owner"), All: ruleReviewsOf(&counts.All), Missing: list.Missing}
	for i := range counts.Rules {
		page.Rules = append(page.Rules, ruleReviewsOf(&counts.Rules[i]))
	}
	now := time.Now()
	for i := range list.Reviews {
		v := &list.Reviews[i]
		page.Reviews = append(page.Reviews, reviewRow{v, momentOf(v.At, now), fmt.Sprintf("/verdicts/%x#entry-%s", v.TraceID[:], v.EntrySpanID)})
	}
	if list.NextPageToken != "" {
		next := without(q)
		next.Set("pageToken", list.NextPageToken)
		page.Older = "/reviews?" + next.Encode()
	}
	if q.Has("pageToken") {
		page.Newest = "/reviews?" + without(q, "pageToken").Encode()
	}
	h.render(w, http.StatusOK, "reviews", page)
}

func ruleReviewsOf(c *storage.ReviewCount) ruleReviews {
	return ruleReviews{ReviewCount: *c, Share: query.ConfirmedShare(c), URL: "/reviews?" + url.Values{"rule": {c.Rule}}.Encode()}
}
