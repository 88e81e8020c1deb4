package native

import (
	"slices"
	"strconv"

	"github.com/whosehop/whosehop/storage/spans"
)

// Extras is a JSON object of what few spans have. The table has a column for each of its members.

// findExtras writes down what spans have of their resource and scope, and says whether a span has any.
func (e *Encoder) findExtras(b *spans.Block) bool {
	nonzero := func(n uint32) bool { return n != 0 }
	e.ofScopes, e.ofScopesEnds = e.ofScopes[:0], append(e.ofScopesEnds[:0], 0)
	for s := range b.Scopes.Names.Len() {
		if from, to := b.Scopes.Attrs.Range(s); from < to {
			e.ofScopes = append(e.ofScopes, `"scopeAttributes":{`...)
			for p := from; p < to; p++ {
				if p > from {
					e.ofScopes = append(e.ofScopes, ',')
				}
				e.ofScopes = appendJSON(append(appendJSON(e.ofScopes, b.Scopes.Attrs.Keys.At(p)), ':'), b.Scopes.Attrs.Values.At(p))
			}
			e.ofScopes = append(e.ofScopes, "},"...)
		}
		e.ofScopes = appendCount(e.ofScopes, "scopeDroppedAttributes", int64(b.Scopes.DroppedAttrs[s]))
		e.ofScopesEnds = append(e.ofScopesEnds, len(e.ofScopes))
	}
	if len(e.ofScopes) > 0 {
		return true
	}
	for _, counts := range [][]uint32{
		b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks, b.Resources.DroppedAttrs, b.Events.DroppedAttrs, b.Links.DroppedAttrs, b.Links.Flags,
	} {
		if slices.ContainsFunc(counts, nonzero) {
			return true
		}
	}
	for i := range b.StartNs {
		if b.EndNs[i] < b.StartNs[i] {
			return true
		}
	}
	return false
}

func (e *Encoder) extras(b *spans.Block) {
	for _, i := range e.order {
		s := b.ScopeOf[i]
		x := append(e.key[:0], e.ofScopes[e.ofScopesEnds[s]:e.ofScopesEnds[s+1]]...)
		x = appendCount(x, "resourceDroppedAttributes", int64(b.Resources.DroppedAttrs[b.ResourceOf[i]]))
		x = appendCount(x, "droppedAttributes", int64(b.DroppedAttrs[i]))
		x = appendCount(x, "droppedEvents", int64(b.DroppedEvents[i]))
		x = appendCount(x, "droppedLinks", int64(b.DroppedLinks[i]))
		x = appendCount(x, "endBeforeStart", max(0, b.StartNs[i]-b.EndNs[i]))
		from, to := b.EventRange(int(i))
		x = appendCounts(x, "eventsDroppedAttributes", b.Events.DroppedAttrs[from:to])
		from, to = b.LinkRange(int(i))
		x = appendCounts(x, "linksDroppedAttributes", b.Links.DroppedAttrs[from:to])
		x = appendCounts(x, "linksFlags", b.Links.Flags[from:to])
		e.key = x
		if len(x) == 0 {
			e.f.byte(0)
			continue
		}
		x[len(x)-1] = '}' // it was a comma
		e.f.varint(len(x) + 1)
		e.f.byte('{')
		e.f.raw = append(e.f.raw, x...)
		e.f.room()
	}
}

// appendCount adds a member and a comma, unless it is 0.
func appendCount(x []byte, name string, n int64) []byte {
	if n == 0 {
		return x
	}
	x = append(append(append(x, '"'), name...), `":`...)
	return append(strconv.AppendInt(x, n, 10), ',')
}

// appendCounts is appendCount for an array, left out if all of it is 0.
func appendCounts(x []byte, name string, counts []uint32) []byte {
	if !slices.ContainsFunc(counts, func(n uint32) bool { return n != 0 }) {
		return x
	}
	x = append(append(append(x, '"'), name...), `":[`...)
	for _, n := range counts {
		x = append(strconv.AppendUint(x, uint64(n), 10), ',')
	}
	x[len(x)-1] = ']'
	return append(x, ',')
}

// appendJSON adds a string; text is UTF-8, the decoder has seen to that.
func appendJSON(x, text []byte) []byte {
	const digits = "0123456789abcdef"
	x = append(x, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			x = append(x, '\\', c)
		case c < 0x20:
			x = append(x, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			x = append(x, c)
		}
	}
	return append(x, '"')
}
