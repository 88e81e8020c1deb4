package crash

import (
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// shop is requests to a shop, one trace each. All of a trace is a function of its number: also whether it fails, and
// then its own spans say why. Some of its spans come late.
type shop struct {
	seed  uint32
	begin time.Time
	next  uint64 // the number of the next trace
}

const (
	// failsOneIn is how many requests there are for each that fails.
	failsOneIn = 10
	shopTick   = 200 * time.Millisecond
	// tracesPerTick makes some 3,700 spans a second.
	tracesPerTick = 100
	// Of so many traces there is one in which payments sends late, long after the trace was quiet; and one that
	// sends span by span, and gets no quiet until it is longer than it is waited for.
	lateOneIn, lateTicks       = 20, 15
	droppingOneIn, dropEachFew = 40, 4
)

// The services, in the order of their calls.
const (
	storefront = iota
	checkout
	inventory
	payments
	shopServices
)

var shopNames = [shopServices]string{"storefront", "checkout", "inventory", "payments"}

// A failure is what went wrong with a request.
type failure uint8

const (
	nothingFailed failure = iota
	inventoryFailed
	paymentsFailed
	databaseFailed
	failures = iota - 1
)

func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// chance is a number that stands for trace n, another one for each question.
func (s *shop) chance(n, question uint64) uint64 {
	return mix(mix(uint64(s.seed)<<32|n) + question*0x9e3779b97f4a7c15)
}

func (s *shop) failureOf(n uint64) failure {
	if s.chance(n, 1)%failsOneIn > 0 {
		return nothingFailed
	}
	return failure(1 + s.chance(n, 2)%failures)
}

// The lower half of a trace's id is the seed and its number.
func (s *shop) traceID(n uint64) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:8], s.chance(n, 3))
	binary.BigEndian.PutUint64(id[8:], uint64(s.seed)<<32|n)
	return id
}

func (s *shop) numberOf(id pcommon.TraceID) (n uint64, ok bool) {
	n = binary.BigEndian.Uint64(id[8:]) & 0xffffffff
	return n, n < s.next && s.traceID(n) == id
}

// shopSpan is a span of each trace. Its times are microseconds since the trace began.
type shopSpan struct {
	service, parent int
	kind            ptrace.SpanKind
	name            string
	to              string // the service or the database that is called
	fromUs, toUs    int64
	withPayment     bool // how long it takes depends on how long the payment does
	failsWith       []failure
	origin          failure // the one that begins here
}

// withoutPayment is how many spans there are when inventory failed.
const withoutPayment = 5

var shopSpans = func() []shopSpan {
	const server, client = ptrace.SpanKindServer, ptrace.SpanKindClient
	reserving, paying := []failure{inventoryFailed}, []failure{paymentsFailed, databaseFailed}
	all := slices.Concat(reserving, paying)
	return []shopSpan{
		{storefront, -1, server, "GET /checkout", "", 0, 24_000, true, all, nothingFailed},
		{storefront, 0, client, "POST", "checkout", 1000, 23_000, true, all, nothingFailed},
		{checkout, 1, server, "POST /orders", "", 2000, 22_000, true, all, nothingFailed},
		{checkout, 2, client, "POST", "inventory", 3000, 9000, false, reserving, nothingFailed},
		{inventory, 3, server, "POST /reservations", "", 4000, 8000, false, reserving, inventoryFailed},
		{checkout, 2, client, "POST", "payments", 10_000, 21_000, true, paying, nothingFailed},
		{payments, 5, server, "POST /charges", "", 11_000, 20_000, true, paying, paymentsFailed},
		{payments, 6, client, "INSERT charges", "charges-db", 12_000, 15_000, true, []failure{databaseFailed}, databaseFailed},
	}
}()

// spansOf is how many spans trace n has: without a reservation nobody pays.
func (s *shop) spansOf(n uint64) int {
	if s.failureOf(n) == inventoryFailed {
		return withoutPayment
	}
	return len(shopSpans)
}

// delayOf is after how many ticks a span is sent.
func (s *shop) delayOf(n uint64, span int) int {
	switch how := s.chance(n, 4); {
	case how%droppingOneIn == 0:
		return span * dropEachFew
	case how%lateOneIn == 1 && shopSpans[span].service == payments:
		return lateTicks
	}
	return int(s.chance(n, 5+uint64(shopSpans[span].service)) % 3)
}

func (s *shop) fill(to ptrace.Span, n uint64, span int) {
	d, failed := &shopSpans[span], s.failureOf(n)
	id := func(span int) (id pcommon.SpanID) {
		binary.BigEndian.PutUint64(id[:], n*uint64(len(shopSpans))+uint64(span)+1)
		return id
	}
	to.SetTraceID(s.traceID(n))
	to.SetSpanID(id(span))
	if d.parent >= 0 {
		to.SetParentSpanID(id(d.parent))
	}
	to.SetName(d.name)
	to.SetKind(d.kind)
	began, toUs := s.begin.Add(time.Duration(n)*(shopTick/tracesPerTick)), d.toUs
	if d.withPayment && failed != inventoryFailed {
		toUs += int64(s.chance(n, 20) % 40_000)
	}
	at := func(us int64) pcommon.Timestamp {
		return pcommon.NewTimestampFromTime(began.Add(time.Duration(us) * time.Microsecond))
	}
	to.SetStartTimestamp(at(d.fromUs))
	to.SetEndTimestamp(at(toUs))
	a := to.Attributes()
	fails := slices.Contains(d.failsWith, failed)
	if d.to != "" {
		a.PutStr("server.address", d.to)
	}
	switch {
	case d.to == "charges-db":
		a.PutStr("db.system.name", "postgresql")
	case fails:
		a.PutStr("http.request.method", "POST")
		a.PutInt("http.response.status_code", 500)
	default:
		a.PutStr("http.request.method", "POST")
		a.PutInt("http.response.status_code", 200)
	}
	if !fails {
		return
	}
	to.Status().SetCode(ptrace.StatusCodeError)
	if failed == d.origin {
		e := to.Events().AppendEmpty()
		e.SetName("exception")
		e.SetTimestamp(at(toUs))
		e.Attributes().PutStr("exception.type", "shop."+shopNames[d.service]+".Broken")
		e.Attributes().PutStr("exception.message", "no more of it")
	}
}

// shopSpanRef is a span of a trace that is to be sent.
type shopSpanRef struct {
	trace uint64
	span  int
}

// shopLoad sends what a shop's services send: each for itself, and so a trace in several requests.
type shopLoad struct {
	shop    *shop
	address string
	stopped chan struct{}
	once    sync.Once
	group   sync.WaitGroup
	queues  [shopServices]chan []shopSpanRef

	mu       sync.Mutex
	requests int
	wrong    []string
	sent     int
	took     time.Duration
}

// startShop sends until it is stopped.
func startShop(t *testing.T, s *shop, at addresses) *shopLoad {
	t.Helper()
	const sendersPerService = 2
	l := &shopLoad{shop: s, address: at.http, stopped: make(chan struct{})}
	for service := range l.queues {
		queue := make(chan []shopSpanRef, 1)
		l.queues[service] = queue
		for range sendersPerService {
			l.group.Go(func() { l.send(service, queue) })
		}
	}
	l.group.Go(l.generate)
	t.Cleanup(l.end)
	return l
}

// end sends at once what was to be sent later, and returns when all is answered.
func (l *shopLoad) end() {
	l.once.Do(func() { close(l.stopped) })
	l.group.Wait()
}

// stop ends it. All must have been acknowledged: nobody kills the collector.
func (l *shopLoad) stop(t *testing.T) {
	t.Helper()
	l.end()
	for i, said := range l.wrong {
		if i < shown {
			t.Errorf("a request was not acknowledged: %s", said)
		}
	}
	if len(l.wrong) > 0 {
		t.Fatalf("%d of %d requests were not acknowledged", len(l.wrong), l.requests)
	}
}

func (l *shopLoad) generate() {
	var wheel [64][shopServices][]shopSpanRef // as many ticks as no span is late
	ticker := time.NewTicker(shopTick)
	defer ticker.Stop()
	began := time.Now()
	defer func() {
		l.took = time.Since(began)
		for _, queue := range l.queues {
			close(queue)
		}
	}()
	flush := func(tick int) {
		batches := &wheel[tick%len(wheel)]
		for service, batch := range batches {
			if len(batch) > 0 {
				l.queues[service] <- batch
				batches[service] = nil
			}
		}
	}
	for tick := 0; ; tick++ {
		select {
		case <-ticker.C:
		case <-l.stopped:
			for late := range wheel {
				flush(tick + late)
			}
			return
		}
		for range tracesPerTick {
			n := l.shop.next
			l.shop.next++
			for span := range l.shop.spansOf(n) {
				to := &wheel[(tick+l.shop.delayOf(n, span))%len(wheel)][shopSpans[span].service]
				*to = append(*to, shopSpanRef{n, span})
				l.sent++
			}
		}
		flush(tick)
	}
}

func (l *shopLoad) send(service int, queue <-chan []shopSpanRef) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	do := byHTTP(&http.Client{Transport: transport, Timeout: requestTimeout}, "http://"+l.address+"/v1/traces")
	for batch := range queue {
		d := ptrace.NewTraces()
		rs := d.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", shopNames[service])
		rs.Resource().Attributes().PutStr("team", "team-"+shopNames[service])
		list := rs.ScopeSpans().AppendEmpty().Spans()
		list.EnsureCapacity(len(batch))
		for _, ref := range batch {
			l.shop.fill(list.AppendEmpty(), ref.trace, ref.span)
		}
		a := do(ptraceotlp.NewExportRequestFromTraces(d))
		l.mu.Lock()
		l.requests++
		if a.outcome != acknowledged {
			l.wrong = append(l.wrong, a.outcome.String()+" "+a.wrong)
		}
		l.mu.Unlock()
	}
}
