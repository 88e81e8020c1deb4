// Package rest is the REST interface: JSON over HTTP, described by an OpenAPI document.
package rest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

//go:embed openapi.json
var openAPI []byte

type handler struct {
	service *query.Service
	log     *slog.Logger
}

// Register adds the routes of /api/v1 to a mux.
func Register(outer *http.ServeMux, service *query.Service, log *slog.Logger) {
	h := &handler{service: service, log: log}
	mux := http.NewServeMux()
	outer.Handle("/api/", orProblem(mux))
	mux.HandleFunc("GET /api/v1/verdicts/{traceId}", h.verdict)
	mux.HandleFunc("GET /api/v1/verdicts/{traceId}/why-not", h.whyNot)
	mux.HandleFunc("POST /api/v1/verdicts/{traceId}/reviews", h.postReview)
	mux.HandleFunc("GET /api/v1/verdicts/{traceId}/reviews", h.listReviews)
	mux.HandleFunc("GET /api/v1/reviews", h.listReviews)
	mux.HandleFunc("GET /api/v1/reviews/summary", h.reviewSummary)
	mux.HandleFunc("GET /api/v1/verdicts", h.list)
	mux.HandleFunc("GET /api/v1/now", h.now)
	mux.HandleFunc("GET /api/v1/attribution", h.attribution)
	mux.HandleFunc("GET /api/v1/report", h.report)
	mux.HandleFunc("GET /api/v1/map", h.serviceMap)
	mux.HandleFunc("GET /api/v1/edge", h.edge)
	mux.HandleFunc("GET /api/v1/top", h.top)
	mux.HandleFunc("GET /api/v1/rank", h.rank)
	mux.HandleFunc("PUT /api/v1/owners", h.putOwners)
	mux.HandleFunc("GET /api/v1/owners", h.listOwners)
	mux.HandleFunc("GET /api/v1/owners/handovers", h.handovers)
	mux.HandleFunc("GET /api/v1/owners/resolve", h.resolveOwner)
	mux.HandleFunc("GET /api/v1/owners/coverage", h.coverage)
	mux.HandleFunc("GET /api/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
}

// orProblem answers what no route fits as RFC 9457 says.
func orProblem(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := refusal{header: make(http.Header)}
		handler.ServeHTTP(&refused, r)
		if allowed := refused.header.Get("Allow"); refused.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allowed)
			Problem(w, refused.status, fmt.Sprintf("%s takes no %s, but %s", r.URL.Path, r.Method, allowed))
			return
		}
		Problem(w, http.StatusNotFound, fmt.Sprintf("there is no %s %s; /api/v1/openapi.json lists what there is", r.Method, r.URL.Path))
	})
}

// refusal takes what a mux says of a request that no route fits.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }

// The JSON of the answers.
type (
	listAnswer struct {
		Verdicts      []summary `json:"verdicts"`
		NextPageToken string    `json:"nextPageToken,omitempty"`
		missing
	}
	// missing are the shards that did not answer.
	missing struct {
		Missing []string `json:"missing,omitempty"`
	}
	summary struct {
		TraceID    string    `json:"traceId"`
		SpanID     string    `json:"entrySpanId"`
		Service    string    `json:"entryService"`
		Operation  string    `json:"entryOperation"`
		Start      time.Time `json:"start"`
		DurationNs int64     `json:"durationNs"`
		Symptom    string    `json:"symptom"`
		Summary    string    `json:"summary"`
		Represents float64   `json:"represents"` // requests
		Owners     []string  `json:"owners"`
		Rules      []string  `json:"rules"`
	}
	rankAnswer struct {
		Suspects []verdict.Suspect `json:"suspects"`
		missing
	}
	coverageAnswer struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
		coverage.Report
		missing
	}
)

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{
		"from", "to", "since", "owner", "service", "operation", "entry", "symptom", "rule", "class", "errorType", "fingerprint", "version", "caller", "callee",
		"minDuration", "maxDuration", "attribute", "pageSize", "pageToken",
	}}
	request := query.ListRequest{
		VerdictFilter: storage.VerdictFilter{
			Owner: q.text("owner"), Service: q.text("service"), Operation: q.text("operation"), Entry: q.text("entry"), Symptom: q.text("symptom"), Rule: q.text("rule"),
			Class: q.text("class"), ErrorType: q.text("errorType"), Fingerprint: q.text("fingerprint"), Version: q.text("version"), Caller: q.text("caller"), Callee: q.text("callee"),
			MinNs: q.duration("minDuration").Nanoseconds(), MaxNs: q.duration("maxDuration").Nanoseconds(), Attributes: q.pairs("attribute"),
		},
		PageSize: q.number("pageSize"), PageToken: q.text("pageToken"),
	}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		page, err := h.service.List(ctx, request)
		if err != nil {
			return nil, err
		}
		answer := listAnswer{Verdicts: make([]summary, 0, len(page.Verdicts)), NextPageToken: page.NextPageToken, missing: missing{page.Missing}}
		for i := range page.Verdicts {
			answer.Verdicts = append(answer.Verdicts, newSummary(&page.Verdicts[i]))
		}
		return answer, nil
	})
}

func newSummary(v *storage.VerdictRow) summary {
	return summary{
		TraceID: v.Key.TraceID, SpanID: v.Key.SpanID, Service: v.Service, Operation: v.Operation, Start: time.Unix(0, v.Key.StartNs).UTC(),
		DurationNs: v.DurationNs, Symptom: v.Symptom, Summary: v.Summary, Represents: v.Represents, Owners: v.Owners, Rules: v.Rules,
	}
}

func (h *handler) now(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "entry", "owner", "limit"}}
	request := query.NowRequest{Entry: q.text("entry"), Owner: q.text("owner"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Now(ctx, request) })
}

func (h *handler) attribution(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "step", "owner"}}
	request := query.AttributionRequest{Step: q.duration("step"), Owner: q.text("owner")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Attribution(ctx, request) })
}

func (h *handler) report(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "step", "owner", "limit"}}
	request := query.ReportRequest{Step: q.duration("step"), Owner: q.text("owner"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Report(ctx, request) })
}

func (h *handler) serviceMap(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "focus", "depth", "owner"}}
	request := query.MapRequest{Focus: q.text("focus"), Depth: q.number("depth"), Owner: q.text("owner")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Map(ctx, request) })
}

func (h *handler) edge(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "caller", "callee", "limit"}}
	request := query.EdgeRequest{Caller: q.text("caller"), Callee: q.text("callee"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Edge(ctx, request) })
}

func (h *handler) top(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "by", "owner", "entry", "limit"}}
	request := query.TopRequest{By: q.text("by"), Owner: q.text("owner"), Entry: q.text("entry"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.Top(ctx, request) })
}

func (h *handler) rank(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "entry", "limit"}}
	request := query.RankRequest{Entry: q.text("entry"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		got, err := h.service.Rank(ctx, request)
		if err != nil {
			return nil, err
		}
		return rankAnswer{Suspects: append([]verdict.Suspect{}, got.Suspects...), missing: missing{got.Missing}}, nil
	})
}

func (h *handler) resolveOwner(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"service", "namespace", "environment", "operation", "peer", "edge", "codePath", "attribute", "at", "why"}}
	inquiry := ownership.Inquiry{
		Service: q.text("service"), Namespace: q.text("namespace"), Environment: q.text("environment"), Operation: q.text("operation"),
		Peer: q.text("peer"), Edge: q.text("edge"), CodePath: q.text("codePath"), Attributes: q.pairs("attribute"), At: q.time("at"),
	}
	why := q.boolean("why")
	h.answer(w, r, &q, func(ctx context.Context) (any, error) { return h.service.ResolveOwner(ctx, inquiry, why) })
}

func (h *handler) coverage(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "kind", "reviewDays", "limit"}}
	request := query.CoverageRequest{Kind: q.text("kind"), ReviewDays: q.number("reviewDays"), Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(ctx context.Context) (any, error) {
		got, err := h.service.Coverage(ctx, request)
		if err != nil {
			return nil, err
		}
		return coverageAnswer{From: got.From.UTC(), To: got.To.UTC(), Report: got.Report, missing: missing{got.Missing}}, nil
	})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, q *params, ask func(context.Context) (any, error)) {
	if err := q.check(); err != nil {
		h.fail(w, err)
		return
	}
	answer, err := ask(r.Context())
	if err != nil {
		h.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked may have left
}

// params reads the parameters of a request and remembers the first that is wrong.
type params struct {
	r     *http.Request
	known []string
	err   error
}

func (p *params) text(name string) string { return p.r.URL.Query().Get(name) }

func (p *params) number(name string) int {
	text := p.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		p.wrong(name, text, "a number")
	}
	return n
}

// pairs reads all of a parameter that is given as KEY=VALUE.
func (p *params) pairs(name string) map[string]string {
	all := make(map[string]string)
	for _, text := range p.r.URL.Query()[name] {
		key, value, ok := strings.Cut(text, "=")
		switch {
		case text == "":
		case !ok || key == "":
			p.wrong(name, text, "KEY=VALUE")
		default:
			all[key] = value
		}
	}
	return all
}

func (p *params) duration(name string) time.Duration {
	text := p.text(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		p.wrong(name, text, "a duration like 30m")
	}
	return d
}

// window reads from and to, or since.
func (p *params) window() (from, to time.Time) {
	from, to = p.time("from"), p.time("to")
	if since := p.duration("since"); since != 0 {
		if since < 0 || !from.IsZero() {
			p.wrong("since", p.text("since"), "a positive duration, and not beside from")
		}
		from = time.Now().Add(-since)
	}
	return from, to
}

func (p *params) time(name string) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	ns, err := query.ParseInstant(text)
	if err != nil && p.err == nil {
		p.err = query.Wrong(name, "%s %v", name, err)
	}
	return time.Unix(0, ns).UTC()
}

func (p *params) wrong(name, text, want string) {
	if p.err == nil {
		p.err = query.Wrong(name, "%s %q is not %s", name, text, want)
	}
}

func (p *params) check() error {
	for name := range p.r.URL.Query() {
		known := false
		for _, k := range p.known {
			known = known || k == name
		}
		if !known {
			return query.Wrong(name, "there is no parameter %q", name)
		}
	}
	return p.err
}

// fail is the one place that maps errors to HTTP.
func (h *handler) fail(w http.ResponseWriter, err error) {
	var passing interface{ Retryable() bool }
	var large *http.MaxBytesError
	var fault *query.Fault
	switch {
	case errors.As(err, &large):
		Problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d bytes; records of owners may be applied as several sets", large.Limit))
	case errors.Is(err, query.ErrNotFound):
		Problem(w, http.StatusNotFound, err.Error())
	case errors.Is(err, query.ErrDenied):
		Problem(w, http.StatusForbidden, err.Error())
	case errors.Is(err, query.ErrRaced):
		Problem(w, http.StatusConflict, err.Error())
	case errors.As(err, &fault):
		writeProblem(w, http.StatusBadRequest, err.Error(), fault.Parameter)
	case errors.Is(err, query.ErrInvalid):
		Problem(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, query.ErrMissing), errors.Is(err, query.ErrAway), errors.Is(err, query.ErrBusy):
		w.Header().Set("Retry-After", "2")
		Problem(w, http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.Canceled):
		return
	case query.TooSlow(err):
		h.log.Warn("question given up", "error", err)
		Problem(w, http.StatusGatewayTimeout, query.SlowAdvice)
	case errors.As(err, &passing) && passing.Retryable():
		h.log.Warn("question not answered", "error", err)
		w.Header().Set("Retry-After", "2")
		Problem(w, http.StatusServiceUnavailable, "the storage does not answer at the moment; try again")
	default:
		h.log.Error("question failed", "error", err)
		Problem(w, http.StatusInternalServerError, "the question could not be answered; the log says why")
	}
}

// Problem answers as RFC 9457 says.
func Problem(w http.ResponseWriter, status int, detail string) { writeProblem(w, status, detail, "") }

func writeProblem(w http.ResponseWriter, status int, detail, parameter string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Parameter string `json:"parameter,omitempty"` // which is wrong
	}{"about:blank", http.StatusText(status), status, detail, parameter})
}
