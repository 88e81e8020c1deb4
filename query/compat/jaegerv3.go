package compat

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// The JSON of the third version of Jaeger's API, as its gateway writes the messages of its protocol. What is zero is left out, and numbers
// of 64 bits are texts.
type (
	v3Error struct {
		Error v3ErrorDetails `json:"error"`
	}
	v3ErrorDetails struct {
		HTTPCode int    `json:"httpCode"`
		Message  string `json:"message"`
	}
	v3ServicesAnswer struct {
		Services []string `json:"services"`
	}
	v3OperationsAnswer struct {
		Operations []jaegerOperation `json:"operations"`
	}
	v3TracesAnswer struct {
		Result json.RawMessage `json:"result"`
	}
	v3SummariesAnswer struct {
		Summaries []v3Summary `json:"summaries"`
	}
	v3Summary struct {
		TraceID        string      `json:"traceId"`
		RootService    string      `json:"rootServiceName,omitempty"`
		RootOperation  string      `json:"rootOperationName,omitempty"`
		MinStart       string      `json:"minStartTimeUnixNano"`
		MaxEnd         string      `json:"maxEndTimeUnixNano"`
		SpanCount      uint64      `json:"spanCount"`
		ErrorSpanCount uint64      `json:"errorSpanCount,omitempty"`
		Services       []v3Service `json:"services"`
	}
	v3Service struct {
		Name           string `json:"name"`
		SpanCount      uint64 `json:"spanCount"`
		ErrorSpanCount uint64 `json:"errorSpanCount,omitempty"`
	}
)

func writeV3Error(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, v3Error{v3ErrorDetails{status, text}})
}

func (h *handler) v3Services(w http.ResponseWriter, r *http.Request) error {
	services, err := h.explorer.Services(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, v3ServicesAnswer{append([]string{}, services...)})
	}
	return err
}

func (h *handler) v3Operations(w http.ResponseWriter, r *http.Request) error {
	list, err := h.operations(r.Context(), r.URL.Query(), "spanKind", "span_kind")
	if err == nil {
		writeJSON(w, http.StatusOK, v3OperationsAnswer{list})
	}
	return err
}

// operations are those of a service, of one kind or of all.
func (h *handler) operations(ctx context.Context, q url.Values, kindNames ...string) ([]jaegerOperation, error) {
	service := q.Get("service")
	if service == "" {
		return nil, fmt.Errorf("%w: parameter service is required", query.ErrInvalid)
	}
	kind, _ := first(q, kindNames...)
	list, err := h.explorer.Operations(ctx, service, strings.ToLower(kind))
	operations := make([]jaegerOperation, len(list))
	for i, o := range list {
		operations[i] = jaegerOperation{Name: o.Name, SpanKind: o.Kind}
	}
	return operations, err
}

func (h *handler) v3Trace(w http.ResponseWriter, r *http.Request) error {
	id, err := jaegerID(r.PathValue("traceId"))
	if err != nil {
		return err
	}
	raw, err := flag(r.URL.Query(), "rawTraces", "raw_traces")
	if err != nil {
		return err
	}
	t, err := h.explorer.Trace(r.Context(), id, !raw)
	if err != nil {
		return err
	}
	return writeV3Traces(w, []*query.Trace{t})
}

func (h *handler) v3Search(w http.ResponseWriter, r *http.Request) error {
	search, err := v3Query(r.URL.Query())
	if err != nil {
		return err
	}
	ids, err := h.explorer.Search(r.Context(), search)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		writeV3Error(w, http.StatusNotFound, "No traces found") // as Jaeger answers
		return nil
	}
	list, _, err := h.explorer.Traces(r.Context(), ids)
	if err != nil {
		return err
	}
	return writeV3Traces(w, list)
}

func writeV3Traces(w http.ResponseWriter, list []*query.Trace) error {
	result, err := otlpJSON(list)
	if err == nil {
		writeJSON(w, http.StatusOK, v3TracesAnswer{result})
	}
	return err
}

func (h *handler) v3Summaries(w http.ResponseWriter, r *http.Request) error {
	search, err := v3Query(r.URL.Query())
	if err != nil {
		return err
	}
	ids, err := h.explorer.Search(r.Context(), search)
	if err != nil {
		return err
	}
	found, err := h.explorer.Summaries(r.Context(), search, ids, 0, nil)
	if err != nil {
		return err
	}
	answer := v3SummariesAnswer{Summaries: make([]v3Summary, len(found))}
	for i := range found {
		f := &found[i]
		s := v3Summary{
			TraceID: hex.EncodeToString(f.TraceID[:]), RootService: f.RootService, RootOperation: f.RootName,
			MinStart: strconv.FormatInt(f.StartNs, 10), MaxEnd: strconv.FormatInt(f.EndNs, 10), SpanCount: f.Spans, ErrorSpanCount: f.Errors,
		}
		for _, service := range f.Services {
			s.Services = append(s.Services, v3Service{service.Name, service.Spans, service.Errors})
		}
		answer.Summaries[i] = s
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// v3Query reads what is searched for. Each parameter has a name with underscores as well, which older clients use.
func v3Query(q url.Values) (search storage.TraceSearch, err error) {
	if q.Get("query.filter") != "" {
		return search, fmt.Errorf("%w: query.filter is not understood; use query.attributes", query.ErrInvalid)
	}
	from, fromName := first(q, "query.startTimeMin", "query.start_time_min")
	to, toName := first(q, "query.startTimeMax", "query.start_time_max")
	if search.From, err = v3Time(from, fromName); err != nil {
		return search, err
	}
	if search.To, err = v3Time(to, toName); err != nil {
		return search, err
	}
	limit, name := first(q, "query.searchDepth", "query.search_depth", "query.num_traces")
	if search.Limit, err = number(url.Values{name: {limit}}, name, jaegerLimit); err != nil {
		return search, err
	}
	shortest, err := length(q, "query.durationMin", "query.duration_min")
	if err != nil {
		return search, err
	}
	longest, err := length(q, "query.durationMax", "query.duration_max")
	if err != nil {
		return search, err
	}
	var tags map[string]string
	if text := q.Get("query.attributes"); text != "" {
		if tags, err = jaegerTags(nil, []string{text}); err != nil {
			return search, err
		}
	}
	service, _ := first(q, "query.serviceName", "query.service_name")
	operation, _ := first(q, "query.operationName", "query.operation_name")
	search.Match, err = jaegerMatch(service, operation, tags, shortest, longest)
	return search, err
}

// v3Time reads a time. Grafana does not encode the + of its zone, which then is read as a space.
func v3Time(text, name string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "+", 1))
	if err != nil {
		return at, fmt.Errorf("%w: %s %q is not a time as RFC 3339 has it, and is required", query.ErrInvalid, name, text)
	}
	return at, nil
}
