package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// The JSON of what is asked about verdicts, as the command line writes and reads it too.
type (
	// WhyNotAnswer has an answer for each entry of the trace in which the service has a part.
	WhyNotAnswer struct {
		Answers []verdict.WhyNot `json:"answers"`
	}
	// ReviewWanted confirms or contests a verdict.
	ReviewWanted struct {
		EntrySpanID string `json:"entrySpanId,omitempty"`
		Kind        string `json:"kind"`
		By          string `json:"by,omitempty"`
		Why         string `json:"why,omitempty"`
	}
	// Review is what somebody said of a verdict.
	Review struct {
		TraceID     string    `json:"traceId"`
		EntrySpanID string    `json:"entrySpanId"`
		At          time.Time `json:"at"`
		Kind        string    `json:"kind"`
		By          string    `json:"by,omitempty"`
		Why         string    `json:"why,omitempty"`
		// Of the verdict as it was then; rule and owner are of its main share.
		Version uint32 `json:"version"`
		Rule    string `json:"rule,omitempty"`
		Owner   string `json:"owner,omitempty"`
		Summary string `json:"summary"`
	}
	// Reviews is a page of them, the newest first.
	Reviews struct {
		Reviews       []Review `json:"reviews"`
		NextPageToken string   `json:"nextPageToken,omitempty"`
		missing
	}
	// ReviewCount counts verdicts by their newest review.
	ReviewCount struct {
		Rule           string  `json:"rule,omitempty"`
		Confirmed      uint64  `json:"confirmed"`
		Contested      uint64  `json:"contested"`
		ConfirmedShare float64 `json:"confirmedShare"`
	}
	// ReviewSummary counts them by rule.
	ReviewSummary struct {
		From  time.Time     `json:"from"`
		To    time.Time     `json:"to"`
		All   ReviewCount   `json:"all"`
		Rules []ReviewCount `json:"rules"`
		missing
	}
)

// verdict answers as `whosehop blame -o json` prints: one object a line, for each entry; or as `-o markdown` does.
func (h *handler) verdict(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"format"}}
	format := q.text("format")
	if format != "" && format != "json" && format != "markdown" {
		q.wrong("format", format, "json or markdown")
	}
	if err := q.check(); err != nil {
		h.fail(w, err)
		return
	}
	verdicts, err := h.service.Verdicts(r.Context(), r.PathValue("traceId"))
	if err != nil {
		h.fail(w, err)
		return
	}
	if format == "markdown" {
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		for i := range verdicts {
			if i > 0 {
				_, _ = io.WriteString(w, "\n")
			}
			_, _ = io.WriteString(w, h.service.Markdown(&verdicts[i])) // whoever asked may have left
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if len(verdicts) > 1 {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for i := range verdicts {
		if out.Encode(&verdicts[i]) != nil {
			return // whoever asked has left
		}
	}
}

func (h *handler) whyNot(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"service"}}
	service := q.text("service")
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		answers, err := h.service.WhyNot(ctx, r.PathValue("traceId"), service)
		return WhyNotAnswer{Answers: answers}, err
	})
}

// reviewBytes bounds the JSON of a review.
const reviewBytes = 16 << 10

// postReview refuses what a browser's page sends, as putOwners does: the page of a verdict has a form of its own.
func (h *handler) postReview(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		Problem(w, http.StatusForbidden, "pages of browsers do not review verdicts here: use the form of the verdict's page, or whosehop confirm and contest")
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		Problem(w, http.StatusUnsupportedMediaType, "send the review as application/json")
		return
	}
	q := params{r: r}
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		var body ReviewWanted
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, reviewBytes))
		in.DisallowUnknownFields()
		err := in.Decode(&body)
		if err == nil {
			if _, more := in.Token(); !errors.Is(more, io.EOF) {
				err = errors.New("something follows the JSON")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read the review: %w", query.ErrInvalid, err)
		}
		kept, err := h.service.Review(ctx, query.ReviewRequest{TraceID: r.PathValue("traceId"), EntrySpanID: body.EntrySpanID, Kind: body.Kind, Author: body.By, Why: body.Why})
		if err != nil {
			return nil, err
		}
		return newReview(kept), nil
	})
}

func newReview(r *storage.Review) Review {
	return Review{
		TraceID: fmt.Sprintf("%x", r.TraceID[:]), EntrySpanID: r.EntrySpanID, At: r.At.UTC(), Kind: r.Kind, By: r.Author, Why: r.Why,
		Version: r.Version, Rule: r.Rule, Owner: r.Owner, Summary: r.Summary,
	}
}

// listReviews lists those of one trace, or of all.
func (h *handler) listReviews(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "kind", "rule", "owner", "pageSize", "pageToken"}}
	request := query.ReviewsRequest{
		TraceID: r.PathValue("traceId"), Kind: q.text("kind"), Rule: q.text("rule"), Owner: q.text("owner"), PageSize: q.number("pageSize"), PageToken: q.text("pageToken"),
	}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		page, err := h.service.ListReviews(ctx, request)
		if err != nil {
			return nil, err
		}
		answer := Reviews{Reviews: make([]Review, 0, len(page.Reviews)), NextPageToken: page.NextPageToken, missing: missing{page.Missing}}
		for i := range page.Reviews {
			answer.Reviews = append(answer.Reviews, newReview(&page.Reviews[i]))
		}
		return answer, nil
	})
}

func (h *handler) reviewSummary(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since"}}
	from, to := q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		sum, err := h.service.SummarizeReviews(ctx, from, to)
		if err != nil {
			return nil, err
		}
		answer := ReviewSummary{From: sum.From.UTC(), To: sum.To.UTC(), All: newReviewCount(&sum.All), Rules: []ReviewCount{}, missing: missing{sum.Missing}}
		for i := range sum.Rules {
			answer.Rules = append(answer.Rules, newReviewCount(&sum.Rules[i]))
		}
		return answer, nil
	})
}

func newReviewCount(c *storage.ReviewCount) ReviewCount {
	return ReviewCount{Rule: c.Rule, Confirmed: c.Confirmed, Contested: c.Contested, ConfirmedShare: query.ConfirmedShare(c)}
}
