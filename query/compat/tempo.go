package compat

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// tempo adds Tempo's routes below a prefix, but for the one that it has in common with Jaeger.
func (h *handler) tempo(mux *http.ServeMux, prefix string) {
	mux.HandleFunc("GET "+prefix+"/api/echo", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("echo"))
	})
	mux.HandleFunc("GET "+prefix+"/api/status/buildinfo", buildInfo)
	for path, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/api/v2/traces/{traceId}":        h.tempoTraceV2,
		"/api/search":                     h.tempoSearch,
		"/api/search/tags":                h.tempoTags,
		"/api/search/tag/{tag}/values":    h.tempoValues,
		"/api/v2/search/tags":             h.tempoTagsV2,
		"/api/v2/search/tag/{tag}/values": h.tempoValuesV2,
	} {
		mux.HandleFunc("GET "+prefix+path, h.bounded(answer, writeTempoError))
	}
}

// tempoLevel is the version of Tempo whose API this is like. Grafana's data source uses what a version has, and without one the oldest API.
const tempoLevel = "2.8.0"

func buildInfo(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": tempoLevel, "revision": "whosehop", "branch": "", "buildUser": "", "buildDate": "", "goVersion": runtime.Version()})
}

// writeTempoError says what is wrong as Tempo does, in plain text.
func writeTempoError(w http.ResponseWriter, status int, text string) {
	http.Error(w, text, status)
}

func (h *handler) tempoTrace(w http.ResponseWriter, r *http.Request) error {
	t, err := h.traceOf(r)
	if err != nil {
		return err
	}
	if wantsProtobuf(r) {
		raw, err := tempoTrace(t)
		return writeProtobuf(w, raw, err)
	}
	raw, err := protoJSON(t)
	if err != nil {
		return err
	}
	// What OTLP calls resourceSpans, this version of Tempo's API calls batches.
	raw = []byte(strings.Replace(string(raw), `"resourceSpans"`, `"batches"`, 1))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
	return nil
}

func (h *handler) tempoTraceV2(w http.ResponseWriter, r *http.Request) error {
	t, err := h.traceOf(r)
	if err != nil {
		return err
	}
	if wantsProtobuf(r) {
		raw, err := tempoResponse(t)
		return writeProtobuf(w, raw, err)
	}
	raw, err := protoJSON(t)
	if err != nil {
		return err
	}
	answer := map[string]any{"trace": raw}
	if t.Cut {
		answer["status"], answer["message"] = "PARTIAL", cutText
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// traceOf reads the trace that is asked for. Of start and end, by which Tempo bounds where it looks, we need nothing.
func (h *handler) traceOf(r *http.Request) (*query.Trace, error) {
	id, err := traceIDOf(r.PathValue("traceId"))
	if err != nil {
		return nil, err
	}
	return h.explorer.Trace(r.Context(), id, true)
}

func writeProtobuf(w http.ResponseWriter, raw []byte, err error) error {
	if err == nil {
		w.Header().Set("Content-Type", protobuf)
		_, _ = w.Write(raw) // whoever asked may have left
	}
	return err
}

// The JSON of Tempo's searches. Numbers of 64 bits are texts, as protobuf's JSON has them.
type (
	tempoSearchAnswer struct {
		Traces  []tempoFound `json:"traces"`
		Metrics struct{}     `json:"metrics"`
	}
	tempoFound struct {
		TraceID         string                `json:"traceID"`
		RootServiceName string                `json:"rootServiceName,omitempty"`
		RootTraceName   string                `json:"rootTraceName,omitempty"`
		StartTime       string                `json:"startTimeUnixNano"`
		DurationMs      int64                 `json:"durationMs,omitempty"`
		SpanSet         *tempoSpanSet         `json:"spanSet,omitempty"` // older readers look for it here
		SpanSets        []*tempoSpanSet       `json:"spanSets,omitempty"`
		ServiceStats    map[string]tempoStats `json:"serviceStats,omitempty"`
	}
	tempoStats struct {
		SpanCount  uint64 `json:"spanCount,omitempty"`
		ErrorCount uint64 `json:"errorCount,omitempty"`
	}
	tempoSpanSet struct {
		Spans   []tempoSpan `json:"spans"`
		Matched uint64      `json:"matched"`
	}
	tempoSpan struct {
		SpanID        string           `json:"spanID"`
		Name          string           `json:"name,omitempty"`
		StartTime     string           `json:"startTimeUnixNano"`
		DurationNanos string           `json:"durationNanos"`
		Attributes    []tempoAttribute `json:"attributes,omitempty"`
	}
	tempoAttribute struct {
		Key   string     `json:"key"`
		Value tempoValue `json:"value"`
	}
	tempoValue struct {
		StringValue string `json:"stringValue"`
	}
)

// What Tempo takes where nothing is said, and the most of it.
const (
	tempoLimit    = 20
	tempoSpss     = 3
	tempoSpssMax  = 100
	tempoLookback = time.Hour
)

func (h *handler) tempoSearch(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	search, named, err := tempoQuery(q, time.Now())
	if err != nil {
		return err
	}
	spss, err := number(q, "spss", tempoSpss)
	if err != nil {
		return err
	}
	ids, err := h.explorer.Search(r.Context(), search)
	if err != nil {
		return err
	}
	fields := make([]storage.FieldRef, len(named))
	for i := range named {
		fields[i] = named[i].FieldRef
	}
	found, err := h.explorer.Summaries(r.Context(), search, ids, min(spss, tempoSpssMax), fields)
	if err != nil {
		return err
	}
	answer := tempoSearchAnswer{Traces: make([]tempoFound, len(found))}
	for i := range found {
		answer.Traces[i] = newTempoFound(&found[i].TraceSummary, found[i].Matched, named)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func newTempoFound(s *storage.TraceSummary, matched []storage.SpanMatch, named []namedField) tempoFound {
	f := tempoFound{
		TraceID: hex.EncodeToString(s.TraceID[:]), RootServiceName: s.RootService, RootTraceName: s.RootName, StartTime: strconv.FormatInt(s.StartNs, 10),
		DurationMs: min(max(0, s.EndNs-s.StartNs)/int64(time.Millisecond), math.MaxUint32), ServiceStats: make(map[string]tempoStats),
	}
	for _, service := range s.Services {
		f.ServiceStats[service.Name] = tempoStats{service.Spans, service.Errors}
	}
	if len(matched) == 0 {
		return f
	}
	set := &tempoSpanSet{Matched: matched[0].Matched}
	for i := range matched {
		m := &matched[i]
		span := tempoSpan{SpanID: m.SpanID, Name: m.Name, StartTime: strconv.FormatInt(m.StartNs, 10), DurationNanos: strconv.FormatUint(m.DurationNs, 10)}
		for k, value := range m.Values {
			a := tempoAttribute{named[k].name, tempoValue{value}}
			if value != "" && !slices.Contains(span.Attributes, a) { // .key and span.key are the same
				span.Attributes = append(span.Attributes, a)
			}
		}
		set.Spans = append(set.Spans, span)
	}
	f.SpanSet, f.SpanSets = set, []*tempoSpanSet{set}
	return f
}

// tempoQuery reads what is searched for: by TraceQL, or by tags and the duration of the trace.
func tempoQuery(q url.Values, now time.Time) (search storage.TraceSearch, named []namedField, err error) {
	if search.From, search.To, err = seconds(q, now); err != nil {
		return search, nil, err
	}
	if search.Limit, err = number(q, "limit", tempoLimit); err != nil {
		return search, nil, err
	}
	parsed, err := parseTraceQL(q.Get("q"))
	if err != nil {
		return search, nil, err
	}
	all := []storage.Match{parsed.match}
	if text := q.Get("tags"); text != "" {
		if q.Get("q") != "" {
			return search, nil, fmt.Errorf("%w: give q or tags, and not both", query.ErrInvalid)
		}
		tags, err := logfmt(text)
		if err != nil {
			return search, nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(tags)) {
			all = append(all, tagMatch(key, tags[key]))
		}
	}
	shortest, err := length(q, "minDuration")
	if err != nil {
		return search, nil, err
	}
	longest, err := length(q, "maxDuration")
	if err != nil {
		return search, nil, err
	}
	if longest > 0 && longest < shortest {
		return search, nil, fmt.Errorf("%w: no duration is longer than %s and shorter than %s", query.ErrInvalid, shortest, longest)
	}
	if shortest > 0 {
		all = append(all, longerThan(storage.FieldTraceDuration, storage.OpGreaterOrEqual, shortest))
	}
	if longest > 0 {
		all = append(all, longerThan(storage.FieldTraceDuration, storage.OpLessOrEqual, longest))
	}
	search.Match = storage.Match{All: all}
	return search, parsed.named, nil
}

// seconds reads start and end.
func seconds(q url.Values, now time.Time) (from, to time.Time, err error) {
	from, err1 := instant(q, "start", int64(time.Second))
	to, err2 := instant(q, "end", int64(time.Second))
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		from = to.Add(-tempoLookback)
	}
	return from, to, errors.Join(err1, err2)
}

// logfmt reads key=value pairs, values of which may be in quotes.
func logfmt(text string) (map[string]string, error) {
	p := qlParser{text: text}
	wrong := func(what string) (map[string]string, error) {
		return nil, fmt.Errorf("%w: tags, at character %d: %s", query.ErrInvalid, p.at+1, what)
	}
	if len(text) > queryBytesMax {
		return wrong("too long")
	}
	tags := make(map[string]string)
	for p.space(); p.at < len(p.text); p.space() {
		key, value, ok := p.text[p.at:], "", false
		if end := strings.IndexAny(key, "= \t\r\n\""); end >= 0 {
			key, ok = key[:end], p.text[p.at+end] == '='
		}
		if !ok || key == "" {
			return wrong("expected key=value")
		}
		p.at += len(key) + 1
		if p.at < len(p.text) && p.text[p.at] == '"' {
			var err error
			if value, err = p.quoted(); err != nil {
				return wrong("this text does not end, or is not quoted as it must be")
			}
		} else {
			value = p.text[p.at:]
			if end := strings.IndexAny(value, " \t\r\n"); end >= 0 {
				value = value[:end]
			}
			p.at += len(value)
		}
		if _, twice := tags[key]; twice || len(tags) >= comparisonsMax {
			return wrong("a tag is given twice, or there are too many")
		}
		tags[key] = value
	}
	return tags, nil
}

// The scopes of tags.
const (
	scopeResource  = "resource"
	scopeSpan      = "span"
	scopeIntrinsic = "intrinsic"
)

// tagsOf lists the tags of the scopes asked for.
func (h *handler) tagsOf(r *http.Request) (map[string][]string, error) {
	q := r.URL.Query()
	scope := q.Get("scope")
	if !slices.Contains([]string{"", "none", scopeResource, scopeSpan, scopeIntrinsic, "event", "link", "instrumentation"}, scope) {
		return nil, fmt.Errorf("%w: scope %.40q is none of resource, span, event, link, instrumentation, intrinsic, none", query.ErrInvalid, scope)
	}
	from, to, err := seconds(q, time.Now())
	if err != nil {
		return nil, err
	}
	ofSpans, ofResources, err := h.explorer.Keys(r.Context(), from, to)
	if err != nil {
		return nil, err
	}
	limit, err := number(q, "limit", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	known := slices.Sorted(maps.Keys(intrinsics))
	known = slices.DeleteFunc(known, func(name string) bool { return intrinsics[name] == fieldRoot })
	tags := map[string][]string{scopeResource: ofResources, scopeSpan: ofSpans, scopeIntrinsic: known}
	for name, list := range tags {
		if scope != "" && scope != "none" && scope != name {
			delete(tags, name)
			continue
		}
		tags[name] = append([]string{}, list[:min(len(list), limit)]...)
	}
	return tags, nil
}

// The JSON of what there is to search for.
type (
	tempoTagsAnswer struct {
		TagNames []string `json:"tagNames"`
		Metrics  struct{} `json:"metrics"`
	}
	tempoScopesAnswer struct {
		Scopes  []tempoScope `json:"scopes"`
		Metrics struct{}     `json:"metrics"`
	}
	tempoScope struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	tempoValuesAnswer struct {
		TagValues []string `json:"tagValues"`
		Metrics   struct{} `json:"metrics"`
	}
	tempoTypedAnswer struct {
		TagValues []tempoTyped `json:"tagValues"`
		Metrics   struct{}     `json:"metrics"`
	}
	tempoTyped struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
)

func (h *handler) tempoTags(w http.ResponseWriter, r *http.Request) error {
	tags, err := h.tagsOf(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("scope") != scopeIntrinsic {
		delete(tags, scopeIntrinsic) // their names could be those of attributes
	}
	names := []string{}
	for _, list := range tags {
		names = append(names, list...)
	}
	slices.Sort(names)
	writeJSON(w, http.StatusOK, tempoTagsAnswer{TagNames: slices.Compact(names)})
	return nil
}

func (h *handler) tempoTagsV2(w http.ResponseWriter, r *http.Request) error {
	tags, err := h.tagsOf(r)
	if err != nil {
		return err
	}
	answer := tempoScopesAnswer{Scopes: []tempoScope{}}
	for _, name := range []string{scopeResource, scopeSpan, scopeIntrinsic} {
		if list, ok := tags[name]; ok {
			answer.Scopes = append(answer.Scopes, tempoScope{name, list})
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// tempoValues lists the values of a tag that has no scope.
func (h *handler) tempoValues(w http.ResponseWriter, r *http.Request) error {
	tag := unescaped(r.PathValue("tag"))
	named := tagMatch(tag, "")
	f := storage.FieldRef{Field: named.Field, Key: named.Key}
	switch tag {
	case "error":
		writeJSON(w, http.StatusOK, tempoValuesAnswer{TagValues: []string{"true"}})
		return nil
	case "status.code":
		f.Field = storage.FieldStatus
	}
	values, err := h.values(r, f, &traceQL{})
	if err == nil {
		writeJSON(w, http.StatusOK, tempoValuesAnswer{TagValues: append([]string{}, values...)})
	}
	return err
}

// tempoValuesV2 lists the values of a field as TraceQL names it.
func (h *handler) tempoValuesV2(w http.ResponseWriter, r *http.Request) error {
	p := qlParser{text: unescaped(r.PathValue("tag"))}
	f, _, err := p.field()
	if err == nil && p.at < len(p.text) {
		err = p.wrong("%.40q is more than the name of a field", p.text)
	}
	if err != nil {
		return err
	}
	// Grafana asks for what fits the filters so far, which may not be written to the end.
	filter, err := parseTraceQL(r.URL.Query().Get("q"))
	if err != nil {
		filter = &traceQL{}
	}
	kind := "string"
	if f.Field == storage.FieldKind || f.Field == storage.FieldStatus {
		kind = "keyword"
	}
	values, err := h.values(r, f, filter)
	if err != nil {
		return err
	}
	answer := tempoTypedAnswer{TagValues: make([]tempoTyped, len(values))}
	for i, value := range values {
		answer.TagValues[i] = tempoTyped{kind, value}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (h *handler) values(r *http.Request, f storage.FieldRef, filter *traceQL) ([]string, error) {
	switch f.Field {
	case storage.FieldKind, storage.FieldStatus:
		return storage.Words(f.Field), nil
	case storage.FieldDuration, storage.FieldTraceDuration, storage.FieldTraceID, storage.FieldSpanID, storage.FieldParentID, fieldRoot:
		return nil, nil // nobody picks one of these from a list
	case storage.FieldTraceService:
		f.Field = storage.FieldService
	case storage.FieldTraceName:
		f.Field = storage.FieldName
	default:
	}
	q := r.URL.Query()
	if f.Field == storage.FieldService && len(filter.match.All)+len(filter.match.Any) == 0 && filter.match.Field == storage.FieldNone {
		return h.explorer.Services(r.Context())
	}
	from, to, err := seconds(q, time.Now())
	if err != nil {
		return nil, err
	}
	limit, err := number(q, "limit", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	return h.explorer.Values(r.Context(), f, filter.match, from, to, limit)
}

// unescaped is a tag of a path, which Grafana escapes twice.
func unescaped(tag string) string {
	if once, err := url.PathUnescape(tag); err == nil {
		return once
	}
	return tag
}
