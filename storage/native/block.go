// Package native speaks ClickHouse's native protocol where it pays to do so by hand: it turns blocks of spans
// into the bytes that an INSERT carries, packed once, and sends such bytes.
//
// The formats are those of ClickHouse's NativeWriter and of its compressed streams.
package native

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"
	"unsafe"

	"github.com/whosehop/whosehop/storage/spans"
)

// The texts of kinds and statuses, as the OpenTelemetry exporter writes them.
var (
	KindNames   = [...]string{"Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"}
	StatusNames = [...]string{"Unset", "Ok", "Error"}
)

// Encoder packs blocks of spans for otel_traces. It keeps its buffers, and is not safe for concurrent use.
type Encoder struct {
	f    frames
	list []column
	id   uint64 // of the block that is being packed
	day  uint16 // that its rows are filed under

	order          []uint32 // rows as the table sorts them
	sorter, spread []sortRow
	groups         []group
	ranks          []uint32
	group          map[groupKey]uint32
	// By shard: its rows as the table sorts them. By row of the block: its shard.
	ofShard [][]uint32
	shardOf []uint32
	// The same number for the same resource, by row of resources.
	same      []uint32
	resources map[string]uint32
	key       []byte

	dict       dictionary
	suspicions []suspicion // of the keys in dict
	suspect    []bool      // by row of the block

	// Of resources, or scopes: the keys of all pairs, and their values as they are written.
	keyOf      []uint32
	shared     []byte
	sharedEnds []int

	// Of scopes: what they say in Extras.
	ofScopes     []byte
	ofScopesEnds []int

	// Of events, or links: their rows in order, and where those of each span end.
	details []uint32
	ends    []uint64
}

type sortRow struct {
	group uint64 // rank of service and name, then the resource
	start int64
	row   uint32
}

// group is the spans of one service and name: how the table begins its order.
type group struct {
	service, name []byte
	number        uint32
}

type groupKey struct {
	service uint32 // row of resources
	name    string
}

// Packed is a block as an INSERT carries it.
type Packed struct {
	// ID tells the block from all others.
	ID uint64
	// Shard is where it goes in a cluster, from 0; 0 where there is no cluster.
	Shard int
	Rows  int
	// Columns are those that were written; all others have their defaults in every row.
	Columns []string
	// Frames are compressed frames.
	Frames []byte
	// At is when the block was packed; its rows are filed under that day.
	At time.Time
}

// Encode packs a block, its rows in the order of the table, into p, the memory of which is used again.
// The caller has set p.ID and p.At.
func (e *Encoder) Encode(b *spans.Block, p *Packed) {
	e.sort(b)
	e.pack(e.columns(b), p)
}

// EncodeShards packs the rows of each shard as Encode would pack a block of them. into gives what to pack them into,
// for each shard that has rows, with an ID of its own.
func (e *Encoder) EncodeShards(b *spans.Block, shards *Shards, into func(shard int) *Packed) {
	e.sort(b)
	columns := e.columns(b)
	if shards.Len() == 1 {
		e.pack(columns, into(0))
		return
	}
	e.divide(b, shards)
	all := e.order
	for shard, rows := range e.ofShard {
		if len(rows) == 0 {
			continue
		}
		p := into(shard)
		e.order = rows
		e.pack(columns, p)
		p.Shard = shard
	}
	e.order = all
}

// divide gives the rows to their shards, in the order of the table.
func (e *Encoder) divide(b *spans.Block, shards *Shards) {
	e.shardOf = e.shardOf[:0]
	for i, id := range b.TraceIDs {
		if i > 0 && id == b.TraceIDs[i-1] {
			e.shardOf = append(e.shardOf, e.shardOf[i-1])
			continue
		}
		e.shardOf = append(e.shardOf, uint32(shards.Of(id)))
	}
	e.ofShard = slices.Grow(e.ofShard[:0], shards.Len())[:shards.Len()]
	for i := range e.ofShard {
		e.ofShard[i] = e.ofShard[i][:0]
	}
	for _, i := range e.order {
		rows := &e.ofShard[e.shardOf[i]]
		*rows = append(*rows, i)
	}
}

// pack packs the rows in e.order.
func (e *Encoder) pack(columns []column, p *Packed) {
	f := &e.f
	f.raw, f.packed = f.raw[:0], p.Frames[:0]
	e.id, e.day = p.ID, uint16(p.At.Unix()/(24*60*60))
	f.raw = append(f.raw, blockInfo...)
	f.varint(len(columns))
	f.varint(len(e.order))
	p.Columns = p.Columns[:0]
	for _, c := range columns {
		p.Columns = append(p.Columns, c.name)
		f.string(c.name)
		f.string(c.kind)
		c.write()
		f.room()
	}
	f.pack()
	p.Shard, p.Rows, p.Frames = 0, len(e.order), f.packed
	f.packed = nil
}

// blockInfo is what a block says of itself: it has not overflowed (1) and is of no bucket (2).
var blockInfo = []byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0}

// sort finds the order of otel_traces (service, name), and within that what packs best: resource, start.
func (e *Encoder) sort(b *spans.Block) {
	if e.group == nil {
		e.group = make(map[groupKey]uint32)
	}
	clear(e.group)
	e.groups, e.sorter, e.order = e.groups[:0], e.sorter[:0], e.order[:0]
	e.findSame(&b.Resources.Attrs)
	last, lastService := uint32(0), uint32(0)
	for i := range b.Len() {
		service, name := b.ResourceOf[i], b.Names.At(i)
		if i == 0 || service != lastService || !bytes.Equal(name, e.groups[last].name) {
			key := groupKey{service, view(name)}
			n, ok := e.group[key]
			if !ok {
				n = uint32(len(e.groups))
				e.groups = append(e.groups, group{b.Resources.Services.At(int(service)), name, n})
				e.group[key] = n
			}
			last, lastService = n, service
		}
		e.sorter = append(e.sorter, sortRow{uint64(last)<<32 | uint64(e.same[service]), b.StartNs[i], uint32(i)})
	}
	slices.SortFunc(e.groups, compareGroups)
	e.ranks = slices.Grow(e.ranks[:0], len(e.groups))[:len(e.groups)]
	rank := uint32(0)
	for i := range e.groups {
		if i > 0 && compareGroups(e.groups[i-1], e.groups[i]) != 0 {
			rank++
		}
		e.ranks[e.groups[i].number] = rank
	}
	for i := range e.sorter {
		s := &e.sorter[i]
		s.group = uint64(e.ranks[s.group>>32])<<32 | s.group&0xffffffff
	}
	e.byGroup()
	for i := range e.sorter {
		e.order = append(e.order, e.sorter[i].row)
	}
}

// byGroup sorts the rows by group and start: few groups, so they are counted first, and each is sorted alone.
func (e *Encoder) byGroup() {
	resources := uint64(len(e.resources))
	place := func(s *sortRow) uint64 { return s.group>>32*resources + s.group&0xffffffff }
	buckets := uint64(len(e.groups)) * resources
	if buckets > uint64(len(e.sorter)) { // too many to count
		slices.SortFunc(e.sorter, func(x, y sortRow) int {
			if x.group != y.group {
				return cmp.Compare(x.group, y.group)
			}
			return cmp.Compare(x.start, y.start)
		})
		return
	}
	e.ends = slices.Grow(e.ends[:0], int(buckets)+1)[:buckets+1]
	clear(e.ends)
	for i := range e.sorter {
		e.ends[place(&e.sorter[i])+1]++
	}
	for i := range buckets {
		e.ends[i+1] += e.ends[i]
	}
	e.spread = slices.Grow(e.spread[:0], len(e.sorter))[:len(e.sorter)]
	for i := range e.sorter {
		at := &e.ends[place(&e.sorter[i])]
		e.spread[*at] = e.sorter[i]
		*at++
	}
	e.sorter, e.spread = e.spread, e.sorter
	from := uint64(0)
	for _, to := range e.ends[:buckets] { // each now points behind its bucket
		slices.SortFunc(e.sorter[from:to], func(x, y sortRow) int { return cmp.Compare(x.start, y.start) })
		from = to
	}
}

// findSame numbers resources so that those with the same attributes have the same number: each request
// brings its own.
func (e *Encoder) findSame(a *spans.Attrs) {
	e.same = e.same[:0]
	if e.resources == nil {
		e.resources = make(map[string]uint32)
	}
	clear(e.resources)
	for r := range a.Len() {
		from, to := a.Range(r)
		e.key = e.key[:0]
		for p := from; p < to; p++ {
			e.key = append(append(e.key, a.Keys.At(p)...), 0)
			e.key = append(append(e.key, a.Values.At(p)...), 0)
		}
		n, ok := e.resources[string(e.key)]
		if !ok {
			n = uint32(len(e.resources))
			e.resources[string(e.key)] = n
		}
		e.same = append(e.same, n)
	}
}

func compareGroups(x, y group) int {
	if c := bytes.Compare(x.service, y.service); c != 0 {
		return c
	}
	return bytes.Compare(x.name, y.name)
}

// column is one that is written, by whoever knows how.
type column struct {
	name, kind string
	write      func()
}

const (
	kindText  = "String"
	kindWord  = "LowCardinality(String)"
	kindMap   = "Map(LowCardinality(String), String)"
	kindTime  = "DateTime64(9)"
	kindCount = "UInt32"
	kindLong  = "UInt64"
)

// columns lists what a block needs: a column in which every row is empty is left to its default.
func (e *Encoder) columns(b *spans.Block) []column {
	all := e.list[:0]
	add := func(name, kind string, write func()) { all = append(all, column{name, kind, write}) }
	r, s := &b.Resources, &b.Scopes
	add("Timestamp", kindTime, func() { e.times(b.StartNs) })
	add("TraceId", kindText, func() { e.traceIDs(b.TraceIDs, e.order) })
	add("SpanId", kindText, func() { e.spanIDs(b.SpanIDs, e.order) })
	add("ParentSpanId", kindText, func() { e.spanIDs(b.ParentIDs, e.order) })
	if len(b.TraceStates.Bytes) > 0 {
		add("TraceState", kindText, func() { e.texts(&b.TraceStates) })
	}
	add("SpanName", kindWord, func() { e.words(&b.Names, nil) })
	add("SpanKind", kindWord, func() { enum(e, KindNames[:], b.Kinds) })
	add("ServiceName", kindWord, func() { e.words(&r.Services, b.ResourceOf) })
	add("ResourceAttributes", kindMap, func() { e.sharedAttrs(&r.Attrs, b.ResourceOf) })
	if len(s.Names.Bytes) > 0 {
		add("ScopeName", kindText, func() { e.sharedTexts(&s.Names, b.ScopeOf) })
	}
	if len(s.Versions.Bytes) > 0 {
		add("ScopeVersion", kindText, func() { e.sharedTexts(&s.Versions, b.ScopeOf) })
	}
	if len(r.SchemaURLs.Bytes) > 0 {
		add("ResourceSchemaUrl", kindWord, func() { e.words(&r.SchemaURLs, b.ResourceOf) })
	}
	if len(s.SchemaURLs.Bytes) > 0 {
		add("ScopeSchemaUrl", kindWord, func() { e.words(&s.SchemaURLs, b.ScopeOf) })
	}
	add("SpanAttributes", kindMap, func() { e.attrs(&b.Attrs) })
	add("Duration", kindLong, func() { e.durations(b) })
	add("StatusCode", kindWord, func() { enum(e, StatusNames[:], b.Statuses) })
	if len(b.StatusMessages.Bytes) > 0 {
		add("StatusMessage", kindText, func() { e.texts(&b.StatusMessages) })
	}
	if slices.ContainsFunc(b.Flags, func(n uint32) bool { return n != 0 }) {
		add("SpanFlags", kindCount, func() {
			for _, i := range e.order {
				e.f.uint32(b.Flags[i])
			}
		})
	}
	if e.findExtras(b) {
		add("Extras", kindText, func() { e.extras(b) })
	}
	if len(b.Events.TimeNs) > 0 {
		all = e.eventColumns(all, b)
	}
	if len(b.Links.TraceIDs) > 0 {
		all = e.linkColumns(all, b)
	}
	// Behind the attributes, from which it is known.
	add("Suspect", "Bool", func() { e.suspects(b) })
	add("IngestDate", "Date", func() {
		for range e.order {
			e.f.raw = binary.LittleEndian.AppendUint16(e.f.raw, e.day)
		}
	})
	add("Block", kindLong, func() {
		for range e.order {
			e.f.uint64(e.id)
		}
	})
	e.list = all
	return all
}

// detailRows are the rows of events, or of links, in the order of their spans.
func (e *Encoder) detailRows(b *spans.Block, of func(int) (int, int)) {
	e.details = e.details[:0]
	e.ends = e.ends[:0]
	for _, i := range e.order {
		from, to := of(int(i))
		for k := from; k < to; k++ {
			e.details = append(e.details, uint32(k))
		}
		e.ends = append(e.ends, uint64(len(e.details)))
	}
}

func (e *Encoder) writeEnds() {
	for _, end := range e.ends {
		e.f.uint64(end)
		e.f.room()
	}
}

func (e *Encoder) eventColumns(all []column, b *spans.Block) []column {
	ev := &b.Events
	return append(all,
		column{"Events.Timestamp", "Array(DateTime64(9))", func() {
			e.detailRows(b, b.EventRange)
			e.writeEnds()
			for _, k := range e.details {
				e.f.uint64(uint64(ev.TimeNs[k]))
			}
		}},
		column{"Events.Name", "Array(LowCardinality(String))", func() {
			e.f.uint64(dictionaryVersion)
			e.writeEnds()
			e.dict.reset()
			for _, k := range e.details {
				e.dict.add(ev.Names.At(int(k)))
			}
			e.dict.write(&e.f)
		}},
		column{"Events.Attributes", "Array(Map(LowCardinality(String), String))", func() {
			e.f.uint64(dictionaryVersion)
			e.writeEnds()
			e.pairsOf(&ev.Attrs, e.details)
		}})
}

func (e *Encoder) linkColumns(all []column, b *spans.Block) []column {
	l := &b.Links
	return append(all,
		column{"Links.TraceId", "Array(String)", func() {
			e.detailRows(b, b.LinkRange)
			e.writeEnds()
			e.traceIDs(l.TraceIDs, e.details)
		}},
		column{"Links.SpanId", "Array(String)", func() {
			e.writeEnds()
			e.spanIDs(l.SpanIDs, e.details)
		}},
		column{"Links.TraceState", "Array(String)", func() {
			e.writeEnds()
			for _, k := range e.details {
				e.f.text(l.TraceStates.At(int(k)))
				e.f.room()
			}
		}},
		column{"Links.Attributes", "Array(Map(LowCardinality(String), String))", func() {
			e.f.uint64(dictionaryVersion)
			e.writeEnds()
			e.pairsOf(&l.Attrs, e.details)
		}})
}

func (e *Encoder) times(ns []int64) {
	for _, i := range e.order {
		e.f.uint64(uint64(ns[i]))
	}
}

func (e *Encoder) traceIDs(ids []spans.TraceID, rows []uint32) {
	for _, i := range rows {
		if ids[i] == (spans.TraceID{}) {
			e.f.byte(0)
			continue
		}
		e.f.raw = hex.AppendEncode(append(e.f.raw, 2*uint8(len(ids[i]))), ids[i][:])
		e.f.room()
	}
}

func (e *Encoder) spanIDs(ids []spans.SpanID, rows []uint32) {
	for _, i := range rows {
		if ids[i] == (spans.SpanID{}) {
			e.f.byte(0)
			continue
		}
		e.f.raw = hex.AppendEncode(append(e.f.raw, 2*uint8(len(ids[i]))), ids[i][:])
		e.f.room()
	}
}

func (e *Encoder) texts(t *spans.Text) {
	for _, i := range e.order {
		e.f.text(t.At(int(i)))
		e.f.room()
	}
}

func (e *Encoder) sharedTexts(t *spans.Text, of []uint32) {
	for _, i := range e.order {
		e.f.text(t.At(int(of[i])))
		e.f.room()
	}
}

// words writes a LowCardinality column; of maps spans to the rows of t, nil for themselves.
func (e *Encoder) words(t *spans.Text, of []uint32) {
	e.f.uint64(dictionaryVersion)
	e.dict.reset()
	for _, i := range e.order {
		if of != nil {
			i = of[i]
		}
		e.dict.add(t.At(int(i)))
	}
	e.dict.write(&e.f)
}

// enum writes a LowCardinality column of few known words.
func enum[T ~uint8](e *Encoder, names []string, values []T) {
	e.f.uint64(dictionaryVersion)
	e.f.uint64(dictionaryFlags)
	e.f.uint64(uint64(len(names)))
	for _, name := range names {
		e.f.string(name)
	}
	e.f.uint64(uint64(len(e.order)))
	for _, i := range e.order {
		e.f.byte(byte(min(int(values[i]), len(names)-1)))
	}
}

// durations writes how long spans ran, 0 for one that ends before it starts.
func (e *Encoder) durations(b *spans.Block) {
	for _, i := range e.order {
		e.f.uint64(uint64(max(0, b.EndNs[i]-b.StartNs[i])))
	}
}

// attrs writes the spans' own attributes, and looks on the way for what makes a span suspect. Most of the time that
// a block takes is spent here.
func (e *Encoder) attrs(a *spans.Attrs) {
	e.f.uint64(dictionaryVersion)
	e.dict.reset()
	e.suspicions = e.suspicions[:0]
	e.suspect = slices.Grow(e.suspect[:0], a.Len())[:a.Len()]
	end := uint64(0)
	before := 0 // where the pairs of the row before begin
	for _, i := range e.order {
		from, to := a.Range(int(i))
		begin := len(e.dict.rows)
		at := a.Keys.Start(from)
		suspect := false
		for p := from; p < to; p++ {
			// Spans of one name have the same keys in the same order.
			likely := ^uint32(0)
			if same := before + p - from; same < begin {
				likely = e.dict.rows[same]
			}
			key := a.Keys.Bytes[at:a.Keys.Ends[p]]
			at = a.Keys.Ends[p]
			n := e.dict.guess(key, likely)
			e.dict.rows = append(e.dict.rows, n)
			if int(n) == len(e.suspicions) {
				e.suspicions = append(e.suspicions, suspicionOf(key))
			}
			if s := e.suspicions[n]; s != trusted && !suspect {
				suspect = s.raisedBy(a.Values.At(p))
			}
		}
		e.suspect[i] = suspect
		before = begin
		end += uint64(to - from)
		e.f.uint64(end)
		e.f.room()
	}
	e.dict.write(&e.f)
	e.valuesOf(a, e.order)
}

// valuesOf writes the values of the rows of a.
func (e *Encoder) valuesOf(a *spans.Attrs, rows []uint32) {
	for _, i := range rows {
		from, to := a.Range(int(i))
		at := a.Values.Start(from)
		raw := e.f.raw
		for _, end := range a.Values.Ends[from:to] {
			value := a.Values.Bytes[at:end]
			if at = end; len(value) < 0x80 {
				raw = append(raw, byte(len(value)))
			} else {
				raw = binary.AppendUvarint(raw, uint64(len(value)))
			}
			raw = append(raw, value...)
		}
		e.f.raw = raw
		e.f.room()
	}
}

// pairsOf writes the pairs of the rows of a: the offsets, keys and values of a map column.
func (e *Encoder) pairsOf(a *spans.Attrs, rows []uint32) {
	e.dict.reset()
	end := uint64(0)
	for _, i := range rows {
		from, to := a.Range(int(i))
		for p := from; p < to; p++ {
			e.dict.add(a.Keys.At(p))
		}
		end += uint64(to - from)
		e.f.uint64(end)
		e.f.room()
	}
	e.dict.write(&e.f)
	e.valuesOf(a, rows)
}

// sharedAttrs writes the attributes of the spans' resources, or scopes: each is looked at once.
func (e *Encoder) sharedAttrs(a *spans.Attrs, of []uint32) {
	e.f.uint64(dictionaryVersion)
	e.dict.reset()
	e.keyOf, e.shared = e.keyOf[:0], e.shared[:0]
	e.sharedEnds = append(e.sharedEnds[:0], 0)
	for p := range a.Keys.Len() {
		e.keyOf = append(e.keyOf, e.dict.number(a.Keys.At(p)))
	}
	for r := range a.Len() {
		from, to := a.Range(r)
		for p := from; p < to; p++ {
			value := a.Values.At(p)
			e.shared = append(binary.AppendUvarint(e.shared, uint64(len(value))), value...)
		}
		e.sharedEnds = append(e.sharedEnds, len(e.shared))
	}
	end := uint64(0)
	for _, i := range e.order {
		from, to := a.Range(int(of[i]))
		end += uint64(to - from)
		e.dict.rows = append(e.dict.rows, e.keyOf[from:to]...)
		e.f.uint64(end)
		e.f.room()
	}
	e.dict.write(&e.f)
	for _, i := range e.order {
		r := of[i]
		e.f.raw = append(e.f.raw, e.shared[e.sharedEnds[r]:e.sharedEnds[r+1]]...)
		e.f.room()
	}
}

// suspects writes what attrs saw, and adds what the status and the events say.
func (e *Encoder) suspects(b *spans.Block) {
	for _, i := range e.order {
		suspect := e.suspect[i] || b.Statuses[i] == spans.StatusError
		if from, to := b.EventRange(int(i)); !suspect {
			for k := from; k < to && !suspect; k++ {
				suspect = string(b.Events.Names.At(k)) == "exception"
			}
		}
		if suspect {
			e.f.byte(1)
		} else {
			e.f.byte(0)
		}
	}
}

// view is b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
