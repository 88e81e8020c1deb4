package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// week makes the company's traces. What came in during a minute depends on the minute alone, so that a store that was
// filled before can be filled up to now.
type week struct {
	services []*service
	faults   []*fault
	healthy  []played
	hits     [][]played // by fault
	giant    *template

	// Of all traces so many a second come in on average, and of those of a minute this part times the weight of
	// what is broken then are hit.
	TracesPerSecond, HitPerWeight float64
}

// played are templates of one entry.
type played struct {
	weight    float64 // of it and those before
	templates []*template
}

const (
	variants    = 16 // of each entry's healthy traces
	hitVariants = 6  // of each fault at each entry
	hitMost     = 0.6
)

// newWeek plays all that there is to be played.
func newWeek() (*week, error) {
	list, err := readCompany()
	if err != nil {
		return nil, err
	}
	w := &week{services: list}
	if w.faults, err = companyFaults(list); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(3, 5))
	w.healthy = w.play(random, nil, variants)
	for _, f := range w.faults {
		hits := w.play(random, f, hitVariants)
		if len(hits) == 0 {
			f.weight = 0 // no request comes by
		}
		w.hits = append(w.hits, hits)
	}
	entry, f := giantFault(list)
	trace, hit := playOne(random, entry, f)
	if w.giant = newTemplate(trace); !hit || len(w.giant.spans) != giantSpans {
		return nil, fmt.Errorf("the trace of %d spans has %d, and its fault was met: %t", giantSpans, len(w.giant.spans), hit)
	}
	return w, nil
}

// giantSpans is the size of the largest trace.
const giantSpans = 10_000

// play plays requests at all entries, with a fault only those that meet it.
func (w *week) play(random *rand.Rand, f *fault, variants int) (all []played) {
	sum := 0.0
	for _, entry := range entries(w.services) {
		one := played{}
		for range variants {
			if trace, hit := playOne(random, entry, f); hit || f == nil {
				one.templates = append(one.templates, newTemplate(trace))
			}
		}
		if len(one.templates) > 0 {
			sum += float64(entry.weight)
			one.weight = sum
			all = append(all, one)
		}
	}
	return all
}

func pick(random *rand.Rand, of []played) *template {
	x := random.Float64() * of[len(of)-1].weight
	k := 0
	for of[k].weight <= x {
		k++
	}
	return of[k].templates[random.IntN(len(of[k].templates))]
}

// meanSpans is of traces as often as they come.
func meanSpans(of []played) (mean float64) {
	before := 0.0
	for _, p := range of {
		n := 0
		for _, t := range p.templates {
			n += len(t.spans)
		}
		mean += (p.weight - before) * float64(n) / float64(len(p.templates))
		before = p.weight
	}
	return mean / before
}

// busy is how many requests come in at a time, beside the average: few at night, and fewer at the weekend.
func busy(at time.Time) float64 {
	at = at.UTC()
	hour := float64(at.Hour()) + float64(at.Minute())/60
	b := 1.05 + 0.6*math.Cos((hour-15)/12*math.Pi)
	if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
		b *= 0.8
	}
	return b
}

// broken is the weight of what is broken at a time.
func (w *week) broken(at time.Time) (sum float64) {
	for _, f := range w.faults {
		if f.weight > 0 && f.active(at) {
			sum += f.weight
		}
	}
	return sum
}

// plan finds rates with which there are so many spans and hit traces from one time to another.
func (w *week) plan(from, to time.Time, wantSpans, wantHits int) error {
	healthy, hit := meanSpans(w.healthy), 0.0
	all, weighted := 0.0, 0.0 // seconds of an average day; times what was broken in them
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		all += 60 * busy(at)
		weighted += 60 * busy(at) * w.broken(at)
		for k, f := range w.faults {
			if f.weight > 0 && f.active(at) {
				hit += 60 * busy(at) * f.weight * meanSpans(w.hits[k])
			}
		}
	}
	hit /= weighted
	// A little more of both: what is drawn varies, a request that was refused has not failed, and not all that is slow is
	// slower than ever.
	spans, hits := 1.01*float64(wantSpans), 1.25*float64(wantHits)
	traces := hits + max(0, spans-hits*hit)/healthy
	w.TracesPerSecond = traces / all
	w.HitPerWeight = hits / traces * all / weighted
	if w.HitPerWeight*weighted/all > hitMost {
		return errors.New("so many failing traces do not fit into so few spans")
	}
	return nil
}

// minute gives the traces of a minute to use, in the order in which they come.
func (w *week) minute(at time.Time, use func(t *template, startNs, slower int64, id spans.TraceID)) {
	random := rand.New(rand.NewPCG(uint64(at.Unix()), 11))
	n := 60 * busy(at) * w.TracesPerSecond
	count := int(n)
	if random.Float64() < n-float64(count) {
		count++
	}
	broken := w.broken(at)
	for i := range count {
		var t *template
		if random.Float64() < min(hitMost, w.HitPerWeight*broken) {
			t = w.hit(random, at, broken)
		} else {
			t = pick(random, w.healthy)
		}
		start := at.UnixNano() + int64((float64(i)+random.Float64())/float64(count)*float64(time.Minute))
		var id spans.TraceID
		binary.LittleEndian.PutUint64(id[:], random.Uint64())
		binary.LittleEndian.PutUint64(id[8:], random.Uint64()|1)
		slower := int64(1024 * math.Exp(0.12*random.NormFloat64()))
		use(t, start, slower, id)
	}
}

// hit picks a trace that one of the faults of a time has hit.
func (w *week) hit(random *rand.Rand, at time.Time, broken float64) *template {
	x := random.Float64() * broken
	last := -1
	for k, f := range w.faults {
		if f.weight > 0 && f.active(at) {
			last = k
			if x -= f.weight; x < 0 {
				break
			}
		}
	}
	return pick(random, w.hits[last])
}
