package tracefile

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/whosehop/whosehop/storage/spans"
)

func files(t *testing.T) (json, proto []byte) {
	t.Helper()
	d := ptrace.NewTraces()
	list := d.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range 3 {
		s := list.AppendEmpty()
		s.SetTraceID([16]byte{1})
		s.SetSpanID([8]byte{byte(i + 1)})
		s.SetName("x")
	}
	r := ptraceotlp.NewExportRequestFromTraces(d)
	json, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	proto, err = r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return json, proto
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func TestFormatsAreToldByContent(t *testing.T) {
	json, proto := files(t)
	for name, test := range map[string]struct {
		data []byte
		want int
	}{
		"JSON":              {json, 3},
		"JSON, one a line":  {append(append(bytes.Clone(json), '\n'), json...), 6},
		"JSON after spaces": {append([]byte("\n\n  "), json...), 3},
		"protobuf":          {proto, 3},
		"JSON, gzipped":     {zipped(json), 3},
		"protobuf, gzipped": {zipped(proto), 3},
	} {
		var b spans.Block
		if err := Read(bytes.NewReader(test.data), &b); err != nil || b.Len() != test.want {
			t.Errorf("%s: %d spans, %v; want %d", name, b.Len(), err, test.want)
		}
	}
}

func TestErrorsSayWhatWasSeen(t *testing.T) {
	json, proto := files(t)
	for name, test := range map[string]struct{ data, want string }{
		"nothing":      {"", "empty"},
		"text":         {"hello", "0x68"},
		"other JSON":   {`{"rows": [], "columns": 3}`, `["columns" "rows"]`},
		"a web page":   {"<!DOCTYPE html>", "web page"},
		"numbers":      {"[1, 2]", "Zipkin"},
		"empty object": {"[{}]", "traceId"},
		"bad id":       {`{"data":[{"spans":[{"traceID":"xyz","spanID":"1"}]}]}`, "xyz"},
		"cut JSON":     {string(json[:len(json)-5]), "value 1"},
		"cut protobuf": {string(proto[:len(proto)-2]), "byte"},
		"cut gzip":     {string(zipped(json)[:20]), "value 1"},
	} {
		var b spans.Block
		if err := Read(strings.NewReader(test.data), &b); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want something of %q", name, err, test.want)
		}
	}
}
