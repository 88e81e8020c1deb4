// Package grpcapi is the gRPC interface of the questions.
package grpcapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/whosehop/whosehop/ownership"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// Register adds the service to a server.
func Register(server grpc.ServiceRegistrar, service *query.Service, log *slog.Logger) {
	whosehopv1.RegisterWhosehopServer(server, &api{service: service, log: log})
}

type api struct {
	whosehopv1.UnimplementedWhosehopServer
	service *query.Service
	log     *slog.Logger
}

// GetVerdict implements whosehopv1.WhosehopServer.
func (a *api) GetVerdict(ctx context.Context, r *whosehopv1.GetVerdictRequest) (*whosehopv1.GetVerdictResponse, error) {
	verdicts, err := a.service.Verdicts(ctx, r.GetTraceId())
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.GetVerdictResponse{}
	for i := range verdicts {
		var body bytes.Buffer
		out := json.NewEncoder(&body)
		out.SetEscapeHTML(false)
		if err := out.Encode(&verdicts[i]); err != nil {
			return nil, a.status(fmt.Errorf("encode a verdict: %w", err))
		}
		response.VerdictJson = append(response.VerdictJson, string(bytes.TrimRight(body.Bytes(), "\n")))
	}
	return response, nil
}

// ListVerdicts implements whosehopv1.WhosehopServer.
func (a *api) ListVerdicts(ctx context.Context, r *whosehopv1.ListVerdictsRequest) (*whosehopv1.ListVerdictsResponse, error) {
	page, err := a.service.List(ctx, query.ListRequest{
		VerdictFilter: storage.VerdictFilter{
			From: instant(r.GetFrom()), To: instant(r.GetTo()), Owner: r.GetOwner(), Service: r.GetService(), Operation: r.GetOperation(), Entry: r.GetEntry(),
			Symptom: r.GetSymptom(), Rule: r.GetRule(), Class: r.GetClass(), ErrorType: r.GetErrorType(), Fingerprint: r.GetFingerprint(), Version: r.GetVersion(),
			Caller: r.GetCaller(), Callee: r.GetCallee(), MinNs: r.GetMinDuration().AsDuration().Nanoseconds(), MaxNs: r.GetMaxDuration().AsDuration().Nanoseconds(),
			Attributes: r.GetAttributes(),
		},
		PageSize: int(r.GetPageSize()), PageToken: r.GetPageToken(),
	})
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.ListVerdictsResponse{NextPageToken: page.NextPageToken, Missing: page.Missing}
	for _, v := range page.Verdicts {
		response.Verdicts = append(response.Verdicts, &whosehopv1.VerdictSummary{
			TraceId: v.Key.TraceID, EntrySpanId: v.Key.SpanID, EntryService: v.Service, EntryOperation: v.Operation,
			Start: timestamppb.New(time.Unix(0, v.Key.StartNs)), Duration: durationpb.New(time.Duration(v.DurationNs)),
			Symptom: v.Symptom, Summary: v.Summary, Owners: v.Owners, Rules: v.Rules, Represents: v.Represents,
		})
	}
	return response, nil
}

// GetNow implements whosehopv1.WhosehopServer.
func (a *api) GetNow(ctx context.Context, r *whosehopv1.GetNowRequest) (*whosehopv1.GetNowResponse, error) {
	got, err := a.service.Now(ctx, query.NowRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Entry: r.GetEntry(), Owner: r.GetOwner(), Limit: int(r.GetLimit())})
	return answer(a, got, err, new(whosehopv1.GetNowResponse))
}

// GetReport implements whosehopv1.WhosehopServer.
func (a *api) GetReport(ctx context.Context, r *whosehopv1.GetReportRequest) (*whosehopv1.GetReportResponse, error) {
	got, err := a.service.Report(ctx, query.ReportRequest{
		Owner: r.GetOwner(), From: instant(r.GetFrom()), To: instant(r.GetTo()), Step: r.GetStep().AsDuration(), Limit: int(r.GetLimit()),
	})
	return answer(a, got, err, new(whosehopv1.GetReportResponse))
}

// GetMap implements whosehopv1.WhosehopServer.
func (a *api) GetMap(ctx context.Context, r *whosehopv1.GetMapRequest) (*whosehopv1.GetMapResponse, error) {
	got, err := a.service.Map(ctx, query.MapRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Focus: r.GetFocus(), Depth: int(r.GetDepth()), Owner: r.GetOwner()})
	return answer(a, got, err, new(whosehopv1.GetMapResponse))
}

// GetEdge implements whosehopv1.WhosehopServer.
func (a *api) GetEdge(ctx context.Context, r *whosehopv1.GetEdgeRequest) (*whosehopv1.GetEdgeResponse, error) {
	got, err := a.service.Edge(ctx, query.EdgeRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Caller: r.GetCaller(), Callee: r.GetCallee(), Limit: int(r.GetLimit())})
	return answer(a, got, err, new(whosehopv1.GetEdgeResponse))
}

// GetAttribution implements whosehopv1.WhosehopServer.
func (a *api) GetAttribution(ctx context.Context, r *whosehopv1.GetAttributionRequest) (*whosehopv1.GetAttributionResponse, error) {
	got, err := a.service.Attribution(ctx, query.AttributionRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Step: r.GetStep().AsDuration(), Owner: r.GetOwner()})
	return answer(a, got, err, new(whosehopv1.GetAttributionResponse))
}

// GetTop implements whosehopv1.WhosehopServer.
func (a *api) GetTop(ctx context.Context, r *whosehopv1.GetTopRequest) (*whosehopv1.GetTopResponse, error) {
	got, err := a.service.Top(ctx, query.TopRequest{
		From: instant(r.GetFrom()), To: instant(r.GetTo()), By: r.GetBy(), Owner: r.GetOwner(), Entry: r.GetEntry(), Limit: int(r.GetLimit()),
	})
	return answer(a, got, err, new(whosehopv1.GetTopResponse))
}

// answer gives an answer the form of a message, which has the same JSON: REST and gRPC say the same.
func answer[M proto.Message](a *api, got any, err error, into M) (M, error) {
	var none M
	if err != nil {
		return none, a.status(err)
	}
	text, err := json.Marshal(got)
	if err == nil {
		err = protojson.Unmarshal(text, into)
	}
	if err != nil {
		return none, a.status(fmt.Errorf("encode an answer: %w", err))
	}
	return into, nil
}

func (a *api) GetRank(ctx context.Context, r *whosehopv1.GetRankRequest) (*whosehopv1.GetRankResponse, error) {
	got, err := a.service.Rank(ctx, query.RankRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Entry: r.GetEntry(), Limit: int(r.GetLimit())})
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.GetRankResponse{Missing: got.Missing}
	for i := range got.Suspects {
		text, err := json.Marshal(&got.Suspects[i])
		if err != nil {
			return nil, a.status(err)
		}
		response.SuspectJson = append(response.SuspectJson, string(text))
	}
	return response, nil
}

// ResolveOwner implements whosehopv1.WhosehopServer.
func (a *api) ResolveOwner(ctx context.Context, r *whosehopv1.ResolveOwnerRequest) (*whosehopv1.ResolveOwnerResponse, error) {
	got, err := a.service.ResolveOwner(ctx, ownership.Inquiry{
		Service: r.GetService(), Namespace: r.GetNamespace(), Environment: r.GetEnvironment(), Operation: r.GetOperation(),
		Peer: r.GetPeer(), Edge: r.GetEdge(), CodePath: r.GetCodePath(), Attributes: r.GetAttributes(), At: instant(r.GetAt()),
	}, r.GetWhy())
	if err != nil {
		return nil, a.status(err)
	}
	text, err := json.Marshal(got)
	if err != nil {
		return nil, a.status(fmt.Errorf("encode an owner: %w", err))
	}
	return &whosehopv1.ResolveOwnerResponse{Owner: got.Owner, Rule: string(got.Rule), ResolutionJson: string(text)}, nil
}

// GetCoverage implements whosehopv1.WhosehopServer.
func (a *api) GetCoverage(ctx context.Context, r *whosehopv1.GetCoverageRequest) (*whosehopv1.GetCoverageResponse, error) {
	got, err := a.service.Coverage(ctx, query.CoverageRequest{
		From: instant(r.GetFrom()), To: instant(r.GetTo()), Kind: r.GetKind(), ReviewDays: int(r.GetReviewDays()), Limit: int(r.GetLimit()),
	})
	if err != nil {
		return nil, a.status(err)
	}
	totals, err := json.Marshal(&got.Totals)
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.GetCoverageResponse{TotalsJson: string(totals), Missing: got.Missing}
	for i := range got.Findings {
		text, err := json.Marshal(&got.Findings[i])
		if err != nil {
			return nil, a.status(err)
		}
		response.FindingJson = append(response.FindingJson, string(text))
	}
	return response, nil
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// domain is whose the reasons of errors are.
const domain = "whosehop"

// status is the one place that maps errors to gRPC.
func (a *api) status(err error) error {
	var passing interface{ Retryable() bool }
	var fault *query.Fault
	again := &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}
	switch {
	case status.Code(err) != codes.Unknown: // the connection's own
		return err
	case errors.Is(err, query.ErrNotFound):
		return withReason(codes.NotFound, "TRACE_NOT_FOUND", err.Error())
	case errors.As(err, &fault):
		return withReason(codes.InvalidArgument, "INVALID_QUESTION", err.Error(), &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: fieldOf(fault.Parameter), Description: err.Error()}},
		})
	case errors.Is(err, query.ErrInvalid):
		return withReason(codes.InvalidArgument, "INVALID_QUESTION", err.Error())
	case errors.Is(err, query.ErrDenied):
		return withReason(codes.PermissionDenied, "REGISTRY_READ_ONLY", err.Error())
	case errors.Is(err, query.ErrRaced):
		return withReason(codes.Aborted, "OTHER_APPLY", err.Error())
	case errors.Is(err, query.ErrBusy):
		return withReason(codes.ResourceExhausted, "TOO_MANY_QUESTIONS", err.Error(), again)
	case errors.Is(err, query.ErrMissing), errors.Is(err, query.ErrAway):
		return withReason(codes.Unavailable, "STORAGE_INCOMPLETE", err.Error(), again)
	case errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	case query.TooSlow(err):
		a.log.Warn("question given up", "error", err)
		return withReason(codes.DeadlineExceeded, "TOO_SLOW", query.SlowAdvice)
	case errors.As(err, &passing) && passing.Retryable():
		a.log.Warn("question not answered", "error", err)
		return withReason(codes.Unavailable, "STORAGE_AWAY", "the storage does not answer at the moment; try again", again)
	}
	a.log.Error("question failed", "error", err)
	return status.Error(codes.Internal, "the question could not be answered; the log says why")
}

// withReason is an error with a reason that a program can go by, and more details.
func withReason(code codes.Code, reason, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, message)
	if with, err := s.WithDetails(append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: domain}}, details...)...); err == nil {
		s = with
	}
	return s.Err()
}

// fieldOf is the field that a parameter of REST is: pageSize is page_size.
func fieldOf(parameter string) string {
	var b strings.Builder
	for _, r := range parameter {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
