package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/sender"
)

const (
	spansPerTrace = 25
	failingEvery  = 20
	// roundSeconds is how much time a round through the payload takes. All its times count from one moment, so it is
	// also how much later than that the last of its spans is sent.
	roundSeconds = 2
	// inFlightMax is how many requests may wait for their answers before later ones are sent too late.
	inFlightMax = 512
	// firstRound is beyond those of any load that is stored before: ids are by the round.
	firstRound = 1_000_000
)

// paced is what was sent.
type paced struct {
	requests, spans int
	traces, failing int
	refused         int
	took            time.Duration // until the last was taken
	late            time.Duration // how much later than it was due a request was sent, at most
	answered        time.Duration // how much later than it was due a request was taken, at most
}

// pace sends spans at a steady rate for some time, and what makes the last round whole. A receiver that is slow is
// sent no less.
func pace(ctx context.Context, address string, rate int, length time.Duration) (p paced, err error) {
	payload := load.New(load.Config{
		SpansPerRequest: 512, SpansPerTrace: spansPerTrace, FailingEvery: failingEvery, Whole: true, Traces: roundSeconds * rate / spansPerTrace,
	})
	to, err := sender.New(address)
	if err != nil {
		return p, err
	}
	defer to.Close()
	type request struct {
		number        int
		due, counting time.Time
	}
	due := make(chan request)
	var refused, answered atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range inFlightMax {
		group.Go(func() error {
			var buffer []byte
			for r := range due {
				buffer = payload.FreshAt(buffer, firstRound*payload.Len()+r.number, r.counting)
				n, err := to.Send(ctx, buffer)
				refused.Add(int64(n))
				if err != nil {
					return fmt.Errorf("request %d: %w", r.number, err)
				}
				for took := int64(time.Since(r.due)); ; {
					before := answered.Load()
					if took <= before || answered.CompareAndSwap(before, took) {
						break
					}
				}
			}
			return nil
		})
	}
	began := time.Now()
	group.Go(func() error {
		defer close(due)
		traces, failing := payload.Traces()
		var counting time.Time
		for ; ; p.requests++ {
			next := began.Add(time.Duration(float64(p.spans) / float64(rate) * float64(time.Second)))
			if p.requests%payload.Len() == 0 {
				if next.Sub(began) >= length {
					return nil
				}
				counting = next
				p.traces += traces
				p.failing += failing
			}
			time.Sleep(time.Until(next))
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case due <- request{p.requests, next, counting}:
			}
			p.late = max(p.late, time.Since(next))
			p.spans += payload.Spans(p.requests)
		}
	})
	err = group.Wait()
	p.took, p.refused, p.answered = time.Since(began), int(refused.Load()), time.Duration(answered.Load())
	return p, err
}
