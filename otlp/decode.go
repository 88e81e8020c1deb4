// Package otlp decodes OTLP trace requests straight into columns: one pass over the bytes, no
// intermediate objects. It is pure: bytes in, columns out.
//
// It is a package of its own, and not the collector's, because the analyzer reads files of the same
// format, and the two never import each other.
package otlp

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/whosehop/whosehop/storage/spans"
)

// Rejected counts the spans that were left out of a block, by reason. Their neighbours are in it.
type Rejected struct {
	BadTraceID  int // not 16 bytes, or all zero
	BadSpanID   int // not 8 bytes, or all zero
	BadParentID int // neither empty nor 8 bytes
}

// Total is how many spans were left out.
func (r Rejected) Total() int { return r.BadTraceID + r.BadSpanID + r.BadParentID }

// Add counts other's spans too.
func (r *Rejected) Add(other Rejected) {
	r.BadTraceID += other.BadTraceID
	r.BadSpanID += other.BadSpanID
	r.BadParentID += other.BadParentID
}

// String names the reasons, as a sender can use them.
func (r Rejected) String() string {
	var parts []string
	if r.BadTraceID > 0 {
		parts = append(parts, fmt.Sprintf("%d with a trace id that is not 16 bytes or all zero", r.BadTraceID))
	}
	if r.BadSpanID > 0 {
		parts = append(parts, fmt.Sprintf("%d with a span id that is not 8 bytes or all zero", r.BadSpanID))
	}
	if r.BadParentID > 0 {
		parts = append(parts, fmt.Sprintf("%d with a parent span id that is not 8 bytes", r.BadParentID))
	}
	return strings.Join(parts, ", ")
}

// Decode appends the spans of an ExportTraceServiceRequest (which is also a TracesData) to b. When
// the bytes are not that, the error is an *Error and b is as it was.
//
// What is kept, and how: repeated messages merge, as protobuf says; unknown fields and fields of
// another wire type are passed over; of a key that a row of attributes has twice the last value
// stays; text that is not UTF-8 gets U+FFFD in its place; times beyond int64 are held at its
// maximum. A span with a bad id is left out and counted (to take a bad parent for none would make up
// a root); a link with bad ids is kept, without them. Resources and scopes without a span that is
// kept leave nothing behind.
func Decode(request []byte, b *spans.Block) (Rejected, error) {
	d := decoder{b: b, detailsLeft: len(request)/detailBytesMin + 64}
	n, resources, scopes := b.Len(), b.Resources.Services.Len(), b.Scopes.Names.Len()
	r := reader{data: request}
	var f field
	for {
		ok, err := r.next(&f)
		if err == nil && ok && f.number == 1 && f.wire == wireLen {
			err = d.resourceSpans(f.body, f.base)
		}
		if err != nil {
			b.TruncateSpans(n)
			truncateResources(b, resources)
			truncateScopes(b, scopes)
			return Rejected{}, err
		}
		if !ok {
			return d.rejected, nil
		}
	}
}

func truncateResources(b *spans.Block, n int) {
	b.Resources.Services.Truncate(n)
	b.Resources.Attrs.Truncate(n)
	b.Resources.SchemaURLs.Truncate(n)
	b.Resources.DroppedAttrs = b.Resources.DroppedAttrs[:n]
}

func truncateScopes(b *spans.Block, n int) {
	b.Scopes.Names.Truncate(n)
	b.Scopes.Versions.Truncate(n)
	b.Scopes.Attrs.Truncate(n)
	b.Scopes.SchemaURLs.Truncate(n)
	b.Scopes.DroppedAttrs = b.Scopes.DroppedAttrs[:n]
}

// detailBytesMin is fewer bytes than any event or link of a real sender has (a time alone is 9).
// Empty ones, two bytes each, would unfold to twenty times the request.
const detailBytesMin = 8

type decoder struct {
	b           *spans.Block
	rejected    Rejected
	detailsLeft int // how many events and links may still come
}

func (d *decoder) detail(base int) error {
	if d.detailsLeft--; d.detailsLeft < 0 {
		return &Error{At: base, Reason: "it is made of empty events or links"}
	}
	return nil
}

// resourceSpans goes over its fields twice: the resource may stand behind the spans that it is of.
func (d *decoder) resourceSpans(body []byte, base int) error {
	res, n := &d.b.Resources, d.b.Len()
	row := res.Services.Len()
	var schemaURL []byte
	dropped := uint32(0)
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			if dropped, err = d.resource(f.body, f.base, dropped); err != nil {
				return err
			}
		case f.number == 3 && f.wire == wireLen:
			schemaURL = f.body
		}
	}
	endRow(&res.Attrs)
	service, _ := res.Attrs.Get(row, "service.name")
	res.Services.AppendBytes(service)
	res.SchemaURLs.Bytes = appendText(res.SchemaURLs.Bytes, schemaURL)
	res.SchemaURLs.EndRow()
	res.DroppedAttrs = append(res.DroppedAttrs, dropped)

	r = reader{data: body, base: base}
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if f.number == 2 && f.wire == wireLen {
			if err := d.scopeSpans(f.body, f.base, uint32(row)); err != nil {
				return err
			}
		}
	}
	if d.b.Len() == n {
		truncateResources(d.b, row)
	}
	return nil
}

// resource adds the attributes of a Resource to the open row.
func (d *decoder) resource(body []byte, base int, dropped uint32) (uint32, error) {
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil || !ok {
			return dropped, err
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			if err := attribute(&d.b.Resources.Attrs, f.body, f.base); err != nil {
				return dropped, err
			}
		case f.number == 2 && f.wire == wireVarint:
			dropped = uint32(f.value)
		}
	}
}

// scopeSpans goes over its fields twice, like resourceSpans.
func (d *decoder) scopeSpans(body []byte, base int, resource uint32) error {
	s, n := &d.b.Scopes, d.b.Len()
	row := s.Names.Len()
	var sc scope
	var schemaURL []byte
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			if err := d.scope(f.body, f.base, &sc); err != nil {
				return err
			}
		case f.number == 3 && f.wire == wireLen:
			schemaURL = f.body
		}
	}
	endRow(&s.Attrs)
	s.Names.Bytes = appendText(s.Names.Bytes, sc.name)
	s.Names.EndRow()
	s.Versions.Bytes = appendText(s.Versions.Bytes, sc.version)
	s.Versions.EndRow()
	s.SchemaURLs.Bytes = appendText(s.SchemaURLs.Bytes, schemaURL)
	s.SchemaURLs.EndRow()
	s.DroppedAttrs = append(s.DroppedAttrs, sc.dropped)

	r = reader{data: body, base: base}
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if f.number == 2 && f.wire == wireLen {
			if err := d.span(f.body, f.base, resource, uint32(row)); err != nil {
				return err
			}
		}
	}
	if d.b.Len() == n {
		truncateScopes(d.b, row)
	}
	return nil
}

// scope is an InstrumentationScope without its attributes.
type scope struct {
	name, version []byte
	dropped       uint32
}

// scope adds the attributes of a scope to the open row.
func (d *decoder) scope(body []byte, base int, sc *scope) error {
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil || !ok {
			return err
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			sc.name = f.body
		case f.number == 2 && f.wire == wireLen:
			sc.version = f.body
		case f.number == 3 && f.wire == wireLen:
			if err := attribute(&d.b.Scopes.Attrs, f.body, f.base); err != nil {
				return err
			}
		case f.number == 4 && f.wire == wireVarint:
			sc.dropped = uint32(f.value)
		}
	}
}

// span appends one span; one without a valid id is taken out again.
func (d *decoder) span(body []byte, base int, resource, scope uint32) error {
	b := d.b
	row := b.Len()
	var (
		traceID, spanID, parentID, name, state, message []byte
		start, end                                      uint64
		kind, flags, dropped, droppedEvents             uint32
		droppedLinks, status                            uint32
	)
	r := reader{data: body, base: base}
	var f field
	for {
		// What nearly all of a span is made of is read without a detour.
		for {
			part, tag := r.short()
			if tag == 0 {
				break
			}
			switch tag {
			case tagTraceID:
				traceID = part
			case tagSpanID:
				spanID = part
			case tagParentID:
				parentID = part
			case tagName:
				name = part
			case tagAttribute:
				if plainAttribute(&b.Attrs, part) {
					continue
				}
				if err := attribute(&b.Attrs, part, r.base+r.at-len(part)); err != nil {
					return err
				}
			case tagStart:
				start = binary.LittleEndian.Uint64(part)
			case tagEnd:
				end = binary.LittleEndian.Uint64(part)
			}
		}
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.wire == wireLen:
			switch f.number {
			case 1:
				traceID = f.body
			case 2:
				spanID = f.body
			case 3:
				state = f.body
			case 4:
				parentID = f.body
			case 5:
				name = f.body
			case 9:
				err = attribute(&b.Attrs, f.body, f.base)
			case 11:
				err = d.event(f.body, f.base)
			case 13:
				err = d.link(f.body, f.base)
			case 15:
				message, status, err = readStatus(f.body, f.base, message, status)
			}
			if err != nil {
				return err
			}
		case f.wire == wireI64 && f.number == 7:
			start = f.value
		case f.wire == wireI64 && f.number == 8:
			end = f.value
		case f.wire == wireI32 && f.number == 16:
			flags = uint32(f.value)
		case f.wire == wireVarint:
			switch f.number {
			case 6:
				kind = uint32(f.value)
			case 10:
				dropped = uint32(f.value)
			case 12:
				droppedEvents = uint32(f.value)
			case 14:
				droppedLinks = uint32(f.value)
			}
		}
	}
	var tid spans.TraceID
	var sid, pid spans.SpanID
	copyID(tid[:], traceID)
	copyID(sid[:], spanID)
	badParent := !copyID(pid[:], parentID) && len(parentID) > 0
	b.TraceIDs, b.SpanIDs, b.ParentIDs = append(b.TraceIDs, tid), append(b.SpanIDs, sid), append(b.ParentIDs, pid)
	b.StartNs, b.EndNs = append(b.StartNs, clampNs(start)), append(b.EndNs, clampNs(end))
	b.Kinds, b.Statuses = append(b.Kinds, knownKind(kind)), append(b.Statuses, knownStatus(status))
	b.Flags = append(b.Flags, flags)
	b.Names.Bytes = appendText(b.Names.Bytes, name)
	b.Names.EndRow()
	b.TraceStates.Bytes = appendText(b.TraceStates.Bytes, state)
	b.TraceStates.EndRow()
	b.StatusMessages.Bytes = appendText(b.StatusMessages.Bytes, message)
	b.StatusMessages.EndRow()
	endRow(&b.Attrs)
	b.DroppedAttrs = append(b.DroppedAttrs, dropped)
	b.DroppedEvents = append(b.DroppedEvents, droppedEvents)
	b.DroppedLinks = append(b.DroppedLinks, droppedLinks)
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
	b.ResourceOf, b.ScopeOf = append(b.ResourceOf, resource), append(b.ScopeOf, scope)

	switch {
	case tid == (spans.TraceID{}):
		d.rejected.BadTraceID++
		b.TruncateSpans(row)
	case sid == (spans.SpanID{}):
		d.rejected.BadSpanID++
		b.TruncateSpans(row)
	case badParent:
		d.rejected.BadParentID++
		b.TruncateSpans(row)
	}
	return nil
}

// copyID copies an id of the right length and says whether it had that.
func copyID(dst, id []byte) bool {
	if len(id) != len(dst) {
		return false
	}
	copy(dst, id)
	return true
}

func clampNs(ns uint64) int64 { return int64(min(ns, math.MaxInt64)) }

func knownKind(kind uint32) spans.Kind {
	if kind > uint32(spans.KindConsumer) {
		return spans.KindUnspecified
	}
	return spans.Kind(kind)
}

func knownStatus(status uint32) spans.Status {
	if status > uint32(spans.StatusError) {
		return spans.StatusUnset
	}
	return spans.Status(status)
}

func readStatus(body []byte, base int, message []byte, code uint32) ([]byte, uint32, error) {
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil || !ok {
			return message, code, err
		}
		switch {
		case f.number == 2 && f.wire == wireLen:
			message = f.body
		case f.number == 3 && f.wire == wireVarint:
			code = uint32(f.value)
		}
	}
}

func (d *decoder) event(body []byte, base int) error {
	if err := d.detail(base); err != nil {
		return err
	}
	e := &d.b.Events
	var at uint64
	var name []byte
	dropped := uint32(0)
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.number == 1 && f.wire == wireI64:
			at = f.value
		case f.number == 2 && f.wire == wireLen:
			name = f.body
		case f.number == 3 && f.wire == wireLen:
			if err := attribute(&e.Attrs, f.body, f.base); err != nil {
				return err
			}
		case f.number == 4 && f.wire == wireVarint:
			dropped = uint32(f.value)
		}
	}
	e.TimeNs = append(e.TimeNs, clampNs(at))
	e.Names.Bytes = appendText(e.Names.Bytes, name)
	e.Names.EndRow()
	endRow(&e.Attrs)
	e.DroppedAttrs = append(e.DroppedAttrs, dropped)
	return nil
}

func (d *decoder) link(body []byte, base int) error {
	if err := d.detail(base); err != nil {
		return err
	}
	l := &d.b.Links
	var tid spans.TraceID
	var sid spans.SpanID
	var state []byte
	dropped, flags := uint32(0), uint32(0)
	r := reader{data: body, base: base}
	var f field
	for {
		ok, err := r.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case f.number == 1 && f.wire == wireLen:
			copyID(tid[:], f.body)
		case f.number == 2 && f.wire == wireLen:
			copyID(sid[:], f.body)
		case f.number == 3 && f.wire == wireLen:
			state = f.body
		case f.number == 4 && f.wire == wireLen:
			if err := attribute(&l.Attrs, f.body, f.base); err != nil {
				return err
			}
		case f.number == 5 && f.wire == wireVarint:
			dropped = uint32(f.value)
		case f.number == 6 && f.wire == wireI32:
			flags = uint32(f.value)
		}
	}
	l.TraceIDs, l.SpanIDs = append(l.TraceIDs, tid), append(l.SpanIDs, sid)
	l.TraceStates.Bytes = appendText(l.TraceStates.Bytes, state)
	l.TraceStates.EndRow()
	endRow(&l.Attrs)
	l.DroppedAttrs, l.Flags = append(l.DroppedAttrs, dropped), append(l.Flags, flags)
	return nil
}
