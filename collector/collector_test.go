package collector

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/storage/native"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a storage with faults to order.
type sink struct {
	insert func(ctx context.Context, p *native.Packed, again bool) error
	// shards are one if it is nil.
	shards func() *native.Shards

	mu      sync.Mutex
	spans   int
	inserts int
}

func (s *sink) InsertBlock(ctx context.Context, p *native.Packed, again bool) error {
	s.mu.Lock()
	insert := s.insert
	s.mu.Unlock()
	if insert != nil {
		if err := insert(ctx, p, again); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans += p.Rows
	s.inserts++
	return nil
}

func (s *sink) Shards() *native.Shards {
	if s.shards != nil {
		return s.shards()
	}
	return native.NewShards([]uint32{1})
}

func (s *sink) counts() (spans, inserts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spans, s.inserts
}

type passing struct{}

func (passing) Error() string   { return "away" }
func (passing) Retryable() bool { return true }

func testConfig() Config {
	return Config{
		GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", RequestBytesMax: 1 << 20, PendingBytesMax: 4 << 20,
		Linger: 5 * time.Millisecond, InsertTimeout: time.Second,
	}
}

func start(t *testing.T, cfg Config, s *sink) *Collector {
	t.Helper()
	c, err := New(cfg, s, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	return c
}

// run runs a collector until the test ends.
func run(t *testing.T, c *Collector) {
	t.Helper()
	if err := c.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left := c.budget.used.Load(); left != 0 {
			t.Errorf("%d bytes are in the budget after the end", left)
		}
	})
}

func exportRequest(n int) ptraceotlp.ExportRequest {
	d := ptrace.NewTraces()
	list := d.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range n {
		s := list.AppendEmpty()
		s.SetTraceID(pcommon.TraceID{1, 15: byte(i)})
		s.SetSpanID(pcommon.SpanID{1, 6: byte(i >> 8), 7: byte(i)})
		s.SetName("x")
	}
	return ptraceotlp.NewExportRequestFromTraces(d)
}

func client(t *testing.T, c *Collector) ptraceotlp.GRPCClient {
	t.Helper()
	return ptraceotlp.NewGRPCClient(dial(t, c))
}

func post(t *testing.T, c *Collector, contentType, encoding string, body io.Reader, edit ...func(*http.Request)) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.HTTPAddr()+"/v1/traces", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	for _, e := range edit {
		e(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, answer
}

func marshal(t *testing.T, r ptraceotlp.ExportRequest) []byte {
	t.Helper()
	b, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSDKExporters(t *testing.T) {
	s := &sink{}
	c := start(t, testConfig(), s)
	grpcExporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(c.GRPCAddr()), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip"))
	if err != nil {
		t.Fatal(err)
	}
	httpExporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(c.HTTPAddr()), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		t.Fatal(err)
	}
	for _, exporter := range []*otlptrace.Exporter{grpcExporter, httpExporter} {
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
		for range 100 {
			_, span := provider.Tracer("test").Start(t.Context(), "work")
			span.End()
		}
		if err := provider.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := s.counts(); n != 200 {
		t.Errorf("%d spans stored, want 200", n)
	}
}

func TestConcurrentRequestsShareBlocks(t *testing.T) {
	release := make(chan struct{})
	s := &sink{insert: func(context.Context, *native.Packed, bool) error { <-release; return nil }}
	cfg := testConfig()
	cfg.Linger = 0
	c := start(t, cfg, s)
	body := marshal(t, exportRequest(10))
	var group sync.WaitGroup
	var answered sync.Map
	for i := range 50 {
		group.Go(func() {
			code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body))
			answered.Store(i, code)
		})
	}
	time.Sleep(100 * time.Millisecond) // time in which wrong answers would come
	answered.Range(func(k, v any) bool { t.Errorf("request %v was answered %v before it was stored", k, v); return true })
	close(release)
	group.Wait()
	n, inserts := s.counts()
	if n != 500 || inserts > 5 {
		t.Errorf("%d spans in %d inserts, want 500 in a few", n, inserts)
	}
	answered.Range(func(_, v any) bool {
		if v != http.StatusOK {
			t.Errorf("answered %v", v)
		}
		return true
	})
}

func TestPartialSuccess(t *testing.T) {
	s := &sink{}
	c := start(t, testConfig(), s)
	r := exportRequest(5)
	r.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(2).SetTraceID(pcommon.TraceID{})
	response, err := client(t, c).Export(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if p := response.PartialSuccess(); p.RejectedSpans() != 1 || !strings.Contains(p.ErrorMessage(), "1 with a trace id") {
		t.Errorf("%d %q", p.RejectedSpans(), p.ErrorMessage())
	}
	if n, _ := s.counts(); n != 4 {
		t.Errorf("%d neighbours stored, want 4", n)
	}
	code, _, answer := post(t, c, typeJSON, "", strings.NewReader(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00","spanId":"01"}]}]}]}`))
	if code != http.StatusOK || !strings.Contains(string(answer), `"rejectedSpans":"1"`) {
		t.Errorf("%d %s", code, answer)
	}
}

func TestErrorsByTransport(t *testing.T) {
	for _, test := range []struct {
		name string
		fail error
		grpc codes.Code
		http int
		wait bool
	}{
		{"away", passing{}, codes.Unavailable, http.StatusServiceUnavailable, true},
		{"refused", errors.New("secret detail"), codes.Internal, http.StatusInternalServerError, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			blocks := make(map[uint64]int)
			var mu sync.Mutex
			s := &sink{insert: func(_ context.Context, p *native.Packed, _ bool) error {
				mu.Lock()
				defer mu.Unlock()
				blocks[p.ID]++
				return test.fail
			}}
			c := start(t, testConfig(), s)
			_, err := client(t, c).Export(t.Context(), exportRequest(1))
			st := status.Convert(err)
			hasDelay := hasRetryInfo(err)
			if st.Code() != test.grpc || hasDelay != test.wait || strings.Contains(st.Message(), "secret") {
				t.Errorf("gRPC: %v, RetryInfo %v", err, hasDelay)
			}
			code, header, body := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
			if code != test.http || (header.Get("Retry-After") != "") != test.wait || strings.Contains(string(body), "secret") {
				t.Errorf("HTTP: %d, Retry-After %q, %q", code, header.Get("Retry-After"), body)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(blocks) != 2 {
				t.Errorf("two requests were in %d blocks", len(blocks))
			}
			for _, tries := range blocks {
				if (tries > 1) != test.wait {
					t.Errorf("tried %d times", tries)
				}
			}
		})
	}
}

func TestTooMuchPending(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	s := &sink{insert: func(context.Context, *native.Packed, bool) error { close(entered); <-release; return nil }}
	cfg := testConfig()
	body := marshal(t, exportRequest(20_000))
	cfg.RequestBytesMax = len(body)
	cfg.PendingBytesMax = int64(len(body)) // what is packed takes some of it
	c := start(t, cfg, s)
	first := make(chan int, 1)
	go func() {
		code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body))
		first <- code
	}()
	<-entered
	for range 3 {
		code, header, _ := post(t, c, typeProto, "", bytes.NewReader(body))
		if code != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
			t.Errorf("HTTP: %d, Retry-After %q", code, header.Get("Retry-After"))
		}
		_, err := client(t, c).Export(t.Context(), exportRequest(20_000))
		if status.Code(err) != codes.ResourceExhausted || !hasRetryInfo(err) {
			t.Errorf("gRPC: %v", err)
		}
	}
	close(release)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first was answered %d", code)
	}
	if n, _ := s.counts(); n != 20_000 {
		t.Errorf("%d spans stored", n)
	}
}

func hasRetryInfo(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if _, ok := d.(*errdetails.RetryInfo); ok {
			return true
		}
	}
	return false
}

func TestBadInput(t *testing.T) {
	c := start(t, testConfig(), &sink{})
	whole := marshal(t, exportRequest(3))
	gzipped := func(b []byte) io.Reader {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return &out
	}
	for _, test := range []struct {
		name, contentType, encoding string
		body                        io.Reader
		want                        int
	}{
		{"garbage", typeProto, "", strings.NewReader("\xff\xff\xff garbage"), 400},
		{"cut", typeProto, "", bytes.NewReader(whole[:len(whole)-3]), 400},
		{"not JSON", typeJSON, "", strings.NewReader("{{{"), 400},
		{"not gzip", typeProto, "gzip", bytes.NewReader(whole), 400},
		{"gzip", typeProto, "gzip", gzipped(whole), 200},
		{"other type", "text/plain", "", bytes.NewReader(whole), 415},
		{"other encoding", typeProto, "br", bytes.NewReader(whole), 415},
		{"100 MB", typeProto, "", bytes.NewReader(make([]byte, 100<<20)), 413},
		{"100 MB without a length", typeProto, "", io.MultiReader(bytes.NewReader(make([]byte, 100<<20))), 413},
		{"a bomb", typeProto, "gzip", gzipped(make([]byte, 100<<20)), 413},
		{"nothing", typeProto, "", strings.NewReader(""), 200},
	} {
		code, _, answer := post(t, c, test.contentType, test.encoding, test.body)
		if code != test.want {
			t.Errorf("%s: %d %q, want %d", test.name, code, answer, test.want)
		}
	}
	response, err := http.Get("http://" + c.HTTPAddr() + "/v1/traces")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", response.StatusCode)
	}
	_, err = client(t, c).Export(t.Context(), exportRequest(100_000))
	if code := status.Code(err); code != codes.ResourceExhausted || hasRetryInfo(err) {
		t.Errorf("a message over the limit: %v", err)
	}
}

func TestToken(t *testing.T) {
	cfg := testConfig()
	cfg.Token = "s3cret"
	c := start(t, cfg, &sink{})
	body := marshal(t, exportRequest(1))
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body)); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", code)
	}
	with := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body), with("wrong")); code != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d", code)
	}
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body), with("s3cret")); code != http.StatusOK {
		t.Errorf("with the token: %d", code)
	}
	if _, err := client(t, c).Export(t.Context(), exportRequest(1)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v", err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"collector.grpc":              func(c *Config) { c.GRPC = "nonsense" },
		"collector.request-bytes-max": func(c *Config) { c.RequestBytesMax = 0 },
		"collector.pending-bytes-max": func(c *Config) { c.PendingBytesMax = 1 },
		"collector.linger":            func(c *Config) { c.Linger = time.Hour },
		"collector.insert-timeout":    func(c *Config) { c.InsertTimeout = 0 },
		"collector.drain-timeout":     func(c *Config) { c.DrainTimeout = -1 },
		"collector.tls-cert":          func(c *Config) { c.TLSKey = "x" },
	} {
		cfg := testConfig()
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, fmt.Sprint(err))
		}
	}
}
