package trace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/analyzer/trace"
)

func TestWords(t *testing.T) {
	lists := [][]string{{"timed out", "timeout"}, {"refused", "eof"}, {"ti"}}
	w := trace.NewWords(lists...)
	for _, text := range []string{"", "x", "EOF", "Connection REFUSED: timed out", "a Timeout", "ti", "unexpected eof", "tim", "nothing", "é refuséd"} {
		want := -1
		for i, list := range slices.Backward(lists) {
			for _, word := range list {
				if strings.Contains(strings.ToLower(text), word) {
					want = i
				}
			}
		}
		if got := w.Find(text); got != want {
			t.Errorf("%q: list %d, want %d", text, got, want)
		}
	}
}
