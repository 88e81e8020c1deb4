package rest_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/ownership"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/grpcapi"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/storage"
)

// stuck is a storage that answers nothing.
type stuck struct{ fake }

func (*stuck) Blame(ctx context.Context, _ storage.BlameFilter, _ []string, _ time.Duration, _ int) ([]storage.BlameRow, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// registrar is handed what a gRPC server would be.
type registrar struct{ api whosehopv1.WhosehopServer }

func (r *registrar) RegisterService(_ *grpc.ServiceDesc, api any) {
	r.api = api.(whosehopv1.WhosehopServer)
}

// TestSlowStorage: every question ends in time, those who ask beyond what may run are told to come again, and who leaves does
// not hold a place.
func TestSlowStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := query.New(&stuck{}, &stuck{}, new(ownership.Current), nil)
		service.LimitQuestions(2)
		mux := http.NewServeMux()
		rest.Register(mux, service, slog.New(slog.DiscardHandler))
		var server registrar
		grpcapi.Register(&server, service, slog.New(slog.DiscardHandler))
		ask := func(ctx context.Context) *httptest.ResponseRecorder {
			r := httptest.NewRecorder()
			mux.ServeHTTP(r, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/top", nil))
			return r
		}
		started := time.Now()
		slow := make(chan *httptest.ResponseRecorder)
		go func() { slow <- ask(t.Context()) }()
		slowGRPC := make(chan error)
		go func() { _, err := server.api.GetTop(t.Context(), nil); slowGRPC <- err }()
		synctest.Wait()

		if r := ask(t.Context()); r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "too many questions") {
			t.Errorf("one more: %d %s", r.Code, r.Body)
		}
		_, err := server.api.GetTop(t.Context(), nil)
		if status.Code(err) != codes.ResourceExhausted || detail[*errdetails.RetryInfo](err) == nil || detail[*errdetails.ErrorInfo](err).GetReason() != "TOO_MANY_QUESTIONS" {
			t.Errorf("one more, gRPC: %v", err)
		}
		if r := <-slow; r.Code != http.StatusGatewayTimeout || !strings.Contains(r.Body.String(), "shorter window") || time.Since(started) != query.QuestionTimeout {
			t.Errorf("%d %s after %s", r.Code, r.Body, time.Since(started))
		}
		if err := <-slowGRPC; status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "shorter window") {
			t.Error(err)
		}
		for range 5 { // each leaves, and makes place for the next
			ctx, leave := context.WithCancel(t.Context())
			go func() { slow <- ask(ctx) }()
			synctest.Wait()
			leave()
			if r := <-slow; r.Body.Len() != 0 {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		}
	})
}

// detail is what an error has of a kind.
func detail[T any](err error) (found T) {
	for _, d := range status.Convert(err).Details() {
		if d, ok := d.(T); ok {
			return d
		}
	}
	return found
}

// TestGRPCErrorsSayWhatIsWrong: programs go by the reason and the field, and not by the words.
func TestGRPCErrorsSayWhatIsWrong(t *testing.T) {
	_, client := serve(t, &fake{})
	_, err := client.ListVerdicts(t.Context(), &whosehopv1.ListVerdictsRequest{PageSize: 501})
	if v := detail[*errdetails.BadRequest](err).GetFieldViolations(); len(v) != 1 || v[0].GetField() != "page_size" || !strings.Contains(v[0].GetDescription(), "501 is not within 1 and 500") {
		t.Errorf("%v in %v", v, err)
	}
	if info := detail[*errdetails.ErrorInfo](err); info.GetReason() != "INVALID_QUESTION" || info.GetDomain() != "whosehop" {
		t.Error(info)
	}
	_, err = client.GetVerdict(t.Context(), &whosehopv1.GetVerdictRequest{TraceId: unknown})
	if info := detail[*errdetails.ErrorInfo](err); status.Code(err) != codes.NotFound || info.GetReason() != "TRACE_NOT_FOUND" {
		t.Error(err)
	}
}

// TestProblems: whatever goes wrong under /api/ is told as RFC 9457 says.
func TestProblems(t *testing.T) {
	server, _ := serve(t, &fake{})
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/api/v1/top?limit=501", 400, `"parameter":"limit"`},
		{"GET", "/api/v1/top?from=1763683200", 400, `from \"1763683200\" as Unix nanoseconds is before 2000`},
		{"GET", "/api/v1/top?colour=red", 400, `"parameter":"colour"`},
		{"GET", "/api/v1/report", 400, `"parameter":"owner"`},
		{"GET", "/api/v1/nothing", 404, "/api/v1/openapi.json"},
		{"GET", "/api/", 404, "/api/v1/openapi.json"},
		{"GET", "/api/v9/top", 404, "/api/v1/openapi.json"},
		{"GET", "/api/v1/verdicts/" + unknown, 404, "no span of this trace"},
		{"POST", "/api/v1/top", 405, "GET, HEAD"},
		{"DELETE", "/api/v1/owners", 405, "GET, HEAD, PUT"},
		{"PUT", "/api/v1/verdicts/" + settled, 405, "GET, HEAD"},
		{"PUT", "/api/v1/owners", 415, "application/json"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		_ = response.Write(&body)
		text := body.String()
		for _, want := range []string{`"type":"about:blank"`, `"title":"` + http.StatusText(c.status) + `"`, `"detail":"`, c.want, "Content-Type: application/problem+json"} {
			if response.StatusCode != c.status || !strings.Contains(text, want) {
				t.Errorf("%s %s: want %d and %s in %s", c.method, c.path, c.status, want, text)
			}
		}
		if c.status == http.StatusMethodNotAllowed && response.Header.Get("Allow") != c.want {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, response.Header.Get("Allow"))
		}
	}
}
