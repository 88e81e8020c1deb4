package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/collector/spool"
	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// The committer gathers concurrent requests into blocks (group commit).
//
// Goal: ClickHouse wants few large inserts, senders want a quick answer that means "stored".
//
// Outline: a request decodes itself straight into the open block, under the lock, and waits for that
// block. A block is sealed when it is full, or has lingered and can be inserted at once; it is then packed,
// which makes it a fifth of its size, and waits for one of inflightMax inserts. What is not in ClickHouse
// spoolAfter after it was opened goes to the spool, and is answered for; another goroutine, the drainer,
// brings the spool to ClickHouse, the oldest first. While ClickHouse is away, blocks gather for
// spoolAfter and go to the spool at once.
//
// A cluster has a lane for each of its shards, with inserts and a drainer of its own; a plain database is one
// shard. A block is packed apart for each shard that it has traces of. Each part is then a block by itself, kept at
// the same time as the others, and the senders are answered when all are. While some shards are away, blocks are
// sealed for the others, and what is for those that are away goes to the spool in smaller pieces.
//
// Invariants:
//   - A block is open, or on its way, or done, in this order; its waiters are answered once, when it
//     is done: in ClickHouse, or on disk, or given up. A waiter may leave before; its spans stay in the
//     block and may be stored.
//   - A malformed request leaves the open block as it was (otlp.Decode sees to that), and what was
//     decoded is clean text and numbers that every column takes: no request can spoil the insert of
//     its neighbours. So a block that was refused for good is refused whole, and not tried in parts.
//   - An open block without spans holds nothing at all: requests without a good span add nothing.
//   - The bytes of blocks, packed or not, are in the budget from their decoding until the block is done. A
//     request is let in while there is budget for its bytes; its columns may then exceed the budget by that
//     one request.
//   - A block has one identity for all tries, in the spool too, and a try after one that may have succeeded
//     says so: a lost answer stores nothing twice. A sender that was told to come again brings its spans
//     in another block: those may be stored twice. So may the parts of a block that were kept, if another was not.
//   - A block of the spool leaves it when ClickHouse has it. One that is damaged, or that ClickHouse refuses
//     for good, or that is for a shard that is no more, is set aside and never deleted.
type committer struct {
	sink          Sink
	spool         *spool.Spool // nil for none
	log           *slog.Logger
	metrics       *metrics
	budget        *budget
	linger        time.Duration
	spoolAfter    time.Duration
	insertTimeout time.Duration
	cut           chan struct{} // closed when inserts are to be given up
	encoders      chan *native.Encoder
	known         atomic.Pointer[lanes] // as soon as the sink knows its shards; see lanes
	// For the summary.
	storedSpans, spooledSpans atomic.Int64

	mu      sync.Mutex
	open    *batch
	packing int // blocks that are sealed and not packed
	idle    []*spans.Block
	running sync.WaitGroup
}

func newCommitter(cfg *Config, sink Sink, s *spool.Spool, log *slog.Logger, m *metrics, b *budget) *committer {
	c := &committer{
		sink: sink, spool: s, log: log, metrics: m, budget: b,
		linger: cfg.Linger, spoolAfter: cfg.SpoolAfter, insertTimeout: cfg.InsertTimeout,
		cut: make(chan struct{}), encoders: make(chan *native.Encoder, runtime.GOMAXPROCS(0)),
	}
	for range cap(c.encoders) {
		c.encoders <- new(native.Encoder)
	}
	return c
}

// batch is one block and those who wait for it.
type batch struct {
	block  *spans.Block
	bytes  int64 // of its columns
	due    bool  // it has lingered
	late   bool  // it is time for the spool
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
	batchRowsMax  = 65_536
	batchBytesMax = 64 << 20
	// inflightMax inserts into a shard keep one being sent while another is being written.
	inflightMax = 2
	retryPause  = 100 * time.Millisecond
	retryMax    = 2 * time.Second
	idleMax     = 3
)

var (
	errOverloaded  = errors.New("too much is waiting to be stored; come again")
	errUnavailable = errors.New("the storage is away; come again")
)

// admit says whether a request would be turned away, before anything of it is read: it is not known which shards there
// are, or one is away and the spool has no room for it. While nothing waits there, requests are let in: somebody has to
// try whether the shard is back.
func (c *committer) admit() error {
	lanes := c.lanes()
	if lanes == nil {
		return errUnavailable
	}
	if c.spool == nil {
		return nil
	}
	for _, l := range lanes.list {
		if !l.away.Load() {
			continue
		}
		if blocks, full := c.spool.StateOf(l.shard); full && blocks > 0 {
			return errOverloaded
		}
	}
	return nil
}

// store decodes a request that was admitted into the open block and returns when that is stored, or spooled. The error is
// errOverloaded, errUnavailable, a decoding error, ctx's, or the storage's own, which will not pass.
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
	rows, bytes := b.block.Len(), b.block.Bytes()
	if rejected, err = decode(b.block); err != nil {
		return nil, otlp.Rejected{}, err
	}
	added := b.block.Len() - rows
	c.metrics.received.Add(float64(added + rejected.Total()))
	if added == 0 {
		return nil, rejected, nil
	}
	if rows == 0 {
		c.startLinger(b)
	}
	grown := b.block.Bytes() - bytes
	b.bytes += grown
	c.budget.force(grown)
	c.sealIfDue()
	return b, rejected, nil
}

// abandon tells those who wait for the open block to come again; the lock is held.
func (c *committer) abandon(b *batch) {
	if b.timer != nil {
		b.timer.Stop()
	}
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
	c.open = &batch{block: block, done: make(chan struct{})}
}

// startLinger begins with the first span of a block; the lock is held.
func (c *committer) startLinger(b *batch) {
	b.opened = time.Now()
	b.timer = time.AfterFunc(c.linger, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if b.due {
			b.late = true
		} else if b.due = true; c.spool != nil {
			b.timer.Reset(c.spoolAfter)
		}
		if c.open == b {
			c.sealIfDue()
		}
	})
}

// sealIfDue sends the open block off if it may go; the lock is held.
func (c *committer) sealIfDue() {
	b := c.open
	if b == nil || b.block.Len() == 0 {
		return
	}
	full := b.block.Len() >= batchRowsMax || b.bytes >= batchBytesMax
	if full || b.late || b.due && c.roomForOne() {
		c.seal()
	}
}

func (c *committer) seal() {
	b := c.open
	b.timer.Stop()
	c.open = nil
	c.packing++
	c.running.Go(func() { c.commit(b) })
}

func (c *committer) commit(b *batch) {
	rows := float64(b.block.Len())
	lanes := c.lanes()
	parts, err := c.pack(b, lanes)
	c.mu.Lock()
	c.packing--
	for _, p := range parts {
		lanes.list[p.Shard].underWay++
	}
	c.sealIfDue() // for lanes that get nothing of this one
	c.mu.Unlock()
	errs := make([]error, len(parts))
	var kept sync.WaitGroup
	for i, p := range parts {
		c.metrics.blockRows.Observe(float64(p.Rows))
		l := lanes.list[p.Shard]
		kept.Go(func() {
			errs[i] = c.keep(b, l, p)
			c.mu.Lock()
			defer c.mu.Unlock()
			l.underWay--
			c.sealIfDue()
		})
	}
	kept.Wait()
	switch b.err = gravest(append(errs, err)); {
	case b.err == nil:
		c.metrics.commitSeconds.Observe(time.Since(b.opened).Seconds())
	case errors.Is(b.err, errOverloaded):
		c.metrics.refused.WithLabelValues("spool_full").Add(rows)
	case errors.Is(b.err, errUnavailable):
		c.metrics.refused.WithLabelValues("storage_away").Add(rows)
	default:
		c.metrics.refused.WithLabelValues("storage_refused").Add(rows)
	}
	close(b.done)
}

// gravest is what senders are told: to come again, if that may store one part of what they sent.
func gravest(errs []error) error {
	for _, err := range errs {
		if errors.Is(err, errOverloaded) || errors.Is(err, errUnavailable) {
			return err
		}
	}
	return cmp.Or(errs...)
}

// pack makes bytes for INSERTs of a block, one for each shard that it has traces of, and gives the block back.
func (c *committer) pack(b *batch, lanes *lanes) (parts []*native.Packed, err error) {
	at := time.Now()
	e := <-c.encoders
	defer func() {
		// One block that cannot be packed must not take all others with it.
		if fault := recover(); fault != nil {
			c.encoders <- new(native.Encoder)
			c.budget.give(b.bytes)
			parts, err = nil, fmt.Errorf("pack a block: %v", fault)
			c.log.Error("a block could not be packed", "rows", b.block.Len(), "error", err)
		}
	}()
	e.EncodeShards(b.block, lanes.shards, func(shard int) *native.Packed {
		p := lanes.list[shard].newPacked()
		p.ID, p.At = rand.Uint64(), at
		parts = append(parts, p)
		return p
	})
	c.encoders <- e
	for _, p := range parts {
		c.budget.force(int64(len(p.Frames)))
	}
	c.budget.give(b.bytes)
	block := b.block
	b.block = nil
	// A block that has held far more than usual is left to the garbage collector.
	if b.bytes <= 2*batchBytesMax {
		block.Reset()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.idle) < idleMax {
			c.idle = append(c.idle, block)
		}
	}
	return parts, nil
}

// unpack gives the bytes of a block back.
func (c *committer) unpack(l *lane, p *native.Packed) {
	c.budget.give(int64(len(p.Frames)))
	select {
	case l.packed <- p:
	default:
	}
}

// keep brings a block to where it may be answered for. The error is errOverloaded, errUnavailable, or the
// storage's own, which will not pass.
func (c *committer) keep(b *batch, l *lane, p *native.Packed) error {
	if c.spool == nil {
		defer c.unpack(l, p)
		return c.insist(l, p, false)
	}
	late := time.NewTimer(time.Until(b.opened.Add(c.spoolAfter)))
	defer late.Stop()
	tried := false
	var inserted chan error
	if !l.away.Load() {
		select {
		case l.slots <- struct{}{}:
			tried, inserted = true, make(chan error, 1)
			c.running.Go(func() { inserted <- c.insertInSlot(l, p, false) })
		case <-late.C:
		}
	}
	if inserted != nil {
		select {
		case err := <-inserted:
			if inserted = nil; err == nil || !isPassing(err) {
				c.unpack(l, p)
				return err
			}
		case <-late.C:
		}
	}
	if !l.away.Load() {
		l.behind.Store(true)
	}
	e, err := c.spool.Add(p, tried)
	if err == nil {
		c.metrics.spooled.Add(float64(p.Rows))
		c.spooledSpans.Add(int64(p.Rows))
		c.running.Go(func() {
			defer c.unpack(l, p)
			c.settle(l, e, inserted)
		})
		return nil
	}
	defer c.unpack(l, p)
	full := errors.Is(err, spool.ErrFull)
	if !full {
		l.log.Error("the spool takes no blocks", "error", err)
	}
	if inserted != nil {
		if err := <-inserted; err == nil || !isPassing(err) {
			return err
		}
	}
	// The drainer sees to a shard that is away, if there is something to drain; else this block does. One that is
	// there and slow is waited for, as long as senders are to wait.
	err = errUnavailable
	if blocks, _ := c.spool.StateOf(l.shard); blocks == 0 || !l.away.Load() {
		err = c.insist(l, p, tried)
	}
	if full && errors.Is(err, errUnavailable) {
		return errOverloaded
	}
	return err
}

// settle ends the story of a block that went to the spool while an insert of it was under way, if one was.
func (c *committer) settle(l *lane, e *spool.Entry, inserted chan error) {
	err := errUnavailable
	if inserted != nil {
		err = <-inserted
	}
	switch {
	case err == nil:
		c.spool.Remove(e)
	case inserted != nil && !isPassing(err):
		c.setAside(e, false, err)
	default:
		c.spool.Release(e)
		select {
		case l.spooled <- struct{}{}:
		default:
		}
	}
}

// insist tries to store a block for insertTimeout.
func (c *committer) insist(l *lane, p *native.Packed, again bool) error {
	end := time.NewTimer(c.insertTimeout)
	defer end.Stop()
	for pause := retryPause; ; pause = min(2*pause, retryMax) {
		select {
		case l.slots <- struct{}{}:
		case <-end.C:
			return errUnavailable
		case <-c.cut:
			return errUnavailable
		}
		err := c.insertInSlot(l, p, again)
		if err == nil || !isPassing(err) {
			return err
		}
		again = true
		select {
		case <-end.C:
			return errUnavailable
		case <-c.cut:
			return errUnavailable
		case <-time.After(pause):
		}
	}
}

// insertInSlot is insert by somebody who has a slot, and gives that up.
func (c *committer) insertInSlot(l *lane, p *native.Packed, again bool) error {
	ctx, cancel := c.whileAllowed()
	defer cancel()
	defer func() { <-l.slots }()
	return c.insert(ctx, l, p, again)
}

// whileAllowed ends after insertTimeout, or when inserts are to be given up.
func (c *committer) whileAllowed() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), c.insertTimeout)
	go func() {
		select {
		case <-c.cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// insert tries once to store a block, and takes note of how that went.
func (c *committer) insert(ctx context.Context, l *lane, p *native.Packed, again bool) error {
	err := c.sink.InsertBlock(ctx, p, again)
	if err == nil {
		l.failed.Store(nil)
		l.behind.Store(false)
		if l.away.Swap(false) {
			l.log.Info("blocks are stored again")
		}
		c.metrics.stored.Add(float64(p.Rows))
		c.storedSpans.Add(int64(p.Rows))
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return passingError{err} // given up by us: that says nothing of ClickHouse
	}
	before := l.failed.Swap(&failure{at: time.Now(), err: err})
	if ctx.Err() != nil || isPassing(err) {
		if !l.away.Swap(true) {
			l.log.Warn("blocks cannot be stored for now", "spool", c.spool != nil, "error", err)
		}
		return passingError{err}
	}
	if before == nil || before.err.Error() != err.Error() { // else the summary says it
		l.log.Error("a block was refused by the storage", "rows", p.Rows, "error", err)
	}
	return err
}

// passingError marks an insert that may succeed later.
type passingError struct{ error }

func (passingError) Retryable() bool { return true }

func isPassing(err error) bool {
	var passing interface{ Retryable() bool }
	return errors.As(err, &passing) && passing.Retryable()
}

// drainSpool brings blocks of the spool to ClickHouse until ctx ends.
func (c *committer) drainSpool(ctx context.Context) {
	lanes := c.lanes()
	for ; lanes == nil; lanes = c.lanes() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryPause):
		}
	}
	for _, shard := range c.spool.Shards() {
		if 0 <= shard && shard < len(lanes.list) {
			continue
		}
		why := fmt.Errorf("it is for shard %d, and there are %d", shard+1, len(lanes.list))
		for e := c.spool.Take(shard); e != nil; e = c.spool.Take(shard) {
			c.setAside(e, false, why)
		}
	}
	var drainers sync.WaitGroup
	for _, l := range lanes.list {
		drainers.Go(func() { c.drainLane(ctx, l) })
	}
	drainers.Wait()
}

// drainLane does it for one shard.
func (c *committer) drainLane(ctx context.Context, l *lane) {
	pause := retryPause
	for ctx.Err() == nil {
		var wait <-chan time.Time
		switch e := c.spool.Take(l.shard); {
		case e == nil:
			wait = time.After(retryMax)
		case c.unspool(ctx, l, e):
			pause = retryPause
			continue
		default:
			wait = time.After(pause)
			pause = min(2*pause, retryMax)
		}
		select {
		case <-ctx.Done():
		case <-wait:
		case <-l.spooled:
			if l.away.Load() { // news of more blocks is no news of the shard
				select {
				case <-ctx.Done():
				case <-wait:
				}
			}
		}
	}
}

// unspool says whether it is done with the block.
func (c *committer) unspool(ctx context.Context, l *lane, e *spool.Entry) bool {
	p := l.newPacked()
	if err := c.spool.Load(e, p); err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
			c.log.Error("the spool cannot be read for now", "error", err)
			c.spool.Release(e)
			return false
		}
		c.setAside(e, true, err) // damaged, or on a bad sector: the others must not wait for it
		return true
	}
	c.budget.force(int64(len(p.Frames)))
	defer c.unpack(l, p)
	again := e.Tried
	if err := c.spool.Trying(e); err != nil {
		c.log.Error("the spool cannot be written", "error", err)
		c.spool.Release(e)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.insertTimeout)
	defer cancel()
	switch err := c.insert(ctx, l, p, again); {
	case err == nil:
		c.spool.Remove(e)
		return true
	case !isPassing(err):
		c.setAside(e, false, err)
		return true
	}
	c.spool.Release(e)
	return false
}

// setAside keeps a block that cannot be stored for somebody to look at, and says so.
func (c *committer) setAside(e *spool.Entry, damaged bool, why error) {
	path, err := c.spool.SetAside(e, damaged)
	if err != nil {
		why = errors.Join(why, err)
	}
	c.metrics.setAside.Inc()
	c.log.Error("a block of the spool was set aside: its spans are not stored", "file", path, "spooled_at", e.At, "bytes", e.Size, "error", why)
}

// drain stores what is open and waits for what is under way; at the deadline it gives that up.
func (c *committer) drain(deadline time.Time) {
	late := time.AfterFunc(time.Until(deadline), func() { close(c.cut) })
	defer late.Stop()
	c.mu.Lock()
	if c.open != nil && c.open.block.Len() > 0 {
		c.seal()
	}
	c.mu.Unlock()
	c.running.Wait()
}
