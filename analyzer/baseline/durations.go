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

func middle(index int) int64 {
	if index == 0 {
		return 0
	}
	return int64(math.Pow(bucketRatio, float64(index)-0.5))
}

// MeanNs is the mean, without the slowest hundredth: one sample that was not normal after all must
// not shift it. 0 without any sample.
func (d *Durations) MeanNs() int64 {
	if d == nil || d.count == 0 {
		return 0
	}
	keep := d.count - d.count/100
	if d.count >= 2*learntMin && keep == d.count {
		keep-- // few samples: the slowest one
	}
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

// SpreadNs is how far samples usually lie from the median: half the distance of the quartiles.
func (d *Durations) SpreadNs() int64 { return (d.QuantileNs(0.75) - d.QuantileNs(0.25)) / 2 }
