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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// drainTimeout bounds how long requests that are under way are waited for when the collector stops.
const drainTimeout = 10 * time.Second

// Collector is the OTLP servers and what they share. Listen, then Run.
type Collector struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	committer *committer
	tls       *tls.Config

	grpcListener, httpListener net.Listener
	summary                    summary
}

// New checks the configuration and starts nothing.
func New(cfg Config, sink Sink, log *slog.Logger, reg prometheus.Registerer) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Collector{cfg: cfg, log: log, metrics: newMetrics(reg)}
	if cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("collector.tls-cert: %w", err)
		}
		c.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	c.committer = &committer{
		sink: sink, log: log, metrics: c.metrics, linger: cfg.Linger, insertTimeout: cfg.InsertTimeout, bytesMax: cfg.PendingBytesMax,
	}
	return c, nil
}

// Listen opens the ports; after it, GRPCAddr and HTTPAddr say which.
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
			return fmt.Errorf("%s: %w", l.key, err)
		}
		*l.to = listener
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

// Run serves until ctx ends; then it accepts nothing more, stores what it has and answers for it.
func (c *Collector) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if c.grpcListener != nil {
		server := c.newGRPC()
		group.Go(func() error {
			if err := server.Serve(c.grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve OTLP/gRPC: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			stopGRPC(server)
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
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
			defer cancel()
			if err := server.Shutdown(stop); err != nil {
				_ = server.Close()
			}
			return nil
		})
	}
	group.Go(func() error {
		c.summary.report(ctx, c.log)
		return nil
	})
	err := group.Wait()
	c.committer.drain()
	return err
}

// stopGRPC lets requests finish, for a while.
func stopGRPC(server *grpc.Server) {
	timer := time.AfterFunc(drainTimeout, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

// export stores one request, of whatever transport.
func (c *Collector) export(ctx context.Context, transport string, body []byte, decode func([]byte, *spans.Block) (otlp.Rejected, error)) (otlp.Rejected, error) {
	rejected, err := c.committer.store(ctx, len(body), func(b *spans.Block) (otlp.Rejected, error) { return decode(body, b) })
	c.metrics.rejected.WithLabelValues("bad_trace_id").Add(float64(rejected.BadTraceID))
	c.metrics.rejected.WithLabelValues("bad_span_id").Add(float64(rejected.BadSpanID))
	c.metrics.requests.WithLabelValues(transport, outcomeName(err)).Inc()
	c.summary.add(rejected.Total(), err)
	return rejected, err
}

func outcomeName(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errOverloaded):
		return "overloaded"
	case errors.Is(err, errUnavailable):
		return "unavailable"
	case isBadRequest(err):
		return "bad_request"
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

func decodeJSON(body []byte, b *spans.Block) (otlp.Rejected, error) {
	rejected, err := otlp.DecodeJSON(body, b)
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

func (s *summary) report(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		requests, rejected, failed, last := s.requests, s.rejected, s.failed, s.lastError
		s.requests, s.rejected, s.failed, s.lastError = 0, 0, 0, nil
		s.mu.Unlock()
		switch {
		case failed > 0:
			log.Warn("received", "requests", requests, "failed", failed, "spans_rejected", rejected, "last_error", last)
		case requests > 0:
			log.Info("received", "requests", requests, "spans_rejected", rejected)
		}
	}
}
