package analyzer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// exposed is what Prometheus reads of some metrics, after an empty line.
func exposed(reg *prometheus.Registry, names ...string) string {
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var kept strings.Builder
	kept.WriteString("\n")
	for line := range strings.Lines(answer.Body.String()) {
		for _, name := range names {
			if strings.Contains(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), name) {
				kept.WriteString(line)
			}
		}
	}
	return kept.String()
}

func TestBlameMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newBlameMetrics(reg, 100)
	count := func(v *verdict.Verdict) { m.add(m.of(v, nil)) }
	count(&verdict.Verdict{Symptom: verdict.SymptomNone, Shares: []verdict.Share{{Owner: "nobody", Weight: 1}}})
	for range 2 {
		count(&verdict.Verdict{
			Symptom: verdict.SymptomError, Represents: 4,
			Shares: []verdict.Share{
				{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay"}, Accountable: "pay", Owner: "team-a", Rule: "self-error", Weight: 0.75},
				{Site: verdict.Site{Kind: verdict.SitePeer, Peer: "bank:443"}, Owner: "unowned", Rule: "peer-failed", Weight: 0.25},
			},
			Hops: []verdict.Hop{{Service: "web", Owner: "team-w", Role: verdict.RolePropagated}, {Service: "cart", Owner: "team-w", Role: verdict.RolePropagated}, {Service: "pay", Owner: "team-a", Role: verdict.RoleVictim}},
		})
	}
	count(&verdict.Verdict{Symptom: verdict.SymptomLatency, Shares: []verdict.Share{
		{Site: verdict.Site{Kind: verdict.SiteEdge, Caller: "web", Callee: "pay", Phase: verdict.PhasePool}, Accountable: "web", Owner: "team-w", Rule: "pool", Weight: 1, ExcessNs: 20e6},
	}})
	want := `
# HELP whosehop_blame_requests_total Requests with a symptom, by who is to blame: parts of one add up to 1.
# TYPE whosehop_blame_requests_total counter
whosehop_blame_requests_total{edge="",owner="team-a",rule="self-error",service="pay",symptom="error"} 6
whosehop_blame_requests_total{edge="",owner="unowned",rule="peer-failed",service="bank:443",symptom="error"} 2
whosehop_blame_requests_total{edge="web->pay",owner="team-w",rule="pool",service="web",symptom="latency"} 1
# HELP whosehop_suffered_requests_total Requests in which an owner's service failed or was cut off through no fault of that owner.
# TYPE whosehop_suffered_requests_total counter
whosehop_suffered_requests_total{owner="team-w",service="web"} 8
`
	if got := exposed(reg, "whosehop_blame_requests_total", "whosehop_suffered_requests_total"); got != want {
		t.Errorf("%s\nwant%s", got, want)
	}
	if got := exposed(reg, "whosehop_blame_excess_seconds"); !strings.Contains(got, `{edge="web->pay",owner="team-w",service="web",le="0.032"} 1`) || strings.Count(got, "_count{") != 1 {
		t.Error(got)
	}
}

// TestBlameMetricsAreBounded: no request is lost, and owners are kept longest.
func TestBlameMetricsAreBounded(t *testing.T) {
	const most, all = 10, 500
	reg := prometheus.NewRegistry()
	m := newBlameMetrics(reg, most)
	for i := range all {
		m.add(m.of(&verdict.Verdict{Symptom: verdict.SymptomError, Shares: []verdict.Share{
			{Owner: fmt.Sprint("team-", i%5), Accountable: fmt.Sprint("service-", i), Rule: "self-error", Weight: 1, ExcessNs: 1e9},
		}, Hops: []verdict.Hop{{Service: fmt.Sprint("service-", i), Owner: fmt.Sprint("victim-", i), Role: verdict.RoleVictim}}}, nil))
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > 2*most+1 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
		sum, other, owners := 0.0, 0.0, make(map[string]bool)
		for _, series := range f.GetMetric() {
			n := series.GetCounter().GetValue() + float64(series.GetHistogram().GetSampleCount())
			sum += n
			for _, l := range series.GetLabel() {
				if l.GetName() == "owner" {
					owners[l.GetValue()] = true
				}
				if l.GetName() == "service" && l.GetValue() == otherLabel {
					other += n
				}
			}
		}
		if sum != all || other < all-2*most {
			t.Errorf("%s: %v in all, %v of them others", f.GetName(), sum, other)
		}
		if f.GetName() == "whosehop_blame_requests_total" && len(owners) != 5 {
			t.Errorf("owners %v", owners)
		}
	}
}

func TestTrafficMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newTrafficMetrics(2)
	reg.MustRegister(m)
	buckets := func(at map[int]uint64) []uint64 {
		list := make([]uint64, storage.TrafficBuckets)
		for i, n := range at {
			list[i] = n
		}
		return list
	}
	for range 2 {
		m.add([]storage.StatusCalls{
			{Service: "web", Name: "GET /", Kind: "Server", Status: "Unset", Calls: 3, Entries: 2, DurationNs: 5e6, Buckets: buckets(map[int]uint64{0: 1, 1: 2})},
			{Service: "pay", Name: "POST", Kind: "Client", Status: "Error", Calls: 1, DurationNs: 20e9, Buckets: buckets(map[int]uint64{15: 1})},
			{Service: "third", Name: "x", Kind: "Client", Status: "Error", Calls: 1, Entries: 1, DurationNs: 1e6, Buckets: buckets(map[int]uint64{0: 1})},
			{Service: "fourth", Name: "y", Kind: "Client", Status: "Error", Calls: 4, Entries: 3, DurationNs: 1e6, Buckets: buckets(map[int]uint64{0: 4})},
		}, []storage.Edge{
			{Caller: "user", Callee: "web", Type: "virtual_node", Calls: 2, Failed: 1, ServerNs: 3e6, ClientBuckets: buckets(nil), ServerBuckets: buckets(map[int]uint64{1: 2})},
		})
	}
	want := `
# HELP traces_service_graph_request_failed_total Of these, those that failed as the client saw it.
# TYPE traces_service_graph_request_failed_total counter
traces_service_graph_request_failed_total{client="user",connection_type="virtual_node",server="web"} 2
# HELP traces_service_graph_request_total Calls from one service to another, or to what sends no spans.
# TYPE traces_service_graph_request_total counter
traces_service_graph_request_total{client="user",connection_type="virtual_node",server="web"} 4
# HELP traces_spanmetrics_calls_total Spans, by the minute in which they were stored.
# TYPE traces_spanmetrics_calls_total counter
traces_spanmetrics_calls_total{service="other",span_kind="SPAN_KIND_CLIENT",span_name="other",status_code="STATUS_CODE_ERROR"} 10
traces_spanmetrics_calls_total{service="pay",span_kind="SPAN_KIND_CLIENT",span_name="POST",status_code="STATUS_CODE_ERROR"} 2
traces_spanmetrics_calls_total{service="web",span_kind="SPAN_KIND_SERVER",span_name="GET /",status_code="STATUS_CODE_UNSET"} 6
# HELP whosehop_requests_total Requests that came in: first spans of traces.
# TYPE whosehop_requests_total counter
whosehop_requests_total{service="other"} 6
whosehop_requests_total{service="third"} 2
whosehop_requests_total{service="web"} 4
`
	if got := exposed(reg, "traces_service_graph_request_failed_total", "traces_service_graph_request_total", "traces_spanmetrics_calls_total", "whosehop_requests_total"); got != want {
		t.Errorf("%s\nwant%s", got, want)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "traces_service_graph_request_client_seconds":
			t.Error("users send no spans")
		case "traces_service_graph_request_server_seconds":
			h := f.GetMetric()[0].GetHistogram()
			if b := h.GetBucket(); h.GetSampleCount() != 4 || h.GetSampleSum() != 0.006 || len(b) != 15 || b[0].GetUpperBound() != 0.001 || b[0].GetCumulativeCount() != 0 || b[1].GetCumulativeCount() != 4 {
				t.Errorf("%v", h)
			}
		}
	}
}
