package native

import "github.com/whosehop/whosehop/storage/spans"

// These are columns for answers of a few columns. Each block's rows replace those of the block before.

// TraceIDColumn is a column of trace ids in hexadecimal.
func TraceIDColumn(name string, into *[]spans.TraceID) Column {
	return Column{name, typeText, func(s *stream, rows int) error {
		*into = (*into)[:0]
		return readIDs(s, into, rows, ReadTraceID)
	}}
}

// Int64Column is a column of type Int64.
func Int64Column(name string, into *[]int64) Column {
	return Column{name, "Int64", func(s *stream, rows int) (err error) {
		*into, err = numbers(s, (*into)[:0], rows, 8, int64Of)
		return err
	}}
}

// BoolColumn is a column of type UInt8, as comparisons give it.
func BoolColumn(name string, into *[]bool) Column {
	return Column{name, "UInt8", func(s *stream, rows int) (err error) {
		*into, err = numbers(s, (*into)[:0], rows, 1, func(b []byte) bool { return b[0] != 0 })
		return err
	}}
}
