package native

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/storage/spans"
)

// Decoder reads spans back into a block, column by column. Whoever wrote them, old spellings of kinds and
// statuses are understood. It is not safe for concurrent use.
type Decoder struct {
	// Keep says which span attributes are read; nil reads all.
	Keep func(key string) bool

	b       *spans.Block
	columns []Column
	from    int // the first row that is being read

	lengths      []uint64
	names, kinds words
	services     words
	statuses     words
	resources    pairs
	resourceURLs words
	scopes       scopeColumns
	extras       spans.Text
	attrs        attrsReader
	eventAttrs   attrsReader
	linkAttrs    attrsReader
	eventEnds    []uint32
	eventNames   words
	linkEnds     []uint32
	ends         []uint32
	rare         extras
	resourceOf   map[string]uint32
	scopeOf      map[string]uint32
	key          []byte

	recentNames, recentMessages, recentStates spans.Recent
}

type scopeColumns struct {
	names, versions spans.Text
	urls            words
}

// The types of the columns, as ClickHouse calls them. What it says more of a DateTime64 is its time zone.
const (
	typeNano   = "DateTime64(9"
	typeMilli  = "DateTime64(3"
	typeText   = "String"
	typeWord   = "LowCardinality(String)"
	typeMap    = "Map(LowCardinality(String), String)"
	typeUint64 = "UInt64"
	typeUint32 = "UInt32"
)

func arrayOf(kind string) string { return "Array(" + kind }

// NewDecoder makes a decoder of what the judgement of a trace needs; a whole one reads all that a span came with.
func NewDecoder(whole bool) *Decoder {
	d := &Decoder{resourceOf: make(map[string]uint32), scopeOf: make(map[string]uint32)}
	d.columns = []Column{
		{"Timestamp", typeNano, func(s *stream, rows int) (err error) {
			d.b.StartNs, err = numbers(s, d.b.StartNs, rows, 8, int64Of)
			return err
		}},
		{"TraceId", typeText, func(s *stream, rows int) error { return readIDs(s, &d.b.TraceIDs, rows, ReadTraceID) }},
		{"SpanId", typeText, func(s *stream, rows int) error { return readIDs(s, &d.b.SpanIDs, rows, readSpanID) }},
		{"ParentSpanId", typeText, func(s *stream, rows int) error { return readIDs(s, &d.b.ParentIDs, rows, readSpanID) }},
		{"SpanName", typeWord, d.readNames},
		{"SpanKind", typeWord, d.readKinds},
		{"ServiceName", typeWord, d.services.column},
		{"ResourceAttributes", typeMap, d.resources.read},
		{"SpanAttributes", typeMap, func(s *stream, rows int) error { return d.attrs.column(s, rows, &d.b.Attrs, d.Keep) }},
		{"Duration", typeUint64, func(s *stream, rows int) (err error) {
			d.lengths, err = s.uint64s(d.lengths[:0], rows)
			return err
		}},
		{"StatusCode", typeWord, d.readStatuses},
		{"StatusMessage", typeText, func(s *stream, rows int) error { return s.sharedTexts(&d.b.StatusMessages, &d.recentMessages, rows) }},
		{"Events.Timestamp", arrayOf(typeNano), d.readEventTimes},
		{"Events.Name", arrayOf(typeWord), d.readEventNames},
		{"Events.Attributes", arrayOf(typeMap), d.readEventAttrs},
		{"Extras", typeText, d.readExtras},
		{"TraceState", typeText, func(s *stream, rows int) error { return s.sharedTexts(&d.b.TraceStates, &d.recentStates, rows) }},
		{"IngestTime", typeMilli, func(s *stream, rows int) (err error) {
			d.b.IngestMs, err = numbers(s, d.b.IngestMs, rows, 8, int64Of)
			return err
		}},
	}
	if whole {
		d.columns = append(d.columns,
			Column{"ScopeName", typeText, func(s *stream, rows int) error { d.scopes.names.Reset(); return s.texts(&d.scopes.names, rows) }},
			Column{"ScopeVersion", typeText, func(s *stream, rows int) error { d.scopes.versions.Reset(); return s.texts(&d.scopes.versions, rows) }},
			Column{"ResourceSchemaUrl", typeWord, d.resourceURLs.column},
			Column{"ScopeSchemaUrl", typeWord, d.scopes.urls.column},
			Column{"SpanFlags", typeUint32, func(s *stream, rows int) (err error) {
				d.b.Flags, err = s.uint32s(d.b.Flags, rows)
				return err
			}},
			Column{"Links.TraceId", arrayOf(typeText), d.readLinkTraces},
			Column{"Links.SpanId", arrayOf(typeText), func(s *stream, rows int) error {
				return d.links(s, rows, func(n int) error { return readIDs(s, &d.b.Links.SpanIDs, n, readSpanID) })
			}},
			Column{"Links.TraceState", arrayOf(typeText), func(s *stream, rows int) error {
				return d.links(s, rows, func(n int) error { return s.texts(&d.b.Links.TraceStates, n) })
			}},
			Column{"Links.Attributes", arrayOf(typeMap), d.readLinkAttrs},
		)
	}
	return d
}

// Columns are what is to be asked for, in this order.
func (d *Decoder) Columns() []Column { return d.columns }

// Into says where what is read goes: behind what the block has. What one block has of resources and scopes
// is kept apart from what the next one has.
func (d *Decoder) Into(b *spans.Block) {
	d.b, d.from = b, b.Len()
	b.Names.Share()
	b.StatusMessages.Share()
	b.TraceStates.Share()
	clear(d.recentNames[:])
	clear(d.recentMessages[:])
	clear(d.recentStates[:])
	d.attrs.into(&b.Attrs)
	d.eventAttrs.into(&b.Events.Attrs)
	d.linkAttrs.into(&b.Links.Attrs)
	clear(d.resourceOf)
	clear(d.scopeOf)
}

// Done completes the rows that have been read.
func (d *Decoder) Done(rows int) error {
	b := d.b
	for i := range rows {
		at := d.from + i
		b.EndNs = append(b.EndNs, b.StartNs[at]+int64(d.lengths[i]))
	}
	// What was not asked for is nothing.
	b.Flags = zeros(b.Flags, d.from+rows)
	b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = zeros(b.DroppedAttrs, d.from+rows), zeros(b.DroppedEvents, d.from+rows), zeros(b.DroppedLinks, d.from+rows)
	for len(b.LinkEnds) < d.from+rows {
		b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
	}
	b.Events.DroppedAttrs = zeros(b.Events.DroppedAttrs, len(b.Events.TimeNs))
	b.Links.DroppedAttrs, b.Links.Flags = zeros(b.Links.DroppedAttrs, len(b.Links.TraceIDs)), zeros(b.Links.Flags, len(b.Links.TraceIDs))
	for i := range rows {
		if err := d.complete(i); err != nil {
			return err
		}
	}
	d.from += rows
	return nil
}

// complete gives row i of what has been read its resource, its scope, and what few spans have.
func (d *Decoder) complete(i int) error {
	b, at := d.b, d.from+i
	x := &d.rare // a variable would be allocated for each span, as it goes into json
	*x = extras{}
	if text := d.extras.At(i); len(text) > 0 {
		if err := x.read(text); err != nil {
			return fmt.Errorf("the extras of span %x: %w", b.SpanIDs[at], err)
		}
		x.apply(b, at)
	}
	if i > 0 && x.ResourceDroppedAttributes == 0 && d.services.rows[i] == d.services.rows[i-1] && d.resources.same(i) &&
		b.Resources.DroppedAttrs[b.ResourceOf[at-1]] == 0 && d.resourceURLs.same(i) {
		b.ResourceOf = append(b.ResourceOf, b.ResourceOf[at-1])
	} else {
		b.ResourceOf = append(b.ResourceOf, d.resource(i, x.ResourceDroppedAttributes))
	}
	b.ScopeOf = append(b.ScopeOf, d.scope(i, x))
	return nil
}

// resource finds the resource of a row among those of the block, or adds it.
func (d *Decoder) resource(i int, dropped uint32) uint32 {
	var url []byte
	if len(d.resourceURLs.rows) > 0 {
		url = d.resourceURLs.at(i)
	}
	d.key = binary.LittleEndian.AppendUint32(d.key[:0], dropped)
	d.key = appendKey(appendKey(d.key, d.services.at(i)), url)
	from, to := d.resources.row(i)
	for p := from; p < to; p++ {
		d.key = appendKey(appendKey(d.key, d.resources.keys.at(p)), d.resources.values.At(p))
	}
	if r, ok := d.resourceOf[string(d.key)]; ok {
		return r
	}
	into := &d.b.Resources
	r := uint32(into.Services.Len())
	d.resourceOf[string(d.key)] = r
	into.Services.AppendBytes(d.services.at(i))
	for p := from; p < to; p++ {
		into.Attrs.Keys.AppendBytes(d.resources.keys.at(p))
		into.Attrs.Values.AppendBytes(d.resources.values.At(p))
	}
	into.Attrs.EndRow()
	into.SchemaURLs.AppendBytes(url)
	into.DroppedAttrs = append(into.DroppedAttrs, dropped)
	return r
}

func (d *Decoder) scope(i int, x *extras) uint32 {
	var name, version, url []byte
	if d.scopes.names.Len() > 0 {
		name, version, url = d.scopes.names.At(i), d.scopes.versions.At(i), d.scopes.urls.at(i)
	}
	d.key = binary.LittleEndian.AppendUint32(d.key[:0], x.ScopeDroppedAttributes)
	d.key = append(appendKey(appendKey(appendKey(d.key, name), version), url), x.ScopeAttributes...)
	if s, ok := d.scopeOf[string(d.key)]; ok {
		return s
	}
	into := &d.b.Scopes
	s := uint32(into.Names.Len())
	d.scopeOf[string(d.key)] = s
	into.Names.AppendBytes(name)
	into.Versions.AppendBytes(version)
	into.SchemaURLs.AppendBytes(url)
	into.DroppedAttrs = append(into.DroppedAttrs, x.ScopeDroppedAttributes)
	x.scopeAttrs(&into.Attrs)
	return s
}

func appendKey(key, text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(key, uint32(len(text))), text...)
}

func zeros(dst []uint32, rows int) []uint32 {
	if missing := rows - len(dst); missing > 0 {
		at := len(dst)
		dst = slices.Grow(dst, missing)[:rows]
		clear(dst[at:])
	}
	return dst
}

func int64Of(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

func readIDs[T any](s *stream, dst *[]T, rows int, read func([]byte) T) error {
	for range rows {
		text, err := s.text()
		if err != nil {
			return err
		}
		*dst = append(*dst, read(text))
	}
	return nil
}

// ReadTraceID and readSpanID take anything that is no id for "none".
func ReadTraceID(text []byte) (id spans.TraceID) {
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

func (d *Decoder) readNames(s *stream, rows int) error {
	if err := d.names.column(s, rows); err != nil {
		return err
	}
	return d.names.share(&d.b.Names, &d.recentNames)
}

func (d *Decoder) readKinds(s *stream, rows int) error {
	err := d.kinds.column(s, rows)
	if err != nil {
		return err
	}
	var of [64]spans.Kind
	words := min(d.kinds.texts.Len(), len(of))
	for w := range words {
		of[w] = spans.Kind(spelling(KindNames[:], d.kinds.texts.At(w), "SPAN_KIND_"))
	}
	for _, w := range d.kinds.rows {
		kind := spans.KindUnspecified
		if int(w) < words {
			kind = of[w]
		}
		d.b.Kinds = append(d.b.Kinds, kind)
	}
	return nil
}

func (d *Decoder) readStatuses(s *stream, rows int) error {
	err := d.statuses.column(s, rows)
	if err != nil {
		return err
	}
	var of [64]spans.Status
	words := min(d.statuses.texts.Len(), len(of))
	for w := range words {
		of[w] = spans.Status(spelling(StatusNames[:], d.statuses.texts.At(w), "STATUS_CODE_"))
	}
	for _, w := range d.statuses.rows {
		status := spans.StatusUnset
		if int(w) < words {
			status = of[w]
		}
		d.b.Statuses = append(d.b.Statuses, status)
	}
	return nil
}

// spelling is the number of a name in any of its spellings, 0 for one that is not known.
func spelling(names []string, text []byte, oldPrefix string) int {
	word := strings.TrimPrefix(string(text), oldPrefix)
	return max(0, slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, word) }))
}

func (d *Decoder) readEventTimes(s *stream, rows int) (err error) {
	var n int
	if d.eventEnds, n, err = s.ends(d.eventEnds, rows); err != nil {
		return err
	}
	before := uint32(len(d.b.Events.TimeNs))
	for _, end := range d.eventEnds {
		d.b.EventEnds = append(d.b.EventEnds, before+end)
	}
	d.b.Events.TimeNs, err = numbers(s, d.b.Events.TimeNs, n, 8, int64Of)
	return err
}

func (d *Decoder) readEventNames(s *stream, rows int) error {
	if err := d.eventNames.version(s); err != nil {
		return err
	}
	n, err := d.endsAgain(s, d.eventEnds, rows)
	if err != nil {
		return err
	}
	if err := d.eventNames.read(s, n); err != nil {
		return err
	}
	return d.eventNames.spread(&d.b.Events.Names)
}

func (d *Decoder) readEventAttrs(s *stream, rows int) error {
	if err := d.eventAttrs.keys.version(s); err != nil {
		return err
	}
	n, err := d.endsAgain(s, d.eventEnds, rows)
	if err != nil {
		return err
	}
	return d.eventAttrs.read(s, n, &d.b.Events.Attrs, nil)
}

func (d *Decoder) readLinkTraces(s *stream, rows int) error {
	before := uint32(len(d.b.Links.TraceIDs))
	ends, n, err := s.ends(d.linkEnds, rows)
	if d.linkEnds = ends; err != nil {
		return err
	}
	for _, end := range ends {
		d.b.LinkEnds = append(d.b.LinkEnds, before+end)
	}
	return readIDs(s, &d.b.Links.TraceIDs, n, ReadTraceID)
}

func (d *Decoder) links(s *stream, rows int, read func(n int) error) error {
	n, err := d.endsAgain(s, d.linkEnds, rows)
	if err != nil {
		return err
	}
	return read(n)
}

// endsAgain reads the ends of a column that lies beside another: a span has as many names of events as times.
func (d *Decoder) endsAgain(s *stream, first []uint32, rows int) (n int, err error) {
	d.ends, n, err = s.ends(d.ends, rows)
	if err == nil && !slices.Equal(d.ends, first) {
		err = fmt.Errorf("%w: columns of one table have rows of different lengths", errBroken)
	}
	return n, err
}

func (d *Decoder) readLinkAttrs(s *stream, rows int) error {
	if err := d.linkAttrs.keys.version(s); err != nil {
		return err
	}
	return d.links(s, rows, func(n int) error { return d.linkAttrs.read(s, n, &d.b.Links.Attrs, nil) })
}

func (d *Decoder) readExtras(s *stream, rows int) error {
	d.extras.Reset()
	return s.texts(&d.extras, rows)
}

// column reads a LowCardinality column that stands by itself.
func (d *words) column(s *stream, rows int) error {
	if err := d.version(s); err != nil {
		return err
	}
	return d.read(s, rows)
}

// same says whether a row is as the one before; all are where the column was not asked for.
func (d *words) same(i int) bool { return len(d.rows) == 0 || d.rows[i] == d.rows[i-1] }

// attrsReader reads maps.
type attrsReader struct {
	ends []uint32
	keys words
	// wanted is the number that each distinct key has in the block, plus one; 0 for one whose pairs are left out.
	wanted                   []uint32
	recentKeys, recentValues spans.Recent
}

// into makes a column ready for what is read.
func (a *attrsReader) into(column *spans.Attrs) {
	column.Keys.Share()
	column.Values.Share()
	clear(a.recentKeys[:])
	clear(a.recentValues[:])
}

func (a *attrsReader) column(s *stream, rows int, into *spans.Attrs, keep func(string) bool) error {
	if err := a.keys.version(s); err != nil {
		return err
	}
	return a.read(s, rows, into, keep)
}

func (a *attrsReader) read(s *stream, rows int, into *spans.Attrs, keep func(string) bool) (err error) {
	var n int
	if a.ends, n, err = s.ends(a.ends, rows); err != nil {
		return err
	}
	if err := a.keys.read(s, n); err != nil {
		return err
	}
	a.wanted = a.wanted[:0]
	for w := range a.keys.texts.Len() {
		number := uint32(0)
		if key := a.keys.texts.At(w); keep == nil || keep(view(key)) {
			if full(&into.Keys) {
				return errFull
			}
			number = into.Keys.Number(&a.recentKeys, key) + 1
		}
		a.wanted = append(a.wanted, number)
	}
	pair := uint32(0)
	for _, end := range a.ends {
		for ; pair < end; pair++ {
			value, err := s.text()
			if err != nil {
				return err
			}
			if number := a.wanted[a.keys.rows[pair]]; number > 0 {
				if full(&into.Values) {
					return errFull
				}
				into.Keys.Of = append(into.Keys.Of, number-1)
				into.Values.Of = append(into.Values.Of, into.Values.Number(&a.recentValues, value))
			}
		}
		into.EndRow()
	}
	return nil
}

// pairs is a column of maps as it came.
type pairs struct {
	ends   []uint32
	keys   words
	values spans.Text
}

func (p *pairs) read(s *stream, rows int) (err error) {
	if err := p.keys.version(s); err != nil {
		return err
	}
	var n int
	if p.ends, n, err = s.ends(p.ends, rows); err != nil {
		return err
	}
	if err := p.keys.read(s, n); err != nil {
		return err
	}
	p.values.Reset()
	return s.texts(&p.values, n)
}

func (p *pairs) row(i int) (from, to int) {
	if i > 0 {
		from = int(p.ends[i-1])
	}
	return from, int(p.ends[i])
}

// same says whether row i is as the one before.
func (p *pairs) same(i int) bool {
	from, to := p.row(i)
	before, _ := p.row(i - 1)
	if to-from != from-before || !slices.Equal(p.keys.rows[from:to], p.keys.rows[before:from]) {
		return false
	}
	v := &p.values
	a, b := v.Start(before), v.Start(from)
	if string(v.Bytes[a:b]) != string(v.Bytes[b:v.Start(to)]) {
		return false
	}
	for k := range to - from { // the same bytes, cut at the same places
		if v.Ends[from+k]-b != v.Ends[before+k]-a {
			return false
		}
	}
	return true
}

// extras is the JSON of what few spans have (see Encoder.extras).
type extras struct {
	ScopeAttributes           json.RawMessage `json:"scopeAttributes"`
	ScopeDroppedAttributes    uint32          `json:"scopeDroppedAttributes"`
	ResourceDroppedAttributes uint32          `json:"resourceDroppedAttributes"`
	DroppedAttributes         uint32          `json:"droppedAttributes"`
	DroppedEvents             uint32          `json:"droppedEvents"`
	DroppedLinks              uint32          `json:"droppedLinks"`
	EndBeforeStart            int64           `json:"endBeforeStart"`
	EventsDroppedAttributes   []uint32        `json:"eventsDroppedAttributes"`
	LinksDroppedAttributes    []uint32        `json:"linksDroppedAttributes"`
	LinksFlags                []uint32        `json:"linksFlags"`
}

func (x *extras) read(text []byte) error { return json.Unmarshal(text, x) }

func (x *extras) apply(b *spans.Block, at int) {
	if x.EndBeforeStart > 0 {
		b.EndNs[at] = b.StartNs[at] - x.EndBeforeStart
	}
	b.DroppedAttrs[at], b.DroppedEvents[at], b.DroppedLinks[at] = x.DroppedAttributes, x.DroppedEvents, x.DroppedLinks
	from, to := b.EventRange(at)
	copy(b.Events.DroppedAttrs[from:to], x.EventsDroppedAttributes)
	from, to = b.LinkRange(at)
	copy(b.Links.DroppedAttrs[from:to], x.LinksDroppedAttributes)
	copy(b.Links.Flags[from:to], x.LinksFlags)
}

// scopeAttrs adds the attributes in the order in which they are written.
func (x *extras) scopeAttrs(into *spans.Attrs) {
	defer into.EndRow()
	d := json.NewDecoder(bytes.NewReader(x.ScopeAttributes))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return
	}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value) // not ours: what is no text stays as it is written
		}
		name, _ := key.(string)
		into.Pair(name, text)
	}
}
