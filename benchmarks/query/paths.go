package main

import (
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
)

// The bars.
const (
	barPage    = 200 * time.Millisecond
	barVerdict = 20 * time.Millisecond
	barBrowser = 300 * time.Millisecond
)

// question is something that is asked of the server, with other parameters each time.
type question struct {
	path string // as a route is written, or the method of the gRPC service
	what string // which of the questions of this path
	bar  time.Duration
	url  func(w *asked) string                       // of HTTP
	call func(w *asked) (method string, request any) // of gRPC
	// next reads the page that comes after an answer: the next one is asked for that.
	paged bool
}

// questions are all that there are: what is not here is not measured, and a path of the OpenAPI document or a method of
// the gRPC service that is not is an error.
func questions() []question {
	const v1 = "/api/v1/"
	get := func(path, what string, url func(w *asked) string) question {
		return question{path: path, what: what, bar: barPage, url: url}
	}
	with := func(path string, of func(w *asked) url.Values) func(w *asked) string {
		return func(w *asked) string { return path + "?" + of(w).Encode() }
	}
	fixed := func(path string) func(*asked) string { return func(*asked) string { return path } }
	verdict := get(v1+"verdicts/{traceId}", "by id", func(w *asked) string { return v1 + "verdicts/" + w.failing() })
	verdict.bar = barVerdict
	pages := get(v1+"verdicts", "page by page, of a week", with(v1+"verdicts", func(*asked) url.Values { return url.Values{"since": {"168h"}, "pageSize": {"100"}} }))
	pages.paged = true
	ofOwner := get(v1+"verdicts", "page by page, of an owner", with(v1+"verdicts", func(w *asked) url.Values {
		return url.Values{"since": {"168h"}, "owner": {w.owner()}}
	}))
	ofOwner.paged = true
	return []question{
		verdict,
		get(v1+"verdicts/{traceId}", "a healthy trace, judged on demand", func(w *asked) string { return v1 + "verdicts/" + w.healthy() }),
		get(v1+"verdicts/{traceId}", "of 10,000 spans", func(w *asked) string { return v1 + "verdicts/" + w.giant }),
		get(v1+"verdicts", "any filters", with(v1+"verdicts", (*asked).filters)),
		pages, ofOwner,
		get(v1+"attribution", "all owners", with(v1+"attribution", (*asked).since)),
		get(v1+"attribution", "an owner", with(v1+"attribution", (*asked).sinceOfOwner)),
		get(v1+"now", "", with(v1+"now", func(w *asked) url.Values {
			return w.sometimes("owner", w.owner, url.Values{"since": {one(w, "15m", "1h")}})
		})),
		get(v1+"report", "all owners", with(v1+"report", (*asked).since)),
		get(v1+"report", "an owner", with(v1+"report", (*asked).sinceOfOwner)),
		get(v1+"map", "", with(v1+"map", (*asked).since)),
		get(v1+"map", "around a service", with(v1+"map", func(w *asked) url.Values { return w.sometimes("focus", w.service, w.since()) })),
		get(v1+"top", "", with(v1+"top", func(w *asked) url.Values {
			v := w.since()
			v.Set("by", one(w, "owner", "service", "edge"))
			return v
		})),
		get(v1+"rank", "all entries", with(v1+"rank", (*asked).since)),
		get(v1+"rank", "an entry", with(v1+"rank", func(w *asked) url.Values {
			v := w.since()
			v.Set("entry", w.entry())
			return v
		})),
		get(v1+"openapi.json", "", fixed(v1+"openapi.json")),
		get(v1+"owners", "", with(v1+"owners", func(w *asked) url.Values { return url.Values{"owner": {w.owner()}} })),
		get(v1+"owners/handovers", "", with(v1+"owners/handovers", (*asked).since)),
		get(v1+"owners/resolve", "", with(v1+"owners/resolve", func(w *asked) url.Values {
			return url.Values{"service": {w.service()}, "why": {"true"}}
		})),
		get(v1+"owners/coverage", "", with(v1+"owners/coverage", (*asked).since)),

		get("/", "", with("/", (*asked).sinceOnly)),
		get("/", "any filters", with("/", (*asked).filtersOfPage)),
		get("/owners", "", with("/owners", (*asked).sinceOnly)),
		get("/coverage", "", with("/coverage", (*asked).sinceOnly)),
		get("/verdicts/{traceId}", "", func(w *asked) string { return "/verdicts/" + w.failing() }),
		get("/verdicts/{traceId}", "a healthy trace", func(w *asked) string { return "/verdicts/" + w.healthy() }),
		get("/verdicts/{traceId}", "of 10,000 spans", func(w *asked) string { return "/verdicts/" + w.giant }),
		get("/traces/{traceId}", "", func(w *asked) string { return "/traces/" + w.failing() }),
		get("/traces/{traceId}", "of 10,000 spans", func(w *asked) string {
			return "/traces/" + w.giant + "?page=" + strconv.Itoa(1+w.random.IntN(20))
		}),
		get("/metrics", "", fixed("/metrics")),
		get("/readyz", "", fixed("/readyz")),

		rpc(barVerdict, func(w *asked) (string, any) {
			return "GetVerdict", &whosehopv1.GetVerdictRequest{TraceId: w.failing()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "ListVerdicts", &whosehopv1.ListVerdictsRequest{From: w.from(), Owner: w.owner(), Service: w.service()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetAttribution", &whosehopv1.GetAttributionRequest{From: w.from(), Step: durationpb.New(time.Hour)}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetNow", &whosehopv1.GetNowRequest{Owner: w.owner()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetReport", &whosehopv1.GetReportRequest{From: w.from(), Owner: w.owner()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetMap", &whosehopv1.GetMapRequest{From: w.from()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetTop", &whosehopv1.GetTopRequest{From: w.from(), By: one(w, "owner", "service", "edge")}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetRank", &whosehopv1.GetRankRequest{From: w.from(), Entry: w.entry()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "ListOwners", &whosehopv1.ListOwnersRequest{Owner: w.owner()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "ListHandovers", &whosehopv1.ListHandoversRequest{From: w.from()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "ResolveOwner", &whosehopv1.ResolveOwnerRequest{Service: w.service()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetCoverage", &whosehopv1.GetCoverageRequest{From: w.from()}
		}),
	}
}

// unmeasured are methods that change something.
var unmeasured = []string{"PutOwners"}

func rpc(bar time.Duration, call func(w *asked) (string, any)) question {
	method, _ := call(newAsked())
	return question{path: "whosehop.v1.Whosehop/" + method, bar: bar, call: call}
}

func (w *asked) from() *timestamppb.Timestamp {
	d, _ := time.ParseDuration(one(w, windows...))
	return timestamppb.New(time.Now().Add(-d))
}

// windows are the times that people look back.
var windows = []string{"1h", "24h", "168h"}

func (w *asked) sinceOnly() url.Values { return url.Values{"since": {one(w, windows...)}} }

// since is a time that ends now, or one of the past.
func (w *asked) since() url.Values {
	if w.random.IntN(2) == 0 {
		return w.sinceOnly()
	}
	d, _ := time.ParseDuration(one(w, windows[:2]...))
	to := time.Now().Add(-time.Duration(w.random.Int64N(int64(6 * 24 * time.Hour))))
	return url.Values{"from": {to.Add(-d).Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}
}

func (w *asked) sinceOfOwner() url.Values {
	v := w.since()
	v.Set("owner", w.owner())
	return v
}

// sometimes adds a parameter to every second question.
func (w *asked) sometimes(key string, value func() string, v url.Values) url.Values {
	if w.random.IntN(2) == 0 {
		v.Set(key, value())
	}
	return v
}

// filters are some of those that verdicts can be listed by.
func (w *asked) filters() url.Values { return w.filter(w.since()) }

func (w *asked) filtersOfPage() url.Values { return w.filter(w.sinceOnly()) }

func (w *asked) filter(v url.Values) url.Values {
	for key, value := range map[string]func() string{
		"owner": w.owner, "service": w.service, "entry": w.entry, "symptom": func() string { return one(w, "error", "degraded", "latency") },
	} {
		if w.random.IntN(3) == 0 {
			v.Set(key, value())
		}
	}
	return v
}
