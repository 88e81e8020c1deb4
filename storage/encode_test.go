package storage_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// drawer draws blocks as the decoder may make them: valid UTF-8, no key twice in a row.
type drawer struct {
	*rand.Rand
	// bare leaves out what few spans have, so that whole columns are left to their defaults.
	bare bool
}

// traces is how many traces the spans of a block are of.
const traces = 5

// letters are those that a hand-written encoder gets wrong.
var letters = []rune("abc\"\"\\\\'`{}[]:,\x00\x01\b\t\n\r\x1b\x1f \x7f\u0080äß\u2028\ufeff\ufffd漢🙂")

func (d drawer) text() string {
	n := d.IntN(12)
	switch d.IntN(400) {
	case 0:
		n = 126 + d.IntN(4) // where lengths get a second byte
	case 1:
		n = 16_382 + d.IntN(4)
	}
	if n == 0 {
		return ""
	}
	var text strings.Builder
	for text.Len() < n {
		text.WriteRune(letters[d.IntN(len(letters))])
	}
	return text.String()
}

func (d drawer) rare() string {
	if d.bare || d.IntN(2) == 0 {
		return ""
	}
	return d.text()
}

func (d drawer) count() uint32 {
	if d.bare {
		return 0
	}
	return []uint32{0, 0, 1, 300, math.MaxUint32}[d.IntN(5)]
}

func (d drawer) pairs(a *spans.Attrs, most int) {
	for k := range d.IntN(most + 1) {
		key := fmt.Sprint("key ", k)
		if d.IntN(3) == 0 {
			key = fmt.Sprint(d.text(), k)
		}
		a.Pair(key, d.text())
	}
	a.EndRow()
}

func (d drawer) id() (id [8]byte) {
	for i := range id {
		id[i] = byte(d.Uint32())
	}
	return id
}

func (d drawer) times() (startNs, endNs int64) {
	startNs = 1_790_000_000_000_000_000 + d.Int64N(1e12)
	switch d.IntN(20) {
	case 0:
		startNs = 0
	case 1:
		startNs = math.MaxInt64
	}
	endNs = startNs
	switch d.IntN(4) {
	case 0:
		endNs += min(d.Int64N(1e10), math.MaxInt64-startNs)
	case 1:
		endNs = math.MaxInt64
	case 2:
		if !d.bare {
			endNs = d.Int64N(max(1, startNs))
		}
	}
	return startNs, endNs
}

func (d drawer) block(rows, resources, names int) *spans.Block {
	b := &spans.Block{}
	for r := range resources {
		b.Resources.Services.Append(d.text())
		// Readers tell resources apart by what they say. Every third is there twice: each request brings its own.
		b.Resources.Attrs.Pair("n", fmt.Sprint(r))
		d.pairs(&b.Resources.Attrs, 4)
		b.Resources.SchemaURLs.Append(d.rare())
		b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, d.count())
		b.Scopes.Names.Append(fmt.Sprint(d.rare(), r))
		b.Scopes.Versions.Append(d.rare())
		if !d.bare {
			d.pairs(&b.Scopes.Attrs, 3)
		} else {
			b.Scopes.Attrs.EndRow()
		}
		b.Scopes.SchemaURLs.Append(d.rare())
		b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, d.count())
	}
	for r := 0; r < resources; r += 3 {
		b.Resources.Services.Append(b.Resources.Services.Str(r))
		from, to := b.Resources.Attrs.Range(r)
		for p := from; p < to; p++ {
			b.Resources.Attrs.Pair(b.Resources.Attrs.Keys.Str(p), b.Resources.Attrs.Values.Str(p))
		}
		b.Resources.Attrs.EndRow()
		b.Resources.SchemaURLs.Append(b.Resources.SchemaURLs.Str(r))
		b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, b.Resources.DroppedAttrs[r])
	}
	for i := range rows {
		d.span(b, i, names)
	}
	return b
}

func (d drawer) span(b *spans.Block, i, names int) {
	b.TraceIDs = append(b.TraceIDs, spans.TraceID{1, 15: byte(d.IntN(traces))})
	b.SpanIDs = append(b.SpanIDs, spans.SpanID{1, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)})
	parent := spans.SpanID(d.id())
	if d.IntN(3) == 0 {
		parent = spans.SpanID{}
	}
	b.ParentIDs = append(b.ParentIDs, parent)
	start, end := d.times()
	b.StartNs, b.EndNs = append(b.StartNs, start), append(b.EndNs, end)
	b.Kinds = append(b.Kinds, spans.Kind(d.IntN(len(native.KindNames))))
	b.Statuses = append(b.Statuses, spans.Status(d.IntN(len(native.StatusNames))))
	b.Flags = append(b.Flags, d.count())
	name := ""
	if n := d.IntN(names + 1); n > 0 {
		name = fmt.Sprintf("%q %d", letters[n%len(letters)], n)
	}
	b.Names.Append(name)
	b.TraceStates.Append(d.rare())
	b.StatusMessages.Append(d.rare())
	d.pairs(&b.Attrs, 6)
	b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, d.count()), append(b.DroppedEvents, d.count()), append(b.DroppedLinks, d.count())
	events, links := max(0, d.IntN(6)-2), max(0, d.IntN(6)-3)
	if d.bare {
		events, links = 0, 0
	}
	for range events {
		b.Events.TimeNs = append(b.Events.TimeNs, d.Int64())
		b.Events.Names.Append(d.rare())
		d.pairs(&b.Events.Attrs, 3)
		b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, d.count())
	}
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
	for range links {
		to := spans.TraceID{}
		if half := d.id(); d.IntN(4) > 0 {
			copy(to[4:], half[:])
		}
		b.Links.TraceIDs, b.Links.SpanIDs = append(b.Links.TraceIDs, to), append(b.Links.SpanIDs, d.id())
		b.Links.TraceStates.Append(d.rare())
		d.pairs(&b.Links.Attrs, 3)
		b.Links.DroppedAttrs, b.Links.Flags = append(b.Links.DroppedAttrs, d.count()), append(b.Links.Flags, d.count())
	}
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
	b.ResourceOf = append(b.ResourceOf, uint32(d.IntN(b.Resources.Services.Len())))
	b.ScopeOf = append(b.ScopeOf, uint32(d.IntN(b.Scopes.Names.Len())))
}

// row is all that a block says of one span.
type row struct {
	TraceID                                   spans.TraceID
	ParentID                                  spans.SpanID
	StartNs, EndNs                            int64
	Kind                                      spans.Kind
	Status                                    spans.Status
	Flags                                     uint32
	Name, TraceState, StatusMessage           string
	Attrs                                     [][2]string
	DroppedAttrs, DroppedEvents, DroppedLinks uint32
	Service, ResourceURL                      string
	ResourceAttrs                             [][2]string
	DroppedOfResource                         uint32
	ScopeName, ScopeVersion, ScopeURL         string
	ScopeAttrs                                [][2]string
	DroppedOfScope                            uint32
	Events, Links                             []detail
}

// detail is an event or a link.
type detail struct {
	TimeNs           int64
	TraceID          spans.TraceID
	SpanID           spans.SpanID
	NameOrTraceState string
	Attrs            [][2]string
	Dropped, Flags   uint32
}

func pairsAt(a *spans.Attrs, i int) (list [][2]string) {
	from, to := a.Range(i)
	for p := from; p < to; p++ {
		list = append(list, [2]string{a.Keys.Str(p), a.Values.Str(p)})
	}
	return list
}

func rowsOf(b *spans.Block) map[spans.SpanID]row {
	rows := make(map[spans.SpanID]row, b.Len())
	for i := range b.Len() {
		r, s := int(b.ResourceOf[i]), int(b.ScopeOf[i])
		of := row{
			b.TraceIDs[i], b.ParentIDs[i], b.StartNs[i], b.EndNs[i], b.Kinds[i], b.Statuses[i], b.Flags[i],
			b.Names.Str(i), b.TraceStates.Str(i), b.StatusMessages.Str(i), pairsAt(&b.Attrs, i), b.DroppedAttrs[i], b.DroppedEvents[i], b.DroppedLinks[i],
			b.Resources.Services.Str(r), b.Resources.SchemaURLs.Str(r), pairsAt(&b.Resources.Attrs, r), b.Resources.DroppedAttrs[r],
			b.Scopes.Names.Str(s), b.Scopes.Versions.Str(s), b.Scopes.SchemaURLs.Str(s), pairsAt(&b.Scopes.Attrs, s), b.Scopes.DroppedAttrs[s], nil, nil,
		}
		from, to := b.EventRange(i)
		for k := from; k < to; k++ {
			of.Events = append(of.Events, detail{TimeNs: b.Events.TimeNs[k], NameOrTraceState: b.Events.Names.Str(k), Attrs: pairsAt(&b.Events.Attrs, k), Dropped: b.Events.DroppedAttrs[k]})
		}
		from, to = b.LinkRange(i)
		for k := from; k < to; k++ {
			of.Links = append(of.Links, detail{
				TraceID: b.Links.TraceIDs[k], SpanID: b.Links.SpanIDs[k], NameOrTraceState: b.Links.TraceStates.Str(k), Attrs: pairsAt(&b.Links.Attrs, k),
				Dropped: b.Links.DroppedAttrs[k], Flags: b.Links.Flags[k],
			})
		}
		rows[b.SpanIDs[i]] = of
	}
	return rows
}

// TestWhatIsPackedComesBack uses one encoder for blocks of all shapes: what is left in its buffers must not show.
func TestWhatIsPackedComesBack(t *testing.T) {
	db := clickhousetest.DB(t)
	var e native.Encoder
	var p native.Packed
	for seed, shape := range []struct {
		name                   string
		bare                   bool
		rows, resources, names int
	}{
		{"one span", false, 1, 1, 1},
		{"some of everything", false, 300, 5, 8},
		{"nothing that can be left out", true, 300, 5, 8},
		{"names beyond one byte", false, 2000, 3, 700},
		{"more resources than spans", false, 40, 90, 30},
		{"bare again", true, 10, 2, 2},
		{"many", false, 5000, 40, 40},
	} {
		t.Run(shape.name, func(t *testing.T) {
			d := drawer{rand.New(rand.NewPCG(uint64(seed), 1)), shape.bare}
			b := d.block(shape.rows, shape.resources, shape.names)
			if seed == 1 {
				// One value that is longer than a frame.
				b.StatusMessages.Truncate(shape.rows - 1)
				b.StatusMessages.Append(strings.Repeat("long ", 100_000))
			}
			ids := make([]spans.TraceID, traces) // of this block alone
			for i := range ids {
				ids[i] = spans.TraceID{1, 14: byte(seed), 15: byte(i)}
			}
			for i := range b.TraceIDs {
				b.TraceIDs[i][14] = byte(seed)
			}
			p.ID, p.At = uint64(seed+1), time.Now()
			e.Encode(b, &p)
			if p.Rows != shape.rows {
				t.Fatalf("%d rows are packed", p.Rows)
			}
			if err := db.InsertBlock(t.Context(), &p, false); err != nil {
				t.Fatal(err)
			}
			var got spans.Block
			if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: ids, SpansMax: 100_000, Whole: true}, &got); err != nil {
				t.Fatal(err)
			}
			wanted, read := rowsOf(b), rowsOf(&got)
			if got.Len() != shape.rows || len(read) != len(wanted) {
				t.Fatalf("%d spans, %d of them different, came back of %d", got.Len(), len(read), shape.rows)
			}
			bad := 0
			for id, want := range wanted {
				if diff := cmp.Diff(want, read[id]); diff != "" && bad < 3 {
					bad++
					t.Errorf("span %x, packed (-) and read back (+):\n%s", id, diff)
				}
			}
		})
	}
}

// suspicious are the attributes that storage/native/suspect.go and the table's DEFAULT look at, and some that are like them.
var suspicious = []string{
	"error.type", "rpc.connect_rpc.error_code", "http.response.status_code", "http.status_code", "rpc.grpc.status_code",
	"rpc.response.status_code", "rpc.status_code", "error", "Error", "error.types", "http.status_code ", "",
}

var suspiciousValues = []string{
	"399", "400", "0400", "+500", " 500", "OK", "0", "", "401", "499", "500", "599", "99", "100", "4", "40", "999", "1000", "65535",
	"00", "-0", "+0", "ok", "Ok", "OK ", "1", "2", "true", "True", "TRUE", "false", "true ", "yes", "500 ", "500.0", "4e2", "0x190", "4a0", "a400",
	"-1", "-500", "５００", "\x00", "500\x00", "UNAVAILABLE", "_OTHER", "[500]", "null", "00000500", "4_00", "500\n", "65536", "65936", "70000", "99999999999999999999", "-65000",
}

// TestSuspectIsTheTablesDefault: other writers leave the column to the table, and blame must select the same.
func TestSuspectIsTheTablesDefault(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	b := &spans.Block{}
	say := func(status spans.Status, event string, pairs ...string) {
		i := b.Len()
		appendServers(b, i, i+1, func(int) string { return fmt.Sprintf("status %d, event %q, %q", status, event, pairs) })
		b.Attrs.Truncate(i)
		for p := 0; p < len(pairs); p += 2 {
			b.Attrs.Pair(pairs[p], pairs[p+1])
		}
		b.Attrs.EndRow()
		b.Statuses[i] = status
		if event != "" {
			b.Events.TimeNs = append(b.Events.TimeNs, 1)
			b.Events.Names.Append(event)
			b.Events.Attrs.EndRow()
			b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 0)
		}
		b.EventEnds[i] = uint32(len(b.Events.TimeNs))
	}
	for _, status := range []spans.Status{spans.StatusUnset, spans.StatusOK, spans.StatusError} {
		for _, event := range []string{"", "exception", "Exception", "exception "} {
			say(status, event)
			say(status, event, "error", "true")
			say(status, event, "http.status_code", "200")
		}
	}
	for _, key := range suspicious {
		for _, value := range suspiciousValues {
			say(spans.StatusUnset, "", key, value)
			say(spans.StatusUnset, "", "other", "x", key, value, "error", "false")
			say(spans.StatusUnset, "", "http.response.status_code", value, "rpc.grpc.status_code", "0")
		}
	}
	if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
		t.Fatal(err)
	}
	const columns = "Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName, SpanAttributes, Duration, StatusCode, Events.Timestamp, Events.Name, Events.Attributes"
	if err := conn.Exec(t.Context(), "INSERT INTO otel_traces ("+columns+") SELECT "+columns+" FROM otel_traces WHERE Block = 1"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT any(SpanName), toUInt8(maxIf(Suspect, Block = 1)), toUInt8(maxIf(Suspect, Block = 0)), countIf(Block = 1), countIf(Block = 0)
		FROM otel_traces GROUP BY SpanId`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	said := map[uint8]int{}
	for rows.Next() {
		var name string
		var sent, byDefault uint8
		var ours, theirs uint64
		if err := rows.Scan(&name, &sent, &byDefault, &ours, &theirs); err != nil {
			t.Fatal(err)
		}
		if sent != byDefault || ours != 1 || theirs != 1 {
			t.Errorf("%s: the collector says %d, the table %d (%d and %d rows)", name, sent, byDefault, ours, theirs)
		}
		said[sent]++
	}
	if err := rows.Err(); err != nil || said[0]+said[1] != b.Len() || min(said[0], said[1]) < 100 {
		t.Errorf("%v of %d spans: %v", said, b.Len(), err)
	}
}

func TestResourcesThatDifferInWhatWasDropped(t *testing.T) {
	db := clickhousetest.DB(t)
	b := &spans.Block{}
	for i := range 2 {
		appendServers(b, i, i+1, func(int) string { return "x" })
		b.TraceIDs[i] = spans.TraceID{1}
		b.ResourceOf[i], b.ScopeOf[i] = uint32(i), uint32(i)
		b.Resources.DroppedAttrs[i], b.Scopes.DroppedAttrs[i] = uint32(i), uint32(i)
	}
	if err := clickhousetest.Insert(t.Context(), db, b, 1); err != nil {
		t.Fatal(err)
	}
	var got spans.Block
	if err := db.ReadTraces(t.Context(), storage.TraceQuery{IDs: b.TraceIDs[:1], SpansMax: 10, Whole: true}, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rowsOf(b), rowsOf(&got)); diff != "" {
		t.Errorf("inserted (-) and read back (+):\n%s", diff)
	}
}
