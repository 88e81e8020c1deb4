package tracefile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/whosehop/whosehop/storage/spans"
)

// lines say what a block holds, in an order of their own.
func lines(b *spans.Block) []string {
	var list []string
	for i := range b.Len() {
		line := string(b.TraceIDs[i][:]) + string(b.SpanIDs[i][:]) + string(b.ParentIDs[i][:]) + string(b.Service(i)) + " " + b.Names.Str(i) + " " +
			strconv.Itoa(int(b.Kinds[i])) + " " + strconv.Itoa(int(b.Statuses[i])) + " " + strconv.FormatInt(b.StartNs[i], 10) + " " + strconv.FormatInt(b.EndNs[i], 10)
		code, _ := b.Attrs.Get(i, "http.response.status_code")
		method, _ := b.Attrs.Get(i, "http.request.method")
		address, _ := b.Attrs.Get(i, "server.address")
		host, _ := b.Resources.Attrs.Get(int(b.ResourceOf[i]), "host.name")
		line += fmt.Sprintf(" %s %s %s %s", code, method, address, host)
		from, to := b.EventRange(i)
		for e := from; e < to; e++ {
			kind, _ := b.Events.Attrs.Get(e, "exception.type")
			message, _ := b.Events.Attrs.Get(e, "exception.message")
			list = append(list, line+fmt.Sprintf(" event %s %s %s", b.Events.Names.Str(e), kind, message))
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

// TestOneTraceInAllFormats: whoever wrote the trace down, it is the same trace.
func TestOneTraceInAllFormats(t *testing.T) {
	var want []string
	for _, name := range []string{"tempo.json", "tempo-v2.json", "jaeger.json", "zipkin.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range [][]byte{data, zipped(data), append([]byte("\ufeff\n"), data...)} {
			var b spans.Block
			if err := Read(bytes.NewReader(content), &b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got := lines(&b)
			if want == nil {
				want = got
			}
			if b.Len() != 3 || !slices.Equal(got, want) {
				t.Errorf("%s:\n%q\nwant\n%q", name, got, want)
			}
		}
	}
}

func TestJaegerOfOldVersions(t *testing.T) {
	var b spans.Block
	err := Read(bytes.NewReader([]byte(`{"traceID":"1f","spans":[
		{"traceID":"1f","spanID":"a","operationName":"x","startTime":1000000,"duration":5,"process":{"serviceName":"s"},
		 "references":[{"refType":"FOLLOWS_FROM","traceID":"2f","spanID":"b"}],
		 "logs":[{"timestamp":1000001,"fields":[{"key":"event","value":"error"},{"key":"error.object","value":"java.io.IOException: gone"}]}]}]}`)), &b)
	if err != nil || b.Len() != 1 || b.TraceIDs[0] != (spans.TraceID{15: 0x1f}) || b.SpanIDs[0] != (spans.SpanID{7: 0xa}) || len(b.Links.SpanIDs) != 1 || b.EndNs[0] != 1_000_005_000 {
		t.Fatalf("%v %+v", err, b)
	}
	kind, _ := b.Events.Attrs.Get(0, "exception.type")
	message, _ := b.Events.Attrs.Get(0, "exception.message")
	if b.Events.Names.Str(0) != "exception" || string(kind) != "java.io.IOException" || string(message) != "gone" {
		t.Errorf("%s: %s: %s", b.Events.Names.Str(0), kind, message)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"tempo.json", "tempo-v2.json", "jaeger.json", "zipkin.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b spans.Block
		if err := Read(bytes.NewReader(data), &b); err == nil && len(b.Names.Ends) != b.Len() {
			t.Errorf("%d spans, %d names", b.Len(), len(b.Names.Ends))
		}
	})
}
