package native

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
)

// spansOf makes n spans, with so many names in turn; each span has an event.
func spansOf(n, names int) *spans.Block {
	b := &spans.Block{}
	b.Resources.Services.Append("a")
	b.Resources.Attrs.Pair("service.name", "a")
	b.Resources.Attrs.EndRow()
	b.Resources.SchemaURLs.Append("")
	b.Resources.DroppedAttrs = []uint32{0}
	b.Scopes.Names.Append("")
	b.Scopes.Versions.Append("")
	b.Scopes.Attrs.EndRow()
	b.Scopes.SchemaURLs.Append("")
	b.Scopes.DroppedAttrs = []uint32{0}
	for i := range n {
		b.TraceIDs = append(b.TraceIDs, spans.TraceID{1})
		b.SpanIDs = append(b.SpanIDs, spans.SpanID{byte(i), byte(i >> 8), 1})
		b.ParentIDs = append(b.ParentIDs, spans.SpanID{})
		b.StartNs, b.EndNs = append(b.StartNs, 1), append(b.EndNs, 2)
		b.Kinds, b.Statuses, b.Flags = append(b.Kinds, spans.KindClient), append(b.Statuses, spans.StatusError), append(b.Flags, 1)
		b.Names.Append("GET /" + strconv.Itoa(i%names))
		b.TraceStates.Append("")
		b.StatusMessages.Append("broken")
		b.Attrs.Pair("http.route", "/")
		b.Attrs.EndRow()
		b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, 0), append(b.DroppedEvents, 0), append(b.DroppedLinks, 0)
		b.Events.TimeNs = append(b.Events.TimeNs, 1)
		b.Events.Names.Append("exception")
		b.Events.Attrs.EndRow()
		b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 0)
		b.EventEnds = append(b.EventEnds, uint32(i+1))
		b.LinkEnds = append(b.LinkEnds, 0)
		b.ResourceOf, b.ScopeOf = append(b.ResourceOf, 0), append(b.ScopeOf, 0)
	}
	return b
}

// TestAnEncoderIsAsGoodAsNew after any block: large and small ones, with many names and few.
func TestAnEncoderIsAsGoodAsNew(t *testing.T) {
	var used Encoder
	for _, shape := range [][2]int{{500, 300}, {10, 1}, {400, 350}, {3, 3}, {1000, 7}, {500, 300}} {
		b := spansOf(shape[0], shape[1])
		var got, want Packed
		used.Encode(b, &got)
		new(Encoder).Encode(b, &want)
		if !bytes.Equal(got.Frames, want.Frames) {
			t.Errorf("%d spans with %d names are packed differently by an encoder that was used before", shape[0], shape[1])
		}
	}
}

// TestEncodeAllocatesNothingPerSpan holds once the buffers have grown.
func TestEncodeAllocatesNothingPerSpan(t *testing.T) {
	b := spansOf(200, 1)
	var e Encoder
	var p Packed
	e.Encode(b, &p)
	// What is left is the list of columns: a few dozen, whatever the number of spans.
	if n := testing.AllocsPerRun(20, func() { e.Encode(b, &p) }); n > 50 {
		t.Errorf("%v allocations a block of %d spans", n, b.Len())
	}
}

// TestOneShardIsPackedAsTheWhole, byte for byte.
func TestOneShardIsPackedAsTheWhole(t *testing.T) {
	b := spansOf(500, 300)
	var e Encoder
	var want, got Packed
	e.Encode(b, &want)
	e.EncodeShards(b, NewShards([]uint32{3}), func(int) *Packed { return &got })
	if !bytes.Equal(got.Frames, want.Frames) || got.Rows != want.Rows || got.Shard != 0 {
		t.Errorf("%d rows of shard %d are packed differently", got.Rows, got.Shard)
	}
}

// TestEncodeShardsAllocatesNothingPerSpan holds once the buffers have grown.
func TestEncodeShardsAllocatesNothingPerSpan(t *testing.T) {
	b := spansOf(1000, 1)
	for i := range b.TraceIDs {
		b.TraceIDs[i] = spans.TraceID{byte(i), byte(i >> 8)}
	}
	shards := NewShards([]uint32{1, 2, 1})
	var e Encoder
	packed := make([]Packed, shards.Len())
	into := func(shard int) *Packed { return &packed[shard] }
	e.EncodeShards(b, shards, into)
	if n := testing.AllocsPerRun(20, func() { e.EncodeShards(b, shards, into) }); n > 50 {
		t.Errorf("%v allocations a block of %d spans", n, b.Len())
	}
	if n := packed[0].Rows + packed[1].Rows + packed[2].Rows; n != b.Len() || packed[2].Shard != 2 {
		t.Errorf("%d rows are packed, the last of shard %d", n, packed[2].Shard)
	}
}
