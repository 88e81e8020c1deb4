// Package baseline is what is normal, learnt from traces other than the one under trial: how long
// operations and calls take when they succeed, and which callees send spans of their own.
package baseline

import (
	"math"
	"slices"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// Baseline adds up traces. The zero value knows nothing and is ready to use. Learn must not run
// beside anything else; reading may run in parallel.
type Baseline struct {
	operations map[operation]*Durations
	calls      map[call]*calls
	lastSeen   map[string]int64
}

type operation struct{ service, name string }

type call struct{ caller, callee, name string }

type calls struct {
	succeeded  int
	withServer int
	service    string // of the server side
	durations  Durations
}

// Learn adds the healthy part of a trace: spans that ended well and have a duration.
func (b *Baseline) Learn(f *trace.Forest) {
	if b.operations == nil {
		b.operations, b.calls = make(map[operation]*Durations), make(map[call]*calls)
		b.lastSeen = make(map[string]int64)
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Phantom() {
			continue
		}
		service := f.ServiceOf(int32(i)).Name
		if at := n.StartNs; at > b.lastSeen[service] {
			b.lastSeen[clone(service)] = at
		}
		if n.NoDuration || n.Outcome.Failed() {
			continue
		}
		switch n.Kind {
		case spans.KindServer, spans.KindConsumer:
			key := operation{service, n.Name}
			d := b.operations[key]
			if d == nil {
				d = &Durations{}
				b.operations[operation{clone(service), clone(n.Name)}] = d
			}
			d.Add(n.DurationNs())
		case spans.KindClient:
			key := call{service, n.Facts.CalleeName(), n.Name}
			c := b.calls[key]
			if c == nil {
				c = &calls{}
				b.calls[call{clone(service), clone(key.callee), clone(n.Name)}] = c
			}
			c.succeeded++
			c.durations.Add(n.DurationNs())
			if server := f.ServerSide(int32(i)); server != trace.None {
				c.withServer++
				if name := f.ServiceOf(server).Name; c.service != name {
					c.service = clone(name)
				}
			}
		}
	}
}

// clone gives a map key memory of its own: names point into a block that will be reused.
func clone(s string) string { return string([]byte(s)) }

// learntMin is how many samples make a normal: the corpus has histories of about a dozen traces.
const learntMin = 5

// Operation is how long an operation of a service takes, nil where too little is known.
func (b *Baseline) Operation(service, name string) *Durations {
	if b == nil {
		return nil
	}
	return enough(b.operations[operation{service, name}])
}

// Call is how long a call takes as its caller sees it, nil where too little is known.
func (b *Baseline) Call(caller, callee, name string) *Durations {
	if b == nil {
		return nil
	}
	if c := b.calls[call{caller, callee, name}]; c != nil {
		return enough(&c.durations)
	}
	return nil
}

// SendsSpans says whether a callee normally sends a server span: in at least nine of ten successful
// calls. known is false where too few were seen.
func (b *Baseline) SendsSpans(caller, callee, name string) (sends, known bool) {
	if b == nil {
		return false, false
	}
	c := b.calls[call{caller, callee, name}]
	if c == nil || c.succeeded < learntMin {
		return false, false
	}
	return c.withServer*10 >= c.succeeded*9, true
}

// CalleeService is the service whose server spans were seen below such calls, empty where none was.
func (b *Baseline) CalleeService(caller, callee, name string) string {
	if b == nil {
		return ""
	}
	if c := b.calls[call{caller, callee, name}]; c != nil {
		return c.service
	}
	return ""
}

// LastSeenNs is when the last span of a service began, 0 for never.
func (b *Baseline) LastSeenNs(service string) int64 {
	if b == nil {
		return 0
	}
	return b.lastSeen[service]
}

func enough(d *Durations) *Durations {
	if d == nil || d.count < learntMin {
		return nil
	}
	return d
}

// bucketRatio is the width of a bucket: quantiles are right within half of it, 2.5 %.
const bucketRatio = 1.05

// Durations is a histogram over buckets that grow geometrically (as DDSketch, Masson et al., VLDB
// 2019): small, and two of them add up.
type Durations struct {
	count   int
	buckets []bucket // in order of their index
}

type bucket struct{ index, count int }

// Add counts one duration in nanoseconds.
func (d *Durations) Add(ns int64) {
	index := 0
	if ns > 1 {
		index = int(math.Ceil(math.Log(float64(ns)) / math.Log(bucketRatio)))
	}
	at, found := slices.BinarySearchFunc(d.buckets, index, func(b bucket, i int) int { return b.index - i })
	if !found {
		d.buckets = slices.Insert(d.buckets, at, bucket{index: index})
	}
	d.buckets[at].count++
	d.count++
}

// QuantileNs is the duration that a share q (0 to 1) of the samples does not exceed.
func (d *Durations) QuantileNs(q float64) int64 {
	rank := int(math.Ceil(q * float64(d.count)))
	for _, b := range d.buckets {
		if rank -= b.count; rank <= 0 {
			return int64(math.Pow(bucketRatio, float64(b.index)-0.5))
		}
	}
	return 0
}
