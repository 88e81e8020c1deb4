package native

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
)

// part is a column of an answer: its name and type, and its rows as they are on the wire.
type part struct {
	name, kind string
	data       []byte
}

// answerOf is what ClickHouse answers when it is asked for the columns of d and has the block: the columns of the
// INSERT in the order of the question, defaults for those that were not sent, and the time of ingestion, which is
// ingestMs for the first row, and one more for each after it. The rows are in the order of the table.
func answerOf(t testing.TB, b *spans.Block, d *Decoder, ingestMs int64) []part {
	t.Helper()
	var p Packed
	new(Encoder).Encode(b, &p)
	raw := cursor(unpack(p.Frames))
	raw.skip(len(blockInfo))
	sent := make(map[string]part)
	columns, rows := raw.uvarint(), raw.uvarint()
	for range columns {
		name, kind := raw.text(), raw.text()
		begin := raw
		raw.column(kind, rows)
		data := begin[:len(begin)-len(raw)]
		if kind == kindWord {
			data = minimal(data)
		}
		sent[name] = part{name, kind, data}
	}
	if rows != b.Len() || len(raw) > 0 {
		t.Fatalf("%d rows, and %d bytes behind them", rows, len(raw))
	}
	var answer []part
	for _, c := range d.Columns() {
		column, ok := sent[c.Name]
		switch {
		case c.Name == "IngestTime":
			column = part{name: c.Name, kind: "DateTime64(3, 'UTC')"}
			for i := range rows {
				column.data = binary.LittleEndian.AppendUint64(column.data, uint64(ingestMs+int64(i)))
			}
		case !ok:
			kind := c.Type + strings.Repeat(")", strings.Count(c.Type, "(")-strings.Count(c.Type, ")"))
			column = part{c.Name, kind, defaults(kind, rows)}
		}
		answer = append(answer, column)
	}
	return answer
}

// blockOf writes a block of columns as it is on the wire.
func blockOf(rows int, parts []part) []byte {
	raw := wire(blockInfo, uvarint(len(parts)), uvarint(rows))
	for _, p := range parts {
		raw = append(raw, wire(p.name, p.kind, p.data)...)
	}
	return raw
}

// packedBy packs bytes into frames of so many.
func packedBy(size int, raw []byte) []byte {
	var f frames
	for len(raw) > 0 {
		n := min(size, len(raw))
		f.raw = append(f.raw, raw[:n]...)
		f.pack()
		raw = raw[n:]
	}
	return f.packed
}

type uvarint uint64

// wire writes values as the protocol does: numbers by their width, texts with their length.
func wire(values ...any) (raw []byte) {
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			raw = append(raw, v...)
		case string:
			raw = append(binary.AppendUvarint(raw, uint64(len(v))), v...)
		case uvarint:
			raw = binary.AppendUvarint(raw, uint64(v))
		case int:
			raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
		case uint32:
			raw = binary.LittleEndian.AppendUint32(raw, v)
		case byte:
			raw = append(raw, v)
		default:
			panic(fmt.Sprintf("%T has no form on the wire", v))
		}
	}
	return raw
}

// minimal leaves out words that no row has, as ClickHouse does.
func minimal(column cursor) []byte {
	column.skip(8)
	width := 1 << (column.uint64() & 0xff)
	var texts []string
	for range column.uint64() {
		texts = append(texts, column.text())
	}
	var d dictionary
	d.reset()
	for range column.uint64() {
		n := 0
		for i := range width {
			n |= int(column[i]) << (8 * i)
		}
		column.skip(width)
		d.add([]byte(texts[n]))
	}
	f := frames{raw: wire(dictionaryVersion)}
	d.write(&f)
	f.pack()
	return unpack(f.packed)
}

// unpack gives what whole frames hold.
func unpack(frames []byte) (raw []byte) {
	s := unpacked(from(bytes.NewReader(frames)))
	for {
		buf, err := s.more(raw)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return buf
		}
		if err != nil {
			panic(err)
		}
		raw = buf
	}
}

// defaults are the rows of a column that nobody sent.
func defaults(kind string, rows int) (raw []byte) {
	if strings.Contains(kind, "LowCardinality") {
		raw = wire(dictionaryVersion)
	}
	switch {
	case strings.HasPrefix(kind, "Array("), strings.HasPrefix(kind, "Map("):
		return append(raw, make([]byte, 8*rows)...)
	case kind == kindWord:
		return append(append(raw, wire(dictionaryFlags, 1, "", rows)...), make([]byte, rows)...)
	case kind == kindText:
		return make([]byte, rows)
	}
	return make([]byte, widths[kind]*rows)
}

var widths = map[string]int{kindTime: 8, kindLong: 8, kindCount: 4, "Date": 2, "Bool": 1}

// cursor goes through well-formed columns without the code that is tested.
type cursor []byte

func (c *cursor) skip(n int) { *c = (*c)[n:] }

func (c *cursor) uint64() int {
	n := binary.LittleEndian.Uint64(*c)
	c.skip(8)
	return int(n)
}

func (c *cursor) uvarint() int {
	n, width := binary.Uvarint(*c)
	c.skip(width)
	return int(n)
}

func (c *cursor) text() string {
	n := c.uvarint()
	text := string((*c)[:n])
	c.skip(n)
	return text
}

func (c *cursor) column(kind string, rows int) {
	if strings.Contains(kind, "LowCardinality") {
		c.skip(8)
	}
	c.rows(kind, rows)
}

func (c *cursor) rows(kind string, rows int) {
	elements := func() (n int) {
		for range rows {
			n = c.uint64()
		}
		return n
	}
	switch {
	case strings.HasPrefix(kind, "Array("):
		c.rows(kind[len("Array("):len(kind)-1], elements())
	case kind == kindMap:
		n := elements()
		c.rows(kindWord, n)
		c.rows(kindText, n)
	case kind == kindWord && rows > 0:
		width := 1 << (c.uint64() & 0xff)
		c.rows(kindText, c.uint64())
		c.skip(c.uint64() * width)
	case kind == kindText:
		for range rows {
			c.text()
		}
	case kind != kindWord:
		c.skip(widths[kind] * rows)
	}
}

// told is all that a block says of a span, so that spans of two blocks can be compared.
type told struct {
	TraceID                   spans.TraceID
	SpanID, ParentID          spans.SpanID
	StartNs, EndNs            int64
	Kind                      spans.Kind
	Status                    spans.Status
	Flags                     uint32
	Name, TraceState, Message string
	Attrs                     []string
	DroppedAttrs              uint32
	DroppedEvents             uint32
	DroppedLinks              uint32
	Events                    []toldEvent
	Links                     []toldLink
	Resource, Scope           toldSource
}

type toldEvent struct {
	TimeNs       int64
	Name         string
	Attrs        []string
	DroppedAttrs uint32
}

type toldLink struct {
	TraceID             spans.TraceID
	SpanID              spans.SpanID
	TraceState          string
	Attrs               []string
	DroppedAttrs, Flags uint32
}

// toldSource is a resource, of which the name is that of its service, or a scope.
type toldSource struct {
	Name, Version, SchemaURL string
	Attrs                    []string
	DroppedAttrs             uint32
}

func tellAttrs(a *spans.Attrs, i int) (pairs []string) {
	from, to := a.Range(i)
	for p := from; p < to; p++ {
		pairs = append(pairs, a.Keys.Str(p), a.Values.Str(p))
	}
	return pairs
}

func tell(b *spans.Block, i int) told {
	r, s := int(b.ResourceOf[i]), int(b.ScopeOf[i])
	x := told{
		TraceID: b.TraceIDs[i], SpanID: b.SpanIDs[i], ParentID: b.ParentIDs[i], StartNs: b.StartNs[i], EndNs: b.EndNs[i],
		Kind: b.Kinds[i], Status: b.Statuses[i], Flags: b.Flags[i],
		Name: b.Names.Str(i), TraceState: b.TraceStates.Str(i), Message: b.StatusMessages.Str(i), Attrs: tellAttrs(&b.Attrs, i),
		DroppedAttrs: b.DroppedAttrs[i], DroppedEvents: b.DroppedEvents[i], DroppedLinks: b.DroppedLinks[i],
		Resource: toldSource{
			Name: b.Resources.Services.Str(r), SchemaURL: b.Resources.SchemaURLs.Str(r),
			Attrs: tellAttrs(&b.Resources.Attrs, r), DroppedAttrs: b.Resources.DroppedAttrs[r],
		},
		Scope: toldSource{
			Name: b.Scopes.Names.Str(s), Version: b.Scopes.Versions.Str(s), SchemaURL: b.Scopes.SchemaURLs.Str(s),
			Attrs: tellAttrs(&b.Scopes.Attrs, s), DroppedAttrs: b.Scopes.DroppedAttrs[s],
		},
	}
	from, to := b.EventRange(i)
	for k := from; k < to; k++ {
		x.Events = append(x.Events, toldEvent{b.Events.TimeNs[k], b.Events.Names.Str(k), tellAttrs(&b.Events.Attrs, k), b.Events.DroppedAttrs[k]})
	}
	from, to = b.LinkRange(i)
	for k := from; k < to; k++ {
		x.Links = append(x.Links, toldLink{
			b.Links.TraceIDs[k], b.Links.SpanIDs[k], b.Links.TraceStates.Str(k), tellAttrs(&b.Links.Attrs, k),
			b.Links.DroppedAttrs[k], b.Links.Flags[k],
		})
	}
	return x
}

// tellAll tells every span, and holds that no column has more or fewer rows than there are.
func tellAll(t testing.TB, b *spans.Block) (all []told) {
	t.Helper()
	for i := range b.Len() {
		all = append(all, tell(b, i))
	}
	events, links := len(b.Events.TimeNs), len(b.Links.TraceIDs)
	for name, rows := range map[string][2]int{
		"spans": {b.Len(), len(b.SpanIDs)}, "parents": {b.Len(), len(b.ParentIDs)}, "starts": {b.Len(), len(b.StartNs)}, "ends": {b.Len(), len(b.EndNs)},
		"kinds": {b.Len(), len(b.Kinds)}, "statuses": {b.Len(), len(b.Statuses)}, "flags": {b.Len(), len(b.Flags)}, "names": {b.Len(), b.Names.Len()},
		"states": {b.Len(), b.TraceStates.Len()}, "messages": {b.Len(), b.StatusMessages.Len()}, "attributes": {b.Len(), b.Attrs.Len()},
		"dropped attributes": {b.Len(), len(b.DroppedAttrs)}, "dropped events": {b.Len(), len(b.DroppedEvents)}, "dropped links": {b.Len(), len(b.DroppedLinks)},
		"ends of events": {b.Len(), len(b.EventEnds)}, "ends of links": {b.Len(), len(b.LinkEnds)},
		"resources": {b.Len(), len(b.ResourceOf)}, "scopes": {b.Len(), len(b.ScopeOf)},
		"names of events": {events, b.Events.Names.Len()}, "attributes of events": {events, b.Events.Attrs.Len()}, "dropped of events": {events, len(b.Events.DroppedAttrs)},
		"spans of links": {links, len(b.Links.SpanIDs)}, "states of links": {links, b.Links.TraceStates.Len()}, "attributes of links": {links, b.Links.Attrs.Len()},
		"dropped of links": {links, len(b.Links.DroppedAttrs)}, "flags of links": {links, len(b.Links.Flags)},
	} {
		if rows[0] != rows[1] {
			t.Errorf("%d %s of %d", rows[1], name, rows[0])
		}
	}
	return all
}

// shop draws spans as they are, more or less; each has an id of its own. A plain one leaves out what few spans have.
type shop struct {
	*rand.Rand
	plain bool
}

func newShop(seed uint64, plain bool) shop {
	return shop{rand.New(rand.NewPCG(seed, 0)), plain}
}

// few is mostly nothing.
func (d shop) few() uint32 {
	if d.plain || d.IntN(4) > 0 {
		return 0
	}
	return 1 + d.Uint32N(1000)
}

func (d shop) text() string {
	texts := []string{"", "a", "GET", "\"\\\x00\n", "漢🙂", strings.Repeat("long ", 26+d.IntN(2))} // around 128, where lengths get a second byte
	return texts[d.IntN(len(texts))]
}

func (d shop) rare() string {
	if d.plain {
		return ""
	}
	return d.text()
}

func (d shop) pairs(a *spans.Attrs, most int) {
	for k := range d.IntN(most + 1) {
		a.Pair(fmt.Sprint("key.", k, d.IntN(2)), d.text())
	}
	a.EndRow()
}

func (d shop) block(n, resources, names int) *spans.Block {
	b := &spans.Block{}
	r, s := &b.Resources, &b.Scopes
	for k := range resources {
		r.Services.Append(fmt.Sprint("service ", k/2))
		r.Attrs.Pair("n", fmt.Sprint(k))
		d.pairs(&r.Attrs, 3)
		r.SchemaURLs.Append(d.rare())
		r.DroppedAttrs = append(r.DroppedAttrs, d.few())
		s.Names.Append(fmt.Sprint(d.rare(), k))
		s.Versions.Append(d.rare())
		if d.plain {
			s.Attrs.EndRow()
		} else {
			d.pairs(&s.Attrs, 2)
		}
		s.SchemaURLs.Append(d.rare())
		s.DroppedAttrs = append(s.DroppedAttrs, d.few())
	}
	for i := range n {
		d.span(b, uint32(i), resources, names)
	}
	return b
}

func (d shop) span(b *spans.Block, i uint32, resources, names int) {
	var id spans.SpanID
	binary.BigEndian.PutUint32(id[:], i+1)
	b.TraceIDs, b.SpanIDs = append(b.TraceIDs, spans.TraceID{7, 15: byte(i)}), append(b.SpanIDs, id)
	b.ParentIDs = append(b.ParentIDs, spans.SpanID{byte(d.IntN(2))}) // every second has none
	start := 1_790_000_000_000_000_000 + d.Int64N(1e9)
	b.StartNs, b.EndNs = append(b.StartNs, start), append(b.EndNs, start+d.Int64N(1e9)-int64(d.few())*1e6)
	if d.plain {
		b.EndNs[i] = start + 5
	}
	b.Kinds, b.Statuses = append(b.Kinds, spans.Kind(d.IntN(6))), append(b.Statuses, spans.Status(d.IntN(3)))
	b.Flags = append(b.Flags, d.few())
	b.Names.Append(fmt.Sprint("GET /", d.IntN(names)))
	b.TraceStates.Append(d.rare())
	b.StatusMessages.Append(d.text())
	d.pairs(&b.Attrs, 8)
	b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, d.few()), append(b.DroppedEvents, d.few()), append(b.DroppedLinks, d.few())
	for range d.IntN(3) {
		b.Events.TimeNs = append(b.Events.TimeNs, start+1)
		b.Events.Names.Append(d.text())
		d.pairs(&b.Events.Attrs, 3)
		b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, d.few())
	}
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
	for range d.IntN(3) {
		b.Links.TraceIDs, b.Links.SpanIDs = append(b.Links.TraceIDs, spans.TraceID{8}), append(b.Links.SpanIDs, id)
		b.Links.TraceStates.Append(d.rare())
		d.pairs(&b.Links.Attrs, 2)
		b.Links.DroppedAttrs, b.Links.Flags = append(b.Links.DroppedAttrs, d.few()), append(b.Links.Flags, d.few())
	}
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
	b.ResourceOf, b.ScopeOf = append(b.ResourceOf, uint32(d.IntN(resources))), append(b.ScopeOf, uint32(d.IntN(resources)))
}
