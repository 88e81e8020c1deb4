// Package compat lets trace viewers read from here that were made for Jaeger or Tempo: Jaeger's own front end and Grafana's data sources.
// It answers Jaeger's query API and Tempo's, as far as docs/grafana.md says.
//
// Both have /api/traces/{id}. Under /jaeger and /tempo each has its own; without such a prefix, Tempo's form is for those who accept
// protobuf, as Grafana's Tempo data source does, and Jaeger's for all others.
package compat

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

type handler struct {
	explorer *query.Explorer
	log      *slog.Logger
}

// Register adds both APIs to a mux.
func Register(mux *http.ServeMux, explorer *query.Explorer, log *slog.Logger) {
	h := &handler{explorer: explorer, log: log}
	h.jaeger(mux, "")
	h.jaeger(mux, "/jaeger")
	h.tempo(mux, "")
	h.tempo(mux, "/tempo")
	mux.HandleFunc("GET /jaeger/api/traces/{traceId}", h.bounded(h.jaegerTrace, writeJaegerError))
	mux.HandleFunc("GET /tempo/api/traces/{traceId}", h.bounded(h.tempoTrace, writeTempoError))
	mux.HandleFunc("GET /api/traces/{traceId}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		if wantsProtobuf(r) {
			h.bounded(h.tempoTrace, writeTempoError)(w, r)
			return
		}
		h.bounded(h.jaegerTrace, writeJaegerError)(w, r)
	})
}

const protobuf = "application/protobuf"

func wantsProtobuf(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), protobuf) }

// missingHeader names the shards that did not answer: the forms of the answers have no place for them.
const missingHeader = "Whosehop-Missing"

// bounded gives a question its bounds, and an error the form that its reader knows.
func (h *handler) bounded(answer func(http.ResponseWriter, *http.Request) error, writeError func(http.ResponseWriter, int, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, done, err := h.explorer.Begin(r.Context())
		if err != nil {
			h.fail(w, err, writeError)
			return
		}
		defer done()
		if missing := h.explorer.Missing(ctx); len(missing) > 0 {
			w.Header().Set(missingHeader, strings.Join(missing, ", "))
		}
		if err := answer(w, r.WithContext(ctx)); err != nil {
			h.fail(w, err, writeError)
		}
	}
}

// fail is the one place that maps errors to HTTP.
func (h *handler) fail(w http.ResponseWriter, err error, write func(http.ResponseWriter, int, string)) {
	var passing interface{ Retryable() bool }
	switch {
	case errors.Is(err, query.ErrNotFound):
		write(w, http.StatusNotFound, "trace not found: "+err.Error())
	case errors.Is(err, query.ErrInvalid):
		write(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, storage.ErrTooLarge):
		write(w, http.StatusUnprocessableEntity, err.Error()+": ask for fewer traces")
	case errors.Is(err, query.ErrMissing), errors.Is(err, query.ErrBusy):
		w.Header().Set("Retry-After", "2")
		write(w, http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.Canceled):
		return
	case errors.As(err, &passing) && passing.Retryable():
		h.log.Warn("question not answered", "error", err)
		w.Header().Set("Retry-After", "2")
		write(w, http.StatusServiceUnavailable, "the storage does not answer at the moment, or not in time: ask for less time or name a service, or try again")
	default:
		h.log.Error("question failed", "error", err)
		write(w, http.StatusInternalServerError, "the question could not be answered; the log says why")
	}
}

func writeJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	_ = out.Encode(answer) // whoever asked may have left
}

// first is the first of some parameters that is there, and its name.
func first(q url.Values, names ...string) (value, name string) {
	for _, name := range names {
		if v := q.Get(name); v != "" {
			return v, name
		}
	}
	return "", names[0]
}

// traceIDOf reads an id that may have lost the zeros before it.
func traceIDOf(text string) (spans.TraceID, error) {
	const length = 32
	if n := len(text); n > 0 && n < length {
		if id, err := query.ParseTraceID(strings.Repeat("0", length-n) + text); err == nil {
			return id, nil
		}
	}
	return query.ParseTraceID(text)
}
