// Package spans holds spans as columns: one Block is what the collector decodes into, what storage
// inserts into and reads from otel_traces, and what the analyzer builds call forests from.
package spans

// TraceID and SpanID are the ids as they are on the wire; all zeros is "none".
type (
	TraceID [16]byte
	SpanID  [8]byte
)

// Kind is the OTLP span kind.
type Kind uint8

// The span kinds, numbered as in OTLP.
const (
	KindUnspecified Kind = iota
	KindInternal
	KindServer
	KindClient
	KindProducer
	KindConsumer
)

// Status is the OTLP status code.
type Status uint8

// The status codes, numbered as in OTLP.
const (
	StatusUnset Status = iota
	StatusOK
	StatusError
)

// Block is a batch of spans, column by column. Row i of every span column is span i.
// Resources and scopes are stored once and pointed to by index.
// A Block is not safe for concurrent use; Reset keeps all buffers.
type Block struct {
	TraceIDs  []TraceID
	SpanIDs   []SpanID
	ParentIDs []SpanID

	// StartNs and EndNs are Unix nanoseconds as sent (wire values beyond int64 are held at its
	// maximum). EndNs may lie before StartNs: that is evidence of a bad clock and is kept.
	StartNs []int64
	EndNs   []int64

	Kinds    []Kind
	Statuses []Status
	Flags    []uint32

	Names          Text
	TraceStates    Text
	StatusMessages Text
	Attrs          Attrs

	DroppedAttrs  []uint32
	DroppedEvents []uint32
	DroppedLinks  []uint32

	// EventEnds[i] is the row behind the last event of span i; LinkEnds likewise.
	EventEnds []uint32
	Events    Events
	LinkEnds  []uint32
	Links     Links

	// ResourceOf[i] and ScopeOf[i] are rows of Resources and Scopes.
	ResourceOf []uint32
	ScopeOf    []uint32

	// IngestMs is when a span was stored, in Unix milliseconds of ClickHouse's clock: of spans that were read back, and
	// of no others.
	IngestMs []int64

	Resources Resources
	Scopes    Scopes
}

// Events is the events of all spans of a block, in the order of the spans.
type Events struct {
	TimeNs       []int64
	Names        Text
	Attrs        Attrs
	DroppedAttrs []uint32
}

// Links is the links of all spans of a block, in the order of the spans.
type Links struct {
	TraceIDs     []TraceID
	SpanIDs      []SpanID
	TraceStates  Text
	Attrs        Attrs
	DroppedAttrs []uint32
	Flags        []uint32
}

// Resources is the distinct resources of a block.
type Resources struct {
	// Services is the value of service.name, empty where there is none.
	Services     Text
	Attrs        Attrs
	SchemaURLs   Text
	DroppedAttrs []uint32
}

// Scopes is the distinct instrumentation scopes of a block.
type Scopes struct {
	Names        Text
	Versions     Text
	Attrs        Attrs
	SchemaURLs   Text
	DroppedAttrs []uint32
}

// Len is the number of spans.
func (b *Block) Len() int { return len(b.TraceIDs) }

// EventRange is the first event of span i and the one behind its last.
func (b *Block) EventRange(i int) (from, to int) {
	if i > 0 {
		from = int(b.EventEnds[i-1])
	}
	return from, int(b.EventEnds[i])
}

// LinkRange is the first link of span i and the one behind its last.
func (b *Block) LinkRange(i int) (from, to int) {
	if i > 0 {
		from = int(b.LinkEnds[i-1])
	}
	return from, int(b.LinkEnds[i])
}

// Bytes is the size of the columns, without the room that they have to grow.
func (b *Block) Bytes() int64 {
	const perSpan, perEvent, perLink = 16 + 8 + 8 + 8 + 8 + 1 + 1 + 4 + 3*4 + 2*4 + 2*4, 8 + 4, 16 + 8 + 4 + 4
	n := perSpan*b.Len() + 8*len(b.IngestMs) + perEvent*len(b.Events.TimeNs) + perLink*len(b.Links.TraceIDs)
	n += 4 * (len(b.Resources.DroppedAttrs) + len(b.Scopes.DroppedAttrs))
	for _, t := range []*Text{
		&b.Names, &b.TraceStates, &b.StatusMessages, &b.Events.Names, &b.Links.TraceStates,
		&b.Resources.Services, &b.Resources.SchemaURLs, &b.Scopes.Names, &b.Scopes.Versions, &b.Scopes.SchemaURLs,
	} {
		n += t.bytes()
	}
	for _, a := range []*Attrs{&b.Attrs, &b.Events.Attrs, &b.Links.Attrs, &b.Resources.Attrs, &b.Scopes.Attrs} {
		n += 4*len(a.Ends) + a.Keys.bytes() + a.Values.bytes()
	}
	return int64(n)
}

func (t *Text) bytes() int { return len(t.Bytes) + 4*len(t.Ends) + 4*len(t.Of) }

// Service is the service.name of span i's resource.
func (b *Block) Service(i int) []byte { return b.Resources.Services.At(int(b.ResourceOf[i])) }

// Reset empties the block and keeps its buffers.
func (b *Block) Reset() {
	b.TruncateSpans(0)
	b.Resources.Services.Reset()
	b.Resources.Attrs.Reset()
	b.Resources.SchemaURLs.Reset()
	b.Resources.DroppedAttrs = b.Resources.DroppedAttrs[:0]
	b.Scopes.Names.Reset()
	b.Scopes.Versions.Reset()
	b.Scopes.Attrs.Reset()
	b.Scopes.SchemaURLs.Reset()
	b.Scopes.DroppedAttrs = b.Scopes.DroppedAttrs[:0]
}

// TruncateSpans keeps the first n spans; it also drops what a span that was being appended has
// left in some of the columns. Resources and scopes stay.
func (b *Block) TruncateSpans(n int) {
	b.TraceIDs, b.SpanIDs, b.ParentIDs = b.TraceIDs[:n], b.SpanIDs[:n], b.ParentIDs[:n]
	b.StartNs, b.EndNs = b.StartNs[:n], b.EndNs[:n]
	b.Kinds, b.Statuses, b.Flags = b.Kinds[:n], b.Statuses[:n], b.Flags[:n]
	b.Names.Truncate(n)
	b.TraceStates.Truncate(n)
	b.StatusMessages.Truncate(n)
	b.Attrs.Truncate(n)
	b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = b.DroppedAttrs[:n], b.DroppedEvents[:n], b.DroppedLinks[:n]
	b.ResourceOf, b.ScopeOf = b.ResourceOf[:n], b.ScopeOf[:n]
	b.EventEnds, b.LinkEnds = b.EventEnds[:n], b.LinkEnds[:n]
	b.IngestMs = b.IngestMs[:min(n, len(b.IngestMs))]
	events, links := 0, 0
	if n > 0 {
		events, links = int(b.EventEnds[n-1]), int(b.LinkEnds[n-1])
	}
	b.Events.TimeNs, b.Events.DroppedAttrs = b.Events.TimeNs[:events], b.Events.DroppedAttrs[:events]
	b.Events.Names.Truncate(events)
	b.Events.Attrs.Truncate(events)
	b.Links.TraceIDs, b.Links.SpanIDs = b.Links.TraceIDs[:links], b.Links.SpanIDs[:links]
	b.Links.TraceStates.Truncate(links)
	b.Links.Attrs.Truncate(links)
	b.Links.DroppedAttrs, b.Links.Flags = b.Links.DroppedAttrs[:links], b.Links.Flags[:links]
}
