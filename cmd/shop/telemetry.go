package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// batchDelay is a tenth of the SDK's: the verdict is waited for.
const batchDelay = 500 * time.Millisecond

// startTelemetry is what every instrumented service does: the SDK, an OTLP exporter, the standard
// environment variables.
func startTelemetry(ctx context.Context, name string, errOut io.Writer) (*sdktrace.TracerProvider, error) {
	otel.SetErrorHandler(onceHandler(name, errOut))
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	var exporter *otlptrace.Exporter
	var err error
	if os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "http/protobuf" {
		exporter, err = otlptracehttp.New(ctx)
	} else {
		exporter, err = otlptracegrpc.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make the exporter: %w", err)
	}
	from, err := resource.New(ctx, resource.WithService(), resource.WithTelemetrySDK(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(batchDelay)), sdktrace.WithResource(from))
	otel.SetTracerProvider(provider)
	return provider, nil
}

// onceHandler says once, for all services, that the spans do not arrive; the shop goes on without.
func onceHandler(name string, errOut io.Writer) otel.ErrorHandler {
	var once sync.Once
	return otel.ErrorHandlerFunc(func(err error) {
		if name != "storefront" {
			return
		}
		once.Do(func() { _, _ = fmt.Fprintf(errOut, "shop: spans are not taken, the shop goes on: %v\n", err) })
	})
}

// faultKey, a dot and the name of a fault is the baggage of a request that carries it.
const faultKey = "shop.fault"

// struck says whether a request carries the fault.
func struck(ctx context.Context, fault string) bool {
	return baggage.FromContext(ctx).Member(faultKey+"."+fault).Value() != ""
}

// fail records an error on the span that is active, as handlers do.
func fail(ctx context.Context, err error) {
	span := trace.SpanFromContext(ctx)
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}

// host is what a service has of the world around it: its own socket, and where the others are, as a
// cluster's DNS knows.
type host struct {
	name      string
	listener  net.Listener
	addresses map[string]string
	out       io.Writer
}

func newHost(name string, out io.Writer) (*host, error) {
	h := &host{name: name, addresses: make(map[string]string), out: out}
	for pair := range strings.SplitSeq(os.Getenv(addressesEnv), ",") {
		name, address, _ := strings.Cut(pair, "=")
		h.addresses[name] = address
	}
	if h.addresses[name] == "" {
		return nil, fmt.Errorf("service %s is started by: shop run", name)
	}
	socket := os.NewFile(listenerFile, "listener")
	defer func() { _ = socket.Close() }()
	var err error
	if h.listener, err = net.FileListener(socket); err != nil {
		return nil, fmt.Errorf("take over the socket of %s: %w", name, err)
	}
	return h, nil
}

// ready tells the supervisor that the service serves.
func (h *host) ready() error {
	if _, err := fmt.Fprintln(h.out, readyLine); err != nil {
		return fmt.Errorf("say that %s is ready: %w", h.name, err)
	}
	return nil
}

// dial finds a service by its name.
func (h *host) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", h.addresses[name])
}

func (h *host) httpClient() *http.Client {
	return &http.Client{Transport: otelhttp.NewTransport(&http.Transport{DialContext: h.dial, MaxIdleConnsPerHost: 20}), Timeout: 5 * time.Second}
}

// plainClient is instrumented by nobody.
func (h *host) plainClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.dial, MaxIdleConnsPerHost: 20}, Timeout: 10 * time.Second}
}

func (h *host) grpcClient(name string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+name+":9090", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return h.dial(ctx, "tcp", address) }))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return conn, nil
}

// routes are the handlers of a service, by method and path.
type routes map[string]http.HandlerFunc

// serveHTTP serves until ctx ends. instrumented is how services are that send spans.
func (h *host) serveHTTP(ctx context.Context, to routes, instrumented bool) error {
	mux := http.NewServeMux()
	for route, handler := range to {
		if instrumented {
			mux.Handle(route, otelhttp.NewHandler(handler, route))
		} else {
			mux.Handle(route, handler)
		}
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(drain)
	})
	if err := h.ready(); err != nil {
		return err
	}
	err := server.Serve(h.listener)
	if !stop() {
		<-drained
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", h.name, err)
	}
	return nil
}
