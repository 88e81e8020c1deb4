package collector

import (
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/whosehop/whosehop/storage/native"
)

// lane is the way to one shard of the storage: what is known of that shard, and what is on its way there. No lane waits for
// another.
type lane struct {
	shard   int
	name    string // for errors
	log     *slog.Logger
	slots   chan struct{}       // inserts under way
	packed  chan *native.Packed // idle
	spooled chan struct{}       // there is something in the spool for it

	// failed is the last try to insert, if it failed; away, that it failed for now; behind, that a block went to
	// the spool since the last that succeeded, because it could not wait any longer.
	failed atomic.Pointer[failure]
	away   atomic.Bool
	behind atomic.Bool

	underWay int // blocks that are packed and not done; the committer's lock guards it
}

// lanes are the ways to all shards.
type lanes struct {
	shards *native.Shards
	list   []*lane
}

func newLanes(shards *native.Shards, log *slog.Logger) *lanes {
	all := &lanes{shards: shards}
	for i := range shards.Len() {
		l := &lane{
			shard: i, name: "ClickHouse", log: log,
			slots: make(chan struct{}, inflightMax), packed: make(chan *native.Packed, inflightMax+idleMax), spooled: make(chan struct{}, 1),
		}
		if shards.Len() > 1 {
			number := strconv.Itoa(i + 1) // as ClickHouse counts
			l.name, l.log = "shard "+number+" of ClickHouse", log.With("shard", number)
		}
		all.list = append(all.list, l)
	}
	return all
}

func (l *lane) newPacked() *native.Packed {
	select {
	case p := <-l.packed:
		return p
	default:
		return new(native.Packed)
	}
}

// lanes are nil while it is not known which shards there are.
func (c *committer) lanes() *lanes {
	if all := c.known.Load(); all != nil {
		return all
	}
	shards := c.sink.Shards()
	if shards == nil {
		return nil
	}
	c.known.CompareAndSwap(nil, newLanes(shards, c.log))
	return c.known.Load()
}

// roomForOne says whether a block can be inserted at once: there is a lane with room for its part, and all that have none
// are in trouble, so that waiting for them would only hold up the others. The lock is held.
func (c *committer) roomForOne() bool {
	some := false
	for _, l := range c.lanes().list {
		away := l.away.Load()
		if c.packing+l.underWay < inflightMax && (c.spool == nil || !away) {
			some = true
		} else if !away && !l.behind.Load() {
			return false
		}
	}
	return some
}
