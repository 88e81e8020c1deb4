package collector

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
// Invariants:
//   - A block is open, or on its way, or done, in this order; its waiters are answered once, when it
//     is done. A waiter may leave before; its spans stay in the block and may be stored.
//   - A malformed request leaves the open block as it was (otlp.Decode sees to that), and what was
//     decoded is clean text and numbers that every column takes: no request can spoil the insert of
//     its neighbours. So a block that was refused for good is refused whole, and not tried in parts.
//   - An open block without spans holds nothing at all: requests without a good span add nothing.
//   - Block bytes are in the budget from their decoding until the block is done. A request is let in
//     while there is budget for its bytes; its columns may then exceed the budget by that one request.
//   - A block has one token for all tries, so that a lost answer stores nothing twice. A sender that
//     was told to come again brings its spans in another block: those may be stored twice.
type committer struct {
	sink          Sink
	log           *slog.Logger
	metrics       *metrics
	budget        *budget
	linger        time.Duration
	insertTimeout time.Duration
	cut           chan struct{} // closed when inserts are to be given up

	// failed is the last try to insert, if it failed.
	failed atomic.Pointer[failure]

	mu       sync.Mutex
	open     *batch
	inflight int
	idle     []*spans.Block
	running  sync.WaitGroup
}

// batch is one block and those who wait for it.
type batch struct {
	block  *spans.Block
	bytes  int64 // of its columns
	due    bool  // it has lingered
	timer  *time.Timer
	done   chan struct{}
	err    error
	opened time.Time
}

// failure is an insert that failed.
type failure struct {
	at  time.Time
	err error
}

const (
	// batchRowsMax and batchBytesMax seal a block: what ClickHouse likes to get at once.
	batchRowsMax  = 50_000
	batchBytesMax = 64 << 20
	// inflightMax inserts keep one being sent while another is being written.
	inflightMax = 2
	retryPause  = 100 * time.Millisecond
	retryMax    = 2 * time.Second
)

var (
	errOverloaded  = errors.New("too much is waiting to be stored; come again")
	errUnavailable = errors.New("the storage is away; come again")
)

// store decodes a request into the open block and returns when that is stored. The error is
// errUnavailable, a decoding error, ctx's, or the storage's own, which will not pass.
func (c *committer) store(ctx context.Context, decode func(*spans.Block) (otlp.Rejected, error)) (otlp.Rejected, error) {
	b, rejected, err := c.add(decode)
	if err != nil || b == nil {
		return rejected, err
	}
	select {
	case <-b.done:
		return rejected, b.err
	case <-ctx.Done():
		return rejected, ctx.Err()
	}
}

// add decodes a request into the open block; the batch is nil when there was nothing in it to store.
func (c *committer) add(decode func(*spans.Block) (otlp.Rejected, error)) (b *batch, rejected otlp.Rejected, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.begin()
	}
	b = c.open
	defer func() {
		// Without this a fault in the decoder would leave the lock taken and the block torn.
		if fault := recover(); fault != nil {
			c.abandon(b)
			b, err = nil, fmt.Errorf("decode a request: %v", fault)
		}
	}()
	rows, bytes := b.block.Len(), blockBytes(b.block)
	if rejected, err = decode(b.block); err != nil {
		return nil, otlp.Rejected{}, err
	}
	added := b.block.Len() - rows
	c.metrics.received.Add(float64(added + rejected.Total()))
	if added == 0 {
		return nil, rejected, nil
	}
	grown := blockBytes(b.block) - bytes
	b.bytes += grown
	c.budget.force(grown)
	c.sealIfDue()
	return b, rejected, nil
}

// abandon tells those who wait for the open block to come again; the lock is held.
func (c *committer) abandon(b *batch) {
	b.timer.Stop()
	c.open = nil
	c.budget.give(b.bytes)
	b.err = errUnavailable
	close(b.done)
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
	if b == nil || b.block.Len() == 0 || c.inflight == inflightMax || (!b.due && b.block.Len() < batchRowsMax && b.bytes < batchBytesMax) {
		return
	}
	b.timer.Stop()
	c.open = nil
	c.inflight++
	c.running.Go(func() { c.commit(b) })
}

func (c *committer) commit(b *batch) {
	rows := float64(b.block.Len())
	b.err = c.insert(b.block)
	if b.err == nil {
		c.metrics.stored.Add(rows)
		c.metrics.blockRows.Observe(rows)
		c.metrics.commitSeconds.Observe(time.Since(b.opened).Seconds())
	}
	b.block.Reset()
	c.budget.give(b.bytes)
	close(b.done)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight--
	// A block that has held far more than usual is left to the garbage collector.
	if len(c.idle) < inflightMax+1 && b.bytes <= 2*batchBytesMax {
		c.idle = append(c.idle, b.block)
	}
	c.sealIfDue()
}

// insert tries to store a block for as long as it is allowed to, always under the same token.
func (c *committer) insert(block *spans.Block) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.insertTimeout)
	defer cancel()
	go func() {
		select {
		case <-c.cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	token := hex.EncodeToString(id[:])
	for pause := retryPause; ; pause = min(2*pause, retryMax) {
		err := c.sink.InsertSpans(ctx, block, token)
		if err == nil {
			c.failed.Store(nil)
			return nil
		}
		before := c.failed.Swap(&failure{at: time.Now(), err: err})
		var passing interface{ Retryable() bool }
		if ctx.Err() == nil && (!errors.As(err, &passing) || !passing.Retryable()) {
			if before == nil || before.err.Error() != err.Error() { // else the summary says it
				c.log.Error("a block was refused by the storage", "rows", block.Len(), "error", err)
			}
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

// drain stores what is open and waits for what is under way; at the deadline it gives that up.
func (c *committer) drain(deadline time.Time) {
	late := time.AfterFunc(time.Until(deadline), func() { close(c.cut) })
	defer late.Stop()
	c.mu.Lock()
	if c.open != nil {
		c.open.timer.Stop()
		c.open.due = true
		c.sealIfDue()
	}
	c.mu.Unlock()
	c.running.Wait()
}
