package native

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// Table is rows of any table on their way to ClickHouse, column by column. Columns are declared once; each row then
// gets one value of each, and any number of elements of the columns of each group. Reset keeps all memory.
type Table struct {
	columns []*TableColumn
	groups  []*Group
	rows    int
	f       frames
}

// TableColumn is a column of a Table.
type TableColumn struct {
	name, kind string
	group      *Group // nil for a column of its own
	raw        []byte
	words      *dictionary // of a LowCardinality column
}

// Group is nested columns, which have as many elements as each other in each row.
type Group struct {
	name     string
	elements uint64
	ends     []byte
}

// Column declares a column, of one of the types that have a method to add to.
func (t *Table) Column(name, kind string) *TableColumn { return t.column(nil, name, kind) }

// Group declares nested columns.
func (t *Table) Group(name string) *Group {
	g := &Group{name: name}
	t.groups = append(t.groups, g)
	return g
}

// Nested declares a column of a group.
func (t *Table) Nested(g *Group, name, kind string) *TableColumn { return t.column(g, name, kind) }

func (t *Table) column(g *Group, name, kind string) *TableColumn {
	c := &TableColumn{name: name, kind: kind, group: g}
	if kind == typeWord {
		c.words = new(dictionary)
		c.words.reset()
	}
	t.columns = append(t.columns, c)
	return c
}

// Element counts an element of the group in the row that is being added: one value of each of its columns.
func (g *Group) Element() { g.elements++ }

// EndRow ends a row.
func (t *Table) EndRow() {
	t.rows++
	for _, g := range t.groups {
		g.ends = binary.LittleEndian.AppendUint64(g.ends, g.elements)
	}
}

// Rows is the number of rows.
func (t *Table) Rows() int { return t.rows }

// Bytes is about what the rows take.
func (t *Table) Bytes() (n int) {
	for _, c := range t.columns {
		n += len(c.raw)
	}
	return n
}

// Text adds to a column of type String or LowCardinality(String).
func (c *TableColumn) Text(s string) {
	if c.words != nil {
		c.words.add(unsafe.Slice(unsafe.StringData(s), len(s)))
		return
	}
	c.raw = append(binary.AppendUvarint(c.raw, uint64(len(s))), s...)
}

// Bytes adds to a column of type String.
func (c *TableColumn) Bytes(s []byte) {
	c.raw = append(binary.AppendUvarint(c.raw, uint64(len(s))), s...)
}

// Bool adds to a column of type Bool.
func (c *TableColumn) Bool(x bool) {
	if x {
		c.raw = append(c.raw, 1)
		return
	}
	c.raw = append(c.raw, 0)
}

// Uint32 adds to a column of type UInt32.
func (c *TableColumn) Uint32(n uint32) { c.raw = binary.LittleEndian.AppendUint32(c.raw, n) }

// Int64 adds to a column of type Int64, UInt64 or DateTime64.
func (c *TableColumn) Int64(n int64) { c.raw = binary.LittleEndian.AppendUint64(c.raw, uint64(n)) }

// Float64 adds to a column of type Float64.
func (c *TableColumn) Float64(x float64) {
	c.raw = binary.LittleEndian.AppendUint64(c.raw, math.Float64bits(x))
}

// Pack gives the rows as Insert takes them; they are good until the next Reset.
func (t *Table) Pack() (columns []string, packed []byte) {
	f := &t.f
	f.raw, f.packed = append(f.raw[:0], blockInfo...), f.packed[:0]
	f.varint(len(t.columns))
	f.varint(t.rows)
	for _, c := range t.columns {
		name, kind := c.name, c.kind
		if c.group != nil {
			name, kind = c.group.name+"."+name, "Array("+kind+")"
		}
		columns = append(columns, name)
		f.string(name)
		f.string(kind)
		if c.words != nil {
			f.uint64(dictionaryVersion)
		}
		if c.group != nil {
			f.all(c.group.ends)
		}
		if c.words != nil {
			c.words.write(f)
		} else {
			f.all(c.raw)
		}
		f.room()
	}
	f.pack()
	return columns, f.packed
}

// Reset drops all rows.
func (t *Table) Reset() {
	t.rows = 0
	for _, g := range t.groups {
		g.elements, g.ends = 0, g.ends[:0]
	}
	for _, c := range t.columns {
		c.raw = c.raw[:0]
		if c.words != nil {
			c.words.reset()
		}
	}
}

// all adds what may be far more than a frame.
func (f *frames) all(data []byte) {
	for len(data) > 0 {
		n := min(len(data), frameBytes)
		f.raw = append(f.raw, data[:n]...)
		data = data[n:]
		f.room()
	}
}
