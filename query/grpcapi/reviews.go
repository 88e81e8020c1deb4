package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// GetWhyNot implements whosehopv1.WhosehopServer.
func (a *api) GetWhyNot(ctx context.Context, r *whosehopv1.GetWhyNotRequest) (*whosehopv1.GetWhyNotResponse, error) {
	answers, err := a.service.WhyNot(ctx, r.GetTraceId(), r.GetService())
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.GetWhyNotResponse{}
	for i := range answers {
		text, err := json.Marshal(&answers[i])
		if err != nil {
			return nil, a.status(fmt.Errorf("encode why not: %w", err))
		}
		response.AnswerJson = append(response.AnswerJson, string(text))
	}
	return response, nil
}

// ReviewVerdict implements whosehopv1.WhosehopServer.
func (a *api) ReviewVerdict(ctx context.Context, r *whosehopv1.ReviewVerdictRequest) (*whosehopv1.ReviewVerdictResponse, error) {
	kept, err := a.service.Review(ctx, query.ReviewRequest{TraceID: r.GetTraceId(), EntrySpanID: r.GetEntrySpanId(), Kind: r.GetKind(), Author: r.GetBy(), Why: r.GetWhy()})
	if err != nil {
		return nil, a.status(err)
	}
	return &whosehopv1.ReviewVerdictResponse{Review: newReview(kept)}, nil
}

func newReview(r *storage.Review) *whosehopv1.Review {
	return &whosehopv1.Review{
		TraceId: fmt.Sprintf("%x", r.TraceID[:]), EntrySpanId: r.EntrySpanID, At: timestamppb.New(r.At), Kind: r.Kind, By: r.Author, Why: r.Why,
		Version: r.Version, Rule: r.Rule, Owner: r.Owner, Summary: r.Summary,
	}
}

// ListReviews implements whosehopv1.WhosehopServer.
func (a *api) ListReviews(ctx context.Context, r *whosehopv1.ListReviewsRequest) (*whosehopv1.ListReviewsResponse, error) {
	page, err := a.service.ListReviews(ctx, query.ReviewsRequest{
		TraceID: r.GetTraceId(), From: instant(r.GetFrom()), To: instant(r.GetTo()), Kind: r.GetKind(), Rule: r.GetRule(), Owner: r.GetOwner(),
		PageSize: int(r.GetPageSize()), PageToken: r.GetPageToken(),
	})
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.ListReviewsResponse{NextPageToken: page.NextPageToken, Missing: page.Missing}
	for i := range page.Reviews {
		response.Reviews = append(response.Reviews, newReview(&page.Reviews[i]))
	}
	return response, nil
}

// GetReviewSummary implements whosehopv1.WhosehopServer.
func (a *api) GetReviewSummary(ctx context.Context, r *whosehopv1.GetReviewSummaryRequest) (*whosehopv1.GetReviewSummaryResponse, error) {
	sum, err := a.service.SummarizeReviews(ctx, instant(r.GetFrom()), instant(r.GetTo()))
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.GetReviewSummaryResponse{All: newReviewCount(&sum.All), Missing: sum.Missing}
	for i := range sum.Rules {
		response.Rules = append(response.Rules, newReviewCount(&sum.Rules[i]))
	}
	return response, nil
}

func newReviewCount(c *storage.ReviewCount) *whosehopv1.ReviewCount {
	return &whosehopv1.ReviewCount{Rule: c.Rule, Confirmed: c.Confirmed, Contested: c.Contested, ConfirmedShare: query.ConfirmedShare(c)}
}
