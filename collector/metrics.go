package collector

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests      *prometheus.CounterVec
	received      prometheus.Counter
	stored        prometheus.Counter
	rejected      *prometheus.CounterVec
	unavailable   prometheus.Counter
	blockRows     prometheus.Histogram
	commitSeconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, pending *budget) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "whosehop_collector_requests_total", Help: "Export requests by transport and outcome.",
		}, []string{"transport", "outcome"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "whosehop_collector_spans_received_total", Help: "Spans in requests that could be decoded.",
		}),
		stored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "whosehop_collector_spans_stored_total", Help: "Spans that ClickHouse has taken.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "whosehop_collector_spans_rejected_total", Help: "Spans left out of their request, by reason.",
		}, []string{"reason"}),
		unavailable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "whosehop_collector_blocks_given_up_total", Help: "Blocks whose senders were told to come again.",
		}),
		blockRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "whosehop_collector_block_rows", Help: "Spans in a block.", Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "whosehop_collector_commit_seconds", Help: "From the first request of a block to its being stored.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "whosehop_collector_pending_bytes", Help: "What was received and is not yet stored.",
	}, func() float64 { return float64(pending.used.Load()) }))
	reg.MustRegister(m.requests, m.received, m.stored, m.rejected, m.unavailable, m.blockRows, m.commitSeconds)
	return m
}
