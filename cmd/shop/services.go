package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	_ "modernc.org/sqlite" // the database of inventory
)

// serviceNames are all processes: storefront calls recommendations and checkout; checkout calls
// pricing, inventory, shipping and payments and sends mail through the broker; payments calls the
// bank. The bank and the broker send no spans.
var serviceNames = []string{"storefront", "recommendations", "checkout", "pricing", "inventory", "shipping", "payments", "mailer", "bank", "broker"}

// runService runs one service until ctx ends.
func runService(ctx context.Context, name string) error {
	d := newDirectory()
	switch name {
	case "bank":
		return runBank(ctx, d)
	case "broker":
		return runBroker(ctx, d)
	}
	provider, err := startTelemetry(ctx)
	if err != nil {
		return err
	}
	defer func() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = provider.Shutdown(flush)
	}()
	switch name {
	case "storefront":
		return runStorefront(ctx, d)
	case "recommendations":
		return runRecommendations(ctx, d)
	case "checkout":
		return runCheckout(ctx, d)
	case "pricing":
		return serveGRPC(ctx, d[name], "shop.Pricing", "Quote", quote)
	case "inventory":
		return runInventory(ctx, d)
	case "shipping":
		return runShipping(ctx, d)
	case "payments":
		return runPayments(ctx, d, provider)
	case "mailer":
		return runMailer(ctx, d)
	}
	return fmt.Errorf("there is no service %q", name)
}

// call asks over HTTP and makes an error of every answer that is none.
func call(ctx context.Context, client *http.Client, method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode >= 400 {
		return answer, &statusError{method + " " + url, response.StatusCode}
	}
	return answer, nil
}

type statusError struct {
	what string
	code int
}

func (e *statusError) Error() string { return fmt.Sprintf("%s answered %d", e.what, e.code) }

// refuse answers a request with an error, and records it.
func refuse(ctx context.Context, w http.ResponseWriter, code int, err error) {
	fail(ctx, err)
	http.Error(w, err.Error(), code)
}

func runStorefront(ctx context.Context, d directory) error {
	client := d.httpClient()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkout", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		also, err := call(ctx, client, http.MethodGet, "http://recommendations:8080/recommendations", nil)
		if err != nil {
			also = nil // a page without recommendations is a page
		}
		answer, err := call(ctx, client, http.MethodPost, "http://checkout:8080/orders", []byte(`{"item":"tea","quantity":2}`))
		if err != nil {
			refuse(ctx, w, http.StatusBadGateway, err)
			return
		}
		_, _ = w.Write(append(answer, also...))
	})
	return d.serveHTTP(ctx, "storefront", mux, true)
}

func runRecommendations(ctx context.Context, d directory) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /recommendations", func(w http.ResponseWriter, r *http.Request) {
		if struck(r.Context(), "masked-error") {
			refuse(r.Context(), w, http.StatusInternalServerError, errors.New("the model has no features"))
			return
		}
		time.Sleep(3 * time.Millisecond)
		_, _ = io.WriteString(w, "cups")
	})
	return d.serveHTTP(ctx, "recommendations", mux, true)
}

// checkout is the service that most faults pass through.
type checkout struct {
	http               *http.Client
	plain              *http.Client
	pricing, inventory *grpc.ClientConn
}

func runCheckout(ctx context.Context, d directory) error {
	c := &checkout{http: d.httpClient(), plain: d.plainClient()}
	var err error
	if c.pricing, err = d.grpcClient("pricing"); err != nil {
		return err
	}
	defer func() { _ = c.pricing.Close() }()
	if c.inventory, err = d.grpcClient("inventory"); err != nil {
		return err
	}
	defer func() { _ = c.inventory.Close() }()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		if err := c.order(r.Context()); err != nil {
			refuse(r.Context(), w, http.StatusInternalServerError, err)
			return
		}
		_, _ = io.WriteString(w, "ordered ")
	})
	return d.serveHTTP(ctx, "checkout", mux, true)
}

func (c *checkout) order(ctx context.Context) error {
	group, shared := errgroup.WithContext(ctx)
	group.Go(func() error { return c.price(shared) })
	group.Go(func() error { return c.reserve(shared) })
	group.Go(func() error { return c.ship(shared) })
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := call(ctx, c.http, http.MethodPost, "http://payments:8080/charges", []byte(`{"cents":1200}`)); err != nil {
		return err
	}
	return c.mail(ctx)
}

func (c *checkout) price(ctx context.Context) error {
	timeout := time.Second
	if struck(ctx, "short-timeout") {
		timeout = 30 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.pricing.Invoke(ctx, "/shop.Pricing/Quote", wrapperspb.String("tea"), new(wrapperspb.StringValue))
}

func (c *checkout) reserve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	quantity := "2"
	if struck(ctx, "bad-request") {
		quantity = "-2"
	}
	return c.inventory.Invoke(ctx, "/shop.Inventory/Reserve", wrapperspb.String(quantity), new(wrapperspb.StringValue))
}

// ship tries three times, as clients do.
func (c *checkout) ship(ctx context.Context) error {
	url := "http://shipping:8080/shipments"
	if struck(ctx, "refused") {
		url = "http://shipping:" + closedPort + "/shipments"
	}
	var err error
	for attempt := range 3 {
		if attempt > 0 {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(20 * time.Millisecond):
			}
		}
		var answered *statusError
		_, err = call(ctx, c.http, http.MethodPost, url, nil)
		if err == nil || !errors.As(err, &answered) || answered.code != http.StatusServiceUnavailable {
			return err
		}
	}
	return err
}

// message is what lies in the queue.
type message struct {
	Headers map[string]string `json:"headers"`
	DelayMs int               `json:"delayMs"`
	Sent    time.Time         `json:"sent"`
}

// mail publishes a message; the consumer's span becomes a child of this one.
func (c *checkout) mail(ctx context.Context) error {
	ctx, span := otel.Tracer("shop/queue").Start(ctx, "send mail", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "shopmq"), attribute.String("messaging.destination.name", "mail"), attribute.String("messaging.operation.type", "send")))
	defer span.End()
	m := message{Headers: make(map[string]string), Sent: time.Now()}
	otel.GetTextMapPropagator().Inject(ctx, propagation.MapCarrier(m.Headers))
	if struck(ctx, "slow-queue") {
		m.DelayMs = 2500
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	if _, err := call(ctx, c.plain, http.MethodPost, "http://broker:8080/mail", body); err != nil {
		fail(ctx, err)
		return err
	}
	return nil
}

// unary is a gRPC method whose messages are strings.
type unary func(ctx context.Context, in string) (string, error)

// serveGRPC serves one method of one service until ctx ends.
func serveGRPC(ctx context.Context, address, serviceName, method string, handle unary) error {
	server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler()))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: method, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			out, err := handle(ctx, in.GetValue())
			return wrapperspb.String(out), err
		}}},
	}, nil)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve %s: %w", serviceName, err)
	}
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", serviceName, err)
	}
	return nil
}

// quote always takes 80 ms, whether anybody still waits or not.
func quote(ctx context.Context, _ string) (string, error) {
	if struck(ctx, "fan-out-cancel") {
		time.Sleep(10 * time.Millisecond)
		return "", status.Error(grpccodes.Internal, "the price list is empty")
	}
	time.Sleep(80 * time.Millisecond)
	return "1200", nil
}

func runInventory(ctx context.Context, d directory) error {
	db, err := otelsql.Open("sqlite", "file:stock?mode=memory&cache=shared", otelsql.WithAttributes(attribute.String("db.system.name", "sqlite"), attribute.String("db.namespace", "stock")),
		otelsql.WithSpanOptions(otelsql.SpanOptions{OmitConnResetSession: true, OmitConnectorConnect: true, OmitRows: true, DisableErrSkip: true}))
	if err != nil {
		return fmt.Errorf("open the stock: %w", err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(4)
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER)"); err != nil {
		return fmt.Errorf("make the stock: %w", err)
	}
	if _, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO stock VALUES ('tea', 1000000)"); err != nil {
		return fmt.Errorf("fill the stock: %w", err)
	}
	return serveGRPC(ctx, d["inventory"], "shop.Inventory", "Reserve", func(ctx context.Context, quantity string) (string, error) {
		if quantity[0] == '-' {
			return "", status.Errorf(grpccodes.InvalidArgument, "quantity %s is negative", quantity)
		}
		if struck(ctx, "slow-callee") {
			time.Sleep(2500 * time.Millisecond) // a lock that is held for too long
		}
		return count(ctx, db)
	})
}

func count(ctx context.Context, db *sql.DB) (string, error) {
	var n string
	if err := db.QueryRowContext(ctx, "SELECT count FROM stock WHERE item = 'tea'").Scan(&n); err != nil {
		return "", status.FromContextError(err).Err()
	}
	return n, nil
}

func runShipping(ctx context.Context, d directory) error {
	// How often a trace has asked: the third attempt of retries-absorbed succeeds.
	var mu sync.Mutex
	asked := make(map[trace.TraceID]int)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /shipments", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		switch {
		case struck(ctx, "retries-exhausted"):
			http.Error(w, "no carrier", http.StatusServiceUnavailable)
			return
		case struck(ctx, "retries-absorbed"):
			mu.Lock()
			id := trace.SpanContextFromContext(ctx).TraceID()
			asked[id]++
			again := asked[id] < 3
			if !again {
				delete(asked, id)
			}
			mu.Unlock()
			if again {
				http.Error(w, "no carrier yet", http.StatusServiceUnavailable)
				return
			}
		case struck(ctx, "fan-out-cancel"):
			select {
			case <-ctx.Done():
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
		time.Sleep(5 * time.Millisecond)
		_, _ = io.WriteString(w, "shipped")
	})
	return d.serveHTTP(ctx, "shipping", mux, true)
}

func runPayments(ctx context.Context, d directory, provider *sdktrace.TracerProvider) error {
	client := d.httpClient()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if struck(ctx, "leaf-error") {
			time.Sleep(4 * time.Millisecond)
			refuse(ctx, w, http.StatusInternalServerError, errors.New("the merchant account is closed"))
			return
		}
		if _, err := call(ctx, client, http.MethodPost, "http://bank:8080/transfers", nil); err != nil {
			refuse(ctx, w, http.StatusBadGateway, err)
			return
		}
		if struck(ctx, "crash") {
			_ = provider.ForceFlush(ctx) // what has ended is sent; the request itself has not
			os.Exit(3)
		}
		_, _ = io.WriteString(w, "charged")
	})
	return d.serveHTTP(ctx, "payments", mux, true)
}

// runBank is somebody else's: it knows nothing of traces, but reads the header that tells it to fail.
func runBank(ctx context.Context, d directory) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /transfers", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("baggage") == "shop.fault=third-party-down" {
			http.Error(w, "closed on Sundays", http.StatusServiceUnavailable)
			return
		}
		time.Sleep(8 * time.Millisecond)
		_, _ = io.WriteString(w, "done")
	})
	return d.serveHTTP(ctx, "bank", mux, false)
}

// runBroker is a queue: POST puts a message in, GET waits for one that is due.
func runBroker(ctx context.Context, d directory) error {
	queue := make(chan []byte, 10_000)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mail", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var m message
		if err != nil || json.Unmarshal(body, &m) != nil {
			http.Error(w, "not a message", http.StatusBadRequest)
			return
		}
		time.AfterFunc(time.Duration(m.DelayMs)*time.Millisecond, func() {
			select {
			case queue <- body:
			default: // full: the oldest must be taken first
			}
		})
	})
	mux.HandleFunc("GET /mail", func(w http.ResponseWriter, r *http.Request) {
		select {
		case body := <-queue:
			_, _ = w.Write(body)
		case <-r.Context().Done():
		case <-time.After(time.Second):
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return d.serveHTTP(ctx, "broker", mux, false)
}

// mailTTL is how old a message may be.
const mailTTL = time.Second

func runMailer(ctx context.Context, d directory) error {
	// A port of its own only says that it lives.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d["mailer"])
	if err != nil {
		return fmt.Errorf("serve mailer: %w", err)
	}
	defer func() { _ = listener.Close() }()
	client := d.plainClient()
	for ctx.Err() == nil {
		body, err := call(ctx, client, http.MethodGet, "http://broker:8080/mail", nil)
		var m message
		if err != nil || len(body) == 0 || json.Unmarshal(body, &m) != nil {
			if err != nil {
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
			continue
		}
		process(ctx, &m)
	}
	return nil
}

func process(ctx context.Context, m *message) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.MapCarrier(m.Headers))
	_, span := otel.Tracer("shop/queue").Start(ctx, "process mail", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "shopmq"), attribute.String("messaging.destination.name", "mail"), attribute.String("messaging.operation.type", "process")))
	defer span.End()
	if age := time.Since(m.Sent); age > mailTTL {
		err := fmt.Errorf("the message has expired: it lay in the queue for %s", age.Round(100*time.Millisecond))
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		return
	}
	time.Sleep(2 * time.Millisecond)
}
