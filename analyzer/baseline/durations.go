package baseline

import (
	"math"
	"slices"
)

// bucketRatio is the width of a bucket: quantiles are right within half of it, 2.5 %.
const bucketRatio = 1.05

var logRatio = math.Log(bucketRatio)

// Durations is a histogram over buckets that grow geometrically (as DDSketch, Masson et al., VLDB
// 2019): small, and two of them add up.
type Durations struct {
	count   int
	buckets []bucket // in order of their index
}

type bucket struct{ index, count int }

// Add counts one duration in nanoseconds; below 1 it counts as 0.
func (d *Durations) Add(ns int64) { d.add(indexOf(ns), 1) }

func indexOf(ns int64) int {
	if ns <= 1 {
		return 0
	}
	return int(math.Ceil(math.Log(float64(ns)) / logRatio))
}

func (d *Durations) add(index, count int) {
	at, found := slices.BinarySearchFunc(d.buckets, index, func(b bucket, i int) int { return b.index - i })
	if !found {
		d.buckets = slices.Insert(d.buckets, at, bucket{index: index})
	}
	d.buckets[at].count += count
	d.count += count
}

func (d *Durations) merge(o *Durations) {
	for _, b := range o.buckets {
		d.add(b.index, b.count)
	}
}

// Count is how many durations were added.
func (d *Durations) Count() int {
	if d == nil {
		return 0
	}
	return d.count
}

// QuantileNs is the duration that a share q (0 to 1) of the samples does not exceed, 0 without any.
func (d *Durations) QuantileNs(q float64) int64 {
	if d == nil {
		return 0
	}
	rank := int(math.Ceil(q * float64(d.count)))
	for _, b := range d.buckets {
		if rank -= b.count; rank <= 0 {
			return middle(b.index)
		}
	}
	return 0
}

// middles are the middles of the buckets, up to that of the longest duration that is believed, a day.
var middles = func() (table [704]int64) {
	for index := 1; index < len(table); index++ {
		table[index] = int64(math.Pow(bucketRatio, float64(index)-0.5))
	}
	return table
}()

func middle(index int) int64 { return middles[min(index, len(middles)-1)] }

// MeanNs is the mean without the slowest tenth, which may hold what was not normal after all; 0
// without any sample.
func (d *Durations) MeanNs() int64 {
	if d == nil || d.count == 0 {
		return 0
	}
	keep := d.count - d.count/10
	sum, left := 0.0, keep
	for _, b := range d.buckets {
		n := min(b.count, left)
		sum += float64(n) * float64(middle(b.index))
		if left -= n; left == 0 {
			break
		}
	}
	return int64(sum / float64(keep))
}

// HighNs is what a normal sample hardly ever exceeds: the 99th percentile. Few samples do not tell
// that of a tail, and one that was not normal would: then it is what a log-normal distribution with
// the same quartiles has there, if that is less.
func (d *Durations) HighNs() int64 {
	p99 := d.QuantileNs(0.99)
	const enoughForTail = 1000
	if d.Count() >= enoughForTail {
		return p99
	}
	low, middle, high := float64(d.QuantileNs(0.25)), float64(d.QuantileNs(0.5)), float64(d.QuantileNs(0.75))
	if low <= 0 {
		return p99
	}
	const quartiles, percentile = 1.349, 2.326 // in standard deviations of a normal distribution
	fitted := middle * math.Exp(percentile*math.Log(high/low)/quartiles)
	few := int64(max(fitted, 1.5*high))
	const enoughForTwoWays = 50
	if d.count >= enoughForTwoWays {
		few = max(few, d.QuantileNs(0.95)) // what one run in twenty takes is another way to be normal, as a cache miss is
	}
	return min(p99, few)
}
