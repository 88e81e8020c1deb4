package storage

import (
	"encoding/binary"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// decoder reads otel_traces back, column by column.
type decoder struct {
	*columns
	// resources and scopes map what a row says of them to their row in the block.
	resources, scopes map[string]uint32
	key               []byte
}

func newDecoder() *decoder {
	return &decoder{columns: newColumns(), resources: make(map[string]uint32), scopes: make(map[string]uint32)}
}

func (d *decoder) names() string {
	names := make([]string, len(d.results))
	for i := range d.results {
		names[i] = "`" + d.results[i].Name + "`"
	}
	return strings.Join(names, ", ")
}

// decode appends the rows that have arrived.
func (d *decoder) decode(b *spans.Block) {
	for i := range d.traceID.Rows() {
		startNs := int64(d.timestamp.Data[i])
		endNs := startNs + int64(d.duration[i])
		if back := d.endBeforeStart[i]; back > 0 {
			endNs = startNs - int64(back)
		}
		b.TraceIDs = append(b.TraceIDs, readTraceID(d.traceID.RowBytes(i)))
		b.SpanIDs = append(b.SpanIDs, readSpanID(d.spanID.RowBytes(i)))
		b.ParentIDs = append(b.ParentIDs, readSpanID(d.parentID.RowBytes(i)))
		b.StartNs, b.EndNs = append(b.StartNs, startNs), append(b.EndNs, endNs)
		b.Kinds = append(b.Kinds, kindOf(d.kind.Row(i)))
		b.Statuses = append(b.Statuses, statusOf(d.status.Row(i)))
		b.Flags = append(b.Flags, d.flags[i])
		b.Names.Append(d.name.Row(i))
		b.TraceStates.AppendBytes(d.traceState.RowBytes(i))
		b.StatusMessages.AppendBytes(d.statusMessage.RowBytes(i))
		d.attrs.read(i, &b.Attrs)
		b.DroppedAttrs = append(b.DroppedAttrs, d.dropped[i])
		b.DroppedEvents = append(b.DroppedEvents, d.droppedEvents[i])
		b.DroppedLinks = append(b.DroppedLinks, d.droppedLinks[i])
		b.ResourceOf = append(b.ResourceOf, d.resourceRow(i, b))
		b.ScopeOf = append(b.ScopeOf, d.scopeRow(i, b))
		d.decodeEvents(i, b)
		d.decodeLinks(i, b)
	}
}

func (d *decoder) decodeEvents(i int, b *spans.Block) {
	from, to := rowOf(d.eventTimes.Offsets, i)
	for k := from; k < to; k++ {
		b.Events.TimeNs = append(b.Events.TimeNs, int64(d.eventTime.Data[k]))
		b.Events.Names.Append(d.eventName.Row(k))
		d.eventAttrs.read(k, &b.Events.Attrs)
	}
	b.Events.DroppedAttrs = appendCounts(b.Events.DroppedAttrs, d.eventDroppedCounts, i, to-from)
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
}

func (d *decoder) decodeLinks(i int, b *spans.Block) {
	from, to := rowOf(d.linkTraces.Offsets, i)
	for k := from; k < to; k++ {
		b.Links.TraceIDs = append(b.Links.TraceIDs, readTraceID(d.linkTrace.RowBytes(k)))
		b.Links.SpanIDs = append(b.Links.SpanIDs, readSpanID(d.linkSpan.RowBytes(k)))
		b.Links.TraceStates.AppendBytes(d.linkState.RowBytes(k))
		d.linkAttrs.read(k, &b.Links.Attrs)
	}
	b.Links.DroppedAttrs = appendCounts(b.Links.DroppedAttrs, d.linkDroppedCounts, i, to-from)
	b.Links.Flags = appendCounts(b.Links.Flags, d.linkFlagsOfEachSpan, i, to-from)
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
}

// appendCounts appends row i of a column that has one count an event or link, or none when all are 0.
func appendCounts(dst []uint32, column *proto.ColArr[uint32], i, n int) []uint32 {
	from, to := rowOf(column.Offsets, i)
	for k := range n {
		count := uint32(0)
		if from+k < to {
			count = column.Data.Row(from + k)
		}
		dst = append(dst, count)
	}
	return dst
}

// resourceRow finds the resource of row i among those of the block, or adds it.
func (d *decoder) resourceRow(i int, b *spans.Block) uint32 {
	d.key = append(append(d.key[:0], d.service.Row(i)...), 0)
	d.key = append(append(d.key, d.resourceURL.Row(i)...), 0)
	d.key = binary.LittleEndian.AppendUint32(d.key, d.droppedResource[i])
	d.keyOf(&d.resource, i)
	if r, ok := d.resources[string(d.key)]; ok {
		return r
	}
	r := uint32(b.Resources.Services.Len())
	d.resources[string(d.key)] = r
	b.Resources.Services.Append(d.service.Row(i))
	d.resource.read(i, &b.Resources.Attrs)
	b.Resources.SchemaURLs.Append(d.resourceURL.Row(i))
	b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, d.droppedResource[i])
	return r
}

func (d *decoder) scopeRow(i int, b *spans.Block) uint32 {
	d.key = append(append(d.key[:0], d.scopeName.RowBytes(i)...), 0)
	d.key = append(append(d.key, d.scopeVersion.RowBytes(i)...), 0)
	d.key = append(append(d.key, d.scopeURL.Row(i)...), 0)
	d.key = binary.LittleEndian.AppendUint32(d.key, d.droppedScope[i])
	d.keyOf(&d.scope, i)
	if s, ok := d.scopes[string(d.key)]; ok {
		return s
	}
	s := uint32(b.Scopes.Names.Len())
	d.scopes[string(d.key)] = s
	b.Scopes.Names.AppendBytes(d.scopeName.RowBytes(i))
	b.Scopes.Versions.AppendBytes(d.scopeVersion.RowBytes(i))
	d.scope.read(i, &b.Scopes.Attrs)
	b.Scopes.SchemaURLs.Append(d.scopeURL.Row(i))
	b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, d.droppedScope[i])
	return s
}

func (d *decoder) keyOf(a *attrsColumn, i int) {
	from, to := rowOf(a.column.Offsets, i)
	for p := from; p < to; p++ {
		d.key = append(append(d.key, a.keys.Row(p)...), 0)
		d.key = append(append(d.key, a.values.RowBytes(p)...), 0)
	}
}

func kindOf(text string) spans.Kind {
	text = strings.TrimPrefix(text, "SPAN_KIND_")
	for k, name := range native.KindNames {
		if strings.EqualFold(name, text) {
			return spans.Kind(k)
		}
	}
	return spans.KindUnspecified
}

func statusOf(text string) spans.Status {
	text = strings.TrimPrefix(text, "STATUS_CODE_")
	for s, name := range native.StatusNames {
		if strings.EqualFold(name, text) {
			return spans.Status(s)
		}
	}
	return spans.StatusUnset
}
