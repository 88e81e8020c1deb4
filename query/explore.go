package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// TraceReader is what an Explorer needs of the storage.
type TraceReader interface {
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
	FindTraces(ctx context.Context, q storage.TraceSearch) ([]spans.TraceID, error)
	SummarizeTraces(ctx context.Context, ids []spans.TraceID) ([]storage.TraceSummary, error)
	MatchedSpans(ctx context.Context, q storage.TraceSearch, ids []spans.TraceID, fields []storage.FieldRef) (map[spans.TraceID][]storage.SpanMatch, error)
	SpanServices(ctx context.Context) ([]string, error)
	SpanOperations(ctx context.Context, service string) ([]storage.SpanOperation, error)
	AttributeKeys(ctx context.Context, from, to time.Time) (ofSpans, ofResources []string, err error)
	Values(ctx context.Context, f storage.FieldRef, m storage.Match, from, to time.Time, limit int) ([]string, error)
	Edges(ctx context.Context, w storage.TrafficWindow) ([]storage.Edge, error)
	Missing(ctx context.Context) []string
}

// Explorer answers what trace viewers ask: for traces as they came, and for what there is to search for. It is safe for
// concurrent use.
type Explorer struct {
	reader   TraceReader
	verdicts func(ctx context.Context, traceID string) ([]verdict.Verdict, error)
	// Begin gives a question of a viewer its deadline and its place among those that run; what it asks here in turn needs none. What
	// Begin returns is to be called when the question is answered.
	Begin func(ctx context.Context) (context.Context, func(), error)

	services   kept[[]string]
	operations kept[[]storage.SpanOperation]
	keys       kept[[2][]string]
	values     kept[[]string]
}

// NewExplorer makes an explorer. The service says what it thinks of a trace.
func NewExplorer(reader TraceReader, service *Service) *Explorer {
	begin := func(ctx context.Context) (context.Context, func(), error) { return service.begin(ctx) }
	return &Explorer{reader: reader, verdicts: service.Verdicts, Begin: begin}
}

// The limits of searches and of what they bring.
const (
	SearchMax = 500 // traces
	// SpansMax is how many spans of a trace are handed out.
	SpansMax = 20_000
	// foundSpansMax is how many spans the traces of an answer have together.
	foundSpansMax = SpansMax
	foundBytesMax = 256 << 20
	// readAtOnce is how many traces are read at once: as many as most searches bring.
	readAtOnce = 20
	// keysWindow is how far before the end of a time keys and values of attributes are looked for.
	keysWindow = 24 * time.Hour
	valuesMax  = 1000
)

// Search finds traces, newest first. A limit over SearchMax counts as that.
func (e *Explorer) Search(ctx context.Context, q storage.TraceSearch) ([]spans.TraceID, error) {
	var err error
	if q.From, q.To, err = window(q.From, q.To); err != nil {
		return nil, err
	}
	if q.Limit <= 0 {
		return nil, Wrong("limit", "limit %d is not positive", q.Limit)
	}
	q.Limit = min(q.Limit, SearchMax)
	return e.reader.FindTraces(ctx, q)
}

// Found is what a list says of a trace, and the earliest of its spans that were searched for.
type Found struct {
	storage.TraceSummary
	Matched []storage.SpanMatch
}

// Summaries sums up traces that a search found, with as many of the spans found as is said, and some of their fields.
func (e *Explorer) Summaries(ctx context.Context, q storage.TraceSearch, ids []spans.TraceID, matched int, fields []storage.FieldRef) ([]Found, error) {
	var byID map[spans.TraceID][]storage.SpanMatch
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		q.Limit = matched
		byID, err = e.reader.MatchedSpans(both, q, ids, fields)
		return err
	})
	summaries, err := e.reader.SummarizeTraces(both, ids)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nil, err
	}
	list := make([]Found, len(summaries))
	for i := range summaries {
		list[i] = Found{summaries[i], byID[summaries[i].TraceID]}
	}
	return list, nil
}

// Trace is a trace as it came.
type Trace struct {
	ID spans.TraceID
	// Spans has all that spans came with. Rows are those of this trace, the earliest first.
	Spans *spans.Block
	Rows  []int
	// Cut says that there are more spans than SpansMax; these are the earliest.
	Cut bool
	// Verdicts are what we think of it: when one trace was asked for, and it could be judged.
	Verdicts []verdict.Verdict
}

// Trace reads one trace, and with judged what we think of it.
func (e *Explorer) Trace(ctx context.Context, id spans.TraceID, judged bool) (*Trace, error) {
	var verdicts []verdict.Verdict
	var group sync.WaitGroup
	if judged {
		// Whoever asks for spans gets them, judged or not.
		group.Go(func() { verdicts, _ = e.verdicts(ctx, fmt.Sprintf("%x", id[:])) })
	}
	list, err := e.read(ctx, []spans.TraceID{id})
	group.Wait()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if missing := e.reader.Missing(ctx); len(missing) > 0 {
			return nil, fmt.Errorf("trace %x: %w; missing: %s", id[:], ErrMissing, strings.Join(missing, ", "))
		}
		return nil, fmt.Errorf("trace %x: %w", id[:], ErrNotFound)
	}
	list[0].Verdicts = verdicts
	return list[0], nil
}

// Traces reads traces, in the order of their ids and as many as an answer may have, and says how many more there are.
func (e *Explorer) Traces(ctx context.Context, ids []spans.TraceID) (list []*Trace, more int, err error) {
	left := foundSpansMax
	for atOnce := readAtOnce; len(ids) > 0; {
		n := min(atOnce, len(ids))
		part, err := e.read(ctx, ids[:n])
		if errors.Is(err, storage.ErrTooLarge) && n > 1 {
			atOnce = n / 2
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		for i, t := range part {
			if left -= len(t.Rows); left < 0 && len(list) > 0 {
				return list, len(part) - i + len(ids) - n, nil
			}
			list = append(list, t)
		}
		ids = ids[n:]
	}
	return list, 0, nil
}

func (e *Explorer) read(ctx context.Context, ids []spans.TraceID) ([]*Trace, error) {
	b := new(spans.Block)
	if err := e.reader.ReadTraces(ctx, storage.TraceQuery{IDs: ids, SpansMax: SpansMax + 1, BytesMax: foundBytesMax, Whole: true}, b); err != nil {
		return nil, err
	}
	byID := make(map[spans.TraceID]*Trace, len(ids))
	for i := range b.Len() {
		t := byID[b.TraceIDs[i]]
		if t == nil {
			t = &Trace{ID: b.TraceIDs[i], Spans: b}
			byID[t.ID] = t
		}
		t.Rows = append(t.Rows, i)
	}
	var list []*Trace
	for _, id := range ids {
		t := byID[id]
		if t == nil {
			continue
		}
		slices.SortStableFunc(t.Rows, func(x, y int) int {
			if b.StartNs[x] != b.StartNs[y] {
				return int(min(max(b.StartNs[x]-b.StartNs[y], -1), 1))
			}
			return slices.Compare(b.SpanIDs[x][:], b.SpanIDs[y][:])
		})
		if t.Cut = len(t.Rows) > SpansMax; t.Cut {
			t.Rows = t.Rows[:SpansMax]
		}
		list = append(list, t)
		delete(byID, id) // it may have been asked for twice
	}
	return list, nil
}

// Services are the services that have spans.
func (e *Explorer) Services(ctx context.Context) ([]string, error) {
	return e.services.get("", e.whole(ctx), textBytes, func() ([]string, error) { return e.reader.SpanServices(ctx) })
}

// Operations is what a service does, of the kind given or of any.
func (e *Explorer) Operations(ctx context.Context, service, kind string) ([]storage.SpanOperation, error) {
	if err := bounded(text{"service", service}); err != nil {
		return nil, err
	}
	all, err := e.operations.get(service, e.whole(ctx), operationBytes, func() ([]storage.SpanOperation, error) {
		return e.reader.SpanOperations(ctx, service)
	})
	if err != nil || kind == "" {
		return all, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(o storage.SpanOperation) bool { return o.Kind != kind }), nil
}

// Keys are the keys of attributes that spans and resources have, of spans that began within the last day before a time.
func (e *Explorer) Keys(ctx context.Context, from, to time.Time) (ofSpans, ofResources []string, err error) {
	if from, to, err = lastDay(from, to); err != nil {
		return nil, nil, err
	}
	both, err := e.keys.get(from.Truncate(keptFor).String()+to.Truncate(keptFor).String(), e.whole(ctx), keyBytes, func() (both [2][]string, err error) {
		both[0], both[1], err = e.reader.AttributeKeys(ctx, from, to)
		return both, err
	})
	return both[0], both[1], err
}

// Values are those that a field has, the most frequent first.
func (e *Explorer) Values(ctx context.Context, f storage.FieldRef, m storage.Match, from, to time.Time, limit int) ([]string, error) {
	from, to, err := lastDay(from, to)
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > valuesMax {
		limit = valuesMax
	}
	key := fmt.Sprintf("%v %+v %v %v %d", f, m, from.Truncate(keptFor), to.Truncate(keptFor), limit)
	return e.values.get(key, e.whole(ctx), textBytes, func() ([]string, error) { return e.reader.Values(ctx, f, m, from, to, limit) })
}

func lastDay(from, to time.Time) (time.Time, time.Time, error) {
	from, to, err := window(from, to)
	if from.Before(to.Add(-keysWindow)) {
		from = to.Add(-keysWindow)
	}
	return from, to, err
}

// Calls says who called whom, and how often, within a time.
func (e *Explorer) Calls(ctx context.Context, from, to time.Time) ([]storage.Edge, error) {
	from, to, err := window(from, to)
	if err != nil {
		return nil, err
	}
	edges, err := e.reader.Edges(ctx, storage.NewTrafficWindow(from, to, time.Now()))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(edges, func(c storage.Edge) bool { return c.Caller == storage.UserCaller }), nil
}

// whole asks whether all shards answer: what only some say is not kept.
func (e *Explorer) whole(ctx context.Context) func() bool {
	return func() bool { return len(e.reader.Missing(ctx)) == 0 }
}

// Missing names the shards that do not answer.
func (e *Explorer) Missing(ctx context.Context) []string { return e.reader.Missing(ctx) }

// keptFor is how long names are kept: to list them is to look at all spans, and they hardly change within a minute.
const (
	keptFor      = time.Minute
	keptMax      = 200 // answers
	keptBytesMax = 16 << 20
)

// kept is answers that were given within the last minute. Who asks for one while it is being looked for waits for it. When there are
// too many, or too large ones, all are forgotten.
type kept[T any] struct {
	mu      sync.Mutex
	answers map[string]*keptAnswer[T]
	bytes   int // of them together
}

type keptAnswer[T any] struct {
	mu    sync.Mutex
	at    time.Time
	of    T
	bytes int
}

func (k *kept[T]) get(key string, whole func() bool, size func(T) int, look func() (T, error)) (T, error) {
	k.mu.Lock()
	if k.answers == nil || len(k.answers) >= keptMax && k.answers[key] == nil {
		k.answers, k.bytes = make(map[string]*keptAnswer[T]), 0
	}
	a := k.answers[key]
	if a == nil {
		a = new(keptAnswer[T])
		k.answers[key] = a
	}
	k.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.at.IsZero() && time.Since(a.at) < keptFor {
		return a.of, nil
	}
	of, err := look()
	if err == nil && whole() {
		a.of, a.at = of, time.Now()
		k.count(key, a, size(of))
	}
	return of, err
}

// count adds an answer to the bytes of all, unless it was forgotten while it was being looked for.
func (k *kept[T]) count(key string, a *keptAnswer[T], bytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.answers[key] != a {
		return
	}
	k.bytes += bytes - a.bytes
	a.bytes = bytes
	if k.bytes > keptBytesMax {
		k.answers, k.bytes = nil, 0
	}
}

// stringBytes is what a string takes beside its letters.
const stringBytes = 16

func textBytes(list []string) (n int) {
	for _, text := range list {
		n += len(text) + stringBytes
	}
	return n
}

func keyBytes(both [2][]string) int { return textBytes(both[0]) + textBytes(both[1]) }

func operationBytes(list []storage.SpanOperation) (n int) {
	for i := range list {
		n += len(list[i].Name) + len(list[i].Kind) + 2*stringBytes
	}
	return n
}
