package collector

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// The committer gathers concurrent requests into blocks (group commit).
//
// Goal: ClickHouse wants few large inserts, senders want a quick answer that means "stored".
//
// Outline: a request decodes itself straight into the open block, under the lock, and waits for that
// block. A block is sealed when it is full or has lingered, and is inserted by a goroutine of its
// own; no more than inflightMax are under way, and while they are, the open block gathers.
//
// Invariants: a block is open, or on its way, or done, in this order; its waiters are answered once,
// when it is done. A waiter may leave before; its spans stay in the block. A malformed request leaves the open block as it was (otlp.Decode sees to that),
// and what was decoded is clean, so no request can spoil the insert of its neighbours. The bytes of
// all requests in blocks that are not done are bounded by bytesMax.
type committer struct {
	sink          Sink
	log           *slog.Logger
	metrics       *metrics
	linger        time.Duration
	insertTimeout time.Duration
	bytesMax      int64

	mu       sync.Mutex
	open     *batch
	inflight int
	pending  int64 // bytes of requests in blocks that are not done
	idle     []*spans.Block
	running  sync.WaitGroup
}

// batch is one block and those who wait for it.
type batch struct {
	block  *spans.Block
	bytes  int64 // of the requests in it
	due    bool  // it has lingered
	timer  *time.Timer
	done   chan struct{}
	err    error
	opened time.Time
}

const (
	// batchRowsMax seals a block: what ClickHouse likes to get at once, and some 30 MB of columns.
	batchRowsMax = 50_000
	// inflightMax inserts keep one being sent while another is being written.
	inflightMax = 2
	retryPause  = 100 * time.Millisecond
	retryMax    = 2 * time.Second
)

var (
	errOverloaded  = errors.New("too much is waiting to be stored; come again")
	errUnavailable = errors.New("the storage is away; come again")
)

// store decodes a request into the open block and returns when that is stored. bytes is what the
// request counts for. The error is errOverloaded, errUnavailable, a decoding error, ctx's, or the
// storage's own, which will not pass.
func (c *committer) store(ctx context.Context, bytes int, decode func(*spans.Block) (otlp.Rejected, error)) (otlp.Rejected, error) {
	c.mu.Lock()
	if c.pending+int64(bytes) > c.bytesMax {
		c.mu.Unlock()
		return otlp.Rejected{}, errOverloaded
	}
	if c.open == nil {
		c.begin()
	}
	b := c.open
	before := b.block.Len()
	rejected, err := decode(b.block)
	added := b.block.Len() - before
	if err != nil || added == 0 {
		c.mu.Unlock()
		return rejected, err
	}
	b.bytes += int64(bytes)
	c.pending += int64(bytes)
	c.sealIfDue()
	c.mu.Unlock()

	select {
	case <-b.done:
	case <-ctx.Done():
		return rejected, ctx.Err() // the spans may still be stored
	}
	if b.err == nil {
		c.metrics.stored.Add(float64(added))
	}
	return rejected, b.err
}

func (c *committer) begin() {
	var block *spans.Block
	if n := len(c.idle); n > 0 {
		block, c.idle = c.idle[n-1], c.idle[:n-1]
	} else {
		block = new(spans.Block)
	}
	b := &batch{block: block, done: make(chan struct{}), opened: time.Now()}
	b.timer = time.AfterFunc(c.linger, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		b.due = true
		c.sealIfDue()
	})
	c.open = b
}

// sealIfDue sends the open block off if it may go; the lock is held.
func (c *committer) sealIfDue() {
	b := c.open
	if b == nil || b.block.Len() == 0 || c.inflight == inflightMax || (!b.due && b.block.Len() < batchRowsMax) {
		return
	}
	b.timer.Stop()
	c.open = nil
	c.inflight++
	c.running.Go(func() { c.commit(b) })
}

func (c *committer) commit(b *batch) {
	b.err = c.insert(b.block)
	c.metrics.blockRows.Observe(float64(b.block.Len()))
	c.metrics.commitSeconds.Observe(time.Since(b.opened).Seconds())
	close(b.done)
	b.block.Reset()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight--
	c.pending -= b.bytes
	if len(c.idle) < inflightMax+1 {
		c.idle = append(c.idle, b.block)
	}
	c.sealIfDue()
}

// insert tries to store a block for as long as it is allowed to, always under the same token: if an
// answer was lost, the block is not stored twice.
func (c *committer) insert(block *spans.Block) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.insertTimeout)
	defer cancel()
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	token := hex.EncodeToString(id[:])
	for pause := retryPause; ; pause = min(2*pause, retryMax) {
		err := c.sink.InsertSpans(ctx, block, token)
		if err == nil {
			return nil
		}
		var passing interface{ Retryable() bool }
		if !errors.As(err, &passing) || !passing.Retryable() {
			c.log.Error("a block was refused by the storage", "rows", block.Len(), "error", err)
			return err
		}
		select {
		case <-ctx.Done():
			c.metrics.unavailable.Inc()
			return errUnavailable
		case <-time.After(pause):
		}
	}
}

// drain stores what is open and waits for what is under way.
func (c *committer) drain() {
	c.mu.Lock()
	if c.open != nil {
		c.open.due = true
		c.sealIfDue()
	}
	c.mu.Unlock()
	c.running.Wait()
}
