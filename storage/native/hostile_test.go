package native

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/go-faster/city"

	"github.com/whosehop/whosehop/storage/spans"
)

// allocated is how many bytes f takes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// hostileMax is what may be allocated for an answer of a few bytes: the stream's buffers, and no more.
const hostileMax = 16 << 20

// withLinks is three spans with an event and a link each.
func withLinks() *spans.Block {
	b := spansOf(3, 1)
	for i := range b.Len() {
		b.Links.TraceIDs, b.Links.SpanIDs = append(b.Links.TraceIDs, spans.TraceID{2}), append(b.Links.SpanIDs, spans.SpanID{2})
		b.Links.TraceStates.Append("")
		b.Links.Attrs.EndRow()
		b.Links.DroppedAttrs, b.Links.Flags = append(b.Links.DroppedAttrs, 0), append(b.Links.Flags, 0)
		b.LinkEnds[i] = uint32(i + 1)
	}
	return b
}

// words3 is a LowCardinality column of three rows, the last of which has no word.
var words3 = wire(dictionaryVersion, dictionaryFlags, 1, "x", 3, byte(0), byte(0), byte(1))

// endless is what a column of arrays begins with that have 32 bits of elements, none of which follows.
var endless = wire(0, 0, 1<<32-1)

// TestColumnsThatAreBroken in one column each; all others are as they should be.
func TestColumnsThatAreBroken(t *testing.T) {
	d := NewDecoder(true)
	good := answerOf(t, withLinks(), d, 0)
	for _, c := range []struct {
		name, column string
		data         []byte
		want         string
	}{
		{"a word that is not there", "SpanName", words3, "word 1 of 1"},
		{"a word that is not there", "SpanKind", words3, "word 1 of 1"},
		{"a word that is not there", "ServiceName", words3, "word 1 of 1"},
		{"a word that is not there", "StatusCode", words3, "word 1 of 1"},
		{"a word that is not there", "ResourceSchemaUrl", words3, "word 1 of 1"},
		{"a word that is not there", "ScopeSchemaUrl", words3, "word 1 of 1"},
		{"a word that is not there", "Events.Name", wire(dictionaryVersion, 1, 2, 3, words3[8:]), "word 1 of 1"},
		{"a key that is not there", "SpanAttributes", wire(dictionaryVersion, 1, 2, 3, words3[8:], "", "", ""), "word 1 of 1"},
		{"a key that is not there", "ResourceAttributes", wire(dictionaryVersion, 1, 2, 3, words3[8:], "", "", ""), "word 1 of 1"},
		{"a key that is not there", "Events.Attributes", wire(dictionaryVersion, 1, 2, 3, 1, 2, 3, words3[8:], "", "", ""), "word 1 of 1"},
		{"a key that is not there", "Links.Attributes", wire(dictionaryVersion, 1, 2, 3, 1, 2, 3, words3[8:], "", "", ""), "word 1 of 1"},
		{"a word of two bytes that is not there", "SpanName", wire(dictionaryVersion, dictionaryFlags|1, 1, "x", 3, make([]byte, 5), byte(1)), "word 256 of 1"},
		{"a word of four bytes that is not there", "SpanName", wire(dictionaryVersion, dictionaryFlags|2, 1, "x", 3, uint32(0), uint32(0), uint32(1<<31)), "word 2147483648 of 1"},
		{"words of eight bytes", "SpanName", wire(dictionaryVersion, dictionaryFlags|3, 1, "x", 3, 0, 0, 0), "width 3"},
		{"no words", "SpanName", wire(dictionaryVersion, dictionaryFlags, 0, 3, byte(0), byte(0), byte(0)), "word 0 of 0"},
		{"more words than rows", "SpanName", wire(dictionaryVersion, dictionaryFlags, 1<<40), "words for 3 rows"},
		{"fewer numbers than rows", "SpanName", wire(dictionaryVersion, dictionaryFlags, 1, "x", 2, byte(0), byte(0)), "2 rows of 3"},
		{"a dictionary that came before", "SpanName", wire(dictionaryVersion, 1<<8, 1, "x", 3, byte(0), byte(0), byte(0)), "flags"},
		{"another dictionary", "SpanName", wire(2, dictionaryFlags, 1, "x", 3, byte(0), byte(0), byte(0)), "version 2"},

		{"ends that go backwards", "SpanAttributes", wire(dictionaryVersion, 2, 1, 3), "ends before it begins"},
		{"ends that go backwards", "ResourceAttributes", wire(dictionaryVersion, 2, 1, 3), "ends before it begins"},
		{"ends that go backwards", "Events.Timestamp", wire(1, 3, 2), "ends before it begins"},
		{"ends that go backwards", "Events.Attributes", wire(dictionaryVersion, 1, 2, 3, 1, 2, 1), "ends before it begins"},
		{"ends that go backwards", "Links.TraceId", wire(3, 2, 3), "ends before it begins"},

		// The lower half of each is what it should be: only the upper half is not.
		{"an end of more than 32 bits", "SpanAttributes", slices.Concat(wire(dictionaryVersion, 1, 2, 1<<32|3), partOf(good, "SpanAttributes").data[32:]), "more than 32 bits"},
		{"an end of more than 32 bits", "ResourceAttributes", slices.Concat(wire(dictionaryVersion, 1<<62|1, 2, 3), partOf(good, "ResourceAttributes").data[32:]), "more than 32 bits"},
		{"an end of more than 32 bits", "Events.Timestamp", slices.Concat(wire(1, 1<<40|2, 3), partOf(good, "Events.Timestamp").data[24:]), "more than 32 bits"},
		{"an end of more than 32 bits", "Links.SpanId", slices.Concat(wire(1, 2, 1<<32|3), partOf(good, "Links.SpanId").data[24:]), "more than 32 bits"},

		{"fewer names than events", "Events.Name", wire(dictionaryVersion, 1, 1, 2, dictionaryFlags, 1, "x", 2, byte(0), byte(0)), "different lengths"},
		{"names of other events", "Events.Name", wire(dictionaryVersion, 0, 2, 3, words3[8:31], byte(0)), "different lengths"},
		{"more attributes than events", "Events.Attributes", wire(dictionaryVersion, 1, 2, 4, 0, 0, 0, 0), "different lengths"},
		{"more spans than links", "Links.SpanId", wire(1, 2, 4, "", "", "", ""), "different lengths"},
		{"no states of links", "Links.TraceState", wire(0, 0, 0), "different lengths"},
		{"fewer attributes than links", "Links.Attributes", wire(dictionaryVersion, 0, 1, 2, 0, 0), "different lengths"},

		{"elements without end", "SpanAttributes", wire(dictionaryVersion, endless), ""},
		{"elements without end", "ResourceAttributes", wire(dictionaryVersion, endless), ""},
		{"elements without end", "Events.Timestamp", endless, ""},
		{"elements without end", "Links.TraceId", endless, ""},
		{"elements without end", "Events.Attributes", wire(dictionaryVersion, 1, 2, 3, endless), ""},
		{"a text without end", "StatusMessage", wire(uvarint(textMax)), "unexpected EOF"},
		{"a text longer than any", "StatusMessage", wire(uvarint(textMax + 1)), "a text of 1073741825 bytes"},
		{"a text longer than any", "TraceId", wire(uvarint(1<<64 - 1)), "a text of 18446744073709551615 bytes"},
		{"a length without end", "StatusMessage", bytes.Repeat([]byte{0xff}, 10), "a number has no end"},
		{"extras that are no JSON", "Extras", wire("{", "", ""), "the extras of span"},
		{"extras of another kind", "Extras", wire("", `{"droppedEvents":"many"}`, ""), "the extras of span"},
	} {
		t.Run(c.name+" in "+c.column, func(t *testing.T) {
			parts := slices.Clone(good)
			partOf(parts, c.column).data = c.data
			if c.want == "" || strings.Contains(c.want, "EOF") || strings.Contains(c.name, "longer") { // nothing comes behind
				parts = parts[:1+slices.IndexFunc(parts, func(p part) bool { return p.name == c.column })]
			}
			raw := wire(blockInfo, uvarint(len(good)), uvarint(3), blockOf(0, parts)[len(blockInfo)+2:])
			var b spans.Block
			d.Into(&b)
			var err error
			if bytes := allocated(func() { err = decodeBlock(from(bytes.NewReader(raw)), d) }); bytes > hostileMax {
				t.Errorf("%d bytes allocated for %d", bytes, len(raw))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			b.TruncateSpans(0)
		})
	}
	var b spans.Block
	d.Into(&b)
	if err := decodeBlock(from(bytes.NewReader(blockOf(3, good))), d); err != nil {
		t.Fatalf("a decoder that met an error is of no more use: %v", err)
	}
	sameSpans(t, &b, withLinks(), true, nil)
}

// partOf is the column of that name.
func partOf(parts []part, name string) *part {
	return &parts[slices.IndexFunc(parts, func(p part) bool { return p.name == name })]
}

// TestBlocksThatAreNotAskedFor have other columns, or no form at all.
func TestBlocksThatAreNotAskedFor(t *testing.T) {
	d := NewDecoder(false)
	good := answerOf(t, spansOf(3, 1), d, 0)
	change := func(f func(p []part)) []byte {
		parts := slices.Clone(good)
		f(parts)
		return blockOf(3, parts)
	}
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"another name", change(func(p []part) { p[2].name = "spanid" }), `column "spanid" is not SpanId`},
		{"two columns swapped", change(func(p []part) { p[1], p[2] = p[2], p[1] }), `column "SpanId" is not TraceId`},
		{"another type", change(func(p []part) { p[1].kind = "FixedString(32)" }), "column TraceId is FixedString(32) and not String"},
		{"another precision", change(func(p []part) { p[0].kind = "DateTime64(6, 'UTC')" }), "column Timestamp is DateTime64(6, 'UTC')"},
		{"no type", change(func(p []part) { p[1].kind = "" }), "column TraceId is "},
		{"one column less", blockOf(3, good[1:]), "17 columns of 18"},
		{"one column more", blockOf(3, append(slices.Clone(good), good[0])), "19 columns of 18"},
		{"too many columns", wire(blockInfo, uvarint(columnsMax+1), uvarint(3)), "a block of 65537 columns"},
		{"too many rows", wire(blockInfo, uvarint(18), uvarint(rowsMax+1)), "268435457 rows"},
		{"rows that do not come", wire(blockInfo, uvarint(18), uvarint(rowsMax), good[0].name, good[0].kind), "unexpected EOF"},
		{"a field that nobody knows", wire(uvarint(3)), "block field 3"},
		{"fields without end", bytes.Repeat(wire(uvarint(1), byte(0)), 100), "unexpected EOF"},
		{"nothing", nil, "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b spans.Block
			d.Into(&b)
			var err error
			if bytes := allocated(func() { err = decodeBlock(from(bytes.NewReader(c.raw)), d) }); bytes > hostileMax {
				t.Errorf("%d bytes allocated for %d", bytes, len(c.raw))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestFramesThatAreBroken are noticed before what they say is believed.
func TestFramesThatAreBroken(t *testing.T) {
	raw := bytes.Repeat([]byte("what is in a frame "), 20)
	good := packedBy(len(raw), raw)
	// signed is a frame with the changes, and a checksum that is right all the same.
	signed := func(change func(f []byte)) []byte {
		f := slices.Clone(good)
		change(f)
		sum := city.CH128(f[frameChecksum:])
		binary.LittleEndian.PutUint64(f, sum.Low)
		binary.LittleEndian.PutUint64(f[8:], sum.High)
		return f
	}
	size := func(at int, n uint32) func([]byte) {
		return func(f []byte) { binary.LittleEndian.PutUint32(f[frameChecksum+at:], n) }
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"not packed", signed(func(f []byte) { f[frameChecksum] = 0x02 }), "method 0x2"},
		{"packed by ZSTD", signed(func(f []byte) { f[frameChecksum] = 0x90 }), "method 0x90"},
		{"smaller than its header", signed(size(1, 8)), "8 bytes"},
		{"larger than any", signed(size(1, frameMax+1)), "268435457 bytes"},
		{"as large as there is a number for", signed(size(1, 1<<32-1)), "4294967295 bytes"},
		{"larger than any, unpacked", signed(size(5, frameMax+1)), "for 268435457"},
		{"larger than LZ4 can make it", signed(size(5, frameMax)), "for 268435456"},
		{"less in it than it says", signed(size(5, uint32(len(raw)+1))), "frame of 381 bytes holds 380"},
		{"more in it than it says", signed(size(5, uint32(len(raw)-1))), "frame of 379 bytes"},
		{"no LZ4", signed(func(f []byte) { clear(f[frameHeader:]) }), "frame of 380 bytes"},
		{"cut off in its header", good[:frameHeader-1], "unexpected EOF"},
		{"cut off", good[:len(good)-1], "unexpected EOF"},
		{"cut off, and large", signed(size(1, frameMax)), "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			if bytes := allocated(func() { _, err = unpacked(from(bytes.NewReader(c.frame))).peek(1) }); bytes > hostileMax {
				t.Errorf("%d bytes allocated for %d", bytes, len(c.frame))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "%!") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for i := range good { // wherever a bit turns over
		frame := slices.Clone(good)
		frame[i] ^= 0x10
		if _, err := unpacked(from(bytes.NewReader(frame))).peek(1); err == nil {
			t.Errorf("byte %d is another, and nobody minds", i)
		}
	}
	zeros := make([]byte, frameBytes) // nothing packs better
	if got, err := unpacked(from(bytes.NewReader(packedBy(frameBytes, zeros)))).peek(frameBytes); err != nil || !bytes.Equal(got, zeros) {
		t.Errorf("a frame of zeros: %v", err)
	}
	if got, err := unpacked(from(bytes.NewReader(good))).peek(len(raw)); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("the frame as it should be: %v", err)
	}
}

// TestAColumnHasAnEnd before its ends are more than 32 bits can say.
func TestAColumnHasAnEnd(t *testing.T) {
	b := spans.Block{Names: spans.Text{Bytes: make([]byte, columnMax+1)}} // of memory that is never touched
	if columnMax+textMax > 1<<32-1 {
		t.Error("the last text of a column may end behind what 32 bits can say")
	}
	var d words
	d.texts.Append("x")
	d.rows = []uint32{0}
	column := wire(dictionaryVersion, 1, dictionaryFlags, 1, "k", 1, byte(0), "v")
	attrs := func(into *spans.Attrs) error {
		return new(attrsReader).column(from(bytes.NewReader(column)), 1, into, nil)
	}
	for name, err := range map[string]error{
		"texts":  from(bytes.NewReader(wire("x"))).texts(&b.Names, 1),
		"words":  d.spread(&b.Names),
		"shared": from(bytes.NewReader(wire("x"))).sharedTexts(&b.Names, new(spans.Recent), 1),
		"share":  d.share(&b.Names, new(spans.Recent)),
		"keys":   attrs(&spans.Attrs{Keys: b.Names}),
		"values": attrs(&spans.Attrs{Values: b.Names}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := attrs(&b.Attrs); err != nil {
		t.Errorf("a column with room: %v", err)
	}
}

// script is a connection on which everything that is to be read is known.
type script struct {
	net.Conn
	io.Reader
}

func (s script) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (script) Write(b []byte) (int, error)   { return len(b), nil }
func (script) SetDeadline(_ time.Time) error { return nil }

// client keeps the buffer of its connections: some thousands of them are made.
type client struct{ buf []byte }

// ask reads an answer into b.
func (c *client) ask(t testing.TB, answer []byte, local bool, d *Decoder, b *spans.Block) error {
	t.Helper()
	conn := script{Reader: bytes.NewReader(answer)}
	in := from(conn)
	in.buf = slices.Grow(c.buf[:0], 2*readBytes)
	c.buf = in.buf
	d.Into(b)
	return (&Conn{conn: conn, local: local, in: in}).Select(t.Context(), "SELECT", &IDs{Column: "id"}, d.Columns(), d.Done)
}

// packets is a whole answer: two blocks, and what ClickHouse says around them.
func packets(t testing.TB, b *spans.Block, local bool, d *Decoder) []byte {
	data := func(block []byte) []byte {
		if !local {
			block = packedBy(200, block) // so that there are places between frames
		}
		return wire(byte(proto.ServerCodeData), "", block)
	}
	parts := answerOf(t, b, d, 0)
	header := slices.Clone(parts)
	for i := range header {
		header[i].data = nil
	}
	return slices.Concat(
		data(blockOf(0, header)),
		wire(byte(proto.ServerCodeProgress), uvarint(1), uvarint(300), uvarint(1<<40), uvarint(0), uvarint(0)),
		wire(byte(proto.ServerCodeTableColumns), "", "columns"),
		data(blockOf(b.Len(), parts)),
		wire(byte(proto.ServerCodeProfile), uvarint(1), uvarint(2), uvarint(3), byte(1), uvarint(4), byte(0)),
		data(blockOf(b.Len(), parts)),
		data(wire(blockInfo, uvarint(0), uvarint(0))),
		wire(byte(proto.ServerCodeEndOfStream)),
	)
}

// TestAnAnswerCutOff anywhere is an error, and leaves what the block had before.
func TestAnAnswerCutOff(t *testing.T) {
	var c client
	sent := newShop(1, false).block(4, 3, 2)
	for _, local := range []bool{false, true} {
		d := NewDecoder(true)
		whole := packets(t, sent, local, d)
		var b spans.Block
		if err := c.ask(t, whole, local, d, &b); err != nil {
			t.Fatal(err)
		}
		before := tellAll(t, &b)
		if len(before) != 2*sent.Len() {
			t.Fatalf("%d spans", len(before))
		}
		for n := range whole {
			if err := c.ask(t, whole[:n], local, d, &b); err == nil {
				t.Fatalf("local=%v: %d bytes of %d are enough", local, n, len(whole))
			}
			b.TruncateSpans(len(before))
			if n%100 == 0 && !reflect.DeepEqual(tellAll(t, &b), before) {
				t.Fatalf("local=%v: %d bytes of %d change what was there before", local, n, len(whole))
			}
		}
	}
}

// TestAnyByteMayBeAnother: either that is noticed, or there are spans of which all can be told.
func TestAnyByteMayBeAnother(t *testing.T) {
	var c client
	sent := newShop(1, false).block(4, 3, 2)
	d := NewDecoder(true)
	whole := packets(t, sent, true, d)
	for i := range whole {
		for _, flip := range []byte{0x01, 0x02, 0x80, 0xff} {
			answer := slices.Clone(whole)
			answer[i] ^= flip
			var b spans.Block
			if err := c.ask(t, answer, true, d, &b); err != nil {
				b.TruncateSpans(0)
			}
			tellAll(t, &b)
		}
	}
}

// TestAnExceptionComesThrough at any time, with what it says.
func TestAnExceptionComesThrough(t *testing.T) {
	var c client
	exception := wire(byte(proto.ServerCodeException), uint32(proto.ErrMemoryLimitExceeded), "DB::Exception", "DB::Exception: too much", "stack", byte(0))
	for _, local := range []bool{false, true} {
		d := NewDecoder(false)
		whole := packets(t, spansOf(3, 1), local, d)
		for _, before := range [][]byte{nil, whole[:len(whole)-1]} {
			var b spans.Block
			err := c.ask(t, slices.Concat(before, exception), local, d, &b)
			e, ok := errors.AsType[*ch.Exception](err)
			if !ok || e.Code != proto.ErrMemoryLimitExceeded || e.Name != "DB::Exception" || e.Message != "DB::Exception: too much" || e.Stack != "stack" {
				t.Errorf("local=%v after %d bytes: got %v", local, len(before), err)
			}
		}
		for n := range len(exception) - 1 { // behind the stack is whether there are more, which nobody reads
			var b spans.Block
			if err := c.ask(t, exception[:n], local, d, &b); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d bytes of an exception: %v", n, err)
			}
		}
	}
}

// TestPacketsThatNobodyKnows end the answer.
func TestPacketsThatNobodyKnows(t *testing.T) {
	var c client
	for name, p := range map[string]struct {
		answer []byte
		want   string
	}{
		"hello":              {wire(byte(proto.ServerCodeHello)), "unexpected packet"},
		"a number of no one": {wire(byte(99)), "unexpected packet"},
		"one of two bytes":   {wire(uvarint(256 + int(proto.ServerCodeEndOfStream))), "unexpected packet"},
		"no end":             {bytes.Repeat([]byte{0x80}, 20), "a number has no end"},
	} {
		var b spans.Block
		if err := c.ask(t, p.answer, true, NewDecoder(false), &b); err == nil || !strings.Contains(err.Error(), p.want) {
			t.Errorf("%s: got %v, want %q", name, err, p.want)
		}
	}
}
