package native

import (
	"bytes"
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
)

// FuzzSelect reads blocks from any bytes: whatever they are, what comes of them are whole spans, and memory is
// taken for what has come.
func FuzzSelect(f *testing.F) {
	for _, whole := range []bool{false, true} {
		d := NewDecoder(whole)
		for _, b := range []*spans.Block{withLinks(), spansOf(40, 40), newShop(1, false).block(3, 2, 2), newShop(2, true).block(6, 2, 3)} {
			raw := blockOf(b.Len(), answerOf(f, b, d, 0))
			f.Add(raw, whole)
			f.Add(append(raw, raw...), whole)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		// Each row of a column of words is a copy: n bytes may become n*n/4.
		const most = 8 << 10
		if len(data) > most {
			return
		}
		d := NewDecoder(whole)
		var b spans.Block
		s := from(bytes.NewReader(data))
		if bytes := allocated(func() {
			d.Into(&b)
			for {
				complete := b.Len()
				if err := decodeBlock(s, d); err != nil {
					b.TruncateSpans(complete)
					return
				}
			}
		}); bytes > 8*most*most/4 { // 8 for growing
			t.Errorf("%d bytes allocated for %d", bytes, len(data))
		}
		tellAll(t, &b)
	})
}
