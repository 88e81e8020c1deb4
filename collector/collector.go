package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/whosehop/whosehop/collector/spool"
	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

const (
	drainTimeoutDefault = 10 * time.Second
	// failureFresh is how long an insert that failed makes the collector unready.
	failureFresh = 15 * time.Second
)

// Collector is the OTLP servers and what they share. Listen, then Run.
type Collector struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	committer *committer
	budget    *budget
	turns     chan struct{} // to receive a gRPC message
	jsonTurns chan struct{}
	// receiveTimeout cuts off a gRPC sender that does not get its message through.
	receiveTimeout time.Duration
	tls            *tls.Config
	serving        atomic.Bool

	grpcListener, httpListener net.Listener
	summary                    summary
}

// New checks the configuration and starts nothing.
func New(cfg Config, sink Sink, log *slog.Logger, reg prometheus.Registerer) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = drainTimeoutDefault
	}
	c := &Collector{
		cfg: cfg, log: log, budget: &budget{bytesMax: cfg.PendingBytesMax},
		turns: make(chan struct{}, max(2, cfg.PendingBytesMax/int64(cfg.RequestBytesMax))), jsonTurns: make(chan struct{}, jsonMax),
		receiveTimeout: 30 * time.Second,
	}
	if cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("collector.tls-cert: %w", err)
		}
		c.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	var store *spool.Spool
	if cfg.SpoolDir != "" {
		var err error
		if store, err = spool.Open(cfg.SpoolDir, cfg.SpoolBytesMax, cfg.SpoolAgeMax); err != nil {
			return nil, fmt.Errorf("collector.spool-dir: %w", err)
		}
		if state := store.State(); state.Blocks > 0 {
			log.Info("the spool has blocks of before", "blocks", state.Blocks, "bytes", state.Bytes, "oldest", state.Oldest.Round(time.Second))
		}
	}
	c.metrics = newMetrics(reg, c.budget, store)
	c.committer = newCommitter(&cfg, sink, store, log, c.metrics, c.budget)
	return c, nil
}

// Listen opens the ports, both or none; after it, GRPCAddr and HTTPAddr say which.
func (c *Collector) Listen(ctx context.Context) error {
	var listen net.ListenConfig
	for _, l := range []struct {
		key, address string
		to           *net.Listener
	}{{"collector.grpc", c.cfg.GRPC, &c.grpcListener}, {"collector.http", c.cfg.HTTP, &c.httpListener}} {
		if l.address == "" {
			continue
		}
		listener, err := listen.Listen(ctx, "tcp", l.address)
		if err != nil {
			if c.grpcListener != nil {
				_ = c.grpcListener.Close()
			}
			return fmt.Errorf("%s: %w", l.key, err)
		}
		*l.to = limitConnections(listener)
	}
	return nil
}

// GRPCAddr is where OTLP/gRPC is received, empty for nowhere.
func (c *Collector) GRPCAddr() string { return address(c.grpcListener) }

// HTTPAddr is where OTLP/HTTP is received, empty for nowhere.
func (c *Collector) HTTPAddr() string { return address(c.httpListener) }

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// Ready says why spans would not be stored at the moment, nil if nothing is known against it.
func (c *Collector) Ready(context.Context) error {
	if !c.serving.Load() {
		return errors.New("the collector is not receiving")
	}
	lanes := c.committer.lanes()
	if lanes == nil {
		return errors.New("ClickHouse has not been reached since the start: on which shards traces lie is not known")
	}
	for _, l := range lanes.list {
		if err := c.laneReady(l); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) laneReady(l *lane) error {
	if store := c.committer.spool; store != nil {
		if _, full := store.StateOf(l.shard); full && l.away.Load() {
			state := store.State()
			return fmt.Errorf("%s is away and the spool is full (%d bytes, the oldest %s old)", l.name, state.Bytes, state.Oldest.Round(time.Second))
		}
		return nil
	}
	// An old failure says nothing: without senders, there is no later try that could clear it.
	if f := l.failed.Load(); f != nil && time.Since(f.at) < failureFresh {
		return fmt.Errorf("the last block could not be stored: %w", f.err)
	}
	return nil
}

// Run serves until ctx ends; then it accepts nothing more, stores what it has and answers for it, for
// no longer than the configured time to drain. It is called once, after Listen.
func (c *Collector) Run(ctx context.Context) error {
	c.serving.Store(true)
	group, ctx := errgroup.WithContext(ctx)
	stopping := context.WithoutCancel(ctx)
	if c.grpcListener != nil {
		server, alive := c.newGRPC()
		group.Go(func() error {
			if err := server.Serve(c.grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve OTLP/gRPC: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			alive.Shutdown()
			late := time.AfterFunc(c.cfg.DrainTimeout, server.Stop)
			defer late.Stop()
			server.GracefulStop()
			return nil
		})
	}
	if c.httpListener != nil {
		server := c.newHTTP()
		listener := c.httpListener
		if c.tls != nil {
			listener = tls.NewListener(listener, c.tls)
		}
		group.Go(func() error {
			if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve OTLP/HTTP: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			stop, cancel := context.WithTimeout(stopping, c.cfg.DrainTimeout)
			defer cancel()
			if err := server.Shutdown(stop); err != nil {
				_ = server.Close()
			}
			return nil
		})
	}
	if c.committer.spool != nil {
		group.Go(func() error {
			c.committer.drainSpool(ctx)
			return nil
		})
	}
	var deadline time.Time
	group.Go(func() error {
		c.report(ctx)
		c.serving.Store(false)
		deadline = time.Now().Add(c.cfg.DrainTimeout)
		return nil
	})
	err := group.Wait()
	c.committer.drain(deadline)
	if store := c.committer.spool; store != nil {
		err = errors.Join(err, store.Close())
	}
	c.summarize()
	return err
}

// count puts the outcome of one request into metrics and summary.
func (c *Collector) count(transport string, rejected otlp.Rejected, err error) {
	c.metrics.rejected.WithLabelValues("bad_trace_id").Add(float64(rejected.BadTraceID))
	c.metrics.rejected.WithLabelValues("bad_span_id").Add(float64(rejected.BadSpanID))
	c.metrics.rejected.WithLabelValues("bad_parent_id").Add(float64(rejected.BadParentID))
	c.metrics.requests.WithLabelValues(transport, outcomeName(err)).Inc()
	c.summary.add(rejected.Total(), err)
}

func outcomeName(err error) string {
	var known *refusal
	var receive receiveError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errOverloaded):
		return "overloaded"
	case errors.Is(err, errUnavailable):
		return "unavailable"
	case isBadRequest(err):
		return "bad_request"
	case errors.As(err, &known):
		return "refused"
	case errors.As(err, &receive):
		return "not_received"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	}
	return "error"
}

// badRequest marks an error of the sender's.
type badRequest struct{ err error }

func (e badRequest) Error() string { return e.err.Error() }
func (e badRequest) Unwrap() error { return e.err }

func isBadRequest(err error) bool {
	var bad badRequest
	return errors.As(err, &bad)
}

func decodeProto(body []byte, b *spans.Block) (otlp.Rejected, error) {
	rejected, err := otlp.Decode(body, b)
	if err != nil {
		return rejected, badRequest{err}
	}
	return rejected, nil
}

// summary is what the log says once a minute.
type summary struct {
	mu                         sync.Mutex
	requests, rejected, failed int
	lastError                  error
}

func (s *summary) add(rejected int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.rejected += rejected
	if err != nil {
		s.failed++
		s.lastError = err
	}
}

func (c *Collector) report(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.summarize()
		}
	}
}

// summarize logs what came in since it did so last, and what waits in the spool.
func (c *Collector) summarize() {
	s := &c.summary
	s.mu.Lock()
	requests, rejected, failed, last := s.requests, s.rejected, s.failed, s.lastError
	s.requests, s.rejected, s.failed, s.lastError = 0, 0, 0, nil
	s.mu.Unlock()
	said := []any{"requests", requests, "spans_rejected", rejected, "spans_stored", c.committer.storedSpans.Swap(0)}
	waiting := 0
	if store := c.committer.spool; store != nil {
		state := store.State()
		waiting = state.Blocks
		said = append(said, "spans_spooled", c.committer.spooledSpans.Swap(0), "spool_bytes", state.Bytes, "spool_oldest", state.Oldest.Round(time.Second))
	}
	switch {
	case failed > 0:
		c.log.Warn("received", append(said, "failed", failed, "last_error", last)...)
	case requests > 0 || waiting > 0:
		c.log.Info("received", said...)
	}
}
