package otlp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/whosehop/whosehop/storage/spans"
)

// message is a field of a message type, built of the fields within it.
func message(number protowire.Number, fields ...[]byte) []byte {
	var body []byte
	for _, f := range fields {
		body = append(body, f...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

func text(number protowire.Number, s string) []byte { return message(number, []byte(s)) }

func number(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

func stringAttr(field protowire.Number, key, value string) []byte {
	return message(field, text(1, key), message(2, text(1, value)))
}

const (
	someTrace = "0123456789abcdef"
	someSpan  = "01234567"
)

func ids() []byte { return append(text(1, someTrace), text(2, someSpan)...) }

// oneSpan is a request of one span with these fields.
func oneSpan(fields ...[]byte) []byte { return message(1, message(2, message(2, fields...))) }

func decode(t *testing.T, request []byte) (*spans.Block, Rejected) {
	t.Helper()
	b := new(spans.Block)
	rejected, err := Decode(request, b)
	if err != nil {
		t.Fatal(err)
	}
	return b, rejected
}

func TestRepeatedMessagesMerge(t *testing.T) {
	request := message(1,
		message(2, message(1, text(1, "lib"), stringAttr(3, "a", "1")), message(1, text(2, "v2"), stringAttr(3, "b", "2")),
			message(2, ids(), message(15, text(2, "boom")), message(15, number(3, 2)))),
		message(1, stringAttr(1, "service.name", "old"), stringAttr(1, "x", "1")),
		message(1, stringAttr(1, "service.name", "new"), number(2, 7)),
	)
	b, _ := decode(t, request)
	equal(t, "service", "new", string(b.Service(0)))
	from, to := b.Resources.Attrs.Range(0)
	equal(t, "resource attributes", 2, to-from)
	equal(t, "scope", []string{"lib", "v2"}, []string{b.Scopes.Names.Str(0), b.Scopes.Versions.Str(0)})
	from, to = b.Scopes.Attrs.Range(0)
	equal(t, "scope attributes", 2, to-from)
	equal(t, "status", []any{"boom", spans.StatusError}, []any{b.StatusMessages.Str(0), b.Statuses[0]})

	oracle := ptraceotlp.NewExportRequest()
	if err := oracle.UnmarshalProto(request); err != nil {
		t.Fatal(err)
	}
	sameAsPdata(t, oracle.Traces(), b)
}

func TestOfAKeyTheLastValueStays(t *testing.T) {
	for _, count := range []int{2, 20, rowScannedMax + 1} {
		fields := [][]byte{ids()}
		for i := range count {
			fields = append(fields, stringAttr(9, fmt.Sprintf("key.%d", i), "first"))
		}
		fields = append(fields, stringAttr(9, "key.1", "a longer value"), stringAttr(9, "other", "o"), stringAttr(9, "key.1", "last"))
		b, _ := decode(t, append(oneSpan(ids(), stringAttr(9, "before", "b")), oneSpan(fields...)...))
		from, to := b.Attrs.Range(1)
		equal(t, "attributes", count+1, to-from)
		for key, want := range map[string]string{"key.0": "first", "key.1": "last", "other": "o"} {
			got, _ := b.Attrs.Get(1, key)
			equal(t, key, want, string(got))
		}
		got, _ := b.Attrs.Get(0, "before")
		equal(t, "the span before", "b", string(got))
		seen := make(map[string]bool)
		for p := from; p < to; p++ {
			if key := b.Attrs.Keys.Str(p); seen[key] {
				t.Errorf("%s is there twice", key)
			} else {
				seen[key] = true
			}
		}
	}
}

func TestIDs(t *testing.T) {
	zeros := strings.Repeat("\x00", 16)
	for _, test := range []struct {
		name, trace, span, parent string
		want                      Rejected
	}{
		{"good", someTrace, someSpan, someSpan, Rejected{}},
		{"a root", someTrace, someSpan, "", Rejected{}},
		{"a root, in zeros", someTrace, someSpan, zeros[:8], Rejected{}},
		{"no trace id", "", someSpan, "", Rejected{BadTraceID: 1}},
		{"a trace id of zeros", zeros, someSpan, "", Rejected{BadTraceID: 1}},
		{"a short trace id", someTrace[:15], someSpan, "", Rejected{BadTraceID: 1}},
		{"a long trace id", someTrace + "x", someSpan, "", Rejected{BadTraceID: 1}},
		{"no span id", someTrace, "", "", Rejected{BadSpanID: 1}},
		{"a span id of zeros", someTrace, zeros[:8], "", Rejected{BadSpanID: 1}},
		{"a short span id", someTrace, someSpan[:7], "", Rejected{BadSpanID: 1}},
		{"a short parent", someTrace, someSpan, "short", Rejected{BadParentID: 1}},
		{"all bad count once", "x", "x", "x", Rejected{BadTraceID: 1}},
	} {
		neighbour := message(2, ids(), text(5, "neighbour"))
		request := message(1, message(2, neighbour,
			message(2, text(1, test.trace), text(2, test.span), text(4, test.parent), message(11, text(2, "event")), stringAttr(9, "k", "v")), neighbour))
		b, rejected := decode(t, request)
		equal(t, test.name, test.want, rejected)
		equal(t, test.name, 3-rejected.Total(), b.Len())
		equal(t, test.name, "neighbour", b.Names.Str(b.Len()-1))
		if rejected.Total() > 0 && rejected.String() == "" {
			t.Errorf("%s: no reason", test.name)
		}

		asJSON := fmt.Sprintf(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%x","spanId":"%x","parentSpanId":"%x"},{"traceId":"%x","spanId":"%x"}]}]}]}`,
			test.trace, test.span, test.parent, someTrace, someSpan)
		fromJSON := new(spans.Block)
		rejected, err := DecodeJSON([]byte(asJSON), fromJSON)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, test.name+" in JSON", test.want, rejected)
		equal(t, test.name+" in JSON", 2-rejected.Total(), fromJSON.Len())
	}
}

// TestNothingIsLeftBehind: requests without a good span must not make the block grow.
func TestNothingIsLeftBehind(t *testing.T) {
	resource := message(1, stringAttr(1, "service.name", "x"))
	for name, request := range map[string][]byte{
		"a resource without spans": message(1, resource),
		"a scope without spans":    message(1, resource, message(2, message(1, text(1, "lib")))),
		"only a bad span":          message(1, resource, message(2, message(2, text(5, "bad")))),
	} {
		b, _ := decode(t, request)
		if b.Len()+b.Resources.Services.Len()+b.Resources.Attrs.Keys.Len()+b.Scopes.Names.Len()+b.Attrs.Keys.Len() != 0 {
			t.Errorf("%s: something is left", name)
		}
	}
	b, _ := decode(t, append(message(1, resource), message(1, message(1, stringAttr(1, "service.name", "y")), message(2), message(2, message(2, ids())))...))
	equal(t, "service", "y", string(b.Service(0)))
	equal(t, "resources and scopes", []int{1, 1}, []int{b.Resources.Services.Len(), b.Scopes.Names.Len()})
}

func TestWhatIsNoFieldIsPassedOver(t *testing.T) {
	group := protowire.AppendTag(number(1, 5), 900, protowire.EndGroupType)
	group = append(protowire.AppendTag(nil, 900, protowire.StartGroupType), group...)
	request := oneSpan(ids(), text(999, "unknown"), number(5, 1), number(9, 1), text(7, "no time"), group, text(5, "name"))
	b, _ := decode(t, append(request, group...))
	equal(t, "name", "name", b.Names.Str(0))
	equal(t, "start", int64(0), b.StartNs[0])
}

func TestDamageIsSaidWithItsPlace(t *testing.T) {
	for name, test := range map[string]struct {
		request []byte
		at      int
		reason  string
	}{
		"a length beyond the end":    {[]byte{0x0a, 0x05, 0x12}, 2, "longer than what holds it"},
		"a cut number":               {[]byte{0x08, 0xff}, 1, "cut off"},
		"an overlong number":         {append([]byte{0x08}, strings.Repeat("\xff", 11)...), 1, "longer than 64 bits"},
		"field zero":                 {[]byte{0x02, 0x00}, 1, "impossible number"},
		"wire type 7":                {[]byte{0x0f}, 1, "unknown wire type"},
		"the end of no group":        {[]byte{0x0c}, 1, "unknown wire type"},
		"a group that does not end":  {[]byte{0x0b}, 1, "cut off"},
		"groups without number":      {[]byte(strings.Repeat("\x0b", 200)), 65, "too deep"},
		"damage within an attribute": {oneSpan(ids(), message(9, text(1, "k"), message(2, []byte{0x0a, 0x09}))), 43, "longer than what holds it"},
		"nothing but empty links":    {oneSpan(ids(), []byte(strings.Repeat("\x6a\x00", 10_000))), 0, "empty events or links"},
	} {
		b := new(spans.Block)
		_, err := Decode(test.request, b)
		var broken *Error
		if !errors.As(err, &broken) || !strings.Contains(broken.Reason, test.reason) || (test.at > 0 && broken.At != test.at) {
			t.Errorf("%s: %v", name, err)
		}
		equal(t, name, 0, b.Len())
	}
}

func TestDeepJSONIsRefused(t *testing.T) {
	deep := func(n int) string {
		return `{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":` + strings.Repeat(`{"arrayValue":{"values":[`, n) + strings.Repeat(`]}}`, n) +
			`}]},"scopeSpans":[{"spans":[{"traceId":"30313233343536373839616263646566","spanId":"3031323334353637"}]}]}]}`
	}
	b := new(spans.Block)
	if _, err := DecodeJSON([]byte(deep(500_000)), b); err == nil {
		t.Error("half a million arrays in each other were taken")
	}
	if _, err := DecodeJSON([]byte(deep(100)), b); err != nil || b.Len() != 1 {
		t.Error(err)
	}
}
