package query

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// Reviews is where what people say of verdicts is kept.
type Reviews interface {
	WriteReview(ctx context.Context, r *storage.Review) error
	ListReviews(ctx context.Context, f storage.ReviewFilter) ([]storage.Review, error)
	CountReviews(ctx context.Context, from, to time.Time) ([]storage.ReviewCount, error)
}

// The kinds of reviews.
const (
	Confirmed = "confirmed"
	Contested = "contested"
)

// How long what a review says may be, in bytes.
const (
	ReviewAuthorBytes = 100
	ReviewWhyBytes    = 2000
)

// ReviewRequest confirms or contests a verdict.
type ReviewRequest struct {
	TraceID string
	// EntrySpanID names the entry whose verdict it is about; it may be left out where one entry alone has a symptom.
	EntrySpanID string
	Kind        string // Confirmed or Contested
	Author      string // who says so; may be empty
	Why         string // must be there to contest
}

// Review keeps what somebody says of a verdict. Who changes their mind says so again: the newest counts.
func (s *Service) Review(ctx context.Context, r ReviewRequest) (*storage.Review, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", r.TraceID}, text{"entrySpanId", r.EntrySpanID}, text{"kind", r.Kind})
	if err != nil {
		return nil, err
	}
	defer done()
	id, err := ParseTraceID(r.TraceID)
	if err != nil {
		return nil, err
	}
	r.Author, r.Why = strings.TrimSpace(r.Author), strings.TrimSpace(r.Why)
	switch {
	case r.Kind != Confirmed && r.Kind != Contested:
		return nil, Wrong("kind", "kind %q is neither %s nor %s", r.Kind, Confirmed, Contested)
	case r.Kind == Contested && r.Why == "":
		return nil, Wrong("why", "say why the verdict does not hold")
	case len(r.Author) > ReviewAuthorBytes || len(r.Why) > ReviewWhyBytes:
		return nil, Wrong("why", "a name has %d bytes at most, a reason %d", ReviewAuthorBytes, ReviewWhyBytes)
	case !utf8.ValidString(r.Author) || !utf8.ValidString(r.Why):
		return nil, Wrong("why", "name and reason must be UTF-8")
	}
	verdicts, err := s.Verdicts(ctx, r.TraceID)
	if err != nil {
		return nil, err
	}
	v, err := reviewed(verdicts, r.EntrySpanID)
	if err != nil {
		return nil, err
	}
	review := &storage.Review{
		TraceID: id, EntrySpanID: v.Entry.SpanID, At: time.Now().UTC().Truncate(time.Microsecond), Kind: r.Kind, Author: r.Author, Why: r.Why,
		Version: v.Version, Summary: v.Summary,
	}
	if len(v.Shares) > 0 {
		review.Rule, review.Owner = v.Shares[0].Rule, v.Shares[0].Owner
	}
	err = s.reader.WriteReview(ctx, review)
	var denied interface{ Denied() bool }
	if errors.As(err, &denied) && denied.Denied() {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return review, err
}

// reviewed is the verdict that a review is about.
func reviewed(verdicts []verdict.Verdict, entrySpanID string) (*verdict.Verdict, error) {
	var found []int
	var entries []string
	for i := range verdicts {
		v := &verdicts[i]
		if v.Entry.SpanID == entrySpanID {
			return v, nil
		}
		if v.Symptom != verdict.SymptomNone || len(verdicts) == 1 {
			found = append(found, i)
		}
		entries = append(entries, v.Entry.SpanID)
	}
	if entrySpanID == "" && len(found) == 1 {
		return &verdicts[found[0]], nil
	}
	const listed = 10
	return nil, Wrong("entrySpanId", "name one of the trace's entries: %s", strings.Join(entries[:min(len(entries), listed)], ", "))
}

// ReviewsRequest asks for reviews; what is empty selects all.
type ReviewsRequest struct {
	TraceID           string
	From, To          time.Time // when they were given; without a trace, the last 30 days if not given
	Kind, Rule, Owner string
	PageSize          int
	PageToken         string
}

// ReviewsResponse is a page of reviews; NextPageToken is empty on the last.
type ReviewsResponse struct {
	Reviews       []storage.Review
	NextPageToken string
	Missing       []string
}

// reviewsWindow is how far back is looked if nothing is said.
const reviewsWindow = 30 * 24 * time.Hour

func reviewWindow(from, to time.Time) (time.Time, time.Time, error) {
	if from.IsZero() {
		from = time.Now().Add(-reviewsWindow)
		if !to.IsZero() {
			from = to.Add(-reviewsWindow)
		}
	}
	return window(from, to)
}

// ListReviews lists reviews, the newest first.
func (s *Service) ListReviews(ctx context.Context, r ReviewsRequest) (*ReviewsResponse, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", r.TraceID}, text{"kind", r.Kind}, text{"rule", r.Rule}, text{"owner", r.Owner}, text{"pageToken", r.PageToken})
	if err != nil {
		return nil, err
	}
	defer done()
	size, err := limit("pageSize", r.PageSize, pageSizeDefault)
	if err != nil {
		return nil, err
	}
	if r.Kind != "" && r.Kind != Confirmed && r.Kind != Contested {
		return nil, Wrong("kind", "kind %q is neither %s nor %s", r.Kind, Confirmed, Contested)
	}
	f := storage.ReviewFilter{From: r.From, To: r.To, Kind: r.Kind, Rule: r.Rule, Owner: r.Owner, Limit: size + 1}
	if r.TraceID != "" {
		id, err := ParseTraceID(r.TraceID)
		if err != nil {
			return nil, err
		}
		f.TraceID = &id
	}
	if f.TraceID == nil || !r.From.IsZero() || !r.To.IsZero() {
		if f.From, f.To, err = reviewWindow(r.From, r.To); err != nil {
			return nil, err
		}
	}
	if r.PageToken != "" {
		if f.Before, err = parseReviewToken(r.PageToken); err != nil {
			return nil, err
		}
	}
	list, err := s.reader.ListReviews(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &ReviewsResponse{Reviews: list, Missing: s.reader.Missing(ctx)}
	if len(list) > size {
		page.Reviews = list[:size]
		last := &list[size-1]
		page.NextPageToken = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%x/%s", last.At.UnixMicro(), last.TraceID[:], last.EntrySpanID))
	}
	return page, nil
}

func parseReviewToken(token string) (*storage.ReviewKey, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(text), "/")
	if err == nil && len(parts) == 3 {
		us, err := strconv.ParseInt(parts[0], 10, 64)
		if err == nil {
			return &storage.ReviewKey{AtUs: us, TraceID: parts[1], EntrySpanID: parts[2]}, nil
		}
	}
	return nil, Wrong("pageToken", "pageToken %q is not one of ours", token)
}

// ReviewSummary counts verdicts that were reviewed, by rule; a verdict counts once, as its newest review says.
type ReviewSummary struct {
	From, To time.Time
	All      storage.ReviewCount // its rule is empty
	Rules    []storage.ReviewCount
	Missing  []string
}

// ConfirmedShare is how many of the verdicts that were reviewed hold, 0 to 1.
func ConfirmedShare(c *storage.ReviewCount) float64 {
	if c.Confirmed == 0 {
		return 0
	}
	return float64(c.Confirmed) / float64(c.Confirmed+c.Contested)
}

// SummarizeReviews counts the verdicts whose newest review was given in a time, the last 30 days if none is said.
func (s *Service) SummarizeReviews(ctx context.Context, from, to time.Time) (*ReviewSummary, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err = reviewWindow(from, to)
	if err != nil {
		return nil, err
	}
	counts, err := s.reader.CountReviews(ctx, from, to)
	if err != nil {
		return nil, err
	}
	sum := &ReviewSummary{From: from, To: to, Rules: slices.Clip(counts), Missing: s.reader.Missing(ctx)}
	for _, c := range counts {
		sum.All.Confirmed += c.Confirmed
		sum.All.Contested += c.Contested
	}
	return sum, nil
}
