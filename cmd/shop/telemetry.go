package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// startTelemetry is what every instrumented service does: the SDK, an OTLP exporter, the standard
// environment variables.
func startTelemetry(ctx context.Context) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("make the exporter: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(500*time.Millisecond)))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // the shop goes on when nobody takes its spans
	return provider, nil
}

// struck says whether a request carries the fault.
func struck(ctx context.Context, fault string) bool {
	return baggage.FromContext(ctx).Member("shop.fault").Value() == fault
}

// fail records an error on the span that is active, as handlers do.
func fail(ctx context.Context, err error) {
	span := trace.SpanFromContext(ctx)
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}

// directory knows where services are, as a cluster's DNS does.
type directory map[string]string

func newDirectory() directory {
	d := make(directory)
	for pair := range strings.SplitSeq(os.Getenv(addressesEnv), ",") {
		name, address, _ := strings.Cut(pair, "=")
		d[name] = address
	}
	return d
}

// closedPort is where nothing listens: the port of reserved services is never 1.
const closedPort = "1"

// dial finds a service by its name; at the closed port, nobody.
func (d directory) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	to := d[name]
	if port == closedPort {
		to = "127.0.0.1:" + closedPort
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", to)
}

func (d directory) httpClient() *http.Client {
	return &http.Client{Transport: otelhttp.NewTransport(&http.Transport{DialContext: d.dial, MaxIdleConnsPerHost: 20}), Timeout: 5 * time.Second}
}

// plainClient is instrumented by nobody.
func (d directory) plainClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: d.dial}, Timeout: 10 * time.Second}
}

func (d directory) grpcClient(name string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+name+":9090", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return d.dial(ctx, "tcp", address) }))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return conn, nil
}

// serveHTTP serves until ctx ends. instrumented is how services are that send spans.
func (d directory) serveHTTP(ctx context.Context, name string, mux *http.ServeMux, instrumented bool) error {
	var handler http.Handler = mux
	if instrumented {
		handler = otelhttp.NewHandler(mux, name, otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return r.Method + " " + r.URL.Path
		}))
	}
	server := &http.Server{Addr: d[name], Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(drain)
	})
	defer stop()
	if err := server.ListenAndServe(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	return nil
}
