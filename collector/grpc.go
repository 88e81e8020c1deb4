package collector

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // senders may compress
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/whosehop/whosehop/otlp"
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
	exportGRPC(ctx context.Context, request *rawMessage) ([]byte, error)
}

var traceServiceDesc = grpc.ServiceDesc{
	ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService",
	HandlerType: (*traceService)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Export",
		Handler: func(service any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			request := new(rawMessage)
			if err := decode(request); err != nil {
				return nil, err
			}
			handle := func(ctx context.Context, request any) (any, error) {
				return service.(traceService).exportGRPC(ctx, request.(*rawMessage))
			}
			if intercept == nil {
				return handle(ctx, request)
			}
			return intercept(ctx, request, &grpc.UnaryServerInfo{Server: service, FullMethod: "/opentelemetry.proto.collector.trace.v1.TraceService/Export"}, handle)
		},
	}},
}

func (c *Collector) newGRPC() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(c.cfg.RequestBytesMax),
		grpc.MaxConcurrentStreams(256),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if c.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.tls)))
	}
	if c.cfg.Token != "" {
		options = append(options, grpc.UnaryInterceptor(c.authorize))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&traceServiceDesc, c)
	healthpb.RegisterHealthServer(server, health.NewServer())
	return server
}

func (c *Collector) authorize(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, header := range md.Get("authorization") {
		if tokenFits(header, c.cfg.Token) {
			return next(ctx, request)
		}
	}
	return nil, status.Error(codes.Unauthenticated, "send the collector's token as `authorization: Bearer TOKEN`")
}

func tokenFits(header, token string) bool {
	given, ok := strings.CutPrefix(header, "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}

func (c *Collector) exportGRPC(ctx context.Context, request *rawMessage) ([]byte, error) {
	defer request.buffer.Free()
	rejected, err := c.export(ctx, "grpc", request.buffer.ReadOnlyData(), decodeProto)
	if err != nil {
		return nil, grpcStatus(err)
	}
	return exportResponse(rejected).MarshalProto()
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
	switch {
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
