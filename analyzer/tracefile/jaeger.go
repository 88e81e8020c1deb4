package tracefile

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/whosehop/whosehop/storage/spans"
)

// The JSON of Jaeger's query API, which its UI downloads (jaegertracing/jaeger, model/json). Times are in
// microseconds.
type (
	jaegerAnswer struct {
		Data []struct {
			Spans     []jaegerSpan             `json:"spans"`
			Processes map[string]jaegerProcess `json:"processes"`
		} `json:"data"`
	}
	jaegerSpan struct {
		TraceID       string         `json:"traceID"`
		SpanID        string         `json:"spanID"`
		ParentSpanID  string         `json:"parentSpanID"` // of old versions
		OperationName string         `json:"operationName"`
		References    []jaegerRef    `json:"references"`
		StartTime     float64        `json:"startTime"`
		Duration      float64        `json:"duration"`
		Tags          []jaegerTag    `json:"tags"`
		Logs          []jaegerLog    `json:"logs"`
		ProcessID     string         `json:"processID"`
		Process       *jaegerProcess `json:"process"`
	}
	jaegerRef struct {
		Type    string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	}
	jaegerTag struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	jaegerLog struct {
		Timestamp float64     `json:"timestamp"`
		Fields    []jaegerTag `json:"fields"`
	}
	jaegerProcess struct {
		ServiceName string      `json:"serviceName"`
		Tags        []jaegerTag `json:"tags"`
	}
)

func readJaeger(value []byte, b *spans.Block) error {
	var answer jaegerAnswer
	if err := json.Unmarshal(value, &answer); err != nil {
		return fmt.Errorf("read as Jaeger JSON: %w", err)
	}
	traces := ptrace.NewTraces()
	for _, t := range answer.Data {
		for i := range t.Spans {
			s := &t.Spans[i]
			process := t.Processes[s.ProcessID]
			if s.Process != nil {
				process = *s.Process
			}
			resource := traces.ResourceSpans().AppendEmpty()
			putTags(resource.Resource().Attributes(), process.Tags)
			resource.Resource().Attributes().PutStr("service.name", process.ServiceName)
			if err := s.fill(resource.ScopeSpans().AppendEmpty()); err != nil {
				return fmt.Errorf("span %d of a Jaeger trace: %w", i+1, err)
			}
		}
	}
	return add(traces, b)
}

func (s *jaegerSpan) fill(scope ptrace.ScopeSpans) error {
	span := scope.Spans().AppendEmpty()
	var trace pcommon.TraceID
	var id, parent pcommon.SpanID
	if err := parseID(trace[:], s.TraceID); err != nil {
		return err
	}
	if err := parseID(id[:], s.SpanID); err != nil {
		return err
	}
	if err := parseID(parent[:], s.ParentSpanID); err != nil {
		return err
	}
	for _, ref := range s.References {
		var refTrace pcommon.TraceID
		var refID pcommon.SpanID
		if err := parseID(refTrace[:], ref.TraceID); err != nil {
			return err
		}
		if err := parseID(refID[:], ref.SpanID); err != nil {
			return err
		}
		if refTrace == trace && parent.IsEmpty() && (ref.Type == "CHILD_OF" || len(s.References) == 1) {
			parent = refID
			continue
		}
		if refID != parent {
			link := span.Links().AppendEmpty()
			link.SetTraceID(refTrace)
			link.SetSpanID(refID)
		}
	}
	span.SetTraceID(trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetName(s.OperationName)
	span.SetStartTimestamp(micros(s.StartTime))
	span.SetEndTimestamp(micros(s.StartTime + s.Duration))
	putTags(span.Attributes(), s.Tags)
	for _, tag := range s.Tags {
		text := fmt.Sprint(tag.Value)
		switch tag.Key {
		case "span.kind":
			span.SetKind(kindNamed(text))
		case "otel.status_description":
			span.Status().SetMessage(text)
		case "otel.library.name", "otel.scope.name":
			scope.Scope().SetName(text)
		case "error", "otel.status_code":
			switch strings.ToLower(text) {
			case "true", "error":
				span.Status().SetCode(ptrace.StatusCodeError)
			case "ok":
				span.Status().SetCode(ptrace.StatusCodeOk)
			}
		}
	}
	for _, log := range s.Logs {
		log.fill(span.Events().AppendEmpty())
	}
	return nil
}

// fill makes an event of a log. OpenTracing has words of its own for an exception
// (opentracing/specification, semantic_conventions.md).
func (l *jaegerLog) fill(event ptrace.SpanEvent) {
	event.SetTimestamp(micros(l.Timestamp))
	putTags(event.Attributes(), l.Fields)
	failed := false
	for _, field := range l.Fields {
		text := fmt.Sprint(field.Value)
		switch field.Key {
		case "event":
			event.SetName(text)
			failed = failed || text == "error"
		case "error.kind":
			event.Attributes().PutStr("exception.type", text)
		case "error.object":
			failed = true
			kind, rest, found := strings.Cut(text, ": ")
			if _, known := event.Attributes().Get("exception.type"); found && !known && !strings.Contains(kind, " ") {
				event.Attributes().PutStr("exception.type", kind)
				text = rest
			}
			if _, known := event.Attributes().Get("exception.message"); !known {
				event.Attributes().PutStr("exception.message", text)
			}
		case "message":
			if _, known := event.Attributes().Get("exception.message"); !known {
				event.Attributes().PutStr("exception.message", text)
			}
		case "stack":
			event.Attributes().PutStr("exception.stacktrace", text)
		}
	}
	if failed {
		event.SetName("exception")
	}
}

func putTags(to pcommon.Map, tags []jaegerTag) {
	for _, tag := range tags {
		switch v := tag.Value.(type) {
		case nil:
		case string:
			to.PutStr(tag.Key, v)
		case bool:
			to.PutBool(tag.Key, v)
		case float64:
			if v == float64(int64(v)) {
				to.PutInt(tag.Key, int64(v))
			} else {
				to.PutDouble(tag.Key, v)
			}
		default:
			to.PutStr(tag.Key, fmt.Sprint(v))
		}
	}
}

func kindNamed(name string) ptrace.SpanKind {
	switch strings.ToLower(name) {
	case "server":
		return ptrace.SpanKindServer
	case "client":
		return ptrace.SpanKindClient
	case "producer":
		return ptrace.SpanKindProducer
	case "consumer":
		return ptrace.SpanKindConsumer
	case "internal":
		return ptrace.SpanKindInternal
	}
	return ptrace.SpanKindUnspecified
}
