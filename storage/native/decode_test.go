package native

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/storage/spans"
)

// decodeBlock reads one block behind what b has.
func decodeBlock(s *stream, d *Decoder) error {
	rows, err := readBlock(s, d.Columns())
	if err == nil && rows > 0 {
		err = d.Done(rows)
	}
	return err
}

// asked is what of a block comes back to who did not ask for all of it.
func asked(x told, whole bool, keep func(string) bool) told {
	if keep != nil {
		var kept []string
		for p := 0; p < len(x.Attrs); p += 2 {
			if keep(x.Attrs[p]) {
				kept = append(kept, x.Attrs[p:p+2]...)
			}
		}
		x.Attrs = kept
	}
	if !whole {
		x.Flags, x.Links, x.Resource.SchemaURL = 0, nil, ""
		x.Scope.Name, x.Scope.Version, x.Scope.SchemaURL = "", "", ""
	}
	return x
}

// sameSpans holds that got has the spans of want, in any order.
func sameSpans(t *testing.T, got, want *spans.Block, whole bool, keep func(string) bool) {
	t.Helper()
	byID := make(map[spans.SpanID]told)
	for _, x := range tellAll(t, want) {
		byID[x.SpanID] = asked(x, whole, keep)
	}
	if got.Len() != want.Len() {
		t.Errorf("%d spans of %d", got.Len(), want.Len())
	}
	for _, x := range tellAll(t, got) {
		if want := byID[x.SpanID]; !reflect.DeepEqual(want, x) {
			t.Fatalf("span %x (-sent +read):\n%s", x.SpanID, cmp.Diff(want, x))
		}
	}
}

// TestRoundTrip holds that what is encoded comes back, however the bytes arrive.
func TestRoundTrip(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"at once":            func(r io.Reader) io.Reader { return r },
		"a byte at a time":   iotest.OneByteReader,
		"by halves":          iotest.HalfReader,
		"the end with bytes": iotest.DataErrReader,
	}
	onlySome := func(key string) bool { return strings.HasSuffix(key, "1") }
	for _, c := range []struct {
		name  string
		block *spans.Block
		keep  func(string) bool
	}{
		{"one span", newShop(1, false).block(1, 1, 1), nil},
		{"few", newShop(2, false).block(60, 4, 3), nil},
		{"plain", newShop(3, true).block(60, 4, 3), nil}, // half of the columns have their defaults
		{"some attributes", newShop(4, false).block(60, 4, 3), onlySome},
		{"no attributes", newShop(5, false).block(60, 4, 3), func(string) bool { return false }},
		{"many", newShop(6, false).block(9000, 30, 500), nil}, // more than numbers reads at once, and words of two bytes
	} {
		for how, reader := range readers {
			for _, whole := range []bool{false, true} {
				for _, frame := range []int{0, 97, frameBytes} {
					if c.block.Len() > 1000 && frame == 97 {
						continue // slow, and nothing more than the small ones show
					}
					t.Run(fmt.Sprintf("%s/%s/whole=%v/frames=%d", c.name, how, whole, frame), func(t *testing.T) {
						d := NewDecoder(whole)
						d.Keep = c.keep
						answer := blockOf(c.block.Len(), answerOf(t, c.block, d, 1000))
						var s *stream
						if frame == 0 {
							s = from(reader(bytes.NewReader(answer)))
						} else {
							s = unpacked(from(reader(bytes.NewReader(packedBy(frame, answer)))))
						}
						var got spans.Block
						d.Into(&got)
						if err := decodeBlock(s, d); err != nil {
							t.Fatal(err)
						}
						sameSpans(t, &got, c.block, whole, c.keep)
						for i, ms := range got.IngestMs {
							if ms != 1000+int64(i) {
								t.Fatalf("span %d was ingested at %d", i, ms)
							}
						}
						if _, err := s.peek(1); !errors.Is(err, io.ErrUnexpectedEOF) {
							t.Errorf("behind the block: %v", err)
						}
					})
				}
			}
		}
	}
}

// TestRoundTripOfWideWords has more distinct names than 16 bits can number.
func TestRoundTripOfWideWords(t *testing.T) {
	b := spansOf(1<<16+100, 1<<16+50)
	for i := range b.SpanIDs { // spansOf numbers them in 16 bits
		b.SpanIDs[i][3] = byte(i >> 16)
	}
	d := NewDecoder(false)
	answer := blockOf(b.Len(), answerOf(t, b, d, 0))
	var got spans.Block
	d.Into(&got)
	if err := decodeBlock(from(bytes.NewReader(answer)), d); err != nil {
		t.Fatal(err)
	}
	sameSpans(t, &got, b, false, nil)
}

// TestBlocksOfAnAnswerFollowEachOther, and what was there before, which has resources of its own.
func TestBlocksOfAnAnswerFollowEachOther(t *testing.T) {
	for _, whole := range []bool{false, true} {
		d := NewDecoder(whole)
		var got spans.Block
		var want []told
		at := int64(0)
		for range 2 { // questions
			d.Into(&got)
			var answer []byte
			for n := range 3 { // blocks: the same resources again, and others
				b := newShop(uint64(n%2), false).block(20+n, 4, 2)
				answer = append(answer, blockOf(b.Len(), answerOf(t, b, d, at))...)
				at += int64(b.Len())
				alone := NewDecoder(whole)
				var one spans.Block
				alone.Into(&one)
				if err := decodeBlock(from(bytes.NewReader(blockOf(b.Len(), answerOf(t, b, alone, 0)))), alone); err != nil {
					t.Fatal(err)
				}
				sameSpans(t, &one, b, whole, nil)
				want = append(want, tellAll(t, &one)...)
			}
			s := from(bytes.NewReader(answer))
			for range 3 {
				if err := decodeBlock(s, d); err != nil {
					t.Fatal(err)
				}
			}
		}
		if diff := cmp.Diff(want, tellAll(t, &got)); diff != "" {
			t.Errorf("whole=%v: (-each block by itself +all in a row):\n%s", whole, diff)
		}
		for i, ms := range got.IngestMs {
			if ms != int64(i) {
				t.Fatalf("span %d was ingested at %d", i, ms)
			}
		}
	}
}

// TestResourcesAreToldApart where a glance would take them for the same, and only there.
func TestResourcesAreToldApart(t *testing.T) {
	type resource struct {
		service string
		pairs   []string
		url     string
		dropped uint32
	}
	plain := resource{"a", []string{"k", "ab", "l", "c"}, "", 0}
	for _, c := range []struct {
		name  string
		list  []resource
		whole bool
		want  int
	}{
		{"the same in each request", []resource{plain, plain, plain}, true, 1},
		{"values cut at another place", []resource{plain, {"a", []string{"k", "a", "l", "bc"}, "", 0}}, true, 2},
		{"keys cut at another place", []resource{{"a", []string{"ka", "b"}, "", 0}, {"a", []string{"k", "ab"}, "", 0}}, true, 2},
		{"other keys", []resource{plain, {"a", []string{"k", "ab", "m", "c"}, "", 0}}, true, 2},
		{"one pair less", []resource{plain, {"a", []string{"k", "ab"}, "", 0}}, true, 2},
		{"no pairs", []resource{plain, {"a", nil, "", 0}}, true, 2},
		{"another service", []resource{plain, {"b", plain.pairs, "", 0}}, true, 2},
		{"something dropped", []resource{plain, {"a", plain.pairs, "", 3}}, true, 2},
		{"something dropped each time", []resource{{"a", plain.pairs, "", 3}, {"a", plain.pairs, "", 3}}, true, 1},
		{"another schema", []resource{plain, {"a", plain.pairs, "v2", 0}}, true, 2},
		{"another schema, not asked for", []resource{plain, {"a", plain.pairs, "v2", 0}}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := spansOf(30, 1)
			b.Resources = spans.Resources{}
			for _, r := range c.list {
				b.Resources.Services.Append(r.service)
				for p := 0; p < len(r.pairs); p += 2 {
					b.Resources.Attrs.Pair(r.pairs[p], r.pairs[p+1])
				}
				b.Resources.Attrs.EndRow()
				b.Resources.SchemaURLs.Append(r.url)
				b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, r.dropped)
			}
			for i := range b.Len() {
				b.ResourceOf[i] = uint32(i % len(c.list))
				b.StartNs[i], b.EndNs[i] = int64(i), int64(i) // so that rows with the same attributes alternate
			}
			d := NewDecoder(c.whole)
			var got spans.Block
			d.Into(&got)
			if err := decodeBlock(from(bytes.NewReader(blockOf(b.Len(), answerOf(t, b, d, 0)))), d); err != nil {
				t.Fatal(err)
			}
			sameSpans(t, &got, b, c.whole, nil)
			if n := got.Resources.Services.Len(); n != c.want {
				t.Errorf("%d resources, want %d", n, c.want)
			}
		})
	}
}

// TestSpellings: other writers spell kinds and statuses as OTLP does, and may have words of their own.
func TestSpellings(t *testing.T) {
	column := func(texts ...string) *stream {
		raw := wire(dictionaryVersion, dictionaryFlags, len(texts))
		for _, text := range texts {
			raw = append(raw, wire(text)...)
		}
		raw = append(raw, wire(len(texts))...)
		for i := range texts {
			raw = append(raw, byte(i))
		}
		return from(bytes.NewReader(raw))
	}
	d := NewDecoder(false)
	b := &spans.Block{}
	d.Into(b)
	if err := d.readKinds(column("SPAN_KIND_SERVER", "client", "Producer", "", "of its own"), 5); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]spans.Kind{spans.KindServer, spans.KindClient, spans.KindProducer, 0, 0}, b.Kinds); diff != "" {
		t.Error(diff)
	}
	if err := d.readStatuses(column("STATUS_CODE_ERROR", "OK", "Unset", "?"), 4); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]spans.Status{spans.StatusError, spans.StatusOK, 0, 0}, b.Statuses); diff != "" {
		t.Error(diff)
	}
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprint("word ", i)
	}
	if err := d.readKinds(column(many...), len(many)); err != nil || len(b.Kinds) != 5+len(many) {
		t.Errorf("%d kinds, %v", len(b.Kinds), err)
	}
}

// TestScopeAttributesOfOthers are JSON, but need not be texts: each key has one value all the same.
func TestScopeAttributesOfOthers(t *testing.T) {
	for text, want := range map[string][]string{
		``:                              nil,
		`{}`:                            nil,
		`null`:                          nil,
		`"a"`:                           nil,
		`["a","b"]`:                     nil,
		`{"a":"b","c":"d"}`:             {"a", "b", "c", "d"},
		`{"a":1,"b":"c"}`:               {"a", "1", "b", "c"},
		`{"a":{"x":"y"},"b":["c","d"]}`: {"a", `{"x":"y"}`, "b", `["c","d"]`},
		`{"\u0000\"":"\\n\n"}`:          {"\x00\"", "\\n\n"},
	} {
		var a spans.Attrs
		(&extras{ScopeAttributes: []byte(text)}).scopeAttrs(&a)
		if a.Keys.Len() != a.Values.Len() || a.Len() != 1 {
			t.Errorf("%s: %d keys, %d values, %d rows", text, a.Keys.Len(), a.Values.Len(), a.Len())
			continue
		}
		if diff := cmp.Diff(want, tellAttrs(&a, 0)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestDecodeAllocatesNothingPerSpan holds once the block's buffers have grown.
func TestDecodeAllocatesNothingPerSpan(t *testing.T) {
	sent := newShop(1, true).block(5000, 10, 50)
	for _, whole := range []bool{false, true} {
		d := NewDecoder(whole)
		answer := blockOf(sent.Len(), answerOf(t, sent, d, 0))
		var b spans.Block
		var r bytes.Reader
		read := func() {
			b.Reset()
			r.Reset(answer)
			d.Into(&b)
			if err := decodeBlock(from(&r), d); err != nil {
				t.Fatal(err)
			}
		}
		read()
		if b.Len() != sent.Len() {
			t.Fatalf("%d spans of %d", b.Len(), sent.Len())
		}
		// What is left is the stream, the words of kinds and statuses, and a key for each resource and scope.
		if n := testing.AllocsPerRun(10, read); n > 60 {
			t.Errorf("whole=%v: %v allocations for %d spans", whole, n, sent.Len())
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	sent := newShop(1, true).block(20_000, 10, 50)
	for _, c := range []struct {
		name  string
		whole bool
		keep  func(string) bool
	}{
		{"judgement", false, func(key string) bool { return strings.HasSuffix(key, "1") }},
		{"whole", true, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder(c.whole)
			d.Keep = c.keep
			answer := blockOf(sent.Len(), answerOf(b, sent, d, 0))
			var block spans.Block
			b.SetBytes(int64(len(answer)))
			b.ReportAllocs()
			for b.Loop() {
				block.Reset()
				d.Into(&block)
				if err := decodeBlock(from(bytes.NewReader(answer)), d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(sent.Len()), "ns/span")
		})
	}
}
