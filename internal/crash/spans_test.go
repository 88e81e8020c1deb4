package crash

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// story makes all that a span says a function of its number: what is stored can be held against it.
type story struct {
	seed  uint32
	begin time.Time
}

// The number of a span is the lower half of its id; the upper half is the seed.
func (s story) spanID(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(s.seed)<<32|n)
	return id
}

const (
	spansPerTrace    = 8
	spansPerScope    = 16
	spansPerResource = 64
)

var (
	services   = []string{"storefront", "checkout", "payments", "inventory", "shipping", "pricing", "recommendations"}
	operations = []string{"GET /checkout", "POST /orders", "POST /charges", "shop.Inventory/Reserve", "SELECT shop.orders", "orders publish", "größe prüfen"}
	statuses   = []int64{200, 201, 202, 204, 206, 302, 304}
)

// traces are the spans from to to, without to.
func (s story) traces(from, to uint64) ptrace.Traces {
	d := ptrace.NewTraces()
	var rs ptrace.ResourceSpans
	var ss ptrace.ScopeSpans
	for n := from; n < to; n++ {
		if n == from || n%spansPerResource == 0 {
			rs = d.ResourceSpans().AppendEmpty()
			fillResource(rs, n/spansPerResource)
		}
		if n == from || n%spansPerScope == 0 {
			ss = rs.ScopeSpans().AppendEmpty()
			fillScope(ss, n/spansPerScope)
		}
		s.fill(ss.Spans().AppendEmpty(), n)
	}
	return d
}

func fillResource(rs ptrace.ResourceSpans, k uint64) {
	a := rs.Resource().Attributes()
	service := services[k%uint64(len(services))]
	a.PutStr("service.name", service)
	a.PutStr("service.namespace", "shop")
	a.PutStr("service.version", fmt.Sprintf("1.%d.%d", k%9, k%4))
	a.PutStr("k8s.pod.name", fmt.Sprintf("%s-7d4b9c%04x-x2x%d", service, k%37*1103, k%5))
	a.PutStr("host.name", fmt.Sprintf("ip-10-0-%d-%d", k%8, k%200))
	a.PutInt("process.pid", int64(k%4000+1))
	rs.Resource().SetDroppedAttributesCount(uint32(k % 3))
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.26.0")
}

func fillScope(ss ptrace.ScopeSpans, k uint64) {
	ss.Scope().SetName("go.opentelemetry.io/contrib/instrumentation/" + strconv.FormatUint(k%6, 10))
	ss.Scope().SetVersion("0." + strconv.FormatUint(k%60, 10) + ".0")
	ss.Scope().Attributes().PutStr("scope.kind", "k"+strconv.FormatUint(k%2, 10))
	ss.Scope().SetDroppedAttributesCount(uint32(k % 2))
	if k%2 == 0 {
		ss.SetSchemaUrl("https://opentelemetry.io/schemas/1.21.0")
	}
}

func (s story) fill(span ptrace.Span, n uint64) {
	// Neighbours must not look alike, or rows that were mixed up would not be noticed.
	mixed := (n + 1) * 0x9e3779b97f4a7c15 >> 11
	trace := pcommon.TraceID{0xc}
	binary.BigEndian.PutUint32(trace[4:], s.seed)
	binary.BigEndian.PutUint64(trace[8:], n/spansPerTrace+1)
	span.SetTraceID(trace)
	span.SetSpanID(s.spanID(n))
	if n%spansPerTrace != 0 {
		span.SetParentSpanID(s.spanID(n - 1))
	}
	span.SetName(operations[mixed%uint64(len(operations))])
	span.SetKind(ptrace.SpanKind(1 + mixed%5))
	start := s.begin.Add(time.Duration(n) * 10 * time.Microsecond)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Duration(mixed%900_000_007) * time.Nanosecond)))
	a := span.Attributes()
	a.PutStr("crash.number", strconv.FormatUint(n, 10))
	a.PutStr("http.route", "/api/v2/items/{id}")
	a.PutStr("url.full", fmt.Sprintf("https://shop.example/api/v2/items/%x?page=%d&q=%%20a'b", mixed, n%10))
	a.PutInt("http.response.status_code", statuses[mixed%uint64(len(statuses))])
	a.PutDouble("ratio", float64(mixed%16)/16)
	a.PutBool("cache.hit", mixed%2 == 0)
	span.SetFlags(uint32(1 + mixed%2<<8))
	span.SetDroppedAttributesCount(uint32(mixed % 4))
	switch {
	case n%97 == 0:
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage("dial tcp 10.0.0." + strconv.FormatUint(n%250, 10) + ":5432: connection refused")
		e := span.Events().AppendEmpty()
		e.SetName("exception")
		e.SetTimestamp(span.StartTimestamp() + 1000)
		e.Attributes().PutStr("exception.type", "java.net.ConnectException")
		e.Attributes().PutStr("exception.stacktrace", strings.Repeat("at com.example.Shop.pay(Shop.java:42)\n\t", int(mixed%40)))
		e.SetDroppedAttributesCount(uint32(n % 5))
		span.SetDroppedEventsCount(uint32(n % 6))
	case n%31 == 0:
		span.Status().SetCode(ptrace.StatusCodeOk)
		span.TraceState().FromRaw("vendor=t" + strconv.FormatUint(mixed%1000, 36))
		l := span.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{0xd, 15: byte(n)})
		l.SetSpanID(pcommon.SpanID{0xd, 7: byte(mixed)})
		l.TraceState().FromRaw("l=1")
		l.Attributes().PutStr("messaging.system", "kafka")
		l.SetFlags(uint32(n % 2))
		l.SetDroppedAttributesCount(uint32(n % 3))
		span.SetDroppedLinksCount(uint32(n % 7))
	case n%53 == 0:
		a.PutStr("db.query.text", strings.Repeat("SELECT * FROM orders WHERE id = ? -- ", int(mixed%60)))
	case n%61 == 0: // a bad clock
		span.SetEndTimestamp(span.StartTimestamp() - pcommon.Timestamp(n))
	}
}

// The separators are in no value.
const (
	fieldEnd = "\x1f"
	itemEnd  = "\x1e"
	pairEnd  = "\x1d"
)

// rowSQL is a row as text: all that a sender can set. textOf is the same of a span that was sent.
var rowSQL = func() string {
	pairs := func(column string) string {
		return fmt.Sprintf("arrayStringConcat(arrayMap((k, v) -> concat(k, '=', v, '%s'), mapKeys(%s), mapValues(%s)))", pairEnd, column, column)
	}
	each := func(column, text string) string {
		return fmt.Sprintf("arrayStringConcat(arrayMap(x -> concat(%s, '%s'), `%s`))", text, itemEnd, column)
	}
	// One count an event, or a link; none stands for zeros.
	counts := func(column, of string) string {
		return fmt.Sprintf("arrayStringConcat(arrayMap(x -> concat(toString(x), '%s'), if(empty(%s), arrayWithConstant(length(`%s`), toUInt32(0)), %s)))", itemEnd, column, of, column)
	}
	columns := []string{
		"toString(toUnixTimestamp64Nano(Timestamp))", "TraceId", "SpanId", "ParentSpanId", "TraceState", "SpanName", "SpanKind", "ServiceName",
		pairs("ResourceAttributes"), "ScopeName", "ScopeVersion", pairs("SpanAttributes"), "toString(Duration)", "StatusCode", "StatusMessage",
		each("Events.Timestamp", "toString(toUnixTimestamp64Nano(x))"), each("Events.Name", "x"), each("Events.Attributes", pairs("x")), counts("EventsDroppedAttributesCount", "Events.Name"),
		each("Links.TraceId", "x"), each("Links.SpanId", "x"), each("Links.TraceState", "x"), each("Links.Attributes", pairs("x")), counts("LinksDroppedAttributesCount", "Links.TraceId"), counts("LinksFlags", "Links.TraceId"),
		pairs("ScopeAttributes"), "ResourceSchemaUrl", "ScopeSchemaUrl", "toString(SpanFlags)", "toString(DroppedAttributesCount)", "toString(DroppedEventsCount)", "toString(DroppedLinksCount)",
		"toString(ResourceDroppedAttributesCount)", "toString(ScopeDroppedAttributesCount)", "toString(EndBeforeStart)",
	}
	return "concat(" + strings.Join(columns, ", '"+fieldEnd+"', ") + ")"
}()

func textOf(rs ptrace.ResourceSpans, ss ptrace.ScopeSpans, s ptrace.Span) string {
	var eventTimes, eventNames, eventAttrs, eventDropped, linkTraces, linkSpans, linkStates, linkAttrs, linkDropped, linkFlags string
	for _, e := range s.Events().All() {
		eventTimes += number(e.Timestamp()) + itemEnd
		eventNames += e.Name() + itemEnd
		eventAttrs += pairsOf(e.Attributes()) + itemEnd
		eventDropped += number(e.DroppedAttributesCount()) + itemEnd
	}
	for _, l := range s.Links().All() {
		linkTraces += l.TraceID().String() + itemEnd
		linkSpans += l.SpanID().String() + itemEnd
		linkStates += l.TraceState().AsRaw() + itemEnd
		linkAttrs += pairsOf(l.Attributes()) + itemEnd
		linkDropped += number(l.DroppedAttributesCount()) + itemEnd
		linkFlags += number(l.Flags()) + itemEnd
	}
	ran, back := s.EndTimestamp()-s.StartTimestamp(), pcommon.Timestamp(0)
	if s.EndTimestamp() < s.StartTimestamp() {
		ran, back = 0, s.StartTimestamp()-s.EndTimestamp()
	}
	service, _ := rs.Resource().Attributes().Get("service.name")
	return strings.Join([]string{
		number(s.StartTimestamp()), s.TraceID().String(), s.SpanID().String(), s.ParentSpanID().String(), s.TraceState().AsRaw(), s.Name(), s.Kind().String(), service.Str(),
		pairsOf(rs.Resource().Attributes()), ss.Scope().Name(), ss.Scope().Version(), pairsOf(s.Attributes()), number(ran), s.Status().Code().String(), s.Status().Message(),
		eventTimes, eventNames, eventAttrs, eventDropped,
		linkTraces, linkSpans, linkStates, linkAttrs, linkDropped, linkFlags,
		pairsOf(ss.Scope().Attributes()), rs.SchemaUrl(), ss.SchemaUrl(), number(s.Flags()), number(s.DroppedAttributesCount()), number(s.DroppedEventsCount()), number(s.DroppedLinksCount()),
		number(rs.Resource().DroppedAttributesCount()), number(ss.Scope().DroppedAttributesCount()), number(back),
	}, fieldEnd)
}

func number[T ~uint32 | ~uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

func pairsOf(m pcommon.Map) string {
	var text strings.Builder
	for k, v := range m.All() {
		text.WriteString(k + "=" + v.AsString() + pairEnd)
	}
	return text.String()
}

// hashOf is ClickHouse's halfMD5.
func hashOf(text string) uint64 {
	sum := md5.Sum([]byte(text))
	return binary.BigEndian.Uint64(sum[:])
}
