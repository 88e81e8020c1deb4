package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/benchmarks/load"
)

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal takes no answer but a full success; that may hold an empty message of two bytes.
func (rawCodec) Unmarshal(answer mem.BufferSlice, _ any) error {
	if answer.Len() > 2 {
		return fmt.Errorf("spans were left out: %q", answer.Materialize())
	}
	return nil
}

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

const (
	connections = 16
	refusedWait = 100 * time.Millisecond // where the refusal does not say
	refusedMax  = 5 * time.Minute        // of one request
)

// send sends requests until total spans are acknowledged. What is refused is sent again.
func send(ctx context.Context, address string, payload *load.Payload, s shape, total int) (sent int, times *acks, refused int, err error) {
	const method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	conns := make([]*grpc.ClientConn, connections)
	for i := range conns {
		conns[i], err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			return 0, nil, 0, err
		}
		defer func() { _ = conns[i].Close() }()
	}
	requests := (total + s.spans - 1) / s.spans
	times = new(acks)
	var next, refusals atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for sender := range s.inFlight {
		group.Go(func() {
			var buffer []byte
			var answer struct{}
			var own []time.Duration
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= requests {
					break
				}
				buffer = payload.Fresh(buffer, i)
				for begin := time.Now(); ; {
					err := conns[sender%connections].Invoke(ctx, method, buffer, &answer)
					if err == nil {
						own = append(own, time.Since(begin))
						break
					}
					wait, refused := retryAfter(err)
					if !refused || time.Since(begin) > refusedMax || failed.Load() != nil {
						err = fmt.Errorf("request %d: %w", i, err)
						failed.Store(&err)
						break
					}
					refusals.Add(1)
					time.Sleep(wait)
				}
			}
			times.mu.Lock()
			defer times.mu.Unlock()
			times.times = append(times.times, own...)
		})
	}
	group.Wait()
	if e := failed.Load(); e != nil {
		return 0, nil, 0, *e
	}
	return requests * s.spans, times, int(refusals.Load()), nil
}

// retryAfter says whether err is a refusal of what may be sent again, and when.
func retryAfter(err error) (wait time.Duration, refused bool) {
	s := status.Convert(err)
	if s.Code() != codes.ResourceExhausted && s.Code() != codes.Unavailable {
		return 0, false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return refusedWait, true
}
