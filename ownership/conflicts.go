package ownership

import (
	"cmp"
	"fmt"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Conflict is two records that say differently who owns the same thing at the same time. Winner counts.
type Conflict struct {
	Winner, Loser *catalog.Record
	// About is what both are about.
	About string
}

// String says it in a line.
func (c Conflict) String() string {
	return fmt.Sprintf("%s: %s by %s, %s by %s; the first counts", c.About, said(c.Winner), c.Winner.Source, said(c.Loser), c.Loser.Source)
}

func said(c *catalog.Record) string { return cmp.Or(c.Owner, c.Accountable, Unowned) }

// heldAgainstMax is how many records of one thing a further one of it is held against.
const heldAgainstMax = 100

// conflictsOf finds, for each entry, the first before it that is about the same and says another owner for the same time.
func (r *Registry) conflictsOf(all []entry) (list []Conflict) {
	of := make(map[subject][]*entry, len(all))
	seen := make(map[[2]*catalog.Record]bool) // two records may share several names
	for i := range all {
		e := &all[i]
		before, repeated := of[e.subject], false
		for _, b := range before {
			from, overlap := overlapOf(b.record, e.record)
			if !overlap {
				continue
			}
			if b.ownerAt(from) == e.ownerAt(from) && b.record.Accountable == e.record.Accountable {
				repeated = repeated || b.record.From.Equal(e.record.From) && b.record.Until.Equal(e.record.Until)
				continue
			}
			if pair := [2]*catalog.Record{b.record, e.record}; !seen[pair] {
				seen[pair] = true
				list = append(list, Conflict{Winner: b.record, Loser: e.record, About: e.String()})
			}
			break
		}
		if !repeated && len(before) < heldAgainstMax {
			of[e.subject] = append(before, e)
		}
	}
	return list
}

// conflictsOfPaths finds the patterns that two files of one repository give different owners.
func (r *Registry) conflictsOfPaths() (list []Conflict) {
	for loser, winner := range r.paths.Repeated() {
		if from, overlap := overlapOf(loser, winner); overlap && r.team(loser.Owner, from) != r.team(winner.Owner, from) {
			list = append(list, Conflict{Winner: winner, Loser: loser, About: Subject(winner)})
		}
	}
	return list
}

// overlapOf says whether two records hold at the same time, and from when on, in Unix nanoseconds.
func overlapOf(a, b *catalog.Record) (fromNs int64, ok bool) {
	from, until := a.From, a.Until
	if b.From.After(from) {
		from = b.From
	}
	if until.IsZero() || !b.Until.IsZero() && b.Until.Before(until) {
		until = b.Until
	}
	return nanoseconds(from, 0), until.IsZero() || from.Before(until)
}
