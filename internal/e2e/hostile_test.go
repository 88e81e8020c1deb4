package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/verdict"
)

func (u *up) send(t *testing.T, d ptrace.Traces) int {
	t.Helper()
	body, err := ptraceotlp.NewExportRequestFromTraces(d).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return u.post(t, body)
}

func (u *up) post(t *testing.T, body []byte) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.otlpHTTP+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// spansOf makes a trace of n spans of as many services as asked for; parent says whose child each is.
func spansOf(trace byte, n, services int, parent func(i int) int) ptrace.Traces {
	d := ptrace.NewTraces()
	now := time.Now()
	id := func(i int) pcommon.SpanID {
		return pcommon.SpanID{9, 4: byte(i >> 24), 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}
	}
	for k := range services {
		rs := d.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", fmt.Sprintf("svc-%04d", k))
		list := rs.ScopeSpans().AppendEmpty().Spans()
		for i := k; i < n; i += services {
			s := list.AppendEmpty()
			s.SetTraceID(pcommon.TraceID{trace, 15: 1})
			s.SetSpanID(id(i))
			if p := parent(i); p >= 0 {
				s.SetParentSpanID(id(p))
			}
			s.SetKind(ptrace.SpanKindServer)
			s.SetName("op")
			s.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Duration(i) * time.Microsecond)))
			s.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Second)))
			s.Status().SetCode(ptrace.StatusCodeError)
		}
	}
	return d
}

// TestHostileInput: a clear answer to everything, no crash, memory within bounds, and service as
// usual afterwards.
func TestHostileInput(t *testing.T) {
	u := startUp(t, t.TempDir(), "--collector-request-bytes-max", "64MiB")
	for name, test := range map[string]struct {
		body []byte
		want int
	}{
		"garbage":   {[]byte(strings.Repeat("\xfe\xff", 1000)), http.StatusBadRequest},
		"truncated": {[]byte{0x0a, 0xff, 0x01, 0x12}, http.StatusBadRequest},
		"100 MB":    {make([]byte, 100<<20), http.StatusRequestEntityTooLarge},
		"nothing":   {nil, http.StatusOK},
	} {
		if got := u.post(t, test.body); got != test.want {
			t.Errorf("%s: answered %d, want %d", name, got, test.want)
		}
	}
	for name, d := range map[string]ptrace.Traces{
		"1,000 services": spansOf(1, 1000, 1000, func(i int) int { return i - 1 }),
		"100,000 spans":  spansOf(2, 100_000, 10, func(i int) int { return (i - 1) / 4 * min(i, 1) }),
		"a cycle":        spansOf(3, 3, 3, func(i int) int { return (i + 1) % 3 }),
		"empty ids":      emptyIDs(),
	} {
		if got := u.send(t, d); got != http.StatusOK {
			t.Errorf("%s: answered %d", name, got)
		}
	}
	for trace, least := range map[byte]int{1: 1000, 2: 10, 3: 3} {
		id := fmt.Sprintf("%02x%028x01", trace, 0)
		deadline := time.Now().Add(40 * time.Second)
		for {
			var v verdict.Verdict
			status := u.get(t, "/api/v1/verdicts/"+id, &v)
			if status == http.StatusOK && !v.Provisional {
				if v.Symptom != verdict.SymptomError || len(v.Shares) == 0 || len(v.Hops) < least {
					t.Errorf("trace %d: %s with %d shares and %d hops", trace, v.Symptom, len(v.Shares), len(v.Hops))
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("trace %d has no settled verdict: %d", trace, status)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	for path, want := range map[string]int{
		"/api/v1/verdicts/nonsense":                      http.StatusBadRequest,
		"/api/v1/verdicts/" + strings.Repeat("ab", 16):   http.StatusNotFound,
		"/api/v1/verdicts?pageSize=100000":               http.StatusBadRequest,
		"/api/v1/verdicts?colour=red":                    http.StatusBadRequest,
		"/api/v1/verdicts?pageToken=!":                   http.StatusBadRequest,
		"/api/v1/top?by=colour":                          http.StatusBadRequest,
		"/api/v1/nothing":                                http.StatusNotFound,
		"/verdicts/" + strings.Repeat("ab", 16):          http.StatusNotFound,
		"/verdicts/02" + strings.Repeat("00", 14) + "01": http.StatusOK,
		"/healthz":                     http.StatusOK,
		"/readyz":                      http.StatusOK,
		"/metrics":                     http.StatusOK,
		"/owners":                      http.StatusOK,
		"/api/v1/openapi.json":         http.StatusOK,
		"/api/v1/attribution?since=1h": http.StatusOK,
	} {
		if got := u.get(t, path, nil); got != want {
			t.Errorf("%s: answered %d, want %d", path, got, want)
		}
	}
	if kb := residentKB(t, u.cmd.Process.Pid); kb > 1<<20 {
		t.Errorf("%d KB of memory are resident", kb)
	}
}

func emptyIDs() ptrace.Traces {
	d := spansOf(4, 3, 1, func(i int) int { return i - 1 })
	list := d.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	list.At(0).SetSpanID(pcommon.SpanID{})
	list.At(1).SetTraceID(pcommon.TraceID{})
	return d
}

func residentKB(t *testing.T, pid int) (kb int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscanf(rest, "%d", &kb)
		}
	}
	return kb
}
