package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// underWayMax bounds the requests that the load has under way; it skips a beat rather than more.
	underWayMax = 256
	// A request in frontPageEvery is for the front page, the others are for the checkout.
	frontPageEvery = 6
	// A request in hitEvery brings a fault along, of several each for itself.
	hitEvery = 3

	answerTimeout = 5 * time.Second
)

// load sends requests at a steady rate until ctx ends or the time is up, and returns when all are
// answered. What is hit follows from the seed alone. The fault travels as baggage, which the services
// hand on and which no span shows.
func load(ctx context.Context, front string, c *runCmd) {
	random := rand.New(rand.NewPCG(c.Seed, 0)) //nolint:gosec // a load, not a secret
	client := &http.Client{Timeout: answerTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: underWayMax}}
	defer client.CloseIdleConnections()
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / c.Rate))
	defer ticker.Stop()
	underWay := make(chan struct{}, underWayMax)
	var group sync.WaitGroup
	defer group.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		page := "/checkout"
		if random.IntN(frontPageEvery) == 0 {
			page = "/"
		}
		var hit []string
		for _, f := range c.Fault {
			if random.IntN(hitEvery) == 0 {
				hit = append(hit, faultKey+"."+f+"=1")
			}
		}
		select {
		case underWay <- struct{}{}:
		default:
			continue
		}
		group.Go(func() {
			defer func() { <-underWay }()
			request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, front+page, nil)
			if err != nil {
				return
			}
			if len(hit) > 0 {
				request.Header.Set("baggage", strings.Join(hit, ","))
			}
			if response, err := client.Do(request); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
}
