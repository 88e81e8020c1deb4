package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// outcome is what a sender was told.
type outcome uint8

const (
	unanswered outcome = iota
	refused
	acknowledged
)

// request is what became of one request, which has the spans from to to, without to.
type request struct {
	from, to       uint64
	sent, answered time.Time
	wire           string
	outcome        outcome
}

func (r *request) String() string {
	return fmt.Sprintf("%s request with spans %d to %d, sent %s, answered %s", r.wire, r.from, r.to-1, r.sent.Format(clock), r.answered.Format(clock))
}

const clock = "15:04:05.000"

// book is what was sent and what was answered.
type book struct {
	story
	mu       sync.Mutex
	next     uint64
	requests []request
	counts   [acknowledged + 1]int
	// exhausted are the refusals that say that there is no room, not that the storage is away.
	exhausted int
	// wrong are answers that a sender must not get, and how often.
	wrong map[string]int
}

func newBook(seed uint32) *book {
	return &book{story: story{seed: seed, begin: time.Now()}, wrong: make(map[string]int)}
}

func (b *book) take(spans uint64) (from, to uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from = b.next
	b.next += spans
	return from, b.next
}

func (b *book) add(r request, a answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.outcome, r.answered = a.outcome, time.Now()
	b.requests = append(b.requests, r)
	b.counts[a.outcome]++
	if a.exhausted {
		b.exhausted++
	}
	if a.wrong != "" {
		b.wrong[r.wire+": "+a.wrong]++
	}
}

// tally is how many requests there were.
type tally struct{ acknowledged, refused, exhausted, unanswered int }

func (b *book) tally() tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	return tally{b.counts[acknowledged], b.counts[refused], b.exhausted, b.counts[unanswered]}
}

type answer struct {
	outcome   outcome
	exhausted bool
	wrong     string
}

// send is one way to send a request.
type send func(ptraceotlp.ExportRequest) answer

const (
	senders        = 12
	requestTimeout = 30 * time.Second
)

// load is senders at work.
type load struct {
	stopping atomic.Bool
	group    sync.WaitGroup
	closers  []func()
}

// startLoad has half of the senders send by gRPC and half by HTTP. What was not acknowledged is not sent
// again: a sender's second try is another request, and both may be stored.
func startLoad(t *testing.T, b *book, at addresses, size func(*rand.Rand) uint64) *load {
	t.Helper()
	l := &load{}
	t.Cleanup(l.stop)
	for i := range senders {
		rng := rand.New(rand.NewPCG(uint64(b.seed), uint64(i)))
		var (
			wire   string
			do     send
			closer func()
		)
		if i%2 == 0 {
			conn, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
				// By default it would be away for longer than the collector is.
				Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 300 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
			}))
			if err != nil {
				t.Fatal(err)
			}
			wire, do, closer = "grpc", byGRPC(ptraceotlp.NewGRPCClient(conn)), func() { _ = conn.Close() }
		} else {
			transport := &http.Transport{}
			wire, do, closer = "http", byHTTP(&http.Client{Transport: transport, Timeout: requestTimeout}, "http://"+at.http+"/v1/traces"), transport.CloseIdleConnections
		}
		l.closers = append(l.closers, closer)
		l.group.Go(func() {
			for !l.stopping.Load() {
				from, to := b.take(size(rng))
				r := request{from: from, to: to, sent: time.Now(), wire: wire}
				a := do(ptraceotlp.NewExportRequestFromTraces(b.traces(from, to)))
				b.add(r, a)
				if a.outcome != acknowledged {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	return l
}

// stop returns when all requests under way have been answered or given up.
func (l *load) stop() {
	if l.stopping.Swap(true) {
		return
	}
	l.group.Wait()
	for _, closer := range l.closers {
		closer()
	}
}

// mixedSizes are what SDKs send, and now and then a Collector.
func mixedSizes(rng *rand.Rand) uint64 {
	switch p := rng.IntN(10); {
	case p < 6:
		return 1 + rng.Uint64N(20)
	case p < 9:
		return 20 + rng.Uint64N(130)
	default:
		return 150 + rng.Uint64N(351)
	}
}

// largeSizes fill a spool soon.
func largeSizes(rng *rand.Rand) uint64 { return 400 + rng.Uint64N(101) }

func byGRPC(client ptraceotlp.GRPCClient) send {
	return func(r ptraceotlp.ExportRequest) answer {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		response, err := client.Export(ctx, r)
		if err == nil {
			if n := response.PartialSuccess().RejectedSpans(); n > 0 {
				return answer{wrong: "spans were left out: " + response.PartialSuccess().ErrorMessage()}
			}
			return answer{outcome: acknowledged}
		}
		said := status.Convert(err)
		retry := false
		for _, detail := range said.Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > 0 {
				retry = true
			}
		}
		switch {
		case retry && (said.Code() == codes.ResourceExhausted || said.Code() == codes.Unavailable):
			return answer{outcome: refused, exhausted: said.Code() == codes.ResourceExhausted}
		case said.Code() == codes.Unavailable: // the client's own word for a connection that broke
			return answer{}
		}
		return answer{wrong: err.Error()}
	}
}

func byHTTP(client *http.Client, url string) send {
	return func(r ptraceotlp.ExportRequest) answer {
		body, err := r.MarshalProto()
		if err != nil {
			return answer{wrong: err.Error()}
		}
		response, err := client.Post(url, "application/x-protobuf", bytes.NewReader(body))
		if err != nil {
			return answer{wrong: timedOut(err)}
		}
		defer func() { _ = response.Body.Close() }()
		body, err = io.ReadAll(response.Body)
		if err != nil {
			return answer{wrong: timedOut(err)}
		}
		switch code := response.StatusCode; {
		case code == http.StatusOK:
			said := ptraceotlp.NewExportResponse()
			if err := said.UnmarshalProto(body); err != nil || said.PartialSuccess().RejectedSpans() > 0 {
				return answer{wrong: fmt.Sprintf("spans were left out: %s (%v)", said.PartialSuccess().ErrorMessage(), err)}
			}
			return answer{outcome: acknowledged}
		case (code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable) && response.Header.Get("Retry-After") != "":
			return answer{outcome: refused, exhausted: code == http.StatusTooManyRequests}
		}
		return answer{wrong: fmt.Sprintf("%s, Retry-After %q: %.100q", response.Status, response.Header.Get("Retry-After"), body)}
	}
}

// timedOut tells a collector that hangs from one that has gone.
func timedOut(err error) string {
	var passing interface{ Timeout() bool }
	if errors.As(err, &passing) && passing.Timeout() {
		return "no answer within " + requestTimeout.String()
	}
	return ""
}
