package collector

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// retryAfter is when a sender that was turned away should come again.
const retryAfter = 2 * time.Second

// rawMessage is a message that stays bytes: the decoder reads them itself.
type rawMessage struct{ buffer mem.Buffer }

// codec hands export requests over as bytes, and treats all else (the health service) as protobuf.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case []byte:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("marshal %T: %w", v, err)
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("cannot marshal %T", v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *rawMessage:
		m.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), m)
	}
	return fmt.Errorf("cannot unmarshal %T", v)
}

// traceService is what grpc asks a service's implementation to be.
type traceService interface {
	serveExport(stream grpc.ServerStream) error
}

// traceServiceDesc has Export as a stream of one message each way, which is the same on the wire as
// the unary call that it is. A unary handler is only called when its message is in memory; this one
// is called before, and so can check the sender and wait for its turn to receive.
var traceServiceDesc = grpc.ServiceDesc{
	ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService",
	HandlerType: (*traceService)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: "Export",
		Handler:    func(service any, stream grpc.ServerStream) error { return service.(traceService).serveExport(stream) },
	}},
}

const (
	// streamsMax bounds the requests under way on one connection.
	streamsMax = 256
	// windowBytes is what a connection may send ahead of being read.
	windowBytes = 1 << 20
	// turnTimeout is how long a sender waits for its turn to send.
	turnTimeout = 5 * time.Second
)

func (c *Collector) newGRPC() (*grpc.Server, *health.Server) {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(c.cfg.RequestBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(windowBytes),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.InTapHandle(withCancel),
		grpc.WaitForHandlers(true),
	}
	if c.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.tls)))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&traceServiceDesc, c)
	alive := health.NewServer()
	healthpb.RegisterHealthServer(server, alive)
	return server, alive
}

type cancelKey struct{}

// withCancel gives a stream a way to be given up by its handler while that waits for the message.
func withCancel(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, cancelKey{}, cancel), nil
}

func (c *Collector) serveExport(stream grpc.ServerStream) error {
	rejected, err := c.exportGRPC(stream)
	c.count("grpc", rejected, err)
	if err != nil {
		return grpcStatus(err)
	}
	answer, err := exportResponse(rejected).MarshalProto()
	if err != nil {
		return grpcStatus(fmt.Errorf("encode the answer: %w", err))
	}
	return stream.SendMsg(answer)
}

func (c *Collector) exportGRPC(stream grpc.ServerStream) (otlp.Rejected, error) {
	ctx := stream.Context()
	if !c.authorized(ctx) {
		return otlp.Rejected{}, &refusal{codes.Unauthenticated, http.StatusUnauthorized, "send the collector's token as `authorization: Bearer TOKEN`"}
	}
	if err := c.committer.admit(); err != nil {
		return otlp.Rejected{}, err
	}
	message, err := c.receiveGRPC(stream)
	if err != nil {
		return otlp.Rejected{}, err
	}
	size := int64(message.buffer.Len())
	if !c.budget.take(size) {
		message.buffer.Free()
		return otlp.Rejected{}, errOverloaded
	}
	return c.committer.store(ctx, func(b *spans.Block) (otlp.Rejected, error) {
		defer func() {
			message.buffer.Free()
			c.budget.give(size)
		}()
		return decodeProto(message.buffer.ReadOnlyData(), b)
	})
}

// receiveGRPC waits for the sender's turn, then for its message. c.turns is as many as fit into
// PendingBytesMax if all send the largest message.
func (c *Collector) receiveGRPC(stream grpc.ServerStream) (*rawMessage, error) {
	ctx := stream.Context()
	select {
	case c.turns <- struct{}{}:
	default:
		wait := time.NewTimer(turnTimeout)
		defer wait.Stop()
		select {
		case c.turns <- struct{}{}:
		case <-wait.C:
			return nil, errOverloaded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { <-c.turns }()
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		defer time.AfterFunc(c.receiveTimeout, cancel).Stop()
	}
	message := new(rawMessage)
	if err := stream.RecvMsg(message); err != nil {
		return nil, receiveError{err}
	}
	return message, nil
}

// receiveError is gRPC's own word on a message that did not come through: too large, cut, given up.
type receiveError struct{ err error }

func (e receiveError) Error() string { return e.err.Error() }
func (e receiveError) Unwrap() error { return e.err }

func (c *Collector) authorized(ctx context.Context) bool {
	if c.cfg.Token == "" {
		return true
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, header := range md.Get("authorization") {
		if tokenFits(header, c.cfg.Token) {
			return true
		}
	}
	return false
}

func tokenFits(header, token string) bool {
	given, ok := strings.CutPrefix(header, "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}

// exportResponse is a full success, or a partial one that counts what was left out, and why.
func exportResponse(rejected otlp.Rejected) ptraceotlp.ExportResponse {
	response := ptraceotlp.NewExportResponse()
	if n := rejected.Total(); n > 0 {
		response.PartialSuccess().SetRejectedSpans(int64(n))
		response.PartialSuccess().SetErrorMessage("spans were left out: " + rejected.String())
	}
	return response
}

// grpcStatus is the one place that maps errors to gRPC, as the OTLP specification says: what may be
// sent again is UNAVAILABLE, or RESOURCE_EXHAUSTED with RetryInfo.
func grpcStatus(err error) error {
	var known *refusal
	var receive receiveError
	switch {
	case errors.As(err, &known):
		return status.Error(known.code, known.message)
	case errors.As(err, &receive):
		return receive.err
	case errors.Is(err, errOverloaded):
		return retryStatus(codes.ResourceExhausted, err)
	case errors.Is(err, errUnavailable):
		return retryStatus(codes.Unavailable, err)
	case isBadRequest(err):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, "the storage refused the spans; the collector's log says why")
}

func retryStatus(code codes.Code, err error) error {
	s, detailErr := status.New(code, err.Error()).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	if detailErr != nil {
		return status.Error(code, err.Error())
	}
	return s.Err()
}
