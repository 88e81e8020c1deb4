// Package nativetest reads packed blocks back, for tests.
package nativetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ClickHouse/ch-go/proto"
)

// Words reads a String or LowCardinality(String) column of a packed block back.
func Words(t testing.TB, frames []byte, column string) []string {
	t.Helper()
	reader := proto.NewReader(bytes.NewReader(frames))
	reader.EnableCompression()
	var info proto.BlockInfo
	err := info.Decode(reader)
	number := func() int {
		n, readErr := reader.Int()
		err = errors.Join(err, readErr)
		return n
	}
	text := func() string {
		s, readErr := reader.Str()
		err = errors.Join(err, readErr)
		return s
	}
	columns, rows := number(), number()
	for range columns {
		name, kind := text(), text()
		var data proto.ColAuto
		if err = errors.Join(err, data.Infer(proto.ColumnType(kind))); err != nil {
			break
		}
		if state, ok := data.Data.(proto.StateDecoder); ok {
			err = state.DecodeState(reader)
		}
		if err = errors.Join(err, data.DecodeColumn(reader, rows)); err != nil {
			break
		}
		if words, ok := data.Data.(interface{ Row(i int) string }); ok && name == column {
			list := make([]string, rows)
			for i := range list {
				list[i] = words.Row(i)
			}
			return list
		}
	}
	t.Errorf("read the column %s of a packed block: %v", column, err)
	return nil
}
