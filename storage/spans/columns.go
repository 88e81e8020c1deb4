package spans

import (
	"bytes"
	"hash/maphash"
)

// Text is a column of strings in one buffer: row i is Bytes[Ends[i-1]:Ends[i]].
// Reset keeps the capacity, so a reused column allocates nothing.
//
// Where rows share texts, row i is text Of[i], which lies where row Of[i] would otherwise. Rows are then added to Of.
type Text struct {
	Bytes []byte
	Ends  []uint32

	Shared bool
	Of     []uint32
}

// Len is the number of rows.
func (t *Text) Len() int {
	if t.Shared {
		return len(t.Of)
	}
	return len(t.Ends)
}

// At is row i; the bytes are the column's own and live until Reset.
func (t *Text) At(i int) []byte {
	if t.Shared {
		i = int(t.Of[i])
	}
	return t.Bytes[t.Start(i):t.Ends[i]]
}

// Start is where text i begins in Bytes: row i, unless rows share texts. i may be how many there are.
func (t *Text) Start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return t.Ends[i-1]
}

// Str is row i as a string of its own.
func (t *Text) Str(i int) string { return string(t.At(i)) }

// Append adds one row.
func (t *Text) Append(s string) {
	t.Bytes = append(t.Bytes, s...)
	t.Ends = append(t.Ends, uint32(len(t.Bytes)))
}

// AppendBytes adds one row.
func (t *Text) AppendBytes(s []byte) {
	t.Bytes = append(t.Bytes, s...)
	t.Ends = append(t.Ends, uint32(len(t.Bytes)))
}

// EndRow closes a row whose bytes the caller has appended to Bytes itself.
func (t *Text) EndRow() { t.Ends = append(t.Ends, uint32(len(t.Bytes))) }

// Share makes the column one in which rows share texts, until Reset.
func (t *Text) Share() {
	if t.Shared {
		return
	}
	t.Shared, t.Of = true, t.Of[:0]
	for i := range t.Ends {
		t.Of = append(t.Of, uint32(i))
	}
}

// Recent knows some of the texts of a column that came last: which text a hash stands for, plus one. That finds most
// that come again in a bounded time and memory, whatever the texts are.
type Recent [4096]uint32

var seed = maphash.MakeSeed()

// Number is the number of a text in a column that shares texts. One that is not known is added, without a row.
func (t *Text) Number(recent *Recent, s []byte) uint32 {
	known := &recent[maphash.Bytes(seed, s)%uint64(len(recent))]
	if n := *known; n == 0 || !bytes.Equal(t.Bytes[t.Start(int(n-1)):t.Ends[n-1]], s) {
		t.AppendBytes(s)
		*known = uint32(len(t.Ends))
	}
	return *known - 1
}

// Truncate keeps the first n rows. Shared texts stay while any row does.
func (t *Text) Truncate(n int) {
	switch {
	case n == 0:
		t.Reset()
		return
	case t.Shared:
		t.Of = t.Of[:n]
		return
	}
	t.Ends = t.Ends[:n]
	t.Bytes = t.Bytes[:t.Start(n)]
}

// Reset empties the column and keeps its buffers.
func (t *Text) Reset() {
	t.Bytes, t.Ends = t.Bytes[:0], t.Ends[:0]
	t.Shared, t.Of = false, t.Of[:0]
}

// Attrs is a column of attribute maps: row i holds the pairs Ends[i-1]..Ends[i] of Keys and Values.
// Values are text, as the table stores them: numbers and booleans in their usual spelling;
// arrays, maps and bytes as JSON.
type Attrs struct {
	Ends   []uint32
	Keys   Text
	Values Text
}

// Len is the number of rows.
func (a *Attrs) Len() int { return len(a.Ends) }

// Range is the first pair of row i and the one behind its last.
func (a *Attrs) Range(i int) (from, to int) {
	if i > 0 {
		from = int(a.Ends[i-1])
	}
	return from, int(a.Ends[i])
}

// Get looks a key up in row i; the last pair wins when a key is there twice.
func (a *Attrs) Get(i int, key string) ([]byte, bool) {
	from, to := a.Range(i)
	for p := to - 1; p >= from; p-- {
		if string(a.Keys.At(p)) == key {
			return a.Values.At(p), true
		}
	}
	return nil, false
}

// Pair adds a pair to the row that EndRow will close.
func (a *Attrs) Pair(key, value string) {
	a.Keys.Append(key)
	a.Values.Append(value)
}

// EndRow closes the row.
func (a *Attrs) EndRow() { a.Ends = append(a.Ends, uint32(a.Keys.Len())) }

// Truncate keeps the first n rows and drops pairs of a row not closed yet.
func (a *Attrs) Truncate(n int) {
	a.Ends = a.Ends[:n]
	pairs := 0
	if n > 0 {
		pairs = int(a.Ends[n-1])
	}
	a.Keys.Truncate(pairs)
	a.Values.Truncate(pairs)
}

// Reset empties the column and keeps its buffers.
func (a *Attrs) Reset() {
	a.Ends = a.Ends[:0]
	a.Keys.Reset()
	a.Values.Reset()
}
