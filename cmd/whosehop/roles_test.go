package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestAFolderOfOwnersNeedNotBeRight: no role stops for a line in one of many files, but for one in the file that it is given.
func TestAFolderOfOwnersNeedNotBeRight(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken", "owners.yaml")
	for file, text := range map[string]string{
		filepath.Join(dir, "owners.yaml"): "services:\n  - {name: payments, owner: team-b}\n",
		broken:                            "services:\n  - {name: cart, owner: team-c}\n" + strings.Repeat("  - {owner: nobody}\n", 30),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	settings := new(ownershipSettings)
	got, err := settings.read(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 1 || got.Records[0].Name != "payments" || !slices.Equal(got.Keep, []string{broken}) {
		t.Errorf("%+v", got)
	}
	if lines := strings.Count(said.String(), "\n"); lines != 21 || !strings.Contains(said.String(), "owners.yaml:3") {
		t.Errorf("%d lines: %s", lines, said.String())
	}
	if _, err := settings.read(broken, log); err == nil || !strings.Contains(err.Error(), "owners.yaml:3: ") {
		t.Errorf("a file that is named: %v", err)
	}
	if got, err := settings.read("", log); got != nil || err != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
}
