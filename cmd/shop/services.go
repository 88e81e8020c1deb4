package main

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	_ "modernc.org/sqlite" // the database of inventory
)

// runService runs one service until ctx ends, or its input does, which the supervisor holds.
func runService(ctx context.Context, name string, to streams) error {
	h, err := newHost(name, to.out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	switch name {
	case "bank":
		return runBank(ctx, h)
	case "broker":
		return runBroker(ctx, h)
	}
	provider, err := startTelemetry(ctx, name, to.err)
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
		return runStorefront(ctx, h)
	case "recommendations":
		return runRecommendations(ctx, h)
	case "checkout":
		return runCheckout(ctx, h)
	case "pricing":
		return serveGRPC(ctx, h, "shop.Pricing", map[string]unary{"Quote": quote, "List": list})
	case "inventory":
		return runInventory(ctx, h)
	case "shipping":
		return runShipping(ctx, h)
	case "payments":
		return runPayments(ctx, h, provider)
	case "mailer":
		return runMailer(ctx, h)
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

// accountClosedError is what payments fails with.
type accountClosedError struct{ merchant string }

func (e accountClosedError) Error() string {
	return "the account of merchant " + e.merchant + " is closed"
}

// featuresMissingError is what recommendations fails with.
type featuresMissingError struct{ item string }

func (e featuresMissingError) Error() string { return "the model has no features of " + e.item }

// refuse answers a request with an error, and records it.
func refuse(ctx context.Context, w http.ResponseWriter, code int, err error) {
	fail(ctx, err)
	http.Error(w, err.Error(), code)
}

func runStorefront(ctx context.Context, h *host) error {
	client := h.httpClient()
	pricing, err := h.grpcClient("pricing")
	if err != nil {
		return err
	}
	defer func() { _ = pricing.Close() }()
	to := routes{}
	to["GET /"] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		ctx := r.Context()
		also, err := call(ctx, client, http.MethodGet, "http://recommendations:8080/recommendations", nil)
		if err != nil {
			also = nil // a page without recommendations is a page
		}
		list := new(wrapperspb.StringValue)
		if err := pricing.Invoke(ctx, "/shop.Pricing/List", wrapperspb.String("all"), list); err != nil {
			refuse(ctx, w, http.StatusBadGateway, err)
			return
		}
		_, _ = io.WriteString(w, list.GetValue()+" "+string(also))
	}
	to["GET /checkout"] = func(w http.ResponseWriter, r *http.Request) {
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
	}
	return h.serveHTTP(ctx, to, true)
}

func runRecommendations(ctx context.Context, h *host) error {
	to := routes{}
	to["GET /recommendations"] = func(w http.ResponseWriter, r *http.Request) {
		if struck(r.Context(), "masked-error") {
			refuse(r.Context(), w, http.StatusInternalServerError, featuresMissingError{"tea"})
			return
		}
		time.Sleep(3 * time.Millisecond)
		_, _ = io.WriteString(w, "cups")
	}
	return h.serveHTTP(ctx, to, true)
}

// checkout is the service that most faults pass through.
type checkout struct {
	http               *http.Client
	plain              *http.Client
	pricing, inventory *grpc.ClientConn
}

func runCheckout(ctx context.Context, h *host) error {
	c := &checkout{http: h.httpClient(), plain: h.plainClient()}
	var err error
	if c.pricing, err = h.grpcClient("pricing"); err != nil {
		return err
	}
	defer func() { _ = c.pricing.Close() }()
	if c.inventory, err = h.grpcClient("inventory"); err != nil {
		return err
	}
	defer func() { _ = c.inventory.Close() }()
	to := routes{}
	to["POST /orders"] = func(w http.ResponseWriter, r *http.Request) {
		if err := c.order(r.Context()); err != nil {
			refuse(r.Context(), w, http.StatusInternalServerError, err)
			return
		}
		_, _ = io.WriteString(w, "ordered ")
	}
	return h.serveHTTP(ctx, to, true)
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
		_, err = call(ctx, c.http, http.MethodPost, "http://shipping:8080/shipments", nil)
		if err == nil || !errors.As(err, &answered) || answered.code != http.StatusServiceUnavailable {
			return err
		}
	}
	return err
}

// unary is a gRPC method whose messages are strings.
type unary func(ctx context.Context, in string) (string, error)

// serveGRPC serves the methods of one service until ctx ends.
func serveGRPC(ctx context.Context, h *host, service string, methods map[string]unary) error {
	server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler()))
	desc := &grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil)}
	for name, handle := range methods {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			out, err := handle(ctx, in.GetValue())
			return wrapperspb.String(out), err
		}})
	}
	server.RegisterService(desc, nil)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := h.ready(); err != nil {
		return err
	}
	if err := server.Serve(h.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", service, err)
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

func list(context.Context, string) (string, error) {
	time.Sleep(2 * time.Millisecond)
	return "tea cups", nil
}

func runInventory(ctx context.Context, h *host) error {
	db, err := otelsql.Open("sqlite", "file:stock?mode=memory&cache=shared", otelsql.WithAttributes(attribute.String("db.system.name", "sqlite"), attribute.String("db.namespace", "stock")),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			OmitConnResetSession: true, OmitConnectorConnect: true, OmitRows: true, DisableErrSkip: true,
			// What is done at the start belongs to no request.
			SpanFilter: func(ctx context.Context, _ otelsql.Method, _ string, _ []driver.NamedValue) bool {
				return trace.SpanContextFromContext(ctx).IsValid()
			},
		}))
	if err != nil {
		return fmt.Errorf("open the stock: %w", err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(4)
	keep, err := db.Conn(ctx) // the database lives in memory, as long as somebody is connected to it
	if err != nil {
		return fmt.Errorf("open the stock: %w", err)
	}
	defer func() { _ = keep.Close() }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER)"); err != nil {
		return fmt.Errorf("make the stock: %w", err)
	}
	if _, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO stock VALUES ('tea', 1000000)"); err != nil {
		return fmt.Errorf("fill the stock: %w", err)
	}
	return serveGRPC(ctx, h, "shop.Inventory", map[string]unary{"Reserve": func(ctx context.Context, quantity string) (string, error) {
		if strings.HasPrefix(quantity, "-") {
			return "", status.Errorf(grpccodes.InvalidArgument, "quantity %s is negative", quantity)
		}
		if struck(ctx, "slow-callee") {
			time.Sleep(2500 * time.Millisecond) // a lock that is held for too long
		}
		if struck(ctx, "slow-answer") {
			time.Sleep(400 * time.Millisecond) // slow, and in time
		}
		if struck(ctx, "fan-out-cancel") {
			select {
			case <-ctx.Done():
				return "", status.FromContextError(ctx.Err()).Err()
			case <-time.After(300 * time.Millisecond):
			}
		}
		return count(ctx, db)
	}})
}

func count(ctx context.Context, db *sql.DB) (string, error) {
	var n string
	if err := db.QueryRowContext(ctx, "SELECT count FROM stock WHERE item = 'tea'").Scan(&n); err != nil {
		return "", status.FromContextError(err).Err()
	}
	return n, nil
}

func runShipping(ctx context.Context, h *host) error {
	// How often a trace has asked: the third attempt of retries-absorbed succeeds.
	var mu sync.Mutex
	asked := make(map[trace.TraceID]int)
	to := routes{}
	to["POST /shipments"] = func(w http.ResponseWriter, r *http.Request) {
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
	}
	return h.serveHTTP(ctx, to, true)
}

func runPayments(ctx context.Context, h *host, provider *sdktrace.TracerProvider) error {
	client := h.httpClient()
	to := routes{}
	to["POST /charges"] = func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if struck(ctx, "leaf-error") {
			time.Sleep(4 * time.Millisecond)
			refuse(ctx, w, http.StatusInternalServerError, accountClosedError{"4711"})
			return
		}
		if _, err := call(ctx, client, http.MethodPost, "http://bank:8080/transfers", nil); err != nil {
			refuse(ctx, w, http.StatusBadGateway, err)
			return
		}
		if struck(ctx, "crash") {
			_ = provider.ForceFlush(ctx) // what has ended is sent; the request itself has not
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		_, _ = io.WriteString(w, "charged")
	}
	return h.serveHTTP(ctx, to, true)
}
