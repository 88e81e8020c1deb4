package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func (u *up) count(t *testing.T, query string, args ...any) uint64 {
	t.Helper()
	n, err := u.db(t).Count(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOfficialSendersLoseNothing: the count of rows is the count that was sent.
func TestOfficialSendersLoseNothing(t *testing.T) {
	u := startUp(t, t.TempDir())
	telemetrygen := os.Getenv("TELEMETRYGEN")
	if telemetrygen == "" {
		telemetrygen = filepath.Join("..", "..", ".cache", "bin", "telemetrygen")
	}
	for _, args := range [][]string{
		{telemetrygen, "traces", "--otlp-insecure", "--otlp-endpoint", u.otlpGRPC, "--traces", "500", "--child-spans", "3", "--service", "gen-grpc", "--rate", "0"},
		{telemetrygen, "traces", "--otlp-http", "--otlp-insecure", "--otlp-endpoint", u.otlpHTTP[len("http://"):], "--traces", "500", "--child-spans", "3", "--service", "gen-http", "--rate", "0"},
		{"node", "node/send.mjs", "grpc", "http://" + u.otlpGRPC, "300"},
		{"node", "node/send.mjs", "http/protobuf", u.otlpHTTP, "300"},
		{"node", "node/send.mjs", "http/json", u.otlpHTTP, "300"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v (make test installs what it needs)\n%s", args, err, out)
		}
	}
	for service, want := range map[string]uint64{"gen-grpc": 2000, "gen-http": 2000, "node-grpc": 300, "node-http/protobuf": 300, "node-http/json": 300} {
		if n := u.count(t, "SELECT count() FROM otel_traces WHERE ServiceName = ?", service); n != want {
			t.Errorf("%s: %d spans stored, %d sent", service, n, want)
		}
	}
	if n := u.count(t, "SELECT count() FROM otel_traces WHERE ServiceName LIKE 'node-%' AND SpanAttributes['list'] = '[\"a\",\"b\"]' AND SpanAttributes['ratio'] = '0.5' AND Events.Name[1] = 'half way'"); n != 900 {
		t.Errorf("%d spans of the SDK are whole, want 900", n)
	}
}
