package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/native/nativetest"
	"github.com/whosehop/whosehop/storage/spans"
)

func zstdOf(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func TestZstd(t *testing.T) {
	s := &sink{}
	c := start(t, testConfig(), s)
	if _, err := client(t, c).Export(t.Context(), exportRequest(3), grpc.UseCompressor("zstd")); err != nil {
		t.Error(err)
	}
	body := marshal(t, exportRequest(4))
	if code, _, answer := post(t, c, typeProto, "zstd", bytes.NewReader(zstdOf(t, body))); code != http.StatusOK {
		t.Errorf("%d %q", code, answer)
	}
	if n, _ := s.counts(); n != 7 {
		t.Errorf("%d spans stored, want 7", n)
	}
	bomb := zstdOf(t, make([]byte, 100<<20))
	if code, _, _ := post(t, c, typeProto, "zstd", bytes.NewReader(bomb)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb over HTTP: %d", code)
	}
	if code, _, _ := post(t, c, typeProto, "zstd", bytes.NewReader(body)); code != http.StatusBadRequest {
		t.Errorf("not zstd: %d", code)
	}
	for _, compressor := range []string{"zstd", "gzip"} {
		_, err := client(t, c).Export(t.Context(), exportRequest(100_000), grpc.UseCompressor(compressor))
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a message over the limit in %s: %v", compressor, err)
		}
	}
}

// TestGarbageOverGRPC sends bytes that are no request: the sender must not send them again.
func TestGarbageOverGRPC(t *testing.T) {
	c := start(t, testConfig(), &sink{})
	conn := dial(t, c)
	whole := marshal(t, exportRequest(3))
	for _, body := range [][]byte{[]byte("\xff\xff garbage"), whole[:len(whole)-2]} {
		var answer rawMessage
		err := conn.Invoke(t.Context(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", body, &answer, grpc.ForceCodecV2(codec{}))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "at byte") {
			t.Error(err)
		}
	}
}

func dial(t *testing.T, c *Collector) *grpc.ClientConn {
	t.Helper()
	return dialWith(t, c, nil)
}

func dialWith(t *testing.T, c *Collector, pool *x509.CertPool) *grpc.ClientConn {
	t.Helper()
	creds := credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12})
	if pool == nil {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(c.GRPCAddr(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestConcurrentGRPC has more senders than may send at once.
func TestConcurrentGRPC(t *testing.T) {
	s := &sink{}
	cfg := testConfig()
	cfg.PendingBytesMax, cfg.Linger = 64<<20, 20*time.Millisecond
	c := start(t, cfg, s)
	export := client(t, c)
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			if _, err := export.Export(t.Context(), exportRequest(5)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	n, inserts := s.counts()
	if n != 1000 || inserts > 100 {
		t.Errorf("%d spans in %d inserts, want 1000 in far fewer than 200", n, inserts)
	}
}

// TestBadRequestsHarmNoNeighbours puts them all into one block.
func TestBadRequestsHarmNoNeighbours(t *testing.T) {
	s := &sink{insert: func(_ context.Context, p *native.Packed, _ bool) error {
		for _, name := range nativetest.Words(t, p.Frames, "SpanName") {
			if name != "x" {
				return errors.New("damaged")
			}
		}
		return nil
	}}
	cfg := testConfig()
	cfg.Linger = 100 * time.Millisecond
	c := start(t, cfg, s)
	good := marshal(t, exportRequest(10))
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			body, want := good, http.StatusOK
			if i%2 == 1 {
				body, want = good[:len(good)-i], http.StatusBadRequest
			}
			if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(body)); code != want {
				t.Errorf("answered %d, want %d", code, want)
			}
		})
	}
	group.Wait()
	if n, _ := s.counts(); n != 200 {
		t.Errorf("%d spans stored, want 200", n)
	}
}

// TestAStorageThatHangs: a deadline is no refusal, even if the storage's error does not say so.
func TestAStorageThatHangs(t *testing.T) {
	s := &sink{insert: func(ctx context.Context, _ *native.Packed, _ bool) error { <-ctx.Done(); return ctx.Err() }}
	c := start(t, testConfig(), s)
	post(t, c, typeProto, "", strings.NewReader("")) // once that is answered, it runs
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
	if code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", code)
	}
	if err := c.Ready(t.Context()); err == nil {
		t.Error("ready, and stores nothing")
	}
	s.mu.Lock()
	s.insert = func(context.Context, *native.Packed, bool) error { return nil }
	s.mu.Unlock()
	if code, _, _ = post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1)))); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestARetryStoresOnce(t *testing.T) {
	var mu sync.Mutex
	blocks := make(map[uint64]int)
	tries := 0
	s := &sink{insert: func(_ context.Context, p *native.Packed, again bool) error {
		mu.Lock()
		defer mu.Unlock()
		blocks[p.ID]++
		if tries++; again != (tries > 1) {
			t.Errorf("try %d says again: %v", tries, again)
		}
		if tries < 3 {
			return passing{}
		}
		return nil
	}}
	c := start(t, testConfig(), s)
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1)))); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(blocks) != 1 || tries != 3 {
		t.Errorf("%d tries of %d blocks", tries, len(blocks))
	}
}

func TestACallerMayLeave(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	s := &sink{insert: func(context.Context, *native.Packed, bool) error { close(entered); <-release; return nil }}
	c := start(t, testConfig(), s)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := client(t, c).Export(ctx, exportRequest(2))
		left <- err
	}()
	<-entered
	cancel()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	close(release)
	post(t, c, typeProto, "", strings.NewReader(""))
	c.committer.running.Wait()
	if n, _ := s.counts(); n != 2 {
		t.Errorf("%d spans stored, want 2", n)
	}
}

// TestTheEnd: what is under way is stored and answered, and a storage that hangs is not waited for.
func TestTheEnd(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		entered, release := make(chan struct{}), make(chan struct{})
		s := &sink{insert: func(ctx context.Context, _ *native.Packed, _ bool) error {
			close(entered)
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		cfg := testConfig()
		cfg.DrainTimeout, cfg.InsertTimeout = time.Minute, time.Hour
		if hangs {
			cfg.DrainTimeout = 50 * time.Millisecond
		}
		c, err := New(cfg, s, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		answered := make(chan error, 1)
		go func() {
			_, err := client(t, c).Export(t.Context(), exportRequest(1))
			answered <- err
		}()
		<-entered
		cancel()
		if !hangs {
			close(release)
		}
		if err := <-answered; (err != nil) != hangs {
			t.Errorf("hangs %v: the sender was told %v", hangs, err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("hangs %v: it does not end", hangs)
		}
		if err := c.Ready(t.Context()); err == nil {
			t.Error("ready after the end")
		}
		if left := c.budget.used.Load(); left != 0 {
			t.Errorf("%d bytes are left in the budget", left)
		}
	}
}

// TestAFaultInTheDecoder is told to those who share the block and harms nobody later.
func TestAFaultInTheDecoder(t *testing.T) {
	s := &sink{}
	cfg := testConfig()
	cfg.Linger = time.Second
	c := start(t, cfg, s)
	waits := make(chan int, 1)
	go func() {
		code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
		waits <- code
	}()
	waiting := func() bool {
		c.committer.mu.Lock()
		defer c.committer.mu.Unlock()
		return c.committer.open != nil && c.committer.open.bytes > 0
	}
	for !waiting() {
		time.Sleep(time.Millisecond)
	}
	_, err := c.committer.store(t.Context(), func(*spans.Block) (otlp.Rejected, error) { panic("a fault") })
	if err == nil || !strings.Contains(err.Error(), "a fault") {
		t.Error(err)
	}
	if code := <-waits; code != http.StatusServiceUnavailable {
		t.Errorf("the neighbour was answered %d", code)
	}
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1)))); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
}

// TestRequestsWithoutSpansHoldNothing: an open block without spans is never sent off.
func TestRequestsWithoutSpansHoldNothing(t *testing.T) {
	c := start(t, testConfig(), &sink{})
	r := ptraceotlp.NewExportRequest()
	r.Traces().ResourceSpans().AppendEmpty().Resource().Attributes().PutStr("k", strings.Repeat("v", 1000))
	for range 20 {
		if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, r))); code != http.StatusOK {
			t.Errorf("answered %d", code)
		}
	}
	c.committer.mu.Lock()
	defer c.committer.mu.Unlock()
	if n := c.committer.open.block.Bytes(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestAStalledSender does not keep its turn for ever.
func TestAStalledSender(t *testing.T) {
	c, err := New(testConfig(), &sink{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.receiveTimeout = 50 * time.Millisecond
	run(t, c)
	stream, err := dial(t, c).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true},
		"/opentelemetry.proto.collector.trace.v1.TraceService/Export", grpc.ForceCodecV2(codec{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(rawMessage)); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	if _, err := client(t, c).Export(t.Context(), exportRequest(1)); err != nil {
		t.Error(err)
	}
}

func TestErrorBodiesAreInTheRequestsEncoding(t *testing.T) {
	c := start(t, testConfig(), &sink{})
	for contentType, unmarshal := range map[string]func([]byte, proto.Message) error{typeProto: proto.Unmarshal, typeJSON: protojson.Unmarshal} {
		code, header, body := post(t, c, contentType, "", strings.NewReader("\xff\xff"))
		var said statuspb.Status
		if err := unmarshal(body, &said); err != nil {
			t.Error(err)
		}
		if code != http.StatusBadRequest || header.Get("Content-Type") != contentType || said.Code != int32(codes.InvalidArgument) || said.Message == "" {
			t.Errorf("%d %v %v", code, header, &said)
		}
	}
	_, _, body := post(t, c, typeProto, "", io.MultiReader(bytes.NewReader(make([]byte, 2<<20))))
	var said statuspb.Status
	if err := proto.Unmarshal(body, &said); err != nil || said.Code != int32(codes.ResourceExhausted) {
		t.Errorf("%v %v", err, &said)
	}
}

func TestTLSAndToken(t *testing.T) {
	donor := httptest.NewTLSServer(http.NotFoundHandler())
	donor.Close()
	cert := donor.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := testConfig()
	cfg.Token, cfg.TLSCert, cfg.TLSKey = "s3cret", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		cfg.TLSCert: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, cfg.TLSKey: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, cfg, &sink{})
	pool := x509.NewCertPool()
	pool.AddCert(donor.Certificate())

	conn := dialWith(t, c, pool)
	export := ptraceotlp.NewGRPCClient(conn)
	if _, err := export.Export(t.Context(), exportRequest(1)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v", err)
	}
	with := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer s3cret")
	if _, err := export.Export(with, exportRequest(1)); err != nil {
		t.Errorf("gRPC with the token: %v", err)
	}
	answer, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", answer, err)
	}

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+c.HTTPAddr()+"/v1/traces", bytes.NewReader(marshal(t, exportRequest(1))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeProto)
	r.Header.Set("Authorization", "Bearer s3cret")
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("HTTPS: %d", response.StatusCode)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner)
	l.slots = make(chan struct{}, 1)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("a second connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close()
	second := <-accepted
	_ = l.Close()
	_ = second.Close()
	if _, more := <-accepted; more {
		t.Error("accepted after the end")
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	taken := start(t, testConfig(), &sink{})
	cfg := testConfig()
	cfg.HTTP = taken.HTTPAddr()
	c, err := New(cfg, &sink{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "collector.http") {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", c.GRPCAddr(), time.Second); err == nil {
		t.Error("the other port is left open")
	}
}

func TestMetricsCountSpans(t *testing.T) {
	reg := prometheus.NewRegistry()
	c, err := New(testConfig(), &sink{}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	r := exportRequest(5)
	r.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(2).SetSpanID([8]byte{})
	post(t, c, typeProto, "", bytes.NewReader(marshal(t, r)))
	post(t, c, "text/plain", "", strings.NewReader(""))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := []string{strings.TrimPrefix(f.GetName(), "whosehop_collector_")}
			for _, l := range m.GetLabel() {
				name = append(name, l.GetValue())
			}
			got[strings.Join(name, " ")] = m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"spans_received_total": 5, "spans_stored_total": 4, "spans_rejected_total bad_span_id": 1, "spans_rejected_total bad_trace_id": 0,
		"requests_total ok http": 1, "requests_total refused http": 1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
