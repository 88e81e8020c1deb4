package compat

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage/spans"
)

// Attributes that are added to spans, for whoever reads a trace elsewhere: what we think of it.
const (
	verdictKey = "whosehop.verdict" // on the span that the request came in with: the verdict's sentence
	blameKey   = "whosehop.blame"   // on a span that blame rests on: how much, by which rule, and whose it is
)

// remark is what is added to a span.
type remark struct {
	verdict  string
	blame    []string
	evidence []string
}

// remarks are what is to be added to the spans of a trace.
func remarks(t *query.Trace) map[spans.SpanID]*remark {
	all := make(map[spans.SpanID]*remark)
	of := func(text string) *remark {
		var id spans.SpanID
		if raw, err := hex.DecodeString(text); err == nil {
			copy(id[:], raw)
		}
		r := all[id]
		if r == nil {
			r = new(remark)
			all[id] = r
		}
		return r
	}
	for i := range t.Verdicts {
		v := &t.Verdicts[i]
		if len(v.Shares) == 0 {
			continue
		}
		of(v.Entry.SpanID).verdict = v.Summary
		for k := range v.Shares {
			s := &v.Shares[k]
			for _, id := range s.SpanIDs {
				r := of(id)
				r.blame = append(r.blame, fmt.Sprintf("%.0f %%: %s (%s), %s", 100*s.Weight, s.Site, s.Owner, s.Rule))
				r.evidence = append(r.evidence, s.Evidence...)
			}
		}
	}
	return all
}

// added are a remark's attributes.
func (r *remark) added(add func(key, value string)) {
	if r == nil {
		return
	}
	if r.verdict != "" {
		add(verdictKey, r.verdict)
	}
	if len(r.blame) > 0 {
		add(blameKey, strings.Join(r.blame, "; "))
	}
}

// digits writes ids as bytes that a JSON encoder writes as their hexadecimal digits. OTLP's JSON has ids in digits, where protobuf's has
// bytes in base64; digits, taken for base64, are the bytes that this encodes as those digits, for their number can be divided by four.
func digits(id []byte) []byte {
	b, err := base64.StdEncoding.DecodeString(hex.EncodeToString(id))
	if err != nil {
		panic(err) // ids have eight or sixteen bytes
	}
	return b
}

func plain(id []byte) []byte { return bytes.Clone(id) }

// otlp is traces as OTLP has them. Spans that share a resource and a scope are put together. Values are text, for that is how they are
// stored.
func otlp(list []*query.Trace, id func([]byte) []byte) *tracepb.TracesData {
	data := new(tracepb.TracesData)
	resources := make(map[string]*tracepb.ResourceSpans)
	scopes := make(map[[2]string]*tracepb.ScopeSpans)
	for _, t := range list {
		noted := remarks(t)
		names := newNames(t.Spans)
		for _, i := range t.Rows {
			r, s := t.Spans.ResourceOf[i], t.Spans.ScopeOf[i]
			resourceKey := names.resource(r)
			resource := resources[resourceKey]
			if resource == nil {
				resource = newResource(t.Spans, int(r))
				resources[resourceKey] = resource
				data.ResourceSpans = append(data.ResourceSpans, resource)
			}
			scopeKey := [2]string{resourceKey, names.scope(s)}
			scope := scopes[scopeKey]
			if scope == nil {
				scope = newScope(t.Spans, int(s))
				scopes[scopeKey] = scope
				resource.ScopeSpans = append(resource.ScopeSpans, scope)
			}
			scope.Spans = append(scope.Spans, newSpan(t.Spans, i, id, noted[t.Spans.SpanIDs[i]]))
		}
	}
	return data
}

// names are what resources and scopes of a block say, as one text each, so that those that say the same are known as one. They come
// again from span to span, and are put together once.
type names struct {
	block     *spans.Block
	resources map[uint32]string
	scopes    map[uint32]string
}

func newNames(b *spans.Block) *names {
	return &names{block: b, resources: make(map[uint32]string), scopes: make(map[uint32]string)}
}

func (n *names) resource(r uint32) string {
	key, ok := n.resources[r]
	if !ok {
		of := &n.block.Resources
		key = pairsKey(&of.Attrs, int(r)) + "\x00" + of.Services.Str(int(r)) + "\x00" + of.SchemaURLs.Str(int(r))
		n.resources[r] = key
	}
	return key
}

func (n *names) scope(s uint32) string {
	key, ok := n.scopes[s]
	if !ok {
		of, i := &n.block.Scopes, int(s)
		key = pairsKey(&of.Attrs, i) + "\x00" + of.Names.Str(i) + "\x00" + of.Versions.Str(i) + "\x00" + of.SchemaURLs.Str(i)
		n.scopes[s] = key
	}
	return key
}

func pairsKey(a *spans.Attrs, row int) string {
	var key strings.Builder
	from, to := a.Range(row)
	for p := from; p < to; p++ {
		fmt.Fprintf(&key, "%d:%s%d:%s", len(a.Keys.At(p)), a.Keys.At(p), len(a.Values.At(p)), a.Values.At(p))
	}
	return key.String()
}

func newResource(b *spans.Block, i int) *tracepb.ResourceSpans {
	attributes := keyValues(&b.Resources.Attrs, i)
	if _, ok := b.Resources.Attrs.Get(i, serviceName); !ok && len(b.Resources.Services.At(i)) > 0 {
		attributes = append(attributes, keyValue(serviceName, b.Resources.Services.Str(i)))
	}
	return &tracepb.ResourceSpans{
		Resource:  &resourcepb.Resource{Attributes: attributes, DroppedAttributesCount: b.Resources.DroppedAttrs[i]},
		SchemaUrl: utf8(b.Resources.SchemaURLs.Str(i)),
	}
}

func newScope(b *spans.Block, i int) *tracepb.ScopeSpans {
	return &tracepb.ScopeSpans{
		Scope: &commonpb.InstrumentationScope{
			Name: utf8(b.Scopes.Names.Str(i)), Version: utf8(b.Scopes.Versions.Str(i)), Attributes: keyValues(&b.Scopes.Attrs, i), DroppedAttributesCount: b.Scopes.DroppedAttrs[i],
		},
		SchemaUrl: utf8(b.Scopes.SchemaURLs.Str(i)),
	}
}

func newSpan(b *spans.Block, i int, id func([]byte) []byte, r *remark) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: id(b.TraceIDs[i][:]), SpanId: id(b.SpanIDs[i][:]), TraceState: utf8(b.TraceStates.Str(i)), Flags: b.Flags[i],
		Name: utf8(b.Names.Str(i)), Kind: tracepb.Span_SpanKind(b.Kinds[i]), StartTimeUnixNano: uint64(b.StartNs[i]), EndTimeUnixNano: uint64(b.EndNs[i]),
		Attributes: keyValues(&b.Attrs, i), DroppedAttributesCount: b.DroppedAttrs[i], DroppedEventsCount: b.DroppedEvents[i], DroppedLinksCount: b.DroppedLinks[i],
		Status: &tracepb.Status{Message: utf8(b.StatusMessages.Str(i)), Code: tracepb.Status_StatusCode(b.Statuses[i])},
	}
	if b.ParentIDs[i] != (spans.SpanID{}) {
		s.ParentSpanId = id(b.ParentIDs[i][:])
	}
	r.added(func(key, value string) { s.Attributes = append(s.Attributes, keyValue(key, value)) })
	from, to := b.EventRange(i)
	for e := from; e < to; e++ {
		s.Events = append(s.Events, &tracepb.Span_Event{
			TimeUnixNano: uint64(b.Events.TimeNs[e]), Name: utf8(b.Events.Names.Str(e)), Attributes: keyValues(&b.Events.Attrs, e), DroppedAttributesCount: b.Events.DroppedAttrs[e],
		})
	}
	from, to = b.LinkRange(i)
	for l := from; l < to; l++ {
		s.Links = append(s.Links, &tracepb.Span_Link{
			TraceId: id(b.Links.TraceIDs[l][:]), SpanId: id(b.Links.SpanIDs[l][:]), TraceState: utf8(b.Links.TraceStates.Str(l)), Attributes: keyValues(&b.Links.Attrs, l),
			DroppedAttributesCount: b.Links.DroppedAttrs[l], Flags: b.Links.Flags[l],
		})
	}
	return s
}

func keyValues(a *spans.Attrs, row int) []*commonpb.KeyValue {
	var list []*commonpb.KeyValue
	from, to := a.Range(row)
	for p := from; p < to; p++ {
		list = append(list, keyValue(a.Keys.Str(p), a.Values.Str(p)))
	}
	return list
}

func keyValue(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: utf8(key), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: utf8(value)}}}
}

// utf8 replaces what is none: protobuf's encoders refuse a whole trace for one such byte.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// otlpJSON is the JSON of OTLP: ids in hexadecimal digits, kinds and codes as numbers.
func otlpJSON(list []*query.Trace) (json.RawMessage, error) {
	return compacted(protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(otlp(list, digits)))
}

// protoJSON is the JSON of protobuf, which Tempo speaks: ids in base64, kinds and codes as names.
func protoJSON(t *query.Trace) (json.RawMessage, error) {
	return compacted(protojson.Marshal(otlp([]*query.Trace{t}, plain)))
}

// compacted takes out the spaces that the encoder puts in by chance, so that nobody compares its bytes.
func compacted(raw []byte, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, fmt.Errorf("encode a trace: %w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("encode a trace: %w", err)
	}
	return b.Bytes(), nil
}

// tempoTrace is Tempo's Trace message, which has the fields of OTLP's TracesData.
func tempoTrace(t *query.Trace) ([]byte, error) {
	raw, err := proto.Marshal(otlp([]*query.Trace{t}, plain))
	if err != nil {
		return nil, fmt.Errorf("encode a trace: %w", err)
	}
	return raw, nil
}

// The fields of Tempo's TraceByIDResponse, and of its status.
const (
	responseTrace   = 1
	responseStatus  = 3
	responseMessage = 4
	statusPartial   = 1
)

// tempoResponse is Tempo's TraceByIDResponse.
func tempoResponse(t *query.Trace) ([]byte, error) {
	trace, err := tempoTrace(t)
	if err != nil {
		return nil, err
	}
	raw := protowire.AppendTag(nil, responseTrace, protowire.BytesType)
	raw = protowire.AppendBytes(raw, trace)
	if t.Cut {
		raw = protowire.AppendTag(raw, responseStatus, protowire.VarintType)
		raw = protowire.AppendVarint(raw, statusPartial)
		raw = protowire.AppendTag(raw, responseMessage, protowire.BytesType)
		raw = protowire.AppendString(raw, cutText)
	}
	return raw, nil
}

// cutText is said of a trace with too many spans.
var cutText = fmt.Sprintf("the trace has more than %d spans: these are the earliest", query.SpansMax)
