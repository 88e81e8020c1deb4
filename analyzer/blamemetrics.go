package analyzer

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/verdict"
)

// countedWithin is how long ago the first span of a trace may have been stored whose verdict is counted: what is judged after an
// outage is no burst.
const countedWithin = 10 * time.Minute

// blameMetrics count verdicts when a trace is judged for the first time. Judging it again changes what is stored, and not these.
type blameMetrics struct {
	caused, suffered *prometheus.CounterVec
	excess           *prometheus.HistogramVec

	mu   sync.Mutex
	most int
	seen map[blameLabels]blameLabels // what has series
	full map[byte]int                // how many, by metric
}

// blameLabels are the labels of a series of one of the metrics.
type blameLabels struct {
	metric                              byte
	owner, service, edge, rule, symptom string
}

const (
	causedMetric   = 'c'
	sufferedMetric = 's'
	excessMetric   = 'e'
)

// blamed is something to be counted.
type blamed struct {
	blameLabels
	amount float64
}

func newBlameMetrics(reg prometheus.Registerer, most int) *blameMetrics {
	m := &blameMetrics{most: most, seen: make(map[blameLabels]blameLabels), full: make(map[byte]int)}
	m.caused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whosehop_blame_requests_total", Help: "Requests with a symptom, by who is to blame: parts of one add up to 1.",
	}, []string{"owner", "service", "edge", "rule", "symptom"})
	m.suffered = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whosehop_suffered_requests_total", Help: "Requests in which an owner's service failed or was cut off through no fault of that owner.",
	}, []string{"owner", "service"})
	m.excess = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "whosehop_blame_excess_seconds", Help: "Time over what is normal that an owner caused in a slow request.", Buckets: prometheus.ExponentialBuckets(0.016, 2, 12),
	}, []string{"owner", "service", "edge"})
	reg.MustRegister(m.caused, m.suffered, m.excess)
	return m
}

// of lists what a verdict says.
func (m *blameMetrics) of(v *verdict.Verdict, list []blamed) []blamed {
	if v.Symptom == verdict.SymptomNone {
		return list
	}
	requests := cmp.Or(v.Represents, 1)
	for i := range v.Shares {
		s := &v.Shares[i]
		edge := ""
		if s.Site.Kind == verdict.SiteEdge {
			edge = s.Site.Caller + "->" + s.Site.Callee
		}
		labels := blameLabels{
			metric: causedMetric, owner: s.Owner, service: cmp.Or(s.Accountable, s.Site.Service, s.Site.Peer), edge: edge, rule: s.Rule, symptom: string(v.Symptom),
		}
		list = append(list, blamed{labels, s.Weight * requests})
		if s.ExcessNs > 0 {
			labels.metric, labels.rule, labels.symptom = excessMetric, "", ""
			list = append(list, blamed{labels, float64(s.ExcessNs) / 1e9})
		}
	}
	for k := range v.Hops {
		if v.Suffered(k) {
			list = append(list, blamed{blameLabels{metric: sufferedMetric, owner: v.Hops[k].Owner, service: v.Hops[k].Service}, requests})
		}
	}
	return list
}

// add counts what verdicts said that are stored.
func (m *blameMetrics) add(list []blamed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range list {
		l := m.bounded(list[i].blameLabels)
		switch l.metric {
		case causedMetric:
			m.caused.WithLabelValues(l.owner, l.service, l.edge, l.rule, l.symptom).Add(list[i].amount)
		case sufferedMetric:
			m.suffered.WithLabelValues(l.owner, l.service).Add(list[i].amount)
		case excessMetric:
			m.excess.WithLabelValues(l.owner, l.service, l.edge).Observe(list[i].amount)
		}
	}
}

// bounded are the labels of the series that counts something. What is beyond the bound keeps its owner and symptom, as long as there is room for
// as many series again.
func (m *blameMetrics) bounded(l blameLabels) blameLabels {
	if kept, ok := m.keep(l, m.most); ok {
		return kept
	}
	l.service, l.edge, l.rule = otherLabel, otherLabel, otherLabel
	if kept, ok := m.keep(l, 2*m.most); ok {
		return kept
	}
	l.owner = otherLabel
	return l
}

// keep makes a series if there are fewer than most of its metric.
func (m *blameMetrics) keep(l blameLabels, most int) (blameLabels, bool) {
	kept, has := m.seen[l]
	if has || m.full[l.metric] >= most {
		return kept, has
	}
	m.full[l.metric]++
	// They point into the memory of a verdict.
	for _, label := range []*string{&l.owner, &l.service, &l.edge, &l.rule, &l.symptom} {
		*label = strings.Clone(*label)
	}
	m.seen[l] = l
	return l, true
}
