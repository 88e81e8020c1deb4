package spans

import (
	"fmt"
	"testing"
)

// TestSharedTexts come back row by row, whether they were known, forgotten or new, and lie once while they are recent.
func TestSharedTexts(t *testing.T) {
	var column Text
	for round := range 3 { // a column that was used before, and one that does not share between
		column.Reset()
		if round == 1 {
			column.Append("x")
			if column.Len() != 1 || column.Str(0) != "x" {
				t.Fatalf("a column that does not share: %d rows, %q", column.Len(), column.At(0))
			}
		}
		var recent Recent
		column.Share()
		var want []string
		for i := range column.Len() {
			want = append(want, column.Str(i))
		}
		for i := range 3 * len(recent) {
			for _, text := range []string{"again", "", fmt.Sprint(i), fmt.Sprint(i / 2)} {
				column.Of = append(column.Of, column.Number(&recent, []byte(text)))
				want = append(want, text)
			}
		}
		if column.Len() != len(want) {
			t.Fatalf("%d rows of %d", column.Len(), len(want))
		}
		for i := range want {
			if column.Str(i) != want[i] {
				t.Fatalf("row %d is %q and not %q", i, column.At(i), want[i])
			}
		}
		if texts := len(column.Ends); texts > len(want)/2 {
			t.Errorf("%d texts lie in a column of %d rows, most of which come again at once", texts, len(want))
		}
		column.Truncate(5)
		if column.Len() != 5 || column.Str(4) != want[4] {
			t.Errorf("cut to five rows, it has %d, and the last is %q", column.Len(), column.At(4))
		}
	}
}
