package query

import (
	"slices"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func TestLinks(t *testing.T) {
	for _, c := range []struct{ public, trace, wrong string }{
		{"", "", ""},
		{"https://whosehop.example", "http://jaeger:16686/trace/{traceId}?uiFind={spanId}", ""},
		{"http://10.0.0.1:8080/tools/whosehop/", "", ""},
		{"whosehop.example", "", "query.public-url"},
		{"ftp://whosehop.example", "", "query.public-url"},
		{"https://whosehop.example/?a=b", "", "query.public-url"},
		{"", "https://jaeger.example/trace/", "there is no {traceId}"},
		{"", "javascript:alert('{traceId}')", "query.trace-link"},
		{"", "/trace/{traceId}", "query.trace-link"},
	} {
		if _, err := ParseLinks(c.public, c.trace); (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%q and %q: %v", c.public, c.trace, err)
		}
	}
	l, err := ParseLinks("https://whosehop.example/w/", "https://grafana.example/explore?t={traceId}&s={spanId}&from={fromMs}&to={toMs}")
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict.Verdict{TraceID: "4bf9", Entry: verdict.Entry{SpanID: "0a", Start: verdict.Time{UnixNs: 1_000_000_000_000}, DurationNs: 2_000_000_000}}
	if got := l.OfTrace(v); got != "https://grafana.example/explore?t=4bf9&s=0a&from=700000&to=1302000" {
		t.Error(got)
	}
	if got := l.OfVerdict("4bf9", "0a"); got != "https://whosehop.example/w/verdicts/4bf9#entry-0a" {
		t.Error(got)
	}
	if got := (Links{}).OfTrace(v); got != "" {
		t.Error(got)
	}
}

// Timelines are kept while there is room, those that were asked for last the longest.
func TestKeptTimelines(t *testing.T) {
	key := func(trace byte, rows uint64) timelineKey { return timelineKey{id: spans.TraceID{trace}, rows: rows} }
	of := func(n int) *Timeline {
		return &Timeline{Timeline: &verdict.Timeline{Spans: make([]verdict.TimelineSpan, n)}}
	}
	var k keptTimelines
	there := func(want ...byte) {
		t.Helper()
		var got []byte
		for _, kept := range k.list {
			got = append(got, kept.key.id[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("kept are %v, want %v", got, want)
		}
	}
	k.put(key(1, 5), of(5))
	k.put(key(2, 90_000), of(90_000))
	if k.get(key(1, 6)) != nil || k.get(key(1, 5)) == nil {
		t.Error("another trace was kept")
	}
	there(2, 1)
	k.put(key(3, 100_000), of(100_000))
	there(2, 1, 3)
	k.put(key(1, 6), of(20_000)) // the trace has grown
	there(3, 1)
	k.put(key(4, 1), of(keptSpansMax+1)) // more than there is room for: alone
	there(4)
	for i := range byte(3 * keptMost) {
		k.put(key(10+i, 1), of(1))
	}
	if len(k.list) != keptMost {
		t.Errorf("%d are kept", len(k.list))
	}
}
