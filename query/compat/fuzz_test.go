package compat

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/whosehop/whosehop/query"
)

// FuzzParameters reads searches of all three APIs from any query: each is understood within its limits, or refused.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{
		"service=a&operation=b&tags={\"error\":\"true\",\"n\":5}&tag=a:b&start=1&end=1780000000000000&minDuration=1ms&maxDuration=2s&limit=9&lookback=2d",
		"query.service_name=a&query.start_time_min=2026-05-28T20:00:00 00:00&query.startTimeMax=2026-05-28T21:00:00Z&query.num_traces=3&query.attributes={}",
		"q={.a=1}&start=1&end=2&limit=3&spss=3", "tags=a=b c=\"d e\" error=true&minDuration=1h", "start=9223372036854775807&limit=-1", "tags=\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		now := time.Unix(1_780_000_000, 0)
		_, jaeger := jaegerQuery(q, now)
		_, v3 := v3Query(q)
		_, _, tempo := tempoQuery(q, now)
		for _, err := range []error{jaeger, v3, tempo} {
			if err != nil && !errors.Is(err, query.ErrInvalid) {
				t.Fatalf("%q: %v", raw, err)
			}
		}
	})
}

func TestLogfmt(t *testing.T) {
	got, err := logfmt(" a=b  c=\"d \\\"e\" empty=\ttail=x=y")
	if err != nil || len(got) != 4 || got["a"] != "b" || got["c"] != `d "e` || got["empty"] != "" || got["tail"] != "x=y" {
		t.Errorf("%q, %v", got, err)
	}
	for _, wrong := range []string{"a", "=b", "a=b a=c", `a="b`, `"a"=b`} {
		if got, err := logfmt(wrong); !errors.Is(err, query.ErrInvalid) {
			t.Errorf("%s: %q, %v", wrong, got, err)
		}
	}
}

func TestJaegerQuery(t *testing.T) {
	now := time.Unix(1_780_000_000, 0)
	for raw, want := range map[string]string{
		"service=web&operation=GET":        "(service = web and name = GET)",
		"tag=a:b:c&tags={\"b\":\"2\"}":     "(any.a = b:c and any.b = 2)",
		"tags={\"b\":true,\"c\":0.5}":      "(any.b = true and any.c = 0.5)",
		"tag=error:true":                   "((status = error or any.error = true))",
		"tag=error:false":                  "(status != error)",
		"tag=span.kind:server":             "(kind = server)",
		"tag=span.kind:odd":                "(any.span.kind = odd)",
		"tag=otel.status_code:ERROR":       "(status = error)",
		"tag=service.name:x":               "(service = x)",
		"minDuration=1.5ms&maxDuration=1s": "(duration >= 1500000 and duration <= 1000000000)",
		"":                                 "all",
	} {
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		search, err := jaegerQuery(q, now)
		if err != nil || told(&search.Match) != want {
			t.Errorf("%s: %s, %v, want %s", raw, told(&search.Match), err, want)
		}
		if !search.To.Equal(now) || search.To.Sub(search.From) != jaegerLookback || search.Limit != jaegerLimit {
			t.Errorf("%s: %+v", raw, search)
		}
	}
	for _, wrong := range []string{"limit=0", "limit=x", "start=-1", "end=9223372036854775807", "minDuration=5", "minDuration=2s&maxDuration=1s", "tag=a", "tags=[]", `tags={"a":{}}`} {
		q, err := url.ParseQuery(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jaegerQuery(q, now); !errors.Is(err, query.ErrInvalid) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	q := url.Values{"lookback": {"1h"}, "end": {"1780000000000000"}}
	if search, err := jaegerQuery(q, now.Add(time.Hour)); err != nil || !search.To.Equal(now) || search.To.Sub(search.From) != time.Hour {
		t.Errorf("%+v, %v", search, err)
	}
}
