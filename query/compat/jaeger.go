package compat

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// jaeger adds Jaeger's routes below a prefix, but for the one that it has in common with Tempo.
func (h *handler) jaeger(mux *http.ServeMux, prefix string) {
	for path, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/api/services":                      h.jaegerServices,
		"/api/services/{service}/operations": h.jaegerOperationNames,
		"/api/operations":                    h.jaegerOperations,
		"/api/traces":                        h.jaegerSearch,
		"/api/dependencies":                  h.jaegerDependencies,
	} {
		mux.HandleFunc("GET "+prefix+path, h.bounded(answer, writeJaegerError))
	}
	for path, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/api/v3/services":         h.v3Services,
		"/api/v3/operations":       h.v3Operations,
		"/api/v3/traces":           h.v3Search,
		"/api/v3/traces/{traceId}": h.v3Trace,
		"/api/v3/trace-summaries":  h.v3Summaries,
	} {
		mux.HandleFunc("GET "+prefix+path, h.bounded(answer, writeV3Error))
	}
}

// The JSON of Jaeger's answers.
type (
	jaegerAnswer struct {
		Data   any           `json:"data"`
		Total  int           `json:"total"`
		Limit  int           `json:"limit"`
		Offset int           `json:"offset"`
		Errors []jaegerError `json:"errors"`
	}
	jaegerError struct {
		Code    int    `json:"code,omitempty"`
		Msg     string `json:"msg"`
		TraceID string `json:"traceID,omitempty"`
	}
	jaegerOperation struct {
		Name     string `json:"name"`
		SpanKind string `json:"spanKind"`
	}
	jaegerDependency struct {
		Parent    string `json:"parent"`
		Child     string `json:"child"`
		CallCount uint64 `json:"callCount"`
	}
)

func writeJaegerError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, jaegerAnswer{Errors: []jaegerError{{Code: status, Msg: text}}})
}

func writeJaegerList[T any](w http.ResponseWriter, list []T) {
	writeJSON(w, http.StatusOK, jaegerAnswer{Data: append([]T{}, list...), Total: len(list)})
}

func (h *handler) jaegerServices(w http.ResponseWriter, r *http.Request) error {
	services, err := h.explorer.Services(r.Context())
	if err == nil {
		writeJaegerList(w, services)
	}
	return err
}

func (h *handler) jaegerOperationNames(w http.ResponseWriter, r *http.Request) error {
	list, err := h.explorer.Operations(r.Context(), r.PathValue("service"), "")
	if err != nil {
		return err
	}
	var names []string // an operation of two kinds is listed twice, one behind the other
	for _, o := range list {
		names = append(names, o.Name)
	}
	writeJaegerList(w, slices.Compact(names))
	return nil
}

func (h *handler) jaegerOperations(w http.ResponseWriter, r *http.Request) error {
	list, err := h.operations(r.Context(), r.URL.Query(), "spanKind")
	if err == nil {
		writeJaegerList(w, list)
	}
	return err
}

func (h *handler) jaegerTrace(w http.ResponseWriter, r *http.Request) error {
	id, err := jaegerID(r.PathValue("traceId"))
	if err != nil {
		return err
	}
	raw, err := flag(r.URL.Query(), "raw")
	if err != nil {
		return err
	}
	// Of start and end, by which Jaeger bounds where it looks, we need nothing; and Grafana gives them in milliseconds, where Jaeger
	// reads microseconds.
	t, err := h.explorer.Trace(r.Context(), id, !raw)
	if err != nil {
		return err
	}
	writeJaegerTraces(w, []*query.Trace{t}, nil)
	return nil
}

// jaegerSearch finds traces, or brings those with the ids given.
func (h *handler) jaegerSearch(w http.ResponseWriter, r *http.Request) error {
	ids, byID, err := h.jaegerIDs(r)
	if err != nil {
		return err
	}
	list, more, err := h.explorer.Traces(r.Context(), ids)
	if err != nil {
		return err
	}
	found := make(map[spans.TraceID]bool)
	for _, t := range list {
		found[t.ID] = true
	}
	var errs []jaegerError
	for _, id := range ids {
		if byID && more == 0 && !found[id] {
			errs = append(errs, jaegerError{Code: http.StatusNotFound, Msg: "trace not found", TraceID: hex.EncodeToString(id[:])})
		}
	}
	if more > 0 {
		errs = append(errs, jaegerError{Msg: fmt.Sprintf("%d more traces were left out, for these have many spans: ask for less", more)})
	}
	writeJaegerTraces(w, list, errs)
	return nil
}

// jaegerIDs are the ids given, or those of the traces that a search finds.
func (h *handler) jaegerIDs(r *http.Request) (ids []spans.TraceID, given bool, err error) {
	q := r.URL.Query()
	texts := q["traceID"]
	if len(texts) == 0 {
		search, err := jaegerQuery(q, time.Now())
		if err != nil {
			return nil, false, err
		}
		ids, err = h.explorer.Search(r.Context(), search)
		return ids, false, err
	}
	for _, text := range texts[:min(len(texts), query.SearchMax)] {
		id, err := jaegerID(text)
		if err != nil {
			return nil, true, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, true, nil
}

func (h *handler) jaegerDependencies(w http.ResponseWriter, r *http.Request) error {
	const day, millisecond = 24 * time.Hour, int64(time.Millisecond)
	q := r.URL.Query()
	to, err := instant(q, "endTs", millisecond)
	if err != nil {
		return err
	}
	if to.IsZero() {
		to = time.Now()
	}
	lookback, err := number(q, "lookback", int(day/time.Millisecond))
	if err != nil {
		return err
	}
	calls, err := h.explorer.Calls(r.Context(), to.Add(-time.Duration(lookback)*time.Millisecond), to)
	if err != nil {
		return err
	}
	service := q.Get("service")
	var list []jaegerDependency
	for _, c := range calls {
		if service == "" || c.Caller == service || c.Callee == service {
			list = append(list, jaegerDependency{Parent: c.Caller, Child: c.Callee, CallCount: c.Calls})
		}
	}
	writeJSON(w, http.StatusOK, jaegerAnswer{Data: append([]jaegerDependency{}, list...)})
	return nil
}

// jaegerID reads an id as Jaeger does: in hexadecimal digits, the zeros before which may be missing, or in base64.
func jaegerID(text string) (spans.TraceID, error) {
	id, err := traceIDOf(text)
	if err != nil && len(text) <= 24 {
		if raw, ok := base64Of(text); ok && len(raw) == len(id) {
			return spans.TraceID(raw), nil
		}
	}
	return id, err
}

// What Jaeger takes where nothing is said.
const (
	jaegerLimit    = 100
	jaegerLookback = 2 * 24 * time.Hour
)

// jaegerQuery reads what is searched for.
func jaegerQuery(q url.Values, now time.Time) (storage.TraceSearch, error) {
	const microsecond = int64(time.Microsecond)
	var search storage.TraceSearch
	var errs [6]error
	var tags map[string]string
	var shortest, longest time.Duration
	search.From, errs[0] = instant(q, "start", microsecond)
	search.To, errs[1] = instant(q, "end", microsecond)
	search.Limit, errs[2] = number(q, "limit", jaegerLimit)
	shortest, errs[3] = length(q, "minDuration")
	longest, errs[4] = length(q, "maxDuration")
	tags, errs[5] = jaegerTags(q["tag"], q["tags"])
	if err := errors.Join(errs[:]...); err != nil {
		return search, err
	}
	if search.To.IsZero() {
		search.To = now
	}
	if search.From.IsZero() {
		// The front end says in lookback what it has in start as well; by hand one may be given without the other.
		lookback, err := duration(q.Get("lookback"))
		if err != nil || lookback <= 0 {
			lookback = jaegerLookback
		}
		search.From = search.To.Add(-lookback)
	}
	var err error
	search.Match, err = jaegerMatch(q.Get("service"), q.Get("operation"), tags, shortest, longest)
	return search, err
}

// jaegerTags reads tags given one by one as key:value, and all at once as JSON.
func jaegerTags(single, all []string) (map[string]string, error) {
	tags := make(map[string]string)
	for _, text := range single {
		key, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%w: tag %q is not key:value", query.ErrInvalid, text)
		}
		tags[key] = value
	}
	for _, text := range all {
		var more map[string]any
		if err := json.Unmarshal([]byte(text), &more); err != nil {
			return nil, fmt.Errorf("%w: tags %.80q is not an object of texts in JSON: %w", query.ErrInvalid, text, err)
		}
		for key, value := range more {
			switch value.(type) {
			case string, bool, float64:
				tags[key] = fmt.Sprint(value)
			default:
				return nil, fmt.Errorf("%w: tags: the value of %q is not a text", query.ErrInvalid, key)
			}
		}
	}
	return tags, nil
}

// jaegerMatch is the condition that Jaeger searches by: all of it holds for one span.
func jaegerMatch(service, operation string, tags map[string]string, shortest, longest time.Duration) (storage.Match, error) {
	if longest > 0 && longest < shortest {
		return storage.Match{}, fmt.Errorf("%w: no duration is longer than %s and shorter than %s", query.ErrInvalid, shortest, longest)
	}
	if len(tags) > comparisonsMax {
		return storage.Match{}, fmt.Errorf("%w: more than %d tags", query.ErrInvalid, comparisonsMax)
	}
	var all []storage.Match
	add := func(m storage.Match) { all = append(all, m) }
	if service != "" {
		add(storage.Match{Field: storage.FieldService, Values: []string{service}})
	}
	if operation != "" {
		add(storage.Match{Field: storage.FieldName, Values: []string{operation}})
	}
	if shortest > 0 {
		add(longerThan(storage.FieldDuration, storage.OpGreaterOrEqual, shortest))
	}
	if longest > 0 {
		add(longerThan(storage.FieldDuration, storage.OpLessOrEqual, longest))
	}
	keys := make([]string, 0, len(tags))
	for key := range tags {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		add(tagMatch(key, tags[key]))
	}
	return storage.Match{All: all}, nil
}

func longerThan(f storage.Field, op storage.Op, d time.Duration) storage.Match {
	return storage.Match{Field: f, Op: op, Values: []string{strconv.FormatInt(int64(d), 10)}}
}

// tagMatch is the condition of one tag. What Jaeger made tags of, and Tempo before it had a language, are looked for where they are now.
func tagMatch(key, value string) storage.Match {
	tag := storage.Match{Field: storage.FieldAttribute, Key: key, Values: []string{value}}
	fields := map[string]storage.Field{
		serviceName: storage.FieldService, "name": storage.FieldName, "otel.scope.name": storage.FieldScopeName, "otel.library.name": storage.FieldScopeName,
		"otel.scope.version": storage.FieldScopeVersion, "otel.status_description": storage.FieldStatusMessage, "root.service.name": storage.FieldTraceService, "root.name": storage.FieldTraceName,
	}
	if f, ok := fields[key]; ok {
		return storage.Match{Field: f, Values: []string{value}}
	}
	closed := map[string]storage.Field{"span.kind": storage.FieldKind, "otel.status_code": storage.FieldStatus, "status.code": storage.FieldStatus}
	if f, ok := closed[key]; ok && slices.Contains(storage.Words(f), strings.ToLower(value)) {
		return storage.Match{Field: f, Values: []string{strings.ToLower(value)}}
	}
	if key == "error" && (value == "true" || value == "false") {
		failed := storage.Match{Field: storage.FieldStatus, Values: []string{"error"}}
		if value == "false" {
			failed.Op = storage.OpNotEqual
			return failed
		}
		return storage.Match{Any: []storage.Match{failed, tag}}
	}
	return tag
}

// instant reads a time since 1970 in units, zero where none is given.
func instant(q url.Values, name string, unitNs int64) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > (1<<63-1)/unitNs {
		return time.Time{}, fmt.Errorf("%w: %s %q is not a time since 1970 in units of %s", query.ErrInvalid, name, text, time.Duration(unitNs))
	}
	return time.Unix(0, n*unitNs), nil
}

func number(q url.Values, name string, otherwise int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	const most = 100 * 366 * 24 * 60 * 60 * 1000 // a lookback of a century, in milliseconds
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > most {
		return 0, fmt.Errorf("%w: %s %q is not a positive number", query.ErrInvalid, name, text)
	}
	return n, nil
}

func length(q url.Values, names ...string) (time.Duration, error) {
	text, name := first(q, names...)
	if text == "" {
		return 0, nil
	}
	d, err := duration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: %s %q is not a duration like 1.5s or 100ms", query.ErrInvalid, name, text)
	}
	return d, nil
}

func flag(q url.Values, names ...string) (bool, error) {
	text, name := first(q, names...)
	on, err := strconv.ParseBool(cmp.Or(text, "false"))
	if err != nil {
		return false, fmt.Errorf("%w: %s %q is neither true nor false", query.ErrInvalid, name, text)
	}
	return on, nil
}
