package collector

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/collector/spool"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/native/nativetest"
	"github.com/whosehop/whosehop/storage/spans"
)

// cluster is a sink of three shards that looks into what it stores.
type cluster struct {
	*ledger
	shards *native.Shards
	faults [3]atomic.Pointer[func(context.Context) error]

	mu      sync.Mutex
	spans   map[string]int // by trace
	rows    [3]int
	inserts [3]int // begun
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{shards: native.NewShards([]uint32{1, 2, 1}), spans: make(map[string]int)}
	c.ledger = newLedger(t, func(ctx context.Context, p *native.Packed) error {
		c.mu.Lock()
		c.inserts[p.Shard]++
		c.mu.Unlock()
		if fault := c.faults[p.Shard].Load(); fault != nil {
			if err := (*fault)(ctx); err != nil {
				return err
			}
		}
		c.take(p)
		return nil
	})
	return c
}

func (c *cluster) take(p *native.Packed) {
	texts := nativetest.Words(c.t, p.Frames, "TraceId")
	if len(texts) != p.Rows {
		c.t.Errorf("a block of %d rows has %d", p.Rows, len(texts))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows[p.Shard] += len(texts)
	for _, text := range texts {
		c.spans[text]++
		var id spans.TraceID
		if _, err := hex.Decode(id[:], []byte(text)); err != nil || c.shards.Of(id) != p.Shard {
			c.t.Errorf("trace %s of shard %d was brought to shard %d (%v)", text, c.shards.Of(id), p.Shard, err)
		}
	}
}

func (c *cluster) sink() *sink {
	return &sink{insert: c.insert, shards: func() *native.Shards { return c.shards }}
}

func (c *cluster) spoil(shard int, fault func(context.Context) error) { c.faults[shard].Store(&fault) }

// hang lets inserts into a shard wait until they are released.
func (c *cluster) hang(shard int) (release func()) {
	released := make(chan struct{})
	c.spoil(shard, func(context.Context) error { <-released; return nil })
	return sync.OnceFunc(func() { close(released) })
}

func (c *cluster) heal(shard int) { c.faults[shard].Store(nil) }

func (c *cluster) rowsAt(shard int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows[shard]
}

// checkTraces says of the traces of so many requests that each is stored, and once.
func (c *cluster) checkTraces(requests int) {
	c.t.Helper()
	c.check()
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := requests * tracesOfRequest; len(c.spans) != want {
		c.t.Errorf("%d traces are stored, want %d", len(c.spans), want)
	}
	for id, n := range c.spans {
		if n != spansOfTrace {
			c.t.Errorf("%d spans of trace %s are stored, want %d", n, id, spansOfTrace)
		}
	}
}

const tracesOfRequest, spansOfTrace = 40, 3

// traceOf is a trace of a request.
func traceOf(request, i int) spans.TraceID { return spans.TraceID{1, 7: byte(request), 15: byte(i)} }

// shardsRequest has traces of all shards, the spans of which are apart.
func shardsRequest(request int) ptraceotlp.ExportRequest {
	d := ptrace.NewTraces()
	list := d.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for n := range spansOfTrace {
		for i := range tracesOfRequest {
			s := list.AppendEmpty()
			s.SetTraceID(pcommon.TraceID(traceOf(request, i)))
			s.SetSpanID(pcommon.SpanID{1, 6: byte(i), 7: byte(n)})
			s.SetName("x")
		}
	}
	return ptraceotlp.NewExportRequestFromTraces(d)
}

// wantRows is how many spans of the requests from 0 lie on a shard.
func (c *cluster) wantRows(shard, requests int) (rows int) {
	for request := range requests {
		for i := range tracesOfRequest {
			if c.shards.Of(traceOf(request, i)) == shard {
				rows += spansOfTrace
			}
		}
	}
	return rows
}

func postShards(t *testing.T, c *Collector, request int) int {
	t.Helper()
	code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, shardsRequest(request))))
	return code
}

func isAway(context.Context) error { return passing{} }

func TestTracesGoToTheirShards(t *testing.T) {
	for name, cfg := range map[string]Config{"with a spool": spoolConfig(t), "without": testConfig()} {
		t.Run(name, func(t *testing.T) {
			shards := newCluster(t)
			c := start(t, cfg, shards.sink())
			var group sync.WaitGroup
			for request := range 20 {
				group.Go(func() {
					if code := postShards(t, c, request); code != http.StatusOK {
						t.Errorf("answered %d", code)
					}
				})
			}
			group.Wait()
			if c.committer.spool != nil {
				drained(t, c) // what a slow machine did not store in time
			}
			shards.checkTraces(20)
		})
	}
}

// TestOneShardAway: the others are stored as ever, and what was acknowledged for it is stored when it is back.
func TestOneShardAway(t *testing.T) {
	shards := newCluster(t)
	shards.spoil(1, isAway)
	cfg := spoolConfig(t)
	cfg.SpoolAfter = cfg.InsertTimeout // who waited for the shard that is away would be seen
	c := start(t, cfg, shards.sink())
	const requests = 6
	began := time.Now()
	for request := range requests {
		if code := postShards(t, c, request); code != http.StatusOK {
			t.Fatalf("answered %d", code)
		}
		for _, shard := range []int{0, 2} {
			if got, want := shards.rowsAt(shard), shards.wantRows(shard, request+1); got != want {
				t.Fatalf("%d spans of shard %d are stored, want %d", got, shard, want)
			}
		}
	}
	if took := time.Since(began); took > cfg.SpoolAfter/2 {
		t.Errorf("answered after %s", took)
	}
	if got := shards.rowsAt(1); got != 0 {
		t.Errorf("%d spans are stored on the shard that is away", got)
	}
	for shard, want := range []int{0, requests, 0} {
		if blocks, _ := c.committer.spool.StateOf(shard); blocks != want {
			t.Errorf("%d blocks of shard %d are in the spool, want %d", blocks, shard, want)
		}
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error("there is room in the spool:", err)
	}
	shards.heal(1)
	drained(t, c)
	shards.checkTraces(requests)
	if code := postShards(t, c, requests); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	if got, want := shards.rowsAt(1), shards.wantRows(1, requests+1); got != want {
		t.Errorf("%d spans of the shard that is back are stored, want %d: the way is free again", got, want)
	}
}

// TestOneShardHangs: it takes no turns of the others, and its senders do not wait for it longer than for the spool.
func TestOneShardHangs(t *testing.T) {
	shards := newCluster(t)
	release := shards.hang(2)
	cfg := spoolConfig(t)
	c := start(t, cfg, shards.sink())
	t.Cleanup(release) // before the end of the collector
	const requests = 2*inflightMax + 3
	for request := range requests {
		if code := postShards(t, c, request); code != http.StatusOK {
			t.Errorf("answered %d", code)
		}
	}
	for _, shard := range []int{0, 1} {
		waitUntil(t, "the other shards", func() bool { return shards.rowsAt(shard) == shards.wantRows(shard, requests) })
	}
	if blocks, _ := c.committer.spool.StateOf(2); blocks != requests || shards.rowsAt(2) != 0 {
		t.Errorf("%d blocks of the shard that hangs are in the spool", blocks)
	}
	release()
	drained(t, c)
	shards.checkTraces(requests)
}

// TestAShardThatIsBehindHoldsUpNoOther: blocks are sealed for the others while all that may be under way to it is.
func TestAShardThatIsBehindHoldsUpNoOther(t *testing.T) {
	shards := newCluster(t)
	release := shards.hang(2)
	cfg := spoolConfig(t)
	cfg.SpoolAfter = cfg.InsertTimeout // longer than waitUntil waits
	c := start(t, cfg, shards.sink())
	t.Cleanup(release)                               // before the end of the collector
	post(t, c, typeProto, "", strings.NewReader("")) // once that is answered, it runs
	c.committer.lanes().list[2].behind.Store(true)
	const requests = inflightMax + 3
	var group sync.WaitGroup
	for request := range requests {
		group.Go(func() {
			if code := postShards(t, c, request); code != http.StatusOK {
				t.Errorf("answered %d", code)
			}
		})
		for _, shard := range []int{0, 1} {
			waitUntil(t, "the other shards", func() bool { return shards.rowsAt(shard) == shards.wantRows(shard, request+1) })
		}
	}
	release()
	group.Wait()
	drained(t, c)
	shards.checkTraces(requests)
}

// TestTheSpoolOfSeveralShards is left by one collector and drained by others, as shards come back.
func TestTheSpoolOfSeveralShards(t *testing.T) {
	shards := newCluster(t)
	for shard := range 3 {
		shards.spoil(shard, isAway)
	}
	cfg := spoolConfig(t)
	const requests = 3
	t.Run("all are away", func(t *testing.T) {
		c := start(t, cfg, shards.sink())
		for request := range requests {
			if code := postShards(t, c, request); code != http.StatusOK {
				t.Fatalf("answered %d", code)
			}
		}
	})
	shards.heal(0)
	shards.heal(2)
	t.Run("one is away", func(t *testing.T) {
		c := start(t, cfg, shards.sink())
		for shard, want := range []int{0, requests, 0} {
			waitUntil(t, "the other shards", func() bool {
				blocks, _ := c.committer.spool.StateOf(shard)
				return blocks == want
			})
		}
		for _, shard := range []int{0, 2} {
			if got, want := shards.rowsAt(shard), shards.wantRows(shard, requests); got != want {
				t.Errorf("%d spans of shard %d are stored, want %d", got, shard, want)
			}
		}
	})
	shards.heal(1)
	c := start(t, cfg, shards.sink())
	drained(t, c)
	shards.checkTraces(requests)
}

// TestKilledWithBlocksOfSeveralShards: the files of a moment are what a kill leaves. All inserts were begun then.
func TestKilledWithBlocksOfSeveralShards(t *testing.T) {
	shards := newCluster(t)
	for shard := range 3 {
		shards.spoil(shard, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	}
	cfg := spoolConfig(t)
	cfg.DrainTimeout = 50 * time.Millisecond
	left := filepath.Join(t.TempDir(), "left")
	const requests = inflightMax + 1 // the last is the drainers'
	t.Run("killed", func(t *testing.T) {
		c := start(t, cfg, shards.sink())
		for request := range requests {
			if code := postShards(t, c, request); code != http.StatusOK {
				t.Fatalf("answered %d", code)
			}
		}
		waitUntil(t, "all inserts to be begun", func() bool {
			shards.mu.Lock()
			defer shards.mu.Unlock()
			return shards.inserts == [3]int{requests, requests, requests}
		})
		if err := os.CopyFS(left, os.DirFS(cfg.SpoolDir)); err != nil {
			t.Fatal(err)
		}
	})
	for shard := range 3 {
		shards.heal(shard)
	}
	cfg.SpoolDir = left
	c := start(t, cfg, shards.sink())
	drained(t, c)
	shards.checkTraces(requests)
}

// TestShardsThatAreNotKnown: nothing is taken before ClickHouse has said which there are, and nothing is lost.
func TestShardsThatAreNotKnown(t *testing.T) {
	shards := newCluster(t)
	for shard := range 3 {
		shards.spoil(shard, isAway)
	}
	cfg := spoolConfig(t)
	t.Run("a collector leaves something in the spool", func(t *testing.T) {
		if code := postShards(t, start(t, cfg, shards.sink()), 0); code != http.StatusOK {
			t.Fatalf("answered %d", code)
		}
	})
	for shard := range 3 {
		shards.heal(shard)
	}
	var known atomic.Pointer[native.Shards]
	s := shards.sink()
	s.shards = known.Load
	c := start(t, cfg, s)
	code, header, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, shardsRequest(1))))
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("answered %d", code)
	}
	if _, err := client(t, c).Export(t.Context(), shardsRequest(1)); status.Code(err) != codes.Unavailable || !hasRetryInfo(err) {
		t.Errorf("answered %v", err)
	}
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "ClickHouse") {
		t.Errorf("ready, and takes nothing: %v", err)
	}
	if state := c.committer.spool.State(); state.Blocks != 3 {
		t.Errorf("%+v", state)
	}
	known.Store(shards.shards)
	drained(t, c)
	if code := postShards(t, c, 1); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	drained(t, c)
	shards.checkTraces(2)
}

// TestAShardThatIsNoMore: its blocks are nobody else's.
func TestAShardThatIsNoMore(t *testing.T) {
	cfg := spoolConfig(t)
	larger := &sink{
		insert: func(context.Context, *native.Packed, bool) error { return passing{} },
		shards: func() *native.Shards { return native.NewShards([]uint32{0, 0, 0, 1}) },
	}
	t.Run("a cluster of four", func(t *testing.T) {
		if code := postShards(t, start(t, cfg, larger), 0); code != http.StatusOK {
			t.Fatalf("answered %d", code)
		}
	})
	shards := newCluster(t)
	c, counter := startCounting(t, cfg, shards.sink())
	waitUntil(t, "the block to be set aside", func() bool { return counter(setAsideName) == 1 })
	if files := spoolFiles(t, cfg, "*.refused"); len(files) != 1 {
		t.Errorf("set aside: %q", files)
	}
	if code := postShards(t, c, 1); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	drained(t, c)
	shards.checkTraces(1)
}

// TestOneShardAwayAndTheSpoolFull: senders are turned away at the door, so that the others do not get the same again and again.
func TestOneShardAwayAndTheSpoolFull(t *testing.T) {
	shards := newCluster(t)
	shards.spoil(1, isAway)
	cfg := spoolConfig(t)
	cfg.SpoolAgeMax = time.Minute
	c := start(t, cfg, shards.sink())
	if code := postShards(t, c, 0); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	waitUntil(t, "the shard to be away", func() bool { return c.committer.lanes().list[1].away.Load() })
	var e *spool.Entry
	waitUntil(t, "the drainer to let go of the block", func() bool {
		e = c.committer.spool.Take(1)
		return e != nil
	})
	e.At = e.At.Add(-2 * cfg.SpoolAgeMax)
	c.committer.spool.Release(e)
	began := shards.rowsAt(0)
	for range 3 {
		if code := postShards(t, c, 1); code != http.StatusTooManyRequests {
			t.Errorf("answered %d", code)
		}
	}
	if got := shards.rowsAt(0); got != began {
		t.Errorf("%d spans of requests that were turned away are stored", got-began)
	}
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "shard 2 of ClickHouse is away and the spool is full") {
		t.Error(err)
	}
	shards.heal(1)
	drained(t, c)
	if code := postShards(t, c, 1); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	drained(t, c)
	shards.checkTraces(2)
}

// TestOneShardFailsWithoutASpool: the sender is told, and the others go on.
func TestOneShardFailsWithoutASpool(t *testing.T) {
	for name, test := range map[string]struct {
		fault error
		code  int
	}{
		"for now":  {passing{}, http.StatusServiceUnavailable},
		"for good": {errors.New("no such column"), http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			shards := newCluster(t)
			shards.spoil(1, func(context.Context) error { return test.fault })
			c := start(t, testConfig(), shards.sink())
			if code := postShards(t, c, 0); code != test.code {
				t.Errorf("answered %d, want %d", code, test.code)
			}
			if err := c.Ready(t.Context()); err == nil {
				t.Error("ready, and one shard takes nothing")
			}
			for _, shard := range []int{0, 2} {
				if got, want := shards.rowsAt(shard), shards.wantRows(shard, 1); got != want {
					t.Errorf("%d spans of shard %d are stored, want %d", got, shard, want)
				}
			}
			shards.heal(1)
			if code := postShards(t, c, 1); code != http.StatusOK {
				t.Errorf("answered %d", code)
			}
			if err := c.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGravest(t *testing.T) {
	refused := errors.New("refused")
	for _, test := range []struct {
		errs []error
		want error
	}{
		{nil, nil},
		{[]error{nil, nil}, nil},
		{[]error{nil, refused, nil}, refused},
		{[]error{refused, errUnavailable}, errUnavailable},
		{[]error{errOverloaded, refused}, errOverloaded},
	} {
		if got := gravest(test.errs); !errors.Is(got, test.want) {
			t.Errorf("%v of %v, want %v", got, test.errs, test.want)
		}
	}
}
