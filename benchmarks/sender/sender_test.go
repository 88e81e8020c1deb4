package sender

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// bytesCodec is rawCodec's other side.
type bytesCodec struct{ rawCodec }

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// serve answers every request as answer says; n counts from 1.
func serve(t *testing.T, answer func(n int) ([]byte, error)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	s := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		text, err := answer(int(n.Add(1)))
		if err != nil {
			return err
		}
		return stream.SendMsg(text)
	}))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func TestWhatIsRefusedIsSentAgainWhenTheRefusalSays(t *testing.T) {
	const delay = 400 * time.Millisecond
	address := serve(t, func(n int) ([]byte, error) {
		switch n {
		case 1:
			s, err := status.New(codes.ResourceExhausted, "full").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
			if err != nil {
				return nil, err
			}
			return nil, s.Err()
		case 2:
			return nil, status.Error(codes.Unavailable, "away")
		}
		return []byte{0x0a, 0}, nil // an empty partial success is a full one
	})
	began := time.Now()
	refused, err := to(t, address).Send(t.Context(), []byte("spans"))
	if err != nil || refused != 2 {
		t.Fatalf("refused %d times, %v", refused, err)
	}
	if took := time.Since(began); took < delay+refusedWait {
		t.Errorf("taken after %s: refusals were not waited for", took)
	}
}

func to(t *testing.T, address string) *Sender {
	t.Helper()
	s, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSpansThatAreLeftOutAreAnError(t *testing.T) {
	for name, answer := range map[string]func(int) ([]byte, error){
		"partial success": func(int) ([]byte, error) { return []byte{0x0a, 2, 0x08, 1}, nil },
		"bad request":     func(int) ([]byte, error) { return nil, status.Error(codes.InvalidArgument, "bad") },
	} {
		if _, err := to(t, serve(t, answer)).Send(t.Context(), []byte("spans")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
