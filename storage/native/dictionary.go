package native

import "unsafe"

// dictionary numbers the distinct texts of a LowCardinality column in the order in which they come.
type dictionary struct {
	texts [][]byte
	index map[string]uint32
	rows  []uint32
}

func (d *dictionary) reset() {
	if d.index == nil {
		d.index = make(map[string]uint32)
	}
	clear(d.index)
	d.texts, d.rows = d.texts[:0], d.rows[:0]
}

// number gives the text's number. The text must stay as it is until the reset.
func (d *dictionary) number(text []byte) uint32 {
	if n, ok := d.index[string(text)]; ok {
		return n
	}
	n := uint32(len(d.texts))
	d.texts = append(d.texts, text)
	d.index[unsafe.String(unsafe.SliceData(text), len(text))] = n
	return n
}

// guess is number for a text that is likely the one with the number given.
func (d *dictionary) guess(text []byte, likely uint32) uint32 {
	if int(likely) < len(d.texts) && string(d.texts[likely]) == string(text) {
		return likely
	}
	return d.number(text)
}

func (d *dictionary) add(text []byte) {
	likely := uint32(0)
	if n := len(d.rows); n > 0 {
		likely = d.rows[n-1]
	}
	d.rows = append(d.rows, d.guess(text, likely))
}

const (
	// dictionaryVersion stands before all rows of a LowCardinality column.
	dictionaryVersion = 1
	// dictionaryFlags say that the texts come with the block and replace those before.
	dictionaryFlags = 1<<9 | 1<<10
)

// write writes the column as ClickHouse reads it: texts, then the rows' numbers, as wide as needed.
func (d *dictionary) write(f *frames) {
	if len(d.rows) == 0 {
		return
	}
	width := uint64(0)
	switch n := len(d.texts); {
	case n > 1<<16:
		width = 2
	case n > 1<<8:
		width = 1
	}
	f.uint64(dictionaryFlags | width)
	f.uint64(uint64(len(d.texts)))
	for _, t := range d.texts {
		f.text(t)
		f.room()
	}
	f.uint64(uint64(len(d.rows)))
	for _, n := range d.rows {
		switch width {
		case 0:
			f.byte(byte(n))
		case 1:
			f.raw = append(f.raw, byte(n), byte(n>>8))
		default:
			f.uint32(n)
		}
		f.room()
	}
}
