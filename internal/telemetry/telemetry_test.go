package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNewLogger(t *testing.T) {
	for _, test := range []struct{ level, format, want string }{
		{"info", "text", "msg=hello trace_count=3"},
		{"debug", "json", `"msg":"hello","trace_count":3`},
		{"WARN", "text", ""},
	} {
		var out strings.Builder
		log, err := NewLogger(&out, test.level, test.format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello", "trace_count", 3)
		if got := out.String(); !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("%s, %s: %q", test.level, test.format, got)
		}
	}
	for _, test := range []struct{ level, format, key string }{{"loud", "text", "log.level"}, {"info", "xml", "log.format"}} {
		if _, err := NewLogger(nil, test.level, test.format); err == nil || !strings.Contains(err.Error(), test.key) {
			t.Errorf("%s, %s: %v", test.level, test.format, err)
		}
	}
}

func TestHandle(t *testing.T) {
	var unready error
	mux := http.NewServeMux()
	Handle(mux, func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the question has no deadline")
		}
		return unready
	}, NewRegistry(), func() string { return "three traces are due" })
	expect := func(path string, code int, part string) {
		t.Helper()
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		if recorder.Code != code || !strings.Contains(recorder.Body.String(), part) {
			t.Errorf("%s: %d %.200s", path, recorder.Code, recorder.Body)
		}
	}
	expect("/healthz", http.StatusOK, "ok")
	expect("/readyz", http.StatusOK, "ok\nthree traces are due\n")
	expect("/metrics", http.StatusOK, "go_goroutines")
	expect("/metrics", http.StatusOK, "process_open_fds")
	unready = errors.New("clickhouse is away")
	expect("/readyz", http.StatusServiceUnavailable, "clickhouse is away")
	expect("/healthz", http.StatusOK, "ok")
}
