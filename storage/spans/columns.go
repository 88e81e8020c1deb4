package spans

// Text is a column of strings in one buffer: row i is Bytes[Ends[i-1]:Ends[i]].
// Reset keeps the capacity, so a reused column allocates nothing.
type Text struct {
	Bytes []byte
	Ends  []uint32
}

// Len is the number of rows.
func (t *Text) Len() int { return len(t.Ends) }

// At is row i; the bytes are the column's own and live until Reset.
func (t *Text) At(i int) []byte { return t.Bytes[t.Start(i):t.Ends[i]] }

// Start is where row i begins in Bytes; i may be Len.
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

// Truncate keeps the first n rows.
func (t *Text) Truncate(n int) {
	t.Ends = t.Ends[:n]
	t.Bytes = t.Bytes[:t.Start(n)]
}

// Reset empties the column and keeps its buffers.
func (t *Text) Reset() { t.Bytes, t.Ends = t.Bytes[:0], t.Ends[:0] }

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
