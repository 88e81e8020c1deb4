package compat

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage/spans"
)

// The JSON of Jaeger's traces. Times are in microseconds.
type (
	jaegerTrace struct {
		TraceID   string                   `json:"traceID"`
		Spans     []jaegerSpan             `json:"spans"`
		Processes map[string]jaegerProcess `json:"processes"`
		Warnings  []string                 `json:"warnings"`
	}
	jaegerSpan struct {
		TraceID       string            `json:"traceID"`
		SpanID        string            `json:"spanID"`
		Flags         uint32            `json:"flags,omitempty"`
		OperationName string            `json:"operationName"`
		References    []jaegerReference `json:"references"`
		StartTime     int64             `json:"startTime"`
		Duration      int64             `json:"duration"`
		Tags          []jaegerTag       `json:"tags"`
		Logs          []jaegerLog       `json:"logs"`
		ProcessID     string            `json:"processID"`
		Warnings      []string          `json:"warnings"`
	}
	jaegerReference struct {
		RefType string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	}
	jaegerProcess struct {
		ServiceName string      `json:"serviceName"`
		Tags        []jaegerTag `json:"tags"`
	}
	jaegerLog struct {
		Timestamp int64       `json:"timestamp"`
		Fields    []jaegerTag `json:"fields"`
	}
	jaegerTag struct {
		Key   string `json:"key"`
		Type  string `json:"type"`
		Value any    `json:"value"`
	}
)

// noService stands for a service without a name, which Jaeger's front end cannot do without.
const noService = "unknown_service"

// newJaegerTrace is a trace as Jaeger's API gives it. What OTLP has fields for, and Jaeger has not, are tags, named as Jaeger names them.
func newJaegerTrace(t *query.Trace) *jaegerTrace {
	j := &jaegerTrace{TraceID: hex.EncodeToString(t.ID[:]), Spans: make([]jaegerSpan, 0, len(t.Rows)), Processes: make(map[string]jaegerProcess)}
	if t.Cut {
		j.Warnings = []string{cutText}
	}
	noted := remarks(t)
	processes := make(map[string]string)
	for _, i := range t.Rows {
		key := resourceKeyOf(t.Spans, t.Spans.ResourceOf[i])
		process := processes[key]
		if process == "" {
			process = fmt.Sprint("p", len(processes)+1)
			processes[key] = process
			j.Processes[process] = newJaegerProcess(t.Spans, int(t.Spans.ResourceOf[i]))
		}
		span := newJaegerSpan(t.Spans, i)
		span.ProcessID = process
		if r := noted[span.SpanID]; r != nil {
			r.added(func(key, value string) { span.Tags = append(span.Tags, stringTag(key, value)) })
			span.Warnings = append(span.Warnings, r.evidence...)
		}
		j.Spans = append(j.Spans, span)
	}
	return j
}

func newJaegerProcess(b *spans.Block, i int) jaegerProcess {
	p := jaegerProcess{ServiceName: b.Resources.Services.Str(i), Tags: []jaegerTag{}}
	if p.ServiceName == "" {
		p.ServiceName = noService
	}
	for _, tag := range tagsOf(&b.Resources.Attrs, i) {
		if tag.Key != serviceName {
			p.Tags = append(p.Tags, tag)
		}
	}
	return p
}

// w3cFlags are the flags of the trace's context, which Jaeger has: above them OTLP has some of its own.
const w3cFlags = 0xff

var jaegerKinds = [...]string{"", "internal", "server", "client", "producer", "consumer"}

func newJaegerSpan(b *spans.Block, i int) jaegerSpan {
	s := jaegerSpan{
		TraceID: hex.EncodeToString(b.TraceIDs[i][:]), SpanID: hex.EncodeToString(b.SpanIDs[i][:]), Flags: b.Flags[i] & w3cFlags, OperationName: b.Names.Str(i),
		StartTime: b.StartNs[i] / 1000, Duration: max(0, b.EndNs[i]-b.StartNs[i]) / 1000, References: []jaegerReference{}, Logs: []jaegerLog{},
	}
	if b.ParentIDs[i] != (spans.SpanID{}) {
		s.References = append(s.References, jaegerReference{"CHILD_OF", s.TraceID, hex.EncodeToString(b.ParentIDs[i][:])})
	}
	from, to := b.LinkRange(i)
	for l := from; l < to; l++ {
		s.References = append(s.References, jaegerReference{"FOLLOWS_FROM", hex.EncodeToString(b.Links.TraceIDs[l][:]), hex.EncodeToString(b.Links.SpanIDs[l][:])})
	}
	s.Tags = spanTags(b, i)
	from, to = b.EventRange(i)
	for e := from; e < to; e++ {
		fields := []jaegerTag{stringTag("event", b.Events.Names.Str(e))}
		s.Logs = append(s.Logs, jaegerLog{Timestamp: b.Events.TimeNs[e] / 1000, Fields: append(fields, tagsOf(&b.Events.Attrs, e)...)})
	}
	return s
}

// spanTags are the attributes of a span, and as tags what else it has.
func spanTags(b *spans.Block, i int) []jaegerTag {
	tags := tagsOf(&b.Attrs, i)
	add := func(key, value string) {
		if value != "" {
			tags = append(tags, stringTag(key, value))
		}
	}
	if kind := int(b.Kinds[i]); kind < len(jaegerKinds) {
		add("span.kind", jaegerKinds[kind])
	}
	switch b.Statuses[i] {
	case spans.StatusError:
		add("otel.status_code", "ERROR")
		if _, ok := b.Attrs.Get(i, "error"); !ok {
			tags = append(tags, jaegerTag{"error", "bool", true}) // by which viewers mark a span
		}
	case spans.StatusOK:
		add("otel.status_code", "OK")
	case spans.StatusUnset:
	}
	add("otel.status_description", b.StatusMessages.Str(i))
	add("w3c.tracestate", b.TraceStates.Str(i))
	scope := int(b.ScopeOf[i])
	add("otel.scope.name", b.Scopes.Names.Str(scope))
	add("otel.scope.version", b.Scopes.Versions.Str(scope))
	return tags
}

func tagsOf(a *spans.Attrs, row int) []jaegerTag {
	tags := []jaegerTag{}
	from, to := a.Range(row)
	for p := from; p < to; p++ {
		tags = append(tags, stringTag(a.Keys.Str(p), a.Values.Str(p)))
	}
	return tags
}

func stringTag(key, value string) jaegerTag { return jaegerTag{key, "string", value} }

// base64Of reads base64 of either alphabet, padded or not.
func base64Of(text string) ([]byte, bool) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := e.DecodeString(text); err == nil {
			return raw, true
		}
	}
	return nil, false
}
