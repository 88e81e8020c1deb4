package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// children lists the processes whose parent is pid.
func children(t *testing.T, pid int) (list []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if parent, _ := strconv.Atoi(fields[1]); parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			list = append(list, child)
		}
	}
	return list
}

// sender sends failing traces of two spans each, one a request, and remembers which were acknowledged.
type sender struct {
	url   atomic.Pointer[string]
	next  atomic.Uint64
	mu    sync.Mutex
	acked []string
}

func (s *sender) run(ctx context.Context) {
	client := &http.Client{Timeout: 20 * time.Second}
	for ctx.Err() == nil {
		n := s.next.Add(1)
		body, id := failingTrace(n)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, *s.url.Load()+"/v1/traces", bytes.NewReader(body))
		if err != nil {
			return
		}
		request.Header.Set("Content-Type", "application/x-protobuf")
		response, err := client.Do(request)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			s.mu.Lock()
			s.acked = append(s.acked, id)
			s.mu.Unlock()
		}
	}
}

func failingTrace(n uint64) (body []byte, traceID string) { return failingTraceAt(n, time.Now()) }

func failingTraceAt(n uint64, at time.Time) (body []byte, traceID string) {
	d := ptrace.NewTraces()
	rs := d.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "victim")
	list := rs.ScopeSpans().AppendEmpty().Spans()
	id := pcommon.TraceID{0xc, 8: byte(n >> 56), 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
	for i := range 2 {
		s := list.AppendEmpty()
		s.SetTraceID(id)
		s.SetSpanID(pcommon.SpanID{1, 7: byte(i + 1)})
		s.SetKind(ptrace.SpanKindServer)
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Millisecond)))
		s.Status().SetCode(ptrace.StatusCodeError)
		if i > 0 {
			s.SetParentSpanID(pcommon.SpanID{1, 7: 1})
		}
	}
	body, _ = ptraceotlp.NewExportRequestFromTraces(d).MarshalProto()
	return body, fmt.Sprintf("%x", id[:])
}

// TestKillsLoseNothing kills ClickHouse, then everything, in the middle of load. Afterwards every
// acknowledged span is there, once, and every failing trace has one current verdict.
func TestKillsLoseNothing(t *testing.T) {
	dir := t.TempDir()
	u := startUp(t, dir)
	s := &sender{}
	s.url.Store(&u.otlpHTTP)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { s.run(ctx) })
	}
	for range 2 {
		time.Sleep(2 * time.Second)
		kids := children(t, u.cmd.Process.Pid)
		if len(kids) != 1 {
			t.Fatalf("whosehop has the children %v, want ClickHouse alone", kids)
		}
		if err := syscall.Kill(kids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second)
	kids := children(t, u.cmd.Process.Pid)
	u.mayEnd = true
	if err := u.cmd.Process.Kill(); err != nil { // collector, analyzer and query, at once
		t.Fatal(err)
	}
	<-u.exited
	deadline := time.Now().Add(10 * time.Second)
	for _, kid := range kids {
		for syscall.Kill(kid, 0) == nil {
			if time.Now().After(deadline) {
				t.Fatal("ClickHouse outlived its parent")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	u = startUp(t, dir)
	s.url.Store(&u.otlpHTTP)
	time.Sleep(2 * time.Second)
	cancel()
	group.Wait()

	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	if len(acked) < 100 {
		t.Fatalf("only %d requests were acknowledged", len(acked))
	}
	t.Logf("%d requests of %d were acknowledged", len(acked), s.next.Load())
	if n := u.count(t, "SELECT count() FROM (SELECT TraceId, SpanId, count() AS c FROM otel_traces GROUP BY TraceId, SpanId HAVING c > 1)"); n != 0 {
		t.Errorf("%d spans are stored more than once", n)
	}
	missing := 0
	for from := 0; from < len(acked); from += 1000 {
		part := acked[from:min(from+1000, len(acked))]
		n := u.count(t, "SELECT count() FROM otel_traces WHERE TraceId IN (?)", part)
		missing += 2*len(part) - int(n)
	}
	if missing != 0 {
		t.Errorf("%d acknowledged spans are missing", missing)
	}
	deadline = time.Now().Add(40 * time.Second)
	for {
		traces := u.count(t, "SELECT uniqExact(TraceId) FROM otel_traces")
		judged := u.count(t, "SELECT count() FROM verdicts FINAL WHERE length(Entries.Service) = 1 AND SpanRows = 2")
		if traces == judged {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d traces, %d current verdicts", traces, judged)
		}
		time.Sleep(time.Second)
	}
}
