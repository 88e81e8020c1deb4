package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/collector/spool"
)

type metrics struct {
	requests      *prometheus.CounterVec
	received      prometheus.Counter
	stored        prometheus.Counter
	rejected      *prometheus.CounterVec
	spooled       prometheus.Counter
	refused       *prometheus.CounterVec
	setAside      prometheus.Counter
	blockRows     prometheus.Histogram
	commitSeconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, pending *budget, s *spool.Spool) *metrics {
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
		spooled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "whosehop_collector_spans_spooled_total", Help: "Spans that went to the spool on disk.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "whosehop_collector_spans_refused_total", Help: "Spans whose senders were told that they are not stored, by reason.",
		}, []string{"reason"}),
		setAside: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "whosehop_collector_spool_blocks_set_aside_total", Help: "Blocks of the spool that are damaged, or that ClickHouse refuses, or for a shard that is no more; they are kept on disk.",
		}),
		blockRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "whosehop_collector_block_rows", Help: "Spans in a block.", Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "whosehop_collector_commit_seconds", Help: "From the first request of a block to its being stored or spooled.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "whosehop_collector_pending_bytes", Help: "What was received and is not yet stored.",
	}, func() float64 { return float64(pending.used.Load()) }))
	reg.MustRegister(m.requests, m.received, m.stored, m.rejected, m.spooled, m.refused, m.setAside, m.blockRows, m.commitSeconds)
	if s != nil {
		for name, gauge := range map[string]struct {
			help string
			of   func(spool.State) float64
		}{
			"bytes":          {"What is on disk in the spool.", func(s spool.State) float64 { return float64(s.Bytes) }},
			"blocks":         {"Blocks in the spool that wait for ClickHouse.", func(s spool.State) float64 { return float64(s.Blocks) }},
			"oldest_seconds": {"How long the oldest block of the spool has waited.", func(s spool.State) float64 { return s.Oldest.Seconds() }},
		} {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "whosehop_collector_spool_" + name, Help: gauge.help},
				func() float64 { return gauge.of(s.State()) }))
		}
	}
	return m
}
