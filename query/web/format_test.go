package web

import (
	"testing"
	"time"
)

func TestNumbersArePlain(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.001: "0", 0.02: "<0.1", 0.5: "0.5", 3: "3", 12.34: "12.3", 99.96: "100", 1234.4: "1234", 12_345: "12.3k", 9_999_999: "10.0M"} {
		if got := count(x); got != want {
			t.Errorf("count(%v) is %q, want %q", x, got, want)
		}
	}
	for x, want := range map[float64]string{0: "0 %", 0.0004: "<0.1 %", 0.004: "0.4 %", 0.02: "2 %", 0.123: "12 %", 0.997: ">99 %", 1: "100 %"} {
		if got := part(x); got != want {
			t.Errorf("part(%v) is %q, want %q", x, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0", 340 * time.Millisecond: "340 ms", 90 * time.Second: "90 s", 10 * time.Minute: "10 min", 150 * time.Minute: "2.5 h", 72 * time.Hour: "3 d"} {
		if got := span(int64(d)); got != want {
			t.Errorf("span(%v) is %q, want %q", d, got, want)
		}
	}
	now := time.Date(2026, 11, 21, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]moment{
		time.Second:      {"2026-11-21T03:04:04Z", "03:04 UTC", "just now"},
		20 * time.Minute: {"2026-11-21T02:44:05Z", "02:44 UTC", "20 min ago"},
		5 * time.Hour:    {"2026-11-20T22:04:05Z", "20 Nov 22:04 UTC", "5 h ago"},
		96 * time.Hour:   {"2026-11-17T03:04:05Z", "17 Nov 03:04 UTC", "4 d ago"},
	} {
		if got := momentOf(now.Add(-d), now); got != want {
			t.Errorf("%v ago is %v, want %v", d, got, want)
		}
	}
}
