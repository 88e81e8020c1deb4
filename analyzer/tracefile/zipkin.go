package tracefile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/whosehop/whosehop/storage/spans"
)

// zipkinSpan is a span of Zipkin's v2 API (zipkin.io/zipkin-api). Times are in microseconds.
type zipkinSpan struct {
	TraceID        string          `json:"traceId"`
	ID             string          `json:"id"`
	ParentID       string          `json:"parentId"`
	Name           string          `json:"name"`
	Kind           string          `json:"kind"`
	Timestamp      float64         `json:"timestamp"`
	Duration       float64         `json:"duration"`
	LocalEndpoint  *zipkinEndpoint `json:"localEndpoint"`
	RemoteEndpoint *zipkinEndpoint `json:"remoteEndpoint"`
	Annotations    []struct {
		Timestamp float64 `json:"timestamp"`
		Value     string  `json:"value"`
	} `json:"annotations"`
	Tags map[string]string `json:"tags"`
}

type zipkinEndpoint struct {
	ServiceName string `json:"serviceName"`
	IPv4        string `json:"ipv4"`
	IPv6        string `json:"ipv6"`
	Port        int64  `json:"port"`
}

// readZipkin reads a list of spans, or of traces, which are lists of spans.
func readZipkin(value []byte, b *spans.Block) error {
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil {
		return fmt.Errorf("read as Zipkin v2 JSON: %w", err)
	}
	traces := ptrace.NewTraces()
	for i, item := range list {
		var ofTrace []zipkinSpan
		if len(item) > 0 && item[0] == '[' {
			if err := json.Unmarshal(item, &ofTrace); err != nil {
				return fmt.Errorf("trace %d, read as Zipkin v2 JSON: %w", i+1, err)
			}
		} else {
			ofTrace = make([]zipkinSpan, 1)
			if err := json.Unmarshal(item, &ofTrace[0]); err != nil {
				return fmt.Errorf("span %d, read as Zipkin v2 JSON: %w", i+1, err)
			}
		}
		for k := range ofTrace {
			if err := ofTrace[k].fill(traces.ResourceSpans().AppendEmpty()); err != nil {
				return fmt.Errorf("item %d of a Zipkin list: %w", i+1, err)
			}
		}
	}
	return add(traces, b)
}

func (s *zipkinSpan) fill(resource ptrace.ResourceSpans) error {
	if s.TraceID == "" || s.ID == "" {
		return fmt.Errorf("it has no traceId and id: want %s", taken)
	}
	span := resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	var trace pcommon.TraceID
	var id, parent pcommon.SpanID
	if err := parseID(trace[:], s.TraceID); err != nil {
		return err
	}
	if err := parseID(id[:], s.ID); err != nil {
		return err
	}
	if err := parseID(parent[:], s.ParentID); err != nil {
		return err
	}
	span.SetTraceID(trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetName(s.Name)
	span.SetKind(kindNamed(s.Kind))
	span.SetStartTimestamp(micros(s.Timestamp))
	span.SetEndTimestamp(micros(s.Timestamp + s.Duration))
	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		// What OpenTelemetry's exporters say of the resource, Zipkin keeps among the tags.
		if strings.HasPrefix(key, "service.") || strings.HasPrefix(key, "telemetry.") || strings.HasPrefix(key, "host.") || strings.HasPrefix(key, "k8s.") {
			resource.Resource().Attributes().PutStr(key, s.Tags[key])
			continue
		}
		span.Attributes().PutStr(key, s.Tags[key])
	}
	if local := s.LocalEndpoint; local != nil {
		resource.Resource().Attributes().PutStr("service.name", local.ServiceName)
		if address := local.address(); address != "" {
			resource.Resource().Attributes().PutStr("host.ip", address)
		}
	}
	if remote := s.RemoteEndpoint; remote != nil && (s.Kind == "CLIENT" || s.Kind == "PRODUCER") {
		if remote.ServiceName != "" {
			span.Attributes().PutStr("service.peer.name", remote.ServiceName)
		}
		if address := remote.address(); address != "" {
			span.Attributes().PutStr("network.peer.address", address)
		}
		if remote.Port > 0 {
			span.Attributes().PutInt("network.peer.port", remote.Port)
		}
	}
	if text, failed := s.Tags["error"]; failed && text != "false" {
		span.Status().SetCode(ptrace.StatusCodeError)
		if text != "true" {
			span.Status().SetMessage(text)
		}
	}
	switch s.Tags["otel.status_code"] {
	case "ERROR":
		span.Status().SetCode(ptrace.StatusCodeError)
	case "OK":
		span.Status().SetCode(ptrace.StatusCodeOk)
	}
	for _, a := range s.Annotations {
		event := span.Events().AppendEmpty()
		event.SetTimestamp(micros(a.Timestamp))
		event.SetName(a.Value)
		// OpenTelemetry's exporters write an event as "name": {attributes}.
		name, attributes, found := strings.Cut(a.Value, ": ")
		var of map[string]map[string]any
		if found && json.Unmarshal([]byte("{"+name+":"+attributes+"}"), &of) == nil {
			event.SetName(strings.Trim(name, `"`))
			for _, key := range slices.Sorted(maps.Keys(of[event.Name()])) {
				event.Attributes().PutStr(key, fmt.Sprint(of[event.Name()][key]))
			}
		}
	}
	return nil
}

func (e *zipkinEndpoint) address() string {
	if e.IPv4 != "" {
		return e.IPv4
	}
	return e.IPv6
}
