package analyzer

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/storage"
)

// otherLabel is the value of labels of what is beyond the bound on series.
const otherLabel = "other"

// trafficMetrics counts what is called, under the names that Tempo gives it. Each minute brings counts by bucket, which a histogram
// of the client library does not take.
type trafficMetrics struct {
	mu       sync.Mutex
	most     int // sets of labels of one metric
	calls    map[[4]string]*histogram
	edges    map[[3]string]*edgeCounts
	requests map[string]float64
}

// histogram is counts by the buckets of storage, the last of which has no bound.
type histogram struct {
	buckets [storage.TrafficBuckets]uint64
	sumNs   uint64
}

type edgeCounts struct {
	calls, failed  uint64
	client, server histogram
}

var (
	spanLabels = []string{"service", "span_name", "span_kind", "status_code"}
	edgeLabels = []string{"client", "server", "connection_type"}

	callsTotal = prometheus.NewDesc("traces_spanmetrics_calls_total", "Spans, by the minute in which they were stored.", spanLabels, nil)
	latency    = prometheus.NewDesc("traces_spanmetrics_latency", "Durations of spans, in seconds.", spanLabels, nil)

	edgeTotal  = prometheus.NewDesc("traces_service_graph_request_total", "Calls from one service to another, or to what sends no spans.", edgeLabels, nil)
	edgeFailed = prometheus.NewDesc("traces_service_graph_request_failed_total", "Of these, those that failed as the client saw it.", edgeLabels, nil)
	edgeServer = prometheus.NewDesc("traces_service_graph_request_server_seconds", "How long they took as the server saw it.", edgeLabels, nil)
	edgeClient = prometheus.NewDesc("traces_service_graph_request_client_seconds", "How long they took as the client saw it.", edgeLabels, nil)

	requestsTotal = prometheus.NewDesc("whosehop_requests_total", "Requests that came in: first spans of traces.", []string{"service"}, nil)
)

func newTrafficMetrics(most int) *trafficMetrics {
	return &trafficMetrics{most: most, calls: make(map[[4]string]*histogram), edges: make(map[[3]string]*edgeCounts), requests: make(map[string]float64)}
}

// bounded is what a map has under a key, or, where it is full, under another.
func bounded[K comparable, V any](m map[K]*V, most int, key, other K) *V {
	if _, has := m[key]; !has && len(m) >= most {
		key = other
	}
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

// add counts a time.
func (m *trafficMetrics) add(calls []storage.StatusCalls, edges []storage.Edge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range calls {
		c := &calls[i]
		kind, status := "SPAN_KIND_"+strings.ToUpper(c.Kind), "STATUS_CODE_"+strings.ToUpper(c.Status)
		bounded(m.calls, m.most, [4]string{c.Service, c.Name, kind, status}, [4]string{otherLabel, otherLabel, kind, status}).add(c.Buckets, c.DurationNs)
		if c.Entries > 0 {
			service := c.Service
			if _, has := m.requests[service]; !has && len(m.requests) >= m.most {
				service = otherLabel
			}
			m.requests[service] += float64(c.Entries)
		}
	}
	for i := range edges {
		e := &edges[i]
		of := bounded(m.edges, m.most, [3]string{e.Caller, e.Callee, e.Type}, [3]string{otherLabel, otherLabel, e.Type})
		of.calls += e.Calls
		of.failed += e.Failed
		of.client.add(e.ClientBuckets, e.ClientNs)
		of.server.add(e.ServerBuckets, e.ServerNs)
	}
}

func (h *histogram) add(buckets []uint64, ns uint64) {
	for i := range min(len(buckets), len(h.buckets)) {
		h.buckets[i] += buckets[i]
	}
	h.sumNs += ns
}

// Describe implements prometheus.Collector.
func (m *trafficMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{callsTotal, latency, edgeTotal, edgeFailed, edgeServer, edgeClient, requestsTotal} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *trafficMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for labels, h := range m.calls {
		to <- prometheus.MustNewConstMetric(callsTotal, prometheus.CounterValue, float64(h.count()), labels[:]...)
		h.collect(to, latency, labels[:])
	}
	for labels, e := range m.edges {
		to <- prometheus.MustNewConstMetric(edgeTotal, prometheus.CounterValue, float64(e.calls), labels[:]...)
		to <- prometheus.MustNewConstMetric(edgeFailed, prometheus.CounterValue, float64(e.failed), labels[:]...)
		e.client.collect(to, edgeClient, labels[:])
		e.server.collect(to, edgeServer, labels[:])
	}
	for service, n := range m.requests {
		to <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, n, service)
	}
}

func (h *histogram) count() (n uint64) {
	for _, in := range h.buckets {
		n += in
	}
	return n
}

// collect gives nothing of a side that sends no spans.
func (h *histogram) collect(to chan<- prometheus.Metric, desc *prometheus.Desc, labels []string) {
	all := h.count()
	if all == 0 {
		return
	}
	upTo, sum := make(map[float64]uint64, len(h.buckets)-1), uint64(0)
	for i, n := range h.buckets[:len(h.buckets)-1] {
		sum += n
		upTo[storage.TrafficBound(i).Seconds()] = sum
	}
	to <- prometheus.MustNewConstHistogram(desc, all, float64(h.sumNs)/1e9, upTo, labels...)
}
