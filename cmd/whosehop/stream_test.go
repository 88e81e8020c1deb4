package main

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// silent is a stream of which nothing comes any more.
type silent struct {
	grpc.ServerStream
	ended chan struct{}
}

func (s silent) RecvMsg(any) error {
	<-s.ended
	return nil
}

// TestStreamEndsWithItsDeadline: whoever keeps a stream open and sends nothing is not waited for.
func TestStreamEndsWithItsDeadline(t *testing.T) {
	s := silent{ended: make(chan struct{})}
	defer close(s.ended)
	ctx, cancel := context.WithCancel(t.Context())
	stream := &boundStream{s, ctx}
	cancel()
	if err := stream.RecvMsg(nil); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
}
