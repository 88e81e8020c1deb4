package ownership

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// timedPaths are the path records by time: between two changes of what holds, the records that hold then are compiled when
// somebody asks about that time, and once. Most questions are about the last of these.
type timedPaths struct {
	records []catalog.Record
	from    []int64 // in Unix nanoseconds, ascending: when each begins
	compile []func() *catalog.Paths
}

// newTimedPaths takes the records in the order in which a later one counts.
func newTimedPaths(records []catalog.Record) *timedPaths {
	p := &timedPaths{records: records, from: []int64{math.MinInt64}}
	for i := range records {
		for _, at := range []time.Time{records[i].From, records[i].Until} {
			if !at.IsZero() {
				p.from = append(p.from, at.UnixNano())
			}
		}
	}
	slices.Sort(p.from)
	p.from = slices.Compact(p.from)
	for _, from := range p.from {
		p.compile = append(p.compile, sync.OnceValue(func() *catalog.Paths {
			var then []catalog.Record
			for i := range p.records {
				if c := &p.records[i]; holds(c, from) {
					then = append(then, *c)
				}
			}
			return catalog.NewPaths(then)
		}))
	}
	return p
}

// at are the paths of a time in Unix nanoseconds; 0 is now.
func (p *timedPaths) at(ns int64) *catalog.Paths {
	if ns == 0 && len(p.from) > 1 {
		ns = time.Now().UnixNano()
	}
	i, exact := slices.BinarySearch(p.from, ns)
	if !exact {
		i--
	}
	return p.compile[i]()
}
