package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/sender"
)

// acks are the times from when requests were first sent until they were taken.
type acks struct {
	mu    sync.Mutex
	times []time.Duration
}

// quantile is in milliseconds.
func (a *acks) quantile(q float64) float64 {
	slices.Sort(a.times)
	if len(a.times) == 0 {
		return 0
	}
	return float64(a.times[int(q*float64(len(a.times)-1))].Microseconds()) / 1000
}

// send sends requests until total spans are acknowledged. What is refused is sent again.
func send(ctx context.Context, address string, payload *load.Payload, s shape, total int) (sent int, times *acks, refused int, err error) {
	to, err := sender.New(address)
	if err != nil {
		return 0, nil, 0, err
	}
	defer to.Close()
	requests := (total + s.spans - 1) / s.spans
	times = new(acks)
	var next, refusals atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range s.inFlight {
		group.Go(func() error {
			var buffer []byte
			var own []time.Duration
			for i := int(next.Add(1)) - 1; i < requests; i = int(next.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				buffer = payload.Fresh(buffer, i)
				begin := time.Now()
				refused, err := to.Send(ctx, buffer)
				refusals.Add(int64(refused))
				if err != nil {
					return fmt.Errorf("request %d: %w", i, err)
				}
				own = append(own, time.Since(begin))
			}
			times.mu.Lock()
			defer times.mu.Unlock()
			times.times = append(times.times, own...)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, nil, 0, err
	}
	return requests * s.spans, times, int(refusals.Load()), nil
}
