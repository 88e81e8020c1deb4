package native

import (
	"encoding/hex"
	"sort"

	"github.com/go-faster/city"

	"github.com/whosehop/whosehop/storage/spans"
)

// Shards says on which shard of a cluster a trace lies: where ClickHouse's Distributed engine looks for it, sharded by
// cityHash64(TraceId). It does not change, and is safe for concurrent use.
type Shards struct {
	ends []uint64 // by shard: the end of its slots; a hash modulo their number is a slot
}

// NewShards is for the shards of a cluster in their order, by weight; one of them is above 0.
func NewShards(weights []uint32) *Shards {
	s := &Shards{ends: make([]uint64, len(weights))}
	slots := uint64(0)
	for i, weight := range weights {
		slots += uint64(weight)
		s.ends[i] = slots
	}
	return s
}

// Len is how many shards there are.
func (s *Shards) Len() int { return len(s.ends) }

// Of is the shard of a trace, from 0.
func (s *Shards) Of(id spans.TraceID) int {
	if len(s.ends) == 1 {
		return 0
	}
	var text [2 * len(id)]byte
	hex.Encode(text[:], id[:])
	slot := city.CH64(text[:]) % s.ends[len(s.ends)-1]
	return sort.Search(len(s.ends), func(i int) bool { return slot < s.ends[i] })
}
