package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// traceReader has traces with as many spans as are told, and counts how often it is asked for services.
type traceReader struct {
	TraceReader // what is not asked for
	spans       map[spans.TraceID]int
	asked       int
	missing     []string
	err         error
	from, to    time.Time
	limit       int
	atOnce      int // how many traces can be read at once
}

func (r *traceReader) Missing(context.Context) []string { return r.missing }

func (r *traceReader) SpanServices(context.Context) ([]string, error) {
	r.asked++
	return []string{fmt.Sprint("asked ", r.asked)}, r.err
}

func (r *traceReader) SpanOperations(_ context.Context, service string) ([]storage.SpanOperation, error) {
	r.asked++
	return []storage.SpanOperation{{Name: service, Kind: "client"}, {Name: service, Kind: "server"}}, nil
}

func (r *traceReader) FindTraces(_ context.Context, q storage.TraceSearch) ([]spans.TraceID, error) {
	r.from, r.to, r.limit = q.From, q.To, q.Limit
	return nil, r.err
}

func (r *traceReader) Values(_ context.Context, _ storage.FieldRef, _ storage.Match, from, to time.Time, limit int) ([]string, error) {
	r.from, r.to, r.limit = from, to, limit
	return nil, r.err
}

func (r *traceReader) ReadTraces(_ context.Context, q storage.TraceQuery, b *spans.Block) error {
	if r.atOnce > 0 && len(q.IDs) > r.atOnce {
		return fmt.Errorf("read: %w", storage.ErrTooLarge)
	}
	for at, id := range slices.Backward(q.IDs) { // traces come in no order, and spans neither
		if slices.Index(q.IDs, id) != at {
			continue
		}
		n := min(r.spans[id], q.SpansMax)
		for i := range n {
			b.TraceIDs = append(b.TraceIDs, id)
			b.SpanIDs = append(b.SpanIDs, spans.SpanID{})
			b.StartNs = append(b.StartNs, int64(n-i))
		}
	}
	return nil
}

func explorer(r *traceReader) *Explorer {
	return &Explorer{reader: r, verdicts: func(_ context.Context, id string) ([]verdict.Verdict, error) {
		return []verdict.Verdict{{TraceID: id}}, nil
	}}
}

func TestTracesAreBounded(t *testing.T) {
	long, short, none := spans.TraceID{1}, spans.TraceID{2}, spans.TraceID{3}
	r := &traceReader{spans: map[spans.TraceID]int{long: SpansMax + 5, short: 2}}
	e := explorer(r)
	got, err := e.Trace(t.Context(), long, true)
	if err != nil || !got.Cut || len(got.Rows) != SpansMax || len(got.Verdicts) != 1 || got.Spans.StartNs[got.Rows[0]] != 1 {
		t.Fatalf("%d rows, %v", len(got.Rows), err)
	}
	if got, err = e.Trace(t.Context(), short, false); err != nil || got.Cut || len(got.Rows) != 2 || got.Verdicts != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err = e.Trace(t.Context(), none, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no span: %v", err)
	}
	r.missing = []string{"shard 2"}
	if _, err = e.Trace(t.Context(), none, true); !errors.Is(err, ErrMissing) {
		t.Errorf("while a shard is away: %v", err)
	}
	r.missing = nil
	list, more, err := e.Traces(t.Context(), []spans.TraceID{short, long, short})
	if err != nil || len(list) != 1 || list[0].ID != short || more != 1 {
		t.Errorf("%d traces, %d more, %v", len(list), more, err)
	}
	if list, more, err = e.Traces(t.Context(), []spans.TraceID{long, short, none}); err != nil || len(list) != 1 || list[0].ID != long || more != 1 {
		t.Errorf("the first is always there: %d traces, %d more, %v", len(list), more, err)
	}
	var many []spans.TraceID
	for i := range 3*readAtOnce + 1 {
		id := spans.TraceID{9, byte(i)}
		r.spans[id] = 1
		many = append(many, id)
	}
	for _, r.atOnce = range []int{0, 1, 3} {
		if list, more, err = e.Traces(t.Context(), many); err != nil || len(list) != len(many) || more != 0 {
			t.Errorf("%d traces, %d more, %v", len(list), more, err)
		}
	}
	for i := range list {
		if list[i].ID != many[i] {
			t.Errorf("trace %d is another", i)
		}
	}
}

func TestNamesAreKept(t *testing.T) {
	r := &traceReader{err: errors.New("away")}
	e := explorer(r)
	ask := func(want string, asked int) {
		t.Helper()
		got, err := e.Services(t.Context())
		if (err == nil) != (r.err == nil) || err == nil && got[0] != want || r.asked != asked {
			t.Errorf("%q, %v, asked %d times, want %q, %d times", got, err, r.asked, want, asked)
		}
	}
	ask("", 1) // an error is not kept
	r.err, r.missing = nil, []string{"shard 2"}
	ask("asked 2", 2) // nor what only some shards say
	r.missing = nil
	ask("asked 3", 3)
	ask("asked 3", 3)
	e.services.answers[""].at = time.Now().Add(-keptFor)
	ask("asked 4", 4)
	for i := range keptMax + 10 {
		if _, err := e.Operations(t.Context(), fmt.Sprint(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.operations.answers); n > keptMax {
		t.Errorf("%d answers are kept", n)
	}
	if got, err := e.Operations(t.Context(), "5", "server"); err != nil || len(got) != 1 || got[0].Kind != "server" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := e.Operations(t.Context(), "5", ""); err != nil || len(got) != 2 {
		t.Errorf("of all kinds, after those of one: %+v, %v", got, err)
	}
}

// TestKeptAnswersAreBounded: many that are large are not kept together, and one that is larger than all may be not at all; who asks gets it.
func TestKeptAnswersAreBounded(t *testing.T) {
	var k kept[[]string]
	looked := 0
	ask := func(key string, bytes int) {
		t.Helper()
		got, err := k.get(key, func() bool { return true }, textBytes, func() ([]string, error) {
			looked++
			return []string{strings.Repeat("x", bytes-stringBytes)}, nil
		})
		if err != nil || textBytes(got) != bytes {
			t.Fatalf("%d bytes, %v", textBytes(got), err)
		}
		sum := 0
		for _, a := range k.answers {
			sum += textBytes(a.of)
		}
		if sum != k.bytes || sum > keptBytesMax {
			t.Errorf("%d bytes are kept, %d are counted", sum, k.bytes)
		}
	}
	const third = keptBytesMax / 3
	for i := range 10 {
		ask(fmt.Sprint(i), third)
	}
	if ask("9", third); looked != 10 || len(k.answers) != 2 {
		t.Errorf("%d answers are kept, %d were looked for", len(k.answers), looked)
	}
	k.answers["9"].at = time.Now().Add(-keptFor)
	ask("9", 2*third) // it has grown
	ask("large", keptBytesMax+1)
	if len(k.answers) != 0 {
		t.Errorf("%d answers are kept", len(k.answers))
	}
	ask("small", stringBytes+1)
	if looked = 0; len(k.answers) != 1 {
		t.Error("nothing is kept after that")
	}
	ask("small", stringBytes+1)
	if looked != 0 {
		t.Error("what is kept was looked for")
	}
}

func TestSearchesAreBounded(t *testing.T) {
	r := &traceReader{}
	e := explorer(r)
	now := time.Now()
	if _, err := e.Search(t.Context(), storage.TraceSearch{From: now.Add(-time.Hour), To: now, Limit: 1e6}); err != nil || r.limit != SearchMax {
		t.Errorf("limit %d, %v", r.limit, err)
	}
	for _, q := range []storage.TraceSearch{{Limit: 0}, {From: now, To: now, Limit: 1}, {From: now.Add(-2 * windowMax), To: now, Limit: 1}} {
		if _, err := e.Search(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if _, err := e.Operations(t.Context(), strings.Repeat("x", textBytesMax+1), ""); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := e.Values(t.Context(), storage.FieldRef{}, storage.Match{}, now.Add(-7*24*time.Hour), now, 0); err != nil || r.to.Sub(r.from) != keysWindow || r.limit != valuesMax {
		t.Errorf("from %v to %v, %d, %v", r.from, r.to, r.limit, err)
	}
}
