package storage

import (
	"encoding/hex"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/whosehop/whosehop/storage/spans"
)

// columns is the columns of otel_traces as they are read.
type columns struct {
	timestamp                                                  *proto.ColDateTime64
	traceID, spanID, parentID, traceState                      proto.ColStr
	name, kind, service                                        *proto.ColLowCardinality[string]
	resource, scope, attrs                                     attrsColumn
	scopeName, scopeVersion                                    proto.ColStr
	duration, endBeforeStart                                   proto.ColUInt64
	status                                                     *proto.ColLowCardinality[string]
	statusMessage                                              proto.ColStr
	resourceURL, scopeURL                                      *proto.ColLowCardinality[string]
	flags, dropped, droppedEvents, droppedLinks                proto.ColUInt32
	droppedResource, droppedScope                              proto.ColUInt32
	eventTime                                                  *proto.ColDateTime64
	eventName                                                  *proto.ColLowCardinality[string]
	eventAttrs                                                 attrsColumn
	eventDropped                                               proto.ColUInt32
	linkTrace, linkSpan, linkState                             proto.ColStr
	linkAttrs                                                  attrsColumn
	linkDropped, linkFlags                                     proto.ColUInt32
	eventTimes                                                 *proto.ColArr[time.Time]
	eventNames, linkTraces, linkSpans, linkStates              *proto.ColArr[string]
	eventMaps, linkMaps                                        *proto.ColArr[map[string]string]
	eventDroppedCounts, linkDroppedCounts, linkFlagsOfEachSpan *proto.ColArr[uint32]

	results proto.Results
}

func newColumns() *columns {
	lc := func() *proto.ColLowCardinality[string] { return new(proto.ColStr).LowCardinality() }
	c := &columns{
		timestamp: new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano),
		name:      lc(), kind: lc(), service: lc(), status: lc(), resourceURL: lc(), scopeURL: lc(), eventName: lc(),
		resource: newAttrsColumn(), scope: newAttrsColumn(), attrs: newAttrsColumn(), eventAttrs: newAttrsColumn(), linkAttrs: newAttrsColumn(),
		eventTime: new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano),
	}
	c.eventTimes = proto.NewArray[time.Time](c.eventTime)
	c.eventNames = proto.NewArray[string](c.eventName)
	c.eventMaps = proto.NewArray[map[string]string](c.eventAttrs.column)
	c.eventDroppedCounts = proto.NewArray[uint32](&c.eventDropped)
	c.linkTraces = proto.NewArray[string](&c.linkTrace)
	c.linkSpans = proto.NewArray[string](&c.linkSpan)
	c.linkStates = proto.NewArray[string](&c.linkState)
	c.linkMaps = proto.NewArray[map[string]string](c.linkAttrs.column)
	c.linkDroppedCounts = proto.NewArray[uint32](&c.linkDropped)
	c.linkFlagsOfEachSpan = proto.NewArray[uint32](&c.linkFlags)
	c.results = proto.Results{
		{Name: "Timestamp", Data: c.timestamp},
		{Name: "TraceId", Data: &c.traceID},
		{Name: "SpanId", Data: &c.spanID},
		{Name: "ParentSpanId", Data: &c.parentID},
		{Name: "TraceState", Data: &c.traceState},
		{Name: "SpanName", Data: c.name},
		{Name: "SpanKind", Data: c.kind},
		{Name: "ServiceName", Data: c.service},
		{Name: "ResourceAttributes", Data: c.resource.column},
		{Name: "ScopeName", Data: &c.scopeName},
		{Name: "ScopeVersion", Data: &c.scopeVersion},
		{Name: "SpanAttributes", Data: c.attrs.column},
		{Name: "Duration", Data: &c.duration},
		{Name: "StatusCode", Data: c.status},
		{Name: "StatusMessage", Data: &c.statusMessage},
		{Name: "Events.Timestamp", Data: c.eventTimes},
		{Name: "Events.Name", Data: c.eventNames},
		{Name: "Events.Attributes", Data: c.eventMaps},
		{Name: "EventsDroppedAttributesCount", Data: c.eventDroppedCounts},
		{Name: "Links.TraceId", Data: c.linkTraces},
		{Name: "Links.SpanId", Data: c.linkSpans},
		{Name: "Links.TraceState", Data: c.linkStates},
		{Name: "Links.Attributes", Data: c.linkMaps},
		{Name: "LinksDroppedAttributesCount", Data: c.linkDroppedCounts},
		{Name: "LinksFlags", Data: c.linkFlagsOfEachSpan},
		{Name: "ScopeAttributes", Data: c.scope.column},
		{Name: "ResourceSchemaUrl", Data: c.resourceURL},
		{Name: "ScopeSchemaUrl", Data: c.scopeURL},
		{Name: "SpanFlags", Data: &c.flags},
		{Name: "DroppedAttributesCount", Data: &c.dropped},
		{Name: "DroppedEventsCount", Data: &c.droppedEvents},
		{Name: "DroppedLinksCount", Data: &c.droppedLinks},
		{Name: "ResourceDroppedAttributesCount", Data: &c.droppedResource},
		{Name: "ScopeDroppedAttributesCount", Data: &c.droppedScope},
		{Name: "EndBeforeStart", Data: &c.endBeforeStart},
	}
	return c
}

// attrsColumn is Map(LowCardinality(String), String), read without Go maps.
type attrsColumn struct {
	keys   *proto.ColLowCardinality[string]
	values *proto.ColStr
	column *proto.ColMap[string, string]
}

func newAttrsColumn() attrsColumn {
	a := attrsColumn{keys: new(proto.ColStr).LowCardinality(), values: new(proto.ColStr)}
	a.column = proto.NewMap[string, string](a.keys, a.values)
	return a
}

func (a *attrsColumn) read(i int, into *spans.Attrs) {
	from := 0
	if i > 0 {
		from = int(a.column.Offsets[i-1])
	}
	for p := from; p < int(a.column.Offsets[i]); p++ {
		into.Keys.Append(a.keys.Row(p))
		into.Values.AppendBytes(a.values.RowBytes(p))
	}
	into.EndRow()
}

// readTraceID and readSpanID take anything that is no id for "none".
func readTraceID(text []byte) (id spans.TraceID) {
	if len(text) == 2*len(id) {
		if _, err := hex.Decode(id[:], text); err != nil {
			return spans.TraceID{}
		}
	}
	return id
}

func readSpanID(text []byte) (id spans.SpanID) {
	if len(text) == 2*len(id) {
		if _, err := hex.Decode(id[:], text); err != nil {
			return spans.SpanID{}
		}
	}
	return id
}

func rowOf(offsets proto.ColUInt64, i int) (from, to int) {
	if i > 0 {
		from = int(offsets[i-1])
	}
	return from, int(offsets[i])
}
