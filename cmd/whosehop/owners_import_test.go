package main

import (
	"strings"
	"testing"
	"time"
)

// Long work is shown on a terminal, and there alone.
func TestFileMeter(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out strings.Builder
		m := fileMeter{out: &out, terminal: terminal}
		m.looked("a", true) // its last word is long ago
		m.looked("b", false)
		m.last = time.Time{}
		m.looked("c", false)
		m.end()
		want := ""
		if terminal {
			want = "\r1 file looked at, 1 of them read\r3 files looked at, 1 of them read\n"
		}
		if out.String() != want || m.known != 1 {
			t.Errorf("terminal %v: %q, %d known", terminal, &out, m.known)
		}
	}
}
