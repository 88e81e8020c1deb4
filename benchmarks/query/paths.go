package main

import (
	"encoding/json"
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
	body func(w *asked) string                       // what is posted; nil asks by GET
	call func(w *asked) (method string, request any) // of gRPC
	// paged goes on with the next page of the answer before.
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
	giant := get(v1+"verdicts/{traceId}", "of 10,000 spans", func(w *asked) string { return v1 + "verdicts/" + w.giant })
	verdict.bar, giant.bar = barVerdict, barVerdict
	pages := get(v1+"verdicts", "page by page, of a week", with(v1+"verdicts", func(*asked) url.Values { return url.Values{"since": {"168h"}, "pageSize": {"100"}} }))
	pages.paged = true
	ofOwner := get(v1+"verdicts", "page by page, of an owner", with(v1+"verdicts", func(w *asked) url.Values {
		return url.Values{"since": {"168h"}, "owner": {w.owner()}}
	}))
	ofOwner.paged = true
	return []question{
		verdict,
		get(v1+"verdicts/{traceId}", "a healthy trace, judged on demand", func(w *asked) string { return v1 + "verdicts/" + w.healthy() }),
		giant,
		get(v1+"verdicts/{traceId}/why-not", "", func(w *asked) string { return v1 + "verdicts/" + w.storefront() + "/why-not?service=storefront" }),
		{path: v1 + "verdicts/{traceId}/reviews", what: "one is given", bar: barPage, url: func(w *asked) string { return v1 + "verdicts/" + w.failing() + "/reviews" }, body: func(w *asked) string {
			return one(w, `{"kind": "confirmed", "by": "ann"}`, `{"kind": "contested", "by": "bob", "why": "the deploy was rolled back before"}`)
		}},
		get(v1+"verdicts/{traceId}/reviews", "", func(w *asked) string { return v1 + "verdicts/" + w.failing() + "/reviews" }),
		get(v1+"reviews", "", fixed(v1+"reviews")),
		get(v1+"reviews/summary", "", fixed(v1+"reviews/summary")),
		get(v1+"verdicts", "of an order, by attribute", with(v1+"verdicts", func(w *asked) url.Values {
			return url.Values{"since": {one(w, windows...)}, "attribute": {"app.order.id=" + one(w, w.orders...)}}
		})),
		get(v1+"verdicts", "any filters", with(v1+"verdicts", (*asked).filters)),
		pages, ofOwner,
		get(v1+"attribution", "all owners", with(v1+"attribution", (*asked).since)),
		get(v1+"attribution", "an owner", with(v1+"attribution", (*asked).sinceOfOwner)),
		get(v1+"now", "", with(v1+"now", func(w *asked) url.Values {
			return w.sometimes("owner", w.owner, url.Values{"since": {one(w, "15m", "1h")}})
		})),
		get(v1+"report", "", with(v1+"report", (*asked).sinceOfOwner)),
		get(v1+"map", "", with(v1+"map", (*asked).since)),
		get(v1+"map", "around a service", with(v1+"map", func(w *asked) url.Values { return w.sometimes("focus", w.service, w.since()) })),
		get(v1+"edge", "", with(v1+"edge", func(*asked) url.Values {
			return url.Values{"since": {"24h"}, "caller": {"checkout"}, "callee": {"payments"}}
		})),
		get(v1+"top", "", with(v1+"top", func(w *asked) url.Values {
			v := w.since()
			v.Set("by", one(w, rankedBy...))
			return v
		})),
		get(v1+"rank", "all entries", with(v1+"rank", (*asked).sinceShort)),
		get(v1+"rank", "an entry", with(v1+"rank", func(w *asked) url.Values {
			v := w.sinceShort()
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

		get("/", "", fixed("/")),
		get("/", "of an owner, or an entry", with("/", func(w *asked) url.Values {
			return w.sometimes("entry", w.entry, url.Values{"owner": {w.owner()}})
		})),
		get("/search", "", with("/search", (*asked).sinceOnly)),
		get("/search", "any filters", with("/search", (*asked).filtersOfPage)),
		get("/search", "of an order, by attribute", with("/search", func(w *asked) url.Values {
			return url.Values{"since": {one(w, windows...)}, "attribute": {"app.order.id=" + one(w, w.orders...)}}
		})),
		get("/owners", "", with("/owners", (*asked).sinceOnly)),
		get("/owners/{owner}", "", func(w *asked) string { return "/owners/" + w.owner() + "?" + w.sinceOnly().Encode() }),
		get("/map", "", with("/map", (*asked).sinceOnly)),
		get("/map", "around a service", with("/map", func(w *asked) url.Values { return url.Values{"since": {one(w, windows...)}, "focus": {w.service()}} })),
		get("/map", "an edge", with("/map", func(w *asked) url.Values {
			return url.Values{"since": {one(w, windows...)}, "edge": {"checkout->payments"}}
		})),
		get("/reviews", "", fixed("/reviews")),
		get("/coverage", "", with("/coverage", (*asked).sinceOnly)),
		get("/verdicts", "sought by its id", func(w *asked) string { return "/verdicts?traceId=" + w.failing() }),
		get("/verdicts/{traceId}", "", func(w *asked) string { return "/verdicts/" + w.failing() }),
		get("/verdicts/{traceId}", "a healthy trace", func(w *asked) string { return "/verdicts/" + w.healthy() }),
		get("/verdicts/{traceId}", "of 10,000 spans", func(w *asked) string { return "/verdicts/" + w.giant }),
		get("/verdicts/{traceId}/why-not", "", func(w *asked) string { return "/verdicts/" + w.storefront() + "/why-not?service=storefront" }),
		get("/verdicts/{traceId}/rows", "of 10,000 spans", func(w *asked) string {
			from := 20 * w.random.IntN(450)
			return "/verdicts/" + w.giant + "/rows?" + url.Values{"from": {strconv.Itoa(from)}, "to": {strconv.Itoa(from + 300)}, "of": {strconv.Itoa(giantSpans)}}.Encode()
		}),
		get("/traces/{traceId}", "", func(w *asked) string { return "/traces/" + w.failing() }),
		get("/traces/{traceId}", "of 10,000 spans", func(w *asked) string {
			return "/traces/" + w.giant + "?page=" + strconv.Itoa(1+w.random.IntN(20))
		}),
		get("/static/whosehop.css", "", fixed("/static/whosehop.css")),
		get("/healthz", "", fixed("/healthz")),
		get("/metrics", "", fixed("/metrics")),
		get("/readyz", "", fixed("/readyz")),

		get("/api/services", "Jaeger", fixed("/api/services")),
		get("/api/services/{service}/operations", "Jaeger", func(w *asked) string { return "/api/services/" + w.service() + "/operations" }),
		get("/api/operations", "Jaeger", func(w *asked) string { return "/api/operations?service=" + w.service() }),
		get("/api/traces", "Jaeger, of a service", with("/api/traces", (*asked).jaeger)),
		get("/api/traces", "Jaeger, of an order", with("/api/traces", func(w *asked) url.Values {
			v := w.jaeger()
			v.Set("service", "checkout")
			v.Set("tags", `{"app.order.id":"`+one(w, w.orders...)+`"}`)
			return v
		})),
		get("/api/traces", "Jaeger, slow ones", with("/api/traces", func(w *asked) url.Values {
			v := w.jaeger()
			v.Set("minDuration", "800ms")
			return v
		})),
		get("/api/traces/{traceId}", "Jaeger", func(w *asked) string { return "/api/traces/" + w.failing() }),
		get("/api/traces/{traceId}", "Jaeger, of 10,000 spans", func(w *asked) string { return "/api/traces/" + w.giant }),
		get("/api/dependencies", "Jaeger", fixed("/api/dependencies?lookback=86400000")),
		get("/api/v3/services", "Jaeger", fixed("/api/v3/services")),
		get("/api/v3/operations", "Jaeger", func(w *asked) string { return "/api/v3/operations?service=" + w.service() }),
		get("/api/v3/traces", "Jaeger", with("/api/v3/traces", (*asked).jaeger3)),
		get("/api/v3/trace-summaries", "Jaeger", with("/api/v3/trace-summaries", (*asked).jaeger3)),
		get("/api/v3/traces/{traceId}", "Jaeger", func(w *asked) string { return "/api/v3/traces/" + w.failing() }),
		get("/tempo/api/echo", "", fixed("/tempo/api/echo")),
		get("/tempo/api/status/buildinfo", "", fixed("/tempo/api/status/buildinfo")),
		get("/tempo/api/traces/{traceId}", "", func(w *asked) string { return "/tempo/api/traces/" + w.failing() }),
		get("/tempo/api/v2/traces/{traceId}", "", func(w *asked) string { return "/tempo/api/v2/traces/" + w.failing() }),
		get("/tempo/api/search", "of a service, failing", with("/tempo/api/search", func(w *asked) url.Values {
			return w.tempo(`{ resource.service.name = "` + w.service() + `" && status = error }`)
		})),
		get("/tempo/api/search", "of an order", with("/tempo/api/search", func(w *asked) url.Values {
			return w.tempo(`{ span.app.order.id = "` + one(w, w.orders...) + `" }`)
		})),
		get("/tempo/api/search", "slow ones", with("/tempo/api/search", func(w *asked) url.Values {
			return w.tempo(`{ resource.service.name = "` + w.service() + `" && duration > 500ms }`)
		})),
		get("/tempo/api/search/tags", "", with("/tempo/api/search/tags", (*asked).tempoWindow)),
		get("/tempo/api/search/tag/{tag}/values", "", with("/tempo/api/search/tag/http.route/values", (*asked).tempoWindow)),
		get("/tempo/api/v2/search/tags", "", with("/tempo/api/v2/search/tags", (*asked).tempoWindow)),
		get("/tempo/api/v2/search/tag/{tag}/values", "", with("/tempo/api/v2/search/tag/resource.service.name/values", (*asked).tempoWindow)),
		get("/tempo/api/v2/search/tag/{tag}/values", "of a service", with("/tempo/api/v2/search/tag/span.http.route/values", func(w *asked) url.Values {
			return w.tempo(`{ resource.service.name = "` + w.service() + `" }`)
		})),

		tool("whats_breaking", func(w *asked) map[string]any { return map[string]any{"since": one(w, "15m", "1h")} }),
		tool("verdict", func(w *asked) map[string]any { return map[string]any{"trace_id": w.failing()} }),
		tool("why_not", func(w *asked) map[string]any {
			return map[string]any{"trace_id": w.storefront(), "service": "storefront"}
		}),
		tool("search_verdicts", func(w *asked) map[string]any { return map[string]any{"since": one(w, windows...), "owner": w.owner()} }),
		tool("owner_report", func(w *asked) map[string]any { return map[string]any{"since": one(w, windows...), "owner": w.owner()} }),
		tool("top", func(w *asked) map[string]any {
			return map[string]any{"since": one(w, windows...), "by": one(w, rankedBy...)}
		}),
		tool("attribution", func(w *asked) map[string]any { return map[string]any{"since": one(w, windows...)} }),
		tool("service_map", func(w *asked) map[string]any { return map[string]any{"since": one(w, windows...)} }),
		tool("edge", func(w *asked) map[string]any {
			return map[string]any{"since": one(w, windows...), "caller": "checkout", "callee": "payments"}
		}),
		tool("resolve_owner", func(w *asked) map[string]any { return map[string]any{"service": w.service()} }),
		tool("coverage", func(*asked) map[string]any { return map[string]any{} }),
		tool("rank", func(w *asked) map[string]any { return map[string]any{"since": one(w, short...), "entry": w.entry()} }),

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
			return "GetWhyNot", &whosehopv1.GetWhyNotRequest{TraceId: w.storefront(), Service: "storefront"}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "ListReviews", &whosehopv1.ListReviewsRequest{From: w.from()}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetReviewSummary", &whosehopv1.GetReviewSummaryRequest{From: w.from()}
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
			return "GetEdge", &whosehopv1.GetEdgeRequest{From: w.from(), Caller: "checkout", Callee: "payments"}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetTop", &whosehopv1.GetTopRequest{From: w.from(), By: one(w, rankedBy...)}
		}),
		rpc(barPage, func(w *asked) (string, any) {
			return "GetRank", &whosehopv1.GetRankRequest{Entry: w.entry()}
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

// rankedBy is what can be ranked.
var rankedBy = []string{"owner", "service", "operation", "edge", "fingerprint", "rule", "class", "version", "entry"}

// tool is a call of one of the tools that models have.
func tool(name string, arguments func(w *asked) map[string]any) question {
	return question{path: "/mcp", what: name, bar: barPage, url: func(*asked) string { return "/mcp" }, body: func(w *asked) string {
		text, err := json.Marshal(map[string]any{
			"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": name, "arguments": arguments(w)},
		})
		if err != nil {
			panic(err) // of texts and maps
		}
		return string(text)
	}}
}

// unmeasured are methods that change something.
var unmeasured = []string{"PutOwners", "ReviewVerdict"}

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

// short are those that are ranked over.
var short = []string{"30m", "1h", "6h"}

func (w *asked) sinceShort() url.Values { return url.Values{"since": {one(w, short...)}} }

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

// window is a time of the past or one that ends now, no longer than those that traces are searched in.
func (w *asked) window() (from, to time.Time) {
	d, _ := time.ParseDuration(one(w, windows[:2]...))
	to = time.Now()
	if w.random.IntN(2) == 0 {
		to = to.Add(-time.Duration(w.random.Int64N(int64(6 * 24 * time.Hour))))
	}
	return to.Add(-d), to
}

// jaeger is a search as Jaeger's front end and Grafana send it.
func (w *asked) jaeger() url.Values {
	from, to := w.window()
	return url.Values{"service": {w.service()}, "start": {strconv.FormatInt(from.UnixMicro(), 10)}, "end": {strconv.FormatInt(to.UnixMicro(), 10)}, "limit": {"20"}}
}

// jaeger3 asks about services that always have traces: that there are none is an error of that API.
func (w *asked) jaeger3() url.Values {
	from, to := w.window()
	return url.Values{
		"query.service_name": {one(w, "storefront", "mobile-api", "catalog", "checkout")}, "query.start_time_min": {from.UTC().Format(time.RFC3339Nano)}, "query.start_time_max": {to.UTC().Format(time.RFC3339Nano)},
		"query.search_depth": {"20"},
	}
}

// tempo is a search as Grafana sends it.
func (w *asked) tempo(q string) url.Values {
	v := w.tempoWindow()
	v.Set("q", q)
	return v
}

func (w *asked) tempoWindow() url.Values {
	from, to := w.window()
	return url.Values{"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}, "limit": {"20"}}
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
