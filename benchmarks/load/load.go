// Package load makes OTLP trace requests as real services send them: 8 services, about 12 attributes a span, some
// 530 bytes a span; if nothing else is said 25 spans a trace and one trace in fifty failing. They are serialised
// once; each time that one is taken its ids and times are made fresh.
package load

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Config says what requests are like. What is 0 has the value that is said.
type Config struct {
	SpansPerRequest int
	SpansPerTrace   int // 25, and no fewer
	FailingEvery    int // one trace in so many fails: 50
	Traces          int // a round through the payload: as many as 204,800 spans make
	// Whole leaves no span of a trace out: each service's last request of a round through the payload is smaller.
	Whole bool
}

const (
	spansPerChain = 24
	chainHops     = 6
	spansPerRound = 8192 * 25 // without Whole a hundredth is left out
)

// Payload is requests of one size. It is safe for concurrent use.
type Payload struct {
	templates      []template
	traces, failed int
}

// template is a serialised request and where in it the parts lie that are made fresh.
type template struct {
	wire     []byte
	traceIDs []int // 16 bytes
	spanIDs  []int // 8 bytes; those of parents too
	times    []int // 8 bytes, nanoseconds before the end of the request
	texts    []int // 16 hexadecimal digits in an attribute
}

// New makes a payload; one request is of one service, as an SDK sends it.
func New(cfg Config) *Payload {
	cfg.SpansPerTrace = cmp.Or(cfg.SpansPerTrace, 25)
	cfg.FailingEvery = cmp.Or(cfg.FailingEvery, 50)
	if cfg.SpansPerTrace < 1+spansPerChain {
		panic(fmt.Sprintf("traces of %d spans", cfg.SpansPerTrace))
	}
	p := &Payload{traces: cmp.Or(cfg.Traces, spansPerRound/cfg.SpansPerTrace)}
	random := rand.New(rand.NewPCG(7, 11))
	queues := make([]*request, len(services))
	for i := range services {
		queues[i] = newRequest(random, i)
	}
	for t := range p.traces {
		failed := t%cfg.FailingEvery == 0
		if failed {
			p.failed++
		}
		for _, s := range plan(random, t, cfg.SpansPerTrace, failed) {
			q := queues[s.service]
			q.add(random, &s)
			if q.scope.Spans().Len() == cfg.SpansPerRequest {
				p.templates = append(p.templates, q.template())
				queues[s.service] = newRequest(random, s.service)
			}
		}
	}
	for _, q := range queues {
		if cfg.Whole && q.scope.Spans().Len() > 0 {
			p.templates = append(p.templates, q.template())
		}
	}
	return p
}

// Len is how many different requests there are, ids and times aside: one round.
func (p *Payload) Len() int { return len(p.templates) }

// Spans is how many spans request i has.
func (p *Payload) Spans(i int) int { return len(p.templates[i%len(p.templates)].traceIDs) }

// Traces is how many traces there are in a round, and how many of them fail.
func (p *Payload) Traces() (all, failed int) { return p.traces, p.failed }

// Fresh writes request i into dst[:0]. Requests of one round through the payload belong to the same
// traces; those of different rounds have nothing in common.
func (p *Payload) Fresh(dst []byte, i int) []byte { return p.FreshAt(dst, i, time.Now()) }

// FreshAt is Fresh with times that count from a moment. The spans of a trace fit together if all requests of a round
// have the same one.
func (p *Payload) FreshAt(dst []byte, i int, sent time.Time) []byte {
	t := &p.templates[i%len(p.templates)]
	round := uint64(i / len(p.templates))
	mixA, mixB := mix(round*2+1), mix(round*2+2)
	dst = append(dst[:0], t.wire...)
	for _, at := range t.traceIDs {
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(dst[at:])^mixA)
		binary.LittleEndian.PutUint64(dst[at+8:], binary.LittleEndian.Uint64(dst[at+8:])^mixB)
	}
	for _, at := range t.spanIDs {
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(dst[at:])^mixB)
	}
	now := uint64(sent.UnixNano())
	for _, at := range t.times {
		binary.LittleEndian.PutUint64(dst[at:], now-binary.LittleEndian.Uint64(dst[at:]))
	}
	for k, at := range t.texts {
		const digits = "0123456789abcdef"
		x := mix(mixA + uint64(k)<<32 + uint64(i))
		for d := range 16 {
			dst[at+d] = digits[x>>(4*d)&15]
		}
	}
	return dst
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

var services = []string{"frontend", "checkout", "cart", "catalog", "payment", "shipping", "recommendation", "currency"}

// planned is a span of a trace before it is put into its request.
type planned struct {
	service          int
	kind             ptrace.SpanKind
	name             string
	peer             int
	trace            [16]byte
	id, parent       [8]byte
	start, end       uint64 // nanoseconds before the end of the request
	failed           bool
	operation        int
	database, client bool
}

// plan lays out one trace: the frontend calls chains of six services at once, each call with a client and a server
// span, and some work or a query of its own. Where the trace fails one chain does, from its last query up. A
// last chain may be cut short.
func plan(random *rand.Rand, number, size int, failed bool) []planned {
	var trace [16]byte
	binary.LittleEndian.PutUint64(trace[:], random.Uint64())
	binary.LittleEndian.PutUint64(trace[8:], random.Uint64())
	id := func() (b [8]byte) {
		binary.LittleEndian.PutUint64(b[:], random.Uint64())
		return b
	}
	begin := uint64(200_000_000 + random.IntN(1_800_000_000))
	length := uint64(20_000_000 + random.IntN(150_000_000))
	root := planned{service: 0, kind: ptrace.SpanKindServer, trace: trace, id: id(), start: begin, end: begin - length, failed: failed, operation: random.IntN(5), client: false}
	root.name = operations[root.operation]
	all := []planned{root}
	failing := number % ((size - 1) / spansPerChain)
	for chain := 0; len(all) < size; chain++ {
		caller, failed := root, failed && chain == failing
		for k := 1; k <= chainHops; k++ {
			callee := 1 + (k+number+chain)%(len(services)-1)
			start := caller.start - uint64(random.IntN(3_000_000))
			took := (caller.start - caller.end) * uint64(50+random.IntN(40)) / 100
			operation := random.IntN(4)
			rpc := fmt.Sprintf("shop.%s.v1/%s", services[callee], methods[operation])
			call := planned{service: caller.service, kind: ptrace.SpanKindClient, name: rpc, peer: callee, trace: trace, id: id(), parent: caller.id, start: start, end: start - took, failed: failed, operation: operation, client: true}
			serve := planned{service: callee, kind: ptrace.SpanKindServer, name: rpc, peer: caller.service, trace: trace, id: id(), parent: call.id, start: start - took/20, end: start - took + took/20, failed: failed, operation: operation, client: true}
			query := planned{service: callee, kind: ptrace.SpanKindClient, name: queries[operation], peer: callee, trace: trace, id: id(), parent: serve.id, start: serve.start - took/10, end: serve.start - took/2, failed: failed && k == chainHops, operation: operation, database: true}
			work := planned{service: callee, kind: ptrace.SpanKindInternal, name: inner[operation], trace: trace, id: id(), parent: serve.id, start: serve.start - took/2, end: serve.end + took/20, operation: operation}
			all = append(all, call, serve, query, work)
			caller = serve
		}
	}
	return all[:size]
}

var (
	operations = []string{"GET /", "GET /product/{id}", "POST /cart", "POST /checkout", "GET /cart"}
	methods    = []string{"Get", "List", "Place", "Update"}
	queries    = []string{"SELECT orders", "SELECT products", "INSERT orders", "UPDATE carts"}
	inner      = []string{"render", "price", "validate", "serialize"}
	agents     = []string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
		"shop-android/7.12.3",
	}
)

// request is one that spans are being put into.
type request struct {
	traces ptrace.Traces
	scope  ptrace.ScopeSpans
	texts  []string
}

func newRequest(random *rand.Rand, service int) *request {
	r := &request{traces: ptrace.NewTraces()}
	rs := r.traces.ResourceSpans().AppendEmpty()
	name := services[service]
	instance := random.IntN(6)
	a := rs.Resource().Attributes()
	a.PutStr("service.name", name)
	a.PutStr("service.namespace", "shop")
	a.PutStr("service.version", fmt.Sprintf("2.%d.0", service))
	a.PutStr("service.instance.id", fmt.Sprintf("%s-%d.shop:8080", name, instance))
	a.PutStr("deployment.environment.name", "production")
	a.PutStr("k8s.pod.name", fmt.Sprintf("%s-7d9c6b5f4-%05x", name, instance*7919+service))
	a.PutStr("k8s.namespace.name", "shop")
	a.PutStr("k8s.node.name", fmt.Sprintf("node-%d.eu-west-1.internal", instance))
	a.PutStr("telemetry.sdk.language", "go")
	a.PutStr("telemetry.sdk.name", "opentelemetry")
	a.PutStr("telemetry.sdk.version", "1.38.0")
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.37.0")
	r.scope = rs.ScopeSpans().AppendEmpty()
	r.scope.Scope().SetName("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
	r.scope.Scope().SetVersion("0.63.0")
	return r
}

// textMark begins the values that get fresh digits.
const textMark = "req-"

func (r *request) add(random *rand.Rand, p *planned) {
	s := r.scope.Spans().AppendEmpty()
	s.SetTraceID(p.trace)
	s.SetSpanID(p.id)
	s.SetParentSpanID(p.parent)
	s.SetName(p.name)
	s.SetKind(p.kind)
	s.SetFlags(0x101)
	s.SetStartTimestamp(pcommon.Timestamp(p.start))
	s.SetEndTimestamp(pcommon.Timestamp(p.end))
	a := s.Attributes()
	address := fmt.Sprintf("10.4.%d.%d", p.peer, random.IntN(20))
	switch {
	case p.database:
		a.PutStr("db.system.name", "postgresql")
		a.PutStr("db.namespace", services[p.service])
		a.PutStr("db.operation.name", p.name[:6])
		a.PutStr("db.collection.name", p.name[7:])
		a.PutStr("db.query.text", fmt.Sprintf("SELECT id, name, price, stock FROM %s WHERE id = $1 AND tenant = $2 ORDER BY created_at LIMIT 50", p.name[7:]))
		a.PutStr("server.address", fmt.Sprintf("pg-%s.shop.internal", services[p.service]))
		a.PutInt("server.port", 5432)
		a.PutStr("network.peer.address", address)
		a.PutInt("db.response.returned_rows", int64(random.IntN(50)))
	case p.client:
		a.PutStr("rpc.system.name", "grpc")
		a.PutStr("rpc.method", p.name)
		a.PutInt("rpc.response.status_code", map[bool]int64{false: 0, true: 13}[p.failed])
		a.PutStr("server.address", services[p.peer]+".shop.svc.cluster.local")
		a.PutInt("server.port", 8080)
		a.PutStr("network.peer.address", address)
		a.PutInt("network.peer.port", int64(30000+random.IntN(30000)))
		a.PutStr("network.protocol.version", "2")
	case p.kind == ptrace.SpanKindServer:
		a.PutStr("http.request.method", p.name[:4])
		a.PutStr("http.route", p.name[4:])
		a.PutStr("url.path", fmt.Sprintf("/product/%d", random.IntN(5000)))
		a.PutStr("url.scheme", "https")
		a.PutInt("http.response.status_code", map[bool]int64{false: 200, true: 500}[p.failed])
		a.PutStr("user_agent.original", agents[random.IntN(len(agents))])
		a.PutStr("client.address", fmt.Sprintf("%d.%d.%d.%d", 80+random.IntN(100), random.IntN(256), random.IntN(256), random.IntN(256)))
		a.PutStr("server.address", "shop.example.com")
		a.PutStr("network.protocol.version", "1.1")
	default:
		a.PutStr("code.function.name", fmt.Sprintf("github.com/shop/%s/internal/%s.Run", services[p.service], p.name))
		a.PutStr("code.file.path", fmt.Sprintf("/src/%s/internal/%s/run.go", services[p.service], p.name))
		a.PutInt("code.line.number", int64(40+p.operation*17))
		a.PutInt("app.items", int64(random.IntN(40)))
		a.PutStr("app.cache.hit", map[bool]string{false: "no", true: "yes"}[random.IntN(3) > 0])
		a.PutDouble("app.price.total", float64(random.IntN(100000))/100)
	}
	a.PutStr("app.tenant", fmt.Sprintf("tenant-%03d", random.IntN(200)))
	a.PutStr("user.id", fmt.Sprintf("u%07d", random.IntN(100000)))
	a.PutStr("thread.name", fmt.Sprintf("worker-%d", random.IntN(16)))
	text := fmt.Sprintf(textMark+"%016x", random.Uint64())
	a.PutStr("app.request.id", text)
	r.texts = append(r.texts, text)
	if p.failed && p.kind != ptrace.SpanKindInternal {
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage("payment declined: upstream connect error")
		a.PutStr("error.type", "13")
		if p.database {
			e := s.Events().AppendEmpty()
			e.SetName("exception")
			e.SetTimestamp(pcommon.Timestamp(p.end))
			e.Attributes().PutStr("exception.type", "pq.Error")
			e.Attributes().PutStr("exception.message", "too many connections for role")
			e.Attributes().PutStr("exception.stacktrace", "main.query\n\t/src/main.go:42\nmain.main\n\t/src/main.go:7\n")
		}
	}
}

// template serialises the request and finds in it what has to be made fresh.
func (r *request) template() template {
	wire, err := ptraceotlp.NewExportRequestFromTraces(r.traces).MarshalProto()
	if err != nil {
		panic(err)
	}
	// SDKs write fields in ascending order, pdata in descending.
	var data tracepb.TracesData
	if err := proto.Unmarshal(wire, &data); err != nil {
		panic(err)
	}
	if wire, err = (proto.MarshalOptions{Deterministic: true}).Marshal(&data); err != nil {
		panic(err)
	}
	t := template{wire: wire}
	t.walk(0, len(wire), nil)
	return t
}

// walk follows the messages from the request down to its spans; path is the numbers of the fields.
func (t *template) walk(from, to int, path []uint64) {
	for at := from; at < to; {
		tag, n := binary.Uvarint(t.wire[at:to])
		at += n
		number := tag >> 3
		size := 0
		switch tag & 7 {
		case 0:
			_, size = binary.Uvarint(t.wire[at:to])
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(t.wire[at:to])
			at, size = at+n, int(length)
		case 5:
			size = 4
		}
		t.field(at, size, number, path)
		at += size
	}
}

func (t *template) field(at, size int, number uint64, path []uint64) {
	switch len(path) {
	case 0, 1: // resource spans, scope spans
		if number == [2]uint64{1, 2}[len(path)] {
			t.walk(at, at+size, append(path, number))
		}
	case 2: // spans
		if number == 2 {
			t.walk(at, at+size, append(path, number))
		}
	case 3:
		switch {
		case number == 1 && size == 16:
			t.traceIDs = append(t.traceIDs, at)
		case (number == 2 || number == 4) && size == 8:
			t.spanIDs = append(t.spanIDs, at)
		case number == 7 || number == 8:
			t.times = append(t.times, at)
		case number == 9: // the digits are the last of their attribute
			if text := t.wire[at : at+size]; len(text) > 20 && string(text[len(text)-20:len(text)-16]) == textMark {
				t.texts = append(t.texts, at+size-16)
			}
		case number == 11: // an event begins with its time
			t.times = append(t.times, at+1)
		}
	}
}
