package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/storage/spans"
)

// encoder is the columns of otel_traces that are sent, reused from insert to insert.
type encoder struct {
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

	input proto.Input
}

func newEncoder() *encoder {
	lc := func() *proto.ColLowCardinality[string] { return new(proto.ColStr).LowCardinality() }
	e := &encoder{
		timestamp: new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano),
		name:      lc(), kind: lc(), service: lc(), status: lc(), resourceURL: lc(), scopeURL: lc(), eventName: lc(),
		resource: newAttrsColumn(), scope: newAttrsColumn(), attrs: newAttrsColumn(), eventAttrs: newAttrsColumn(), linkAttrs: newAttrsColumn(),
		eventTime: new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano),
	}
	e.eventTimes = proto.NewArray[time.Time](e.eventTime)
	e.eventNames = proto.NewArray[string](e.eventName)
	e.eventMaps = proto.NewArray[map[string]string](e.eventAttrs.column)
	e.eventDroppedCounts = proto.NewArray[uint32](&e.eventDropped)
	e.linkTraces = proto.NewArray[string](&e.linkTrace)
	e.linkSpans = proto.NewArray[string](&e.linkSpan)
	e.linkStates = proto.NewArray[string](&e.linkState)
	e.linkMaps = proto.NewArray[map[string]string](e.linkAttrs.column)
	e.linkDroppedCounts = proto.NewArray[uint32](&e.linkDropped)
	e.linkFlagsOfEachSpan = proto.NewArray[uint32](&e.linkFlags)
	e.input = proto.Input{
		{Name: "Timestamp", Data: e.timestamp},
		{Name: "TraceId", Data: &e.traceID},
		{Name: "SpanId", Data: &e.spanID},
		{Name: "ParentSpanId", Data: &e.parentID},
		{Name: "TraceState", Data: &e.traceState},
		{Name: "SpanName", Data: e.name},
		{Name: "SpanKind", Data: e.kind},
		{Name: "ServiceName", Data: e.service},
		{Name: "ResourceAttributes", Data: e.resource.column},
		{Name: "ScopeName", Data: &e.scopeName},
		{Name: "ScopeVersion", Data: &e.scopeVersion},
		{Name: "SpanAttributes", Data: e.attrs.column},
		{Name: "Duration", Data: &e.duration},
		{Name: "StatusCode", Data: e.status},
		{Name: "StatusMessage", Data: &e.statusMessage},
		{Name: "Events.Timestamp", Data: e.eventTimes},
		{Name: "Events.Name", Data: e.eventNames},
		{Name: "Events.Attributes", Data: e.eventMaps},
		{Name: "Events.DroppedAttributesCount", Data: e.eventDroppedCounts},
		{Name: "Links.TraceId", Data: e.linkTraces},
		{Name: "Links.SpanId", Data: e.linkSpans},
		{Name: "Links.TraceState", Data: e.linkStates},
		{Name: "Links.Attributes", Data: e.linkMaps},
		{Name: "Links.DroppedAttributesCount", Data: e.linkDroppedCounts},
		{Name: "Links.Flags", Data: e.linkFlagsOfEachSpan},
		{Name: "ScopeAttributes", Data: e.scope.column},
		{Name: "ResourceSchemaUrl", Data: e.resourceURL},
		{Name: "ScopeSchemaUrl", Data: e.scopeURL},
		{Name: "SpanFlags", Data: &e.flags},
		{Name: "DroppedAttributesCount", Data: &e.dropped},
		{Name: "DroppedEventsCount", Data: &e.droppedEvents},
		{Name: "DroppedLinksCount", Data: &e.droppedLinks},
		{Name: "ResourceDroppedAttributesCount", Data: &e.droppedResource},
		{Name: "ScopeDroppedAttributesCount", Data: &e.droppedScope},
		{Name: "EndBeforeStart", Data: &e.endBeforeStart},
	}
	return e
}

// InsertSpans stores a block, all of it or nothing. Another insert with the same token adds nothing,
// so that one whose answer was lost can be repeated. The error is an *Error.
func (db *DB) InsertSpans(ctx context.Context, b *spans.Block, token string) error {
	if b.Len() == 0 {
		return nil
	}
	var e *encoder
	select {
	case e = <-db.encoders:
	default:
		e = newEncoder()
	}
	e.encode(b)
	tries := 0 // a connection that was kept may have gone
	err := db.stream(ctx, func(ctx context.Context, c *ch.Client) error {
		tries++
		return c.Do(ctx, ch.Query{
			Body:  e.input.Into("otel_traces"),
			Input: e.input,
			Settings: []ch.Setting{
				ch.SettingInt("async_insert", 0),
				// One block stays one block: it is stored as a whole, under one token.
				ch.SettingInt("max_insert_block_size", 10_000_000),
				ch.SettingInt("min_insert_block_size_rows", 10_000_000),
				ch.SettingInt("min_insert_block_size_bytes", 0),
				ch.SettingInt("insert_deduplicate", 1),
				ch.SettingInt("deduplicate_blocks_in_dependent_materialized_views", 1),
				{Key: "insert_deduplication_token", Value: token, Important: true},
			},
		})
	})
	select {
	case db.encoders <- e:
	default:
	}
	if err != nil {
		db.failed.add(token)
		return wrap("insert spans", err)
	}
	if tries > 1 || db.failed.has(token) {
		if err := db.mendHelper(ctx, b); err != nil {
			return err
		}
		db.failed.remove(token)
	}
	return nil
}

// tokens are those of inserts that failed and may be tried again. Most are; the others must not pile up.
type tokens struct {
	mu  sync.Mutex
	set map[string]bool
}

const tokensMost = 10_000

func (t *tokens) add(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set == nil || len(t.set) >= tokensMost {
		t.set = make(map[string]bool)
	}
	t.set[token] = true
}

func (t *tokens) has(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set[token]
}

func (t *tokens) remove(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.set, token)
}

// mendHelper adds what otel_traces_trace_id_ts lacks of a block whose insert was repeated: it is filled
// behind the spans, and a ClickHouse that dies between the two takes the repeated block for stored.
func (db *DB) mendHelper(ctx context.Context, b *spans.Block) error {
	const perQuery = 1000
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplicate": 0}))
	ids := slices.Clone(b.TraceIDs)
	slices.SortFunc(ids, func(x, y spans.TraceID) int { return bytes.Compare(x[:], y[:]) })
	for part := range slices.Chunk(slices.Compact(ids), perQuery) {
		texts := make([]string, len(part))
		for i := range part {
			texts[i] = hex.EncodeToString(part[i][:])
		}
		err := db.conn.Exec(ctx, `INSERT INTO otel_traces_trace_id_ts
			SELECT TraceId, min(Timestamp), max(Timestamp), toDate(now()) FROM otel_traces
			WHERE TraceId IN (?) AND TraceId NOT IN (SELECT TraceId FROM otel_traces_trace_id_ts WHERE TraceId IN (?)) GROUP BY TraceId`, texts, texts)
		if err != nil {
			return wrap("mend the helper of the spans", err)
		}
	}
	return nil
}

func (e *encoder) encode(b *spans.Block) {
	e.input.Reset()
	for i := range b.Len() {
		e.timestamp.Data = append(e.timestamp.Data, proto.DateTime64(b.StartNs[i]))
		appendTraceID(&e.traceID, b.TraceIDs[i])
		appendSpanID(&e.spanID, b.SpanIDs[i])
		appendSpanID(&e.parentID, b.ParentIDs[i])
		e.traceState.AppendBytes(b.TraceStates.At(i))
		e.name.Append(view(b.Names.At(i)))
		e.kind.Append(kindNames[min(int(b.Kinds[i]), len(kindNames)-1)])
		e.status.Append(statusNames[min(int(b.Statuses[i]), len(statusNames)-1)])
		e.statusMessage.AppendBytes(b.StatusMessages.At(i))
		e.attrs.add(&b.Attrs, i)
		var ranNs, backNs uint64
		if b.EndNs[i] >= b.StartNs[i] {
			ranNs = uint64(b.EndNs[i] - b.StartNs[i])
		} else {
			backNs = uint64(b.StartNs[i] - b.EndNs[i])
		}
		e.duration.Append(ranNs)
		e.endBeforeStart.Append(backNs)
		e.flags.Append(b.Flags[i])
		e.dropped.Append(b.DroppedAttrs[i])
		e.droppedEvents.Append(b.DroppedEvents[i])
		e.droppedLinks.Append(b.DroppedLinks[i])

		r, s := int(b.ResourceOf[i]), int(b.ScopeOf[i])
		e.service.Append(view(b.Resources.Services.At(r)))
		e.resource.add(&b.Resources.Attrs, r)
		e.resourceURL.Append(view(b.Resources.SchemaURLs.At(r)))
		e.droppedResource.Append(b.Resources.DroppedAttrs[r])
		e.scopeName.AppendBytes(b.Scopes.Names.At(s))
		e.scopeVersion.AppendBytes(b.Scopes.Versions.At(s))
		e.scope.add(&b.Scopes.Attrs, s)
		e.scopeURL.Append(view(b.Scopes.SchemaURLs.At(s)))
		e.droppedScope.Append(b.Scopes.DroppedAttrs[s])
		e.encodeEvents(b, i)
		e.encodeLinks(b, i)
	}
}

func (e *encoder) encodeEvents(b *spans.Block, i int) {
	from, to := b.EventRange(i)
	for k := from; k < to; k++ {
		e.eventTime.Data = append(e.eventTime.Data, proto.DateTime64(b.Events.TimeNs[k]))
		e.eventName.Append(view(b.Events.Names.At(k)))
		e.eventAttrs.add(&b.Events.Attrs, k)
		e.eventDropped.Append(b.Events.DroppedAttrs[k])
	}
	end := uint64(to)
	e.eventTimes.Offsets.Append(end)
	e.eventNames.Offsets.Append(end)
	e.eventMaps.Offsets.Append(end)
	e.eventDroppedCounts.Offsets.Append(end)
}

func (e *encoder) encodeLinks(b *spans.Block, i int) {
	from, to := b.LinkRange(i)
	for k := from; k < to; k++ {
		appendTraceID(&e.linkTrace, b.Links.TraceIDs[k])
		appendSpanID(&e.linkSpan, b.Links.SpanIDs[k])
		e.linkState.AppendBytes(b.Links.TraceStates.At(k))
		e.linkAttrs.add(&b.Links.Attrs, k)
		e.linkDropped.Append(b.Links.DroppedAttrs[k])
		e.linkFlags.Append(b.Links.Flags[k])
	}
	end := uint64(to)
	e.linkTraces.Offsets.Append(end)
	e.linkSpans.Offsets.Append(end)
	e.linkStates.Offsets.Append(end)
	e.linkMaps.Offsets.Append(end)
	e.linkDroppedCounts.Offsets.Append(end)
	e.linkFlagsOfEachSpan.Offsets.Append(end)
}
