package storage

import (
	"encoding/hex"
	"unsafe"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/whosehop/whosehop/storage/spans"
)

// The texts of kinds and statuses, as the OpenTelemetry exporter writes them.
var (
	kindNames   = [...]string{"Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"}
	statusNames = [...]string{"Unset", "Ok", "Error"}
)

// attrsColumn is Map(LowCardinality(String), String), filled and read without Go maps.
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

// add appends row i of attrs, which must outlive the insert: keys are not copied.
func (a *attrsColumn) add(attrs *spans.Attrs, i int) {
	from, to := attrs.Range(i)
	for p := from; p < to; p++ {
		a.keys.Append(view(attrs.Keys.At(p)))
		a.values.AppendBytes(attrs.Values.At(p))
	}
	a.column.Offsets.Append(uint64(a.values.Rows()))
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

// idColumn is a String column of lower-case hex; zero ids are empty.
func appendTraceID(c *proto.ColStr, id spans.TraceID) {
	if id == (spans.TraceID{}) {
		c.Append("")
		return
	}
	var text [2 * len(id)]byte
	hex.Encode(text[:], id[:])
	c.AppendBytes(text[:])
}

func appendSpanID(c *proto.ColStr, id spans.SpanID) {
	if id == (spans.SpanID{}) {
		c.Append("")
		return
	}
	var text [2 * len(id)]byte
	hex.Encode(text[:], id[:])
	c.AppendBytes(text[:])
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

// view is b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func rowOf(offsets proto.ColUInt64, i int) (from, to int) {
	if i > 0 {
		from = int(offsets[i-1])
	}
	return from, int(offsets[i])
}
