package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/collector/spool"
	"github.com/whosehop/whosehop/storage/native"
)

func spoolConfig(t *testing.T) Config {
	t.Helper()
	cfg := testConfig()
	cfg.SpoolDir, cfg.SpoolBytesMax, cfg.SpoolAgeMax, cfg.SpoolAfter = t.TempDir(), 64<<20, time.Hour, 20*time.Millisecond
	cfg.InsertTimeout = 30 * time.Second // a test that waits for it is seen
	return cfg
}

// ledger is the insert of a sink: it writes down each try, and holds `again` to what it saw.
type ledger struct {
	t *testing.T

	mu     sync.Mutex
	fault  func(ctx context.Context, p *native.Packed) error
	begun  map[uint64]int
	stored map[uint64]int
	rows   int
}

func newLedger(t *testing.T, fault func(context.Context, *native.Packed) error) *ledger {
	return &ledger{t: t, fault: fault, begun: make(map[uint64]int), stored: make(map[uint64]int)}
}

func away(context.Context, *native.Packed) error { return passing{} }

func (l *ledger) insert(ctx context.Context, p *native.Packed, again bool) error {
	l.mu.Lock()
	if before := l.begun[p.ID]; again != (before > 0) {
		l.t.Errorf("try %d of a block says again: %v", before+1, again)
	}
	l.begun[p.ID]++
	fault := l.fault
	l.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, p); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored[p.ID]++
	l.rows += p.Rows
	return nil
}

func (l *ledger) set(fault func(context.Context, *native.Packed) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// check says what is stored, and that nothing is twice.
func (l *ledger) check() (blocks, rows int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.stored {
		if n != 1 {
			l.t.Errorf("block %x was stored %d times", id, n)
		}
	}
	return len(l.stored), l.rows
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// drained waits until nothing in the spool waits any more.
func drained(t *testing.T, c *Collector) {
	t.Helper()
	waitUntil(t, "the spool to be empty", func() bool { return c.committer.spool.State().Blocks == 0 })
}

const setAsideName = "whosehop_collector_spool_blocks_set_aside_total"

func spoolFiles(t *testing.T, cfg Config, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(cfg.SpoolDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// startCounting is start for tests that read a counter.
func startCounting(t *testing.T, cfg Config, s *sink) (c *Collector, counter func(name string) float64) {
	t.Helper()
	reg := prometheus.NewRegistry()
	c, err := New(cfg, s, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	return c, func(name string) float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		t.Fatalf("there is no %s", name)
		return 0
	}
}

func postOK(t *testing.T, c *Collector, rows int) {
	t.Helper()
	if code, _, answer := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(rows)))); code != http.StatusOK {
		t.Fatalf("answered %d %q", code, answer)
	}
}

func TestAStorageThatIsAway(t *testing.T) {
	l := newLedger(t, away)
	cfg := spoolConfig(t)
	c := start(t, cfg, &sink{insert: l.insert})
	export := client(t, c)
	for range 3 { // one after the other, so that they are in blocks of their own
		postOK(t, c, 10)
		if _, err := export.Export(t.Context(), exportRequest(7)); err != nil {
			t.Error(err)
		}
	}
	if blocks, _ := l.check(); blocks != 0 {
		t.Fatalf("%d blocks are stored", blocks)
	}
	if state := c.committer.spool.State(); state.Blocks != 6 || state.Bytes == 0 {
		t.Errorf("%+v", state)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error("there is room in the spool:", err)
	}
	// The oldest has been tried by the request and by the drainer.
	waitUntil(t, "another try", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, tries := range l.begun {
			if tries > 1 {
				return true
			}
		}
		return false
	})
	l.set(nil)
	drained(t, c)
	if blocks, rows := l.check(); blocks != 6 || rows != 51 {
		t.Errorf("%d spans in %d blocks, want 51 in 6", rows, blocks)
	}
	postOK(t, c, 1)
	if blocks, rows := l.check(); blocks != 7 || rows != 52 {
		t.Errorf("%d spans in %d blocks are stored, want 52 in 7: the way is free again", rows, blocks)
	}
	if left := spoolFiles(t, cfg, "*"); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// TestAnInsertThatTakesLong goes on behind the back of its sender. Nobody else may try the block meanwhile.
func TestAnInsertThatTakesLong(t *testing.T) {
	for _, test := range []struct {
		name  string
		ends  error
		tries int
		aside int
	}{
		{"and succeeds", nil, 1, 0},
		{"and fails for now", passing{}, 2, 0},
		{"and is refused", errors.New("refused"), 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			entered, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			l := newLedger(t, func(context.Context, *native.Packed) (err error) {
				once.Do(func() {
					close(entered)
					<-release
					err = test.ends
				})
				return err
			})
			cfg := spoolConfig(t)
			cfg.SpoolAfter = 50 * time.Millisecond
			c, counter := startCounting(t, cfg, &sink{insert: l.insert})
			began := time.Now()
			postOK(t, c, 3)
			if took := time.Since(began); took < cfg.SpoolAfter || took > cfg.InsertTimeout/2 {
				t.Errorf("answered after %s", took)
			}
			<-entered
			// It is marked: after a kill it is known that it may be stored.
			if files := spoolFiles(t, cfg, "*.tried"); len(files) != 1 {
				t.Errorf("%q", files)
			}
			if e := c.committer.spool.Take(0); e != nil {
				t.Errorf("the drainer could have had %+v", e)
			}
			close(release)
			drained(t, c)
			waitUntil(t, "the count of what is set aside", func() bool { return counter(setAsideName) == float64(test.aside) })
			l.mu.Lock()
			defer l.mu.Unlock()
			for id, tries := range l.begun {
				if tries != test.tries || l.stored[id] != 1-test.aside {
					t.Errorf("%d tries, stored %d times", tries, l.stored[id])
				}
			}
			if files := spoolFiles(t, cfg, "*.refused"); len(files) != test.aside || len(l.begun) != 1 {
				t.Errorf("%d blocks were tried, set aside: %q", len(l.begun), files)
			}
		})
	}
}

// TestAllInsertsHang: later blocks do not wait for a turn longer than for the spool.
func TestAllInsertsHang(t *testing.T) {
	release := make(chan struct{})
	l := newLedger(t, func(context.Context, *native.Packed) error { <-release; return nil })
	cfg := spoolConfig(t)
	c := start(t, cfg, &sink{insert: l.insert})
	const requests = inflightMax + 3
	for range requests {
		postOK(t, c, 2)
	}
	if state := c.committer.spool.State(); state.Blocks != requests {
		t.Errorf("%+v", state)
	}
	close(release)
	drained(t, c)
	if blocks, rows := l.check(); blocks != requests || rows != 2*requests {
		t.Errorf("%d spans in %d blocks", rows, blocks)
	}
}

// bulky is a request that no packing makes small.
func bulky(seed uint64) ptraceotlp.ExportRequest {
	r := exportRequest(1)
	rng := rand.New(rand.NewPCG(seed, 1))
	var text strings.Builder
	for range 300_000 {
		text.WriteByte(' ' + byte(rng.IntN(95)))
	}
	r.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutStr("bulk", text.String())
	return r
}

func TestAFullSpool(t *testing.T) {
	overHTTP := func(t *testing.T, c *Collector, r ptraceotlp.ExportRequest) (ok, comeAgain bool) {
		code, header, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, r)))
		return code == http.StatusOK, code == http.StatusTooManyRequests && header.Get("Retry-After") != ""
	}
	overGRPC := func(t *testing.T, c *Collector, r ptraceotlp.ExportRequest) (ok, comeAgain bool) {
		_, err := client(t, c).Export(t.Context(), r)
		return err == nil, status.Code(err) == codes.ResourceExhausted && hasRetryInfo(err)
	}
	for name, send := range map[string]func(*testing.T, *Collector, ptraceotlp.ExportRequest) (ok, comeAgain bool){"HTTP": overHTTP, "gRPC": overGRPC} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, away)
			cfg := spoolConfig(t)
			cfg.SpoolBytesMax = 1 << 20
			c := start(t, cfg, &sink{insert: l.insert})
			began := time.Now()
			acknowledged := 0
			for ; acknowledged < 10; acknowledged++ {
				ok, comeAgain := send(t, c, bulky(uint64(acknowledged)))
				if comeAgain {
					break
				}
				if !ok {
					t.Fatalf("request %d was refused for good", acknowledged)
				}
			}
			if acknowledged != 3 { // of 300 KB each in 1 MiB
				t.Errorf("%d requests were acknowledged", acknowledged)
			}
			if took := time.Since(began); took > cfg.InsertTimeout/2 {
				t.Errorf("answered after %s", took)
			}
			if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "full") {
				t.Errorf("ready, and takes nothing: %v", err)
			}
			l.set(nil)
			drained(t, c)
			if blocks, rows := l.check(); blocks != acknowledged || rows != acknowledged {
				t.Errorf("%d spans in %d blocks are stored, %d were acknowledged", rows, blocks, acknowledged)
			}
			if err := c.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			if ok, _ := send(t, c, exportRequest(5)); !ok {
				t.Error("refused, and the storage is back")
			}
			if _, rows := l.check(); rows != acknowledged+5 {
				t.Errorf("%d spans are stored", rows)
			}
		})
	}
}

// TestAFullSpoolAndASlowStorage: while inserts succeed, senders wait for them as they would without a spool.
func TestAFullSpoolAndASlowStorage(t *testing.T) {
	l := newLedger(t, func(ctx context.Context, _ *native.Packed) error {
		select {
		case <-time.After(100 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	cfg := spoolConfig(t)
	cfg.SpoolBytesMax = 1 << 20
	filler := filepath.Join(cfg.SpoolDir, "00000000000000000001.refused")
	if err := os.WriteFile(filler, make([]byte, cfg.SpoolBytesMax), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, cfg, &sink{insert: l.insert})
	for range 2 * inflightMax {
		postOK(t, c, 1)
	}
	if blocks, rows := l.check(); blocks != 2*inflightMax || rows != blocks {
		t.Errorf("%d spans in %d blocks are stored", rows, blocks)
	}
}

func TestABlockOfTheSpoolThatIsRefused(t *testing.T) {
	var refused uint64
	l := newLedger(t, away)
	cfg := spoolConfig(t)
	c, counter := startCounting(t, cfg, &sink{insert: l.insert})
	postOK(t, c, 3)
	l.mu.Lock()
	for id := range l.begun {
		refused = id
	}
	l.mu.Unlock()
	postOK(t, c, 4)
	l.set(func(_ context.Context, p *native.Packed) error {
		if p.ID == refused {
			return errors.New("no such column")
		}
		return nil
	})
	drained(t, c)
	if blocks, rows := l.check(); blocks != 1 || rows != 4 {
		t.Errorf("%d spans in %d blocks are stored, want 4 in 1", rows, blocks)
	}
	files := spoolFiles(t, cfg, "*.refused")
	if len(files) != 1 {
		t.Fatalf("set aside: %q", files)
	}
	waitUntil(t, "the count of what is set aside", func() bool { return counter(setAsideName) == 1 })
	info, err := os.Stat(files[0])
	if err != nil || info.Size() != c.committer.spool.State().Bytes {
		t.Errorf("%v %v, in the spool %+v", info, err, c.committer.spool.State())
	}
	postOK(t, c, 1)
}

// TestABlockThatIsRefusedAtOnce is its sender's matter, and not the spool's.
func TestABlockThatIsRefusedAtOnce(t *testing.T) {
	l := newLedger(t, func(context.Context, *native.Packed) error { return errors.New("no such column") })
	cfg := spoolConfig(t)
	cfg.SpoolAfter = cfg.InsertTimeout
	c := start(t, cfg, &sink{insert: l.insert})
	if code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1)))); code != http.StatusInternalServerError {
		t.Errorf("answered %d", code)
	}
	if left := spoolFiles(t, cfg, "*"); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// fill leaves n blocks in the spool, numbered from 1, the odd ones tried; it says what their files are.
func fill(t *testing.T, cfg Config, n int) (files []string) {
	t.Helper()
	s, err := spool.Open(cfg.SpoolDir, cfg.SpoolBytesMax, cfg.SpoolAgeMax)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range n {
		p := native.Packed{ID: uint64(i + 1), Rows: 10, Columns: []string{"TraceId"}, Frames: fmt.Append(nil, "frames of ", i+1), At: time.Now()}
		if _, err := s.Add(&p, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	files = append(spoolFiles(t, cfg, "*.block"), spoolFiles(t, cfg, "*.tried")...)
	slices.Sort(files)
	return files
}

func TestTheSpoolOfBefore(t *testing.T) {
	damage := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			t.Helper()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, change(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"whole":   nil,
		"cut":     damage(func(b []byte) []byte { return b[:len(b)/2] }),
		"flipped": damage(func(b []byte) []byte { b[len(b)-10] ^= 1; return b }),
		"empty":   damage(func([]byte) []byte { return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			const blocks = 5
			for spoilt := range blocks {
				cfg := spoolConfig(t)
				files := fill(t, cfg, blocks)
				var kept []byte
				if spoil != nil {
					spoil(t, files[spoilt])
					var err error
					if kept, err = os.ReadFile(files[spoilt]); err != nil {
						t.Fatal(err)
					}
				}
				l := newLedger(t, nil)
				for id := uint64(1); id <= blocks; id += 2 {
					l.begun[id] = 1 // by the collector of before
				}
				l.fault = func(_ context.Context, p *native.Packed) error {
					if want := fmt.Sprint("frames of ", p.ID); string(p.Frames) != want || !slices.Equal(p.Columns, []string{"TraceId"}) {
						t.Errorf("%q %q, want %q", p.Columns, p.Frames, want)
					}
					return nil
				}
				c, counter := startCounting(t, cfg, &sink{insert: l.insert})
				drained(t, c)
				want, aside := blocks, spoolFiles(t, cfg, "*.damaged")
				if spoil != nil {
					want--
					if len(aside) != 1 || strings.TrimSuffix(aside[0], ".damaged") != strings.TrimSuffix(files[spoilt], filepath.Ext(files[spoilt])) {
						t.Fatalf("%q is set aside of %q", aside, files[spoilt])
					}
					if data, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(data, kept) {
						t.Errorf("%q is kept of %q (%v)", data, kept, err)
					}
				}
				if n, rows := l.check(); n != want || rows != 10*want || (spoil != nil && l.stored[uint64(spoilt+1)] > 0) {
					t.Errorf("%d spans in %d blocks are stored, want %d blocks", rows, n, want)
				}
				if len(aside) != blocks-want {
					t.Errorf("set aside: %q", aside)
				}
				waitUntil(t, "the count of what is set aside", func() bool { return counter(setAsideName) == float64(blocks-want) })
			}
		})
	}
}

func TestAnotherCollectorBringsWhatWasLeft(t *testing.T) {
	cfg := spoolConfig(t)
	l := newLedger(t, away)
	for life := range 3 {
		t.Run(fmt.Sprint("life ", life), func(t *testing.T) {
			c := start(t, cfg, &sink{insert: l.insert})
			if state := c.committer.spool.State(); state.Blocks != 3*life {
				t.Errorf("%+v after %d lives", state, life)
			}
			for range 3 {
				postOK(t, c, 4)
			}
			_, err := New(cfg, &sink{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err == nil || !strings.Contains(err.Error(), "collector.spool-dir") || !strings.Contains(err.Error(), cfg.SpoolDir) {
				t.Errorf("a second collector on the same spool: %v", err)
			}
		})
	}
	l.set(nil)
	c := start(t, cfg, &sink{insert: l.insert})
	drained(t, c)
	if blocks, rows := l.check(); blocks != 9 || rows != 36 {
		t.Errorf("%d spans in %d blocks are stored, want 36 in 9", rows, blocks)
	}
}

// TestTheEndInTheMiddleOfAnInsert: what the drainer or a sender's insert has under way stays in the spool.
func TestTheEndInTheMiddleOfAnInsert(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.DrainTimeout = 50 * time.Millisecond
	entered := make(chan struct{}, 10)
	l := newLedger(t, func(ctx context.Context, _ *native.Packed) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	fill(t, cfg, 1)
	l.begun[1] = 1
	t.Run("first", func(t *testing.T) {
		c := start(t, cfg, &sink{insert: l.insert})
		postOK(t, c, 10)
		<-entered
		<-entered // both
	})
	l.set(nil)
	c := start(t, cfg, &sink{insert: l.insert})
	drained(t, c)
	if blocks, rows := l.check(); blocks != 2 || rows != 20 {
		t.Errorf("%d spans in %d blocks are stored, want 20 in 2", rows, blocks)
	}
}

// TestRefusedBecauseTheSpoolIsFullHoldsNoBudget: who is turned away at the door leaves nothing behind.
func TestRefusedBecauseTheSpoolIsFullHoldsNoBudget(t *testing.T) {
	l := newLedger(t, away)
	cfg := spoolConfig(t)
	cfg.SpoolBytesMax = 1 << 20
	c := start(t, cfg, &sink{insert: l.insert})
	for i := range uint64(20) { // 4 MiB may be pending: after 14 refusals none is left
		post(t, c, typeProto, "", bytes.NewReader(marshal(t, bulky(i))))
	}
	_, _ = client(t, c).Export(t.Context(), exportRequest(1))
	l.set(nil)
	drained(t, c)
	postOK(t, c, 1)
}

// TestAStorageThatIsBackIsNoticed, whatever the spool has come to: with nothing in it to drain, a block has to try.
func TestAStorageThatIsBackIsNoticed(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, Config){
		"full of what was set aside": func(t *testing.T, cfg Config) {
			if err := os.WriteFile(filepath.Join(cfg.SpoolDir, "00000000000000000001.refused"), make([]byte, cfg.SpoolBytesMax), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"its disk fails": nil,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, away)
			cfg := spoolConfig(t)
			cfg.SpoolBytesMax, cfg.InsertTimeout = 1<<20, time.Second
			if spoil != nil {
				spoil(t, cfg)
			}
			c := start(t, cfg, &sink{insert: l.insert})
			if spoil == nil {
				if err := os.RemoveAll(cfg.SpoolDir); err != nil {
					t.Fatal(err)
				}
			}
			post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
			l.set(nil)
			code := 0
			for end := time.Now().Add(5 * time.Second); code != http.StatusOK && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				code, _, _ = post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
			}
			if code != http.StatusOK {
				t.Errorf("5 s after the storage came back: answered %d, away %v, %+v", code, c.committer.lanes().list[0].away.Load(), c.committer.spool.State())
			}
		})
	}
}

// TestAFileThatCannotBeRead holds up no other: a bad sector is EIO, and no wrong checksum.
func TestAFileThatCannotBeRead(t *testing.T) {
	cfg := spoolConfig(t)
	files := fill(t, cfg, 3)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(files[0], 0o700); err != nil { // reading it is EISDIR
		t.Fatal(err)
	}
	l := newLedger(t, nil)
	l.begun[1], l.begun[3] = 1, 1
	c := start(t, cfg, &sink{insert: l.insert})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n, _ := l.check(); n == 2 {
			return
		}
	}
	t.Errorf("none of the others is stored after 5 s: %+v", c.committer.spool.State())
}

// TestAnIdleBlockIsNotLate: a request without spans opens a block, and its age is not that of what comes later.
func TestAnIdleBlockIsNotLate(t *testing.T) {
	l := newLedger(t, nil)
	cfg := spoolConfig(t)
	cfg.SpoolAfter = 300 * time.Millisecond
	c, counter := startCounting(t, cfg, &sink{insert: l.insert})
	post(t, c, typeProto, "", strings.NewReader(""))
	time.Sleep(cfg.Linger + cfg.SpoolAfter)
	postOK(t, c, 1)
	if n := counter("whosehop_collector_spans_spooled_total"); n != 0 {
		t.Errorf("%v spans went to the spool, and the storage takes them at once", n)
	}
}

// TestTheEndOfTheDrainerIsNoOutage: what is under way goes to a storage that is there.
func TestTheEndOfTheDrainerIsNoOutage(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.Linger, cfg.SpoolAfter = 300*time.Millisecond, 5*time.Second
	fill(t, cfg, 1)
	entered := make(chan struct{})
	l := newLedger(t, func(ctx context.Context, p *native.Packed) error {
		if p.ID != 1 {
			return nil
		}
		close(entered)
		<-ctx.Done() // slow, and not away
		return ctx.Err()
	})
	l.begun[1] = 1
	answered := make(chan int, 1)
	t.Run("life", func(life *testing.T) {
		c := start(life, cfg, &sink{insert: l.insert})
		<-entered
		go func() {
			code, _, _ := post(t, c, typeProto, "", bytes.NewReader(marshal(t, exportRequest(1))))
			answered <- code
		}()
		waitUntil(t, "the request", func() bool {
			c.committer.mu.Lock()
			defer c.committer.mu.Unlock()
			return c.committer.open != nil && c.committer.open.bytes > 0
		})
	})
	if code := <-answered; code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	if n, _ := l.check(); n != 1 {
		t.Errorf("the request's block is in the spool: %q", spoolFiles(t, cfg, "*"))
	}
}

func TestACollectorThatCannotBeMadeLeavesTheSpool(t *testing.T) {
	cfg := spoolConfig(t)
	cfg.TLSCert, cfg.TLSKey = "nowhere", "nowhere"
	if _, err := New(cfg, &sink{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Fatal("made")
	}
	cfg.TLSCert, cfg.TLSKey = "", ""
	start(t, cfg, &sink{})
}

func TestValidateNamesTheKeyOfTheSpool(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"collector.spool-bytes-max": func(c *Config) { c.SpoolBytesMax = 1<<20 - 1 },
		"collector.spool-age-max":   func(c *Config) { c.SpoolAgeMax = time.Minute - 1 },
		"collector.spool-after":     func(c *Config) { c.SpoolAfter = c.InsertTimeout + 1 },
	} {
		cfg := spoolConfig(t)
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
		cfg.SpoolDir = ""
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s, and there is no spool: %v", key, err)
		}
	}
}
