package main

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// quietStream is a stream of which only the context is asked for.
type quietStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // as gRPC has it
}

func (s *quietStream) Context() context.Context { return s.ctx }

// TestStreamsAreBoundAndNeedTheToken: what is sent in many messages is guarded before the first is read.
func TestStreamsAreBoundAndNeedTheToken(t *testing.T) {
	guard := boundAndAuthorizeStream("secret")
	for _, c := range []struct {
		token, method  string
		code           codes.Code
		called, bounds bool
	}{
		{"", "/whosehop.v1.Whosehop/PutOwners", codes.Unauthenticated, false, false},
		{"Bearer wrong", "/whosehop.v1.Whosehop/PutOwners", codes.Unauthenticated, false, false},
		{"Bearer secret", "/whosehop.v1.Whosehop/PutOwners", codes.OK, true, true},
		{"Bearer secret", healthpb.Health_Watch_FullMethodName, codes.OK, true, false},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", c.token))
		called, bound := false, false
		err := guard(nil, &quietStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: c.method}, func(_ any, s grpc.ServerStream) error {
			called = true
			_, bound = s.Context().Deadline()
			return nil
		})
		if status.Code(err) != c.code || called != c.called || bound != c.bounds {
			t.Errorf("%q for %s: %v, called %v, bound %v", c.token, c.method, err, called, bound)
		}
	}
}
