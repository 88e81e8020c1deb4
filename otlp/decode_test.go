package otlp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/whosehop/whosehop/storage/spans"
)

// request is count spans with something in every field.
func request(count int) ptraceotlp.ExportRequest {
	d := ptrace.NewTraces()
	for r := range 2 {
		rs := d.ResourceSpans().AppendEmpty()
		rs.SetSchemaUrl("https://schema")
		rs.Resource().SetDroppedAttributesCount(3)
		rs.Resource().Attributes().PutStr("service.name", fmt.Sprint("svc-", r))
		rs.Resource().Attributes().PutInt("process.pid", 42)
		ss := rs.ScopeSpans().AppendEmpty()
		ss.SetSchemaUrl("scope-schema")
		ss.Scope().SetName("lib")
		ss.Scope().SetVersion("1.2")
		ss.Scope().SetDroppedAttributesCount(9)
		ss.Scope().Attributes().PutBool("b", true)
		for i := range count / 2 {
			fillSpan(ss.Spans().AppendEmpty(), byte(r), byte(i))
		}
	}
	return ptraceotlp.NewExportRequestFromTraces(d)
}

func fillSpan(s ptrace.Span, r, i byte) {
	s.SetTraceID(pcommon.TraceID{1, r, 15: i + 1})
	s.SetSpanID(pcommon.SpanID{2, r, 7: i + 1})
	s.SetParentSpanID(pcommon.SpanID{3})
	s.TraceState().FromRaw("a=b")
	s.SetName("GET /checkout")
	s.SetKind(ptrace.SpanKindClient)
	s.SetStartTimestamp(1_780_000_000_000_000_000)
	s.SetEndTimestamp(1_780_000_000_100_000_000)
	s.SetFlags(0x101)
	s.SetDroppedAttributesCount(1)
	s.SetDroppedEventsCount(2)
	s.SetDroppedLinksCount(3)
	s.Status().SetCode(ptrace.StatusCodeError)
	s.Status().SetMessage("boom")
	a := s.Attributes()
	a.PutStr("text", "väl <&> \" \n")
	a.PutInt("int", math.MinInt64)
	a.PutBool("yes", true)
	a.PutBool("no", false)
	a.PutEmpty("nothing")
	for k, v := range []float64{0, 1, -1.5, 1e21, 1e-7, 1.0 / 3, math.MaxFloat64, math.NaN(), math.Inf(-1)} {
		a.PutDouble(fmt.Sprint("double", k), v)
	}
	a.PutEmptyBytes("bytes").FromRaw([]byte{0, 1, 255})
	list := a.PutEmptySlice("list")
	list.AppendEmpty().SetStr("x\"\\\t")
	list.AppendEmpty().SetInt(5)
	list.AppendEmpty()
	list.AppendEmpty().SetEmptyMap().PutDouble("deep", 2.5)
	list.AppendEmpty().SetEmptyBytes().FromRaw([]byte("hi"))
	m := a.PutEmptyMap("map")
	m.PutStr("z", "<&> \u2028 \b\f\x01\x7f \xff")
	m.PutStr("k", "v")
	m.PutEmpty("nothing")
	m.PutDouble("tiny", 1e-9)
	m.PutEmptyMap("in it").PutInt("b", 1)
	m.PutEmptySlice("l").AppendEmpty().SetBool(true)
	for e := range 2 {
		ev := s.Events().AppendEmpty()
		ev.SetTimestamp(pcommon.Timestamp(100 + e))
		ev.SetName("exception")
		ev.SetDroppedAttributesCount(4)
		ev.Attributes().PutStr("exception.type", "Boom")
	}
	l := s.Links().AppendEmpty()
	l.SetTraceID(pcommon.TraceID{7})
	l.SetSpanID(pcommon.SpanID{8})
	l.TraceState().FromRaw("x=y")
	l.SetFlags(5)
	l.SetDroppedAttributesCount(6)
	l.Attributes().PutStr("lk", "lv")
}

func wire(t testing.TB, r ptraceotlp.ExportRequest) []byte {
	t.Helper()
	b, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameAsPdata compares a block with what pdata, the oracle, makes of the same request.
func sameAsPdata(t *testing.T, d ptrace.Traces, b *spans.Block) {
	t.Helper()
	i, r, sc := 0, 0, 0
	for _, rs := range d.ResourceSpans().All() {
		before := i
		for _, ss := range rs.ScopeSpans().All() {
			beforeScope := i
			for _, s := range ss.Spans().All() {
				if s.TraceID().IsEmpty() || s.SpanID().IsEmpty() {
					continue
				}
				sameSpan(t, s, b, i)
				equal(t, "its resource and scope", []any{r, sc}, []any{int(b.ResourceOf[i]), int(b.ScopeOf[i])})
				i++
			}
			if i == beforeScope {
				continue
			}
			sameAttrs(t, ss.Scope().Attributes(), &b.Scopes.Attrs, sc)
			equal(t, "scope", []any{repaired(ss.Scope().Name()), repaired(ss.Scope().Version()), repaired(ss.SchemaUrl()), ss.Scope().DroppedAttributesCount()},
				[]any{b.Scopes.Names.Str(sc), b.Scopes.Versions.Str(sc), b.Scopes.SchemaURLs.Str(sc), b.Scopes.DroppedAttrs[sc]})
			sc++
		}
		if i == before {
			continue
		}
		sameAttrs(t, rs.Resource().Attributes(), &b.Resources.Attrs, r)
		equal(t, "resource", []any{repaired(rs.SchemaUrl()), rs.Resource().DroppedAttributesCount()}, []any{b.Resources.SchemaURLs.Str(r), b.Resources.DroppedAttrs[r]})
		service, _ := b.Resources.Attrs.Get(r, "service.name")
		equal(t, "service", string(service), b.Resources.Services.Str(r))
		r++
	}
	equal(t, "resources and scopes", []int{r, sc}, []int{b.Resources.Services.Len(), b.Scopes.Names.Len()})
	equal(t, "count", i, b.Len())
}

func sameSpan(t *testing.T, s ptrace.Span, b *spans.Block, i int) {
	t.Helper()
	equal(t, "span", []any{
		spans.TraceID(s.TraceID()), spans.SpanID(s.SpanID()), spans.SpanID(s.ParentSpanID()), repaired(s.TraceState().AsRaw()), repaired(s.Name()), clampNs(uint64(s.StartTimestamp())),
		clampNs(uint64(s.EndTimestamp())), s.Flags(), s.DroppedAttributesCount(), s.DroppedEventsCount(), s.DroppedLinksCount(), knownStatus(uint32(s.Status().Code())), repaired(s.Status().Message()), knownKind(uint32(s.Kind())),
	}, []any{
		b.TraceIDs[i], b.SpanIDs[i], b.ParentIDs[i], b.TraceStates.Str(i), b.Names.Str(i), b.StartNs[i],
		b.EndNs[i], b.Flags[i], b.DroppedAttrs[i], b.DroppedEvents[i], b.DroppedLinks[i], b.Statuses[i], b.StatusMessages.Str(i), b.Kinds[i],
	})
	sameAttrs(t, s.Attributes(), &b.Attrs, i)
	from, to := b.EventRange(i)
	equal(t, "events", s.Events().Len(), to-from)
	for k, e := range s.Events().All() {
		equal(t, "event", []any{clampNs(uint64(e.Timestamp())), repaired(e.Name()), e.DroppedAttributesCount()}, []any{b.Events.TimeNs[from+k], b.Events.Names.Str(from + k), b.Events.DroppedAttrs[from+k]})
		sameAttrs(t, e.Attributes(), &b.Events.Attrs, from+k)
	}
	from, to = b.LinkRange(i)
	equal(t, "links", s.Links().Len(), to-from)
	for k, l := range s.Links().All() {
		equal(t, "link", []any{spans.TraceID(l.TraceID()), spans.SpanID(l.SpanID()), repaired(l.TraceState().AsRaw()), l.Flags(), l.DroppedAttributesCount()},
			[]any{b.Links.TraceIDs[from+k], b.Links.SpanIDs[from+k], b.Links.TraceStates.Str(from + k), b.Links.Flags[from+k], b.Links.DroppedAttrs[from+k]})
		sameAttrs(t, l.Attributes(), &b.Links.Attrs, from+k)
	}
}

func sameAttrs(t *testing.T, m pcommon.Map, a *spans.Attrs, i int) {
	t.Helper()
	from, to := a.Range(i)
	last := make(map[string]int)
	at := 0
	for key := range m.All() {
		last[repaired(key)] = at
		at++
	}
	equal(t, "number of attributes", len(last), to-from)
	k := from
	at = 0
	for key, v := range m.All() {
		key = repaired(key)
		if at++; last[key] != at-1 {
			continue
		}
		got := a.Values.Str(k)
		equal(t, "key", key, a.Keys.Str(k))
		k++
		if v.Type() != pcommon.ValueTypeSlice && v.Type() != pcommon.ValueTypeMap {
			equal(t, key, repaired(v.AsString()), got)
			continue
		}
		if !comparable(v, 1) {
			if !json.Valid([]byte(got)) {
				t.Fatalf("%s is not JSON: %q", key, got)
			}
			continue
		}
		equal(t, key, v.AsString(), got)
	}
}

// repaired is text as Decode keeps it.
func repaired(s string) string {
	var out strings.Builder
	for _, r := range s { // every bad byte is one U+FFFD
		out.WriteRune(r)
	}
	return out.String()
}

// comparable is whether pdata has JSON for a value (it has none for NaN) and Decode all of it.
func comparable(v pcommon.Value, depth int) bool {
	if depth > valueDepthMax {
		return false
	}
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		return !math.IsNaN(v.Double()) && !math.IsInf(v.Double(), 0)
	case pcommon.ValueTypeSlice:
		for _, e := range v.Slice().All() {
			if !comparable(e, depth+1) {
				return false
			}
		}
	case pcommon.ValueTypeMap:
		for _, e := range v.Map().All() {
			if !comparable(e, depth+1) {
				return false
			}
		}
	}
	return true
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: want %#v, got %#v", what, want, got)
	}
}

func TestDecodeIsPdata(t *testing.T) {
	req := request(6)
	var b spans.Block
	rejected, err := Decode(wire(t, req), &b)
	if err != nil || rejected.Total() != 0 {
		t.Fatal(rejected, err)
	}
	sameAsPdata(t, req.Traces(), &b)

	text, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON spans.Block
	if _, err := DecodeJSON(text, &fromJSON); err != nil {
		t.Fatal(err)
	}
	sameAsPdata(t, req.Traces(), &fromJSON)
}

func TestBadSpansHarmNobody(t *testing.T) {
	req := request(6)
	list := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	list.At(0).SetTraceID(pcommon.TraceID{})
	list.At(1).SetSpanID(pcommon.SpanID{})
	list.At(2).SetEndTimestamp(1)
	req.Traces().ResourceSpans().At(1).ScopeSpans().At(0).Spans().At(0).SetStartTimestamp(math.MaxUint64)
	var b spans.Block
	rejected, err := Decode(wire(t, req), &b)
	if err != nil || rejected != (Rejected{BadTraceID: 1, BadSpanID: 1}) {
		t.Fatal(rejected, err)
	}
	sameAsPdata(t, req.Traces(), &b)

	b.Reset()
	const short = `{"resourceSpans":[{"resource":{},"scopeSpans":[{"spans":[
		{"traceId":"zz","spanId":"0102030405060708","name":"bad"},
		{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"01","name":"bad"},
		{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"good"}]}]}]}`
	rejected, err = DecodeJSON([]byte(short), &b)
	if err != nil || rejected.Total() != 2 || b.Len() != 1 || b.Names.Str(0) != "good" {
		t.Fatal(rejected, err, b.Len())
	}
}

// TestDamageLeavesTheBlockAlone cuts a request at every byte and flips bits in it.
func TestDamageLeavesTheBlockAlone(t *testing.T) {
	whole := wire(t, request(2))
	var b spans.Block
	if _, err := Decode(whole, &b); err != nil {
		t.Fatal(err)
	}
	n, resources, pairs := b.Len(), b.Resources.Services.Len(), b.Attrs.Keys.Len()
	failures := 0
	for cut := range whole {
		before := b.Len()
		_, err := Decode(whole[:cut], &b)
		var broken *Error
		if err != nil {
			failures++
			if !errors.As(err, &broken) || b.Len() != before {
				t.Fatalf("cut at %d: %v, %d spans", cut, err, b.Len())
			}
		}
		b.TruncateSpans(n)
		truncateResources(&b, resources)
		truncateScopes(&b, resources) // one of each here
	}
	if failures < len(whole)/2 {
		t.Errorf("only %d of %d cuts were noticed", failures, len(whole))
	}
	if b.Attrs.Keys.Len() != pairs {
		t.Errorf("%d attributes are left, want %d", b.Attrs.Keys.Len(), pairs)
	}
}

func TestDeepValuesAreCut(t *testing.T) {
	req := request(2)
	at := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutEmptySlice("deep")
	for range 200 {
		at = at.AppendEmpty().SetEmptySlice()
	}
	var b spans.Block
	if _, err := Decode(wire(t, req), &b); err != nil {
		t.Fatal(err)
	}
	v, _ := b.Attrs.Get(0, "deep")
	if !json.Valid(v) || len(v) > 200 {
		t.Errorf("got %q", v)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	data := wire(t, request(200))
	var b spans.Block
	allocs := testing.AllocsPerRun(20, func() {
		b.Reset()
		if _, err := Decode(data, &b); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for 200 spans", allocs)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(wire(f, request(2)))
	f.Add([]byte{0x0a, 0x02, 0x12, 0x00})
	f.Add([]byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b spans.Block
		rejected, err := Decode(data, &b)
		if err != nil {
			if b.Len() != 0 || b.Attrs.Keys.Len() != 0 || b.Events.Names.Len() != 0 || b.Resources.Services.Len() != 0 || b.Scopes.Names.Len() != 0 {
				t.Fatalf("an error leaves something behind: %v", err)
			}
			var broken *Error
			if !errors.As(err, &broken) || broken.At < 0 || broken.At > len(data) {
				t.Fatalf("%#v", err)
			}
			if strings.Contains(broken.Reason, "empty events") || strings.Contains(broken.Reason, "too deep") {
				return // limits, not grammar
			}
			// Google's decoder is the judge of what protobuf is; pdata lets broken groups pass.
			if proto.Unmarshal(data, &tracepb.ExportTraceServiceRequest{}) == nil {
				t.Fatalf("it is protobuf, and refused: %v", err)
			}
			return
		}
		oracle := ptraceotlp.NewExportRequest()
		if oracle.UnmarshalProto(data) != nil {
			return // it refuses more: ids of a wrong length and wrong wire types fail the whole request there
		}
		equal(t, "spans, rejected or not", oracle.Traces().SpanCount(), b.Len()+rejected.Total())
		sameAsPdata(t, oracle.Traces(), &b)
	})
}

// FuzzJSON looks for crashes, and for spans that get lost uncounted.
func FuzzJSON(f *testing.F) {
	text, err := request(2).MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"zz","parentSpanId":1}]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b spans.Block
		rejected, err := DecodeJSON(data, &b)
		if err != nil {
			equal(t, "spans left behind", 0, b.Len())
			return
		}
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(data)
		if err == nil {
			equal(t, "spans, rejected or not", traces.SpanCount(), b.Len()+rejected.Total())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := wire(b, request(512))
	var block spans.Block
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		block.Reset()
		if _, err := Decode(data, &block); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(512*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}
