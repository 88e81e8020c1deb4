// Package sender sends OTLP requests by gRPC, and sends again what is refused.
package sender

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
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

const (
	connections = 16
	refusedWait = 100 * time.Millisecond // where the refusal does not say
	refusedMax  = 5 * time.Minute        // of one request
	method      = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
)

// Sender is many senders' connections to one receiver. It is safe for concurrent use.
type Sender struct {
	conns []*grpc.ClientConn
	next  atomic.Uint64
}

// New connects when something is sent.
func New(address string) (*Sender, error) {
	s := new(Sender)
	for range connections {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

// Close gives the connections up.
func (s *Sender) Close() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// Send returns when a request was taken, and says how often it was refused before.
func (s *Sender) Send(ctx context.Context, request []byte) (refused int, err error) {
	conn := s.conns[s.next.Add(1)%connections]
	var answer struct{}
	for began := time.Now(); ; refused++ {
		err := conn.Invoke(ctx, method, request, &answer)
		if err == nil {
			return refused, nil
		}
		wait, again := retryAfter(err)
		if !again || time.Since(began) > refusedMax {
			return refused, err
		}
		select {
		case <-ctx.Done():
			return refused, ctx.Err()
		case <-time.After(wait):
		}
	}
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
