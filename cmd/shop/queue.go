package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startQueueSpan starts the span of one side of the queue, as the semantic conventions have it.
func startQueueSpan(ctx context.Context, kind trace.SpanKind, operation, id string) (context.Context, trace.Span) {
	return otel.Tracer("shop/queue").Start(ctx, operation+" mail", trace.WithSpanKind(kind), trace.WithAttributes(
		attribute.String("messaging.system", "shopmq"), attribute.String("messaging.destination.name", "mail"),
		attribute.String("messaging.operation.type", operation), attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.message.id", id), attribute.String("server.address", "broker"), attribute.Int("server.port", 8080)))
}

// message is what lies in the queue.
type message struct {
	ID      string            `json:"id"`
	Headers map[string]string `json:"headers"`
	DelayMs int               `json:"delayMs"`
	Sent    time.Time         `json:"sent"`
}

// mail publishes a message; the consumer's span becomes a child of this one.
func (c *checkout) mail(ctx context.Context) error {
	m := message{ID: uuid.NewString(), Headers: make(map[string]string), Sent: time.Now()}
	ctx, span := startQueueSpan(ctx, trace.SpanKindProducer, "send", m.ID)
	defer span.End()
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

// runBroker is a queue: POST puts a message in, GET waits for one that is due.
func runBroker(ctx context.Context, h *host) error {
	queue := make(chan []byte, 10_000)
	to := routes{}
	to["POST /mail"] = func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var m message
		if err != nil || json.Unmarshal(body, &m) != nil {
			http.Error(w, "not a message", http.StatusBadRequest)
			return
		}
		time.AfterFunc(time.Duration(m.DelayMs)*time.Millisecond, func() {
			select {
			case queue <- body:
			default: // full: a message that is too much is lost
			}
		})
	}
	to["GET /mail"] = func(w http.ResponseWriter, r *http.Request) {
		select {
		case body := <-queue:
			_, _ = w.Write(body)
		case <-r.Context().Done():
		case <-time.After(time.Second):
			w.WriteHeader(http.StatusNoContent)
		}
	}
	return h.serveHTTP(ctx, to, false)
}

// mailTTL is how old a message may be.
const mailTTL = time.Second

func runMailer(ctx context.Context, h *host) error {
	_ = h.listener.Close() // it calls, nobody calls it
	client := h.plainClient()
	if err := h.ready(); err != nil {
		return err
	}
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
		send(ctx, &m)
	}
	return nil
}

func send(ctx context.Context, m *message) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.MapCarrier(m.Headers))
	_, span := startQueueSpan(ctx, trace.SpanKindConsumer, "process", m.ID)
	defer span.End()
	if age := time.Since(m.Sent); age > mailTTL {
		err := fmt.Errorf("the message has expired: it lay in the queue for %s", age.Round(100*time.Millisecond))
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		return
	}
	time.Sleep(2 * time.Millisecond)
}
