package analyzer

import (
	"context"
	"time"

	"github.com/whosehop/whosehop/storage"
)

// What is called is summed up for each shard by whoever judges the first part of it: minute by minute, soon after each is over, and by the
// hour. Two that do so at once write the same.

const (
	trafficEvery = 5 * time.Second
	// trafficAfter is how long after a minute it is summed up: most spans that belong to those of the minute have been stored by then.
	trafficAfter = 25 * time.Second
	// minutesMost are made at once.
	minutesMost = 10
	// freshTraffic is how long ago a minute may have begun that metrics count.
	freshTraffic = 5 * time.Minute
	// halvedMost is how often hours are taken to be too much at once for ClickHouse's memory, and fewer are made.
	halvedMost = 10
	// trafficBack bounds how far back is summed up what was stored before anybody did.
	trafficBack = 90 * 24 * time.Hour
)

// traffic is what the rounds hand on to each other.
type traffic struct {
	oldest time.Time // the first hour that has spans; zero if that is not known
	hours  time.Time // all hours that ended before are made
	halved int       // how often hours were too much at once
}

// sumUp makes what is next of what is not made yet: minutes first, the newest before others.
func (s *shard) sumUp(ctx context.Context) (more bool, err error) {
	if !s.first() {
		s.traffic = traffic{} // others go on meanwhile
		return false, nil
	}
	now, err := s.store.ServerTime(ctx)
	if err != nil {
		return false, err
	}
	now = now.UTC().Add(-s.cfg.Late)
	began := time.Now()
	defer func() { s.metrics.took("traffic", began) }()
	made, more, err := s.sumUpMinutes(ctx, now)
	if made || err != nil {
		return more, err
	}
	return s.sumUpHours(ctx, now)
}

// sumUpMinutes makes the newest minutes of this hour and the one before that are not made.
func (s *shard) sumUpMinutes(ctx context.Context, now time.Time) (made, more bool, err error) {
	first := now.Add(-time.Hour).Truncate(time.Hour)
	known, err := s.store.TrafficMade(ctx, first, storage.ByMinute)
	if err != nil {
		return false, false, err
	}
	missing := func(at time.Time) bool { _, has := known[at]; return !has && !at.Before(first) }
	last := now.Add(-trafficAfter).Truncate(time.Minute).Add(-time.Minute)
	for last.After(first) && !missing(last) {
		last = last.Add(-time.Minute)
	}
	if !missing(last) {
		return false, false, nil
	}
	from := last
	for minutes := 1; minutes < minutesMost && missing(from.Add(-time.Minute)); minutes++ {
		from = from.Add(-time.Minute)
	}
	to := last.Add(time.Minute)
	if err := s.store.MakeTraffic(ctx, from, to, storage.ByMinute); err != nil {
		return true, false, err
	}
	s.metrics.summedTo.Set(float64(to.Unix()))
	return true, true, s.countTraffic(ctx, from, to, now)
}

// countTraffic adds minutes that have just been made to the metrics, and not what was made late.
func (s *shard) countTraffic(ctx context.Context, from, to, now time.Time) error {
	if fresh := now.Add(-freshTraffic).Truncate(time.Minute); from.Before(fresh) {
		from = fresh
	}
	if !from.Before(to) {
		return nil
	}
	w := storage.NewTrafficWindow(from, to, now)
	calls, err := s.store.CallsByStatus(ctx, w)
	if err != nil {
		return err
	}
	edges, err := s.store.Edges(ctx, w)
	if err != nil {
		return err
	}
	s.called.add(calls, edges)
	return nil
}

// sumUpHours makes the newest hours that are not made: the last one of its minutes, others of what is stored.
func (s *shard) sumUpHours(ctx context.Context, now time.Time) (more bool, err error) {
	end := now.Add(-visibleWithin - trafficAfter).Truncate(time.Hour)
	t := &s.traffic
	if !t.hours.Before(end) {
		return false, nil
	}
	if t.oldest.IsZero() {
		oldest, err := s.store.OldestStored(ctx)
		if err != nil || oldest.IsZero() {
			return false, err
		}
		t.oldest = oldest.Truncate(time.Hour)
		if most := now.Add(-trafficBack).Truncate(time.Hour); t.oldest.Before(most) {
			t.oldest = most
		}
	}
	known, err := s.store.TrafficMade(ctx, t.oldest, storage.ByHour)
	if err != nil {
		return false, err
	}
	last := end.Add(-time.Hour)
	for ; !last.Before(t.oldest); last = last.Add(-time.Hour) {
		if _, has := known[last]; !has {
			break
		}
	}
	switch {
	case last.Before(t.oldest):
		t.hours = end
		return false, nil
	case !last.Before(now.Add(-time.Hour).Truncate(time.Hour)):
		return true, s.addUpHour(ctx, last)
	}
	// As many before it as are stored beside each other, without going through too many spans at once.
	from := last.Truncate(24 * time.Hour)
	stored, err := s.store.Stored(ctx, from, last.Add(time.Hour), storage.ByHour)
	if err != nil {
		return false, err
	}
	first, spans, most := last, stored[last], uint64(historySpans)>>t.halved
	for at := last.Add(-time.Hour); !at.Before(from) && spans+stored[at] <= most; at = at.Add(-time.Hour) {
		if _, has := known[at]; has {
			break
		}
		first, spans = at, spans+stored[at]
	}
	if err := s.store.MakeTraffic(ctx, first, last.Add(time.Hour), storage.ByHour); err != nil {
		t.halved = min(t.halved+1, halvedMost)
		return false, err
	}
	return true, nil
}

// addUpHour makes an hour of its minutes; before, those are made again of which more has become visible.
func (s *shard) addUpHour(ctx context.Context, hour time.Time) error {
	end := hour.Add(time.Hour)
	stored, err := s.store.Stored(ctx, hour, end, storage.ByMinute)
	if err != nil {
		return err
	}
	known, err := s.store.TrafficMade(ctx, hour, storage.ByMinute)
	if err != nil {
		return err
	}
	changed := func(at time.Time) bool { n, has := known[at]; return !has || n != stored[at] }
	for at := hour; at.Before(end); at = at.Add(time.Minute) {
		if !changed(at) {
			continue
		}
		from := at
		for at.Add(time.Minute).Before(end) && changed(at.Add(time.Minute)) {
			at = at.Add(time.Minute)
		}
		if err := s.store.MakeTraffic(ctx, from, at.Add(time.Minute), storage.ByMinute); err != nil {
			return err
		}
	}
	return s.store.AddUpTraffic(ctx, hour)
}
