package e2e

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

// startRole starts one role and returns the address that find captures of what it says when it is ready.
func startRole(t *testing.T, find *regexp.Regexp, args ...string) (cmd *exec.Cmd, address string) {
	t.Helper()
	return startProgram(t, find, filepath.Join(bin, "whosehop"), args...)
}

func startProgram(t *testing.T, find *regexp.Regexp, program string, args ...string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = exec.Command(program, args...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	said, ended := make(chan string, 1), make(chan string, 1)
	go func() {
		var head strings.Builder
		lines := bufio.NewScanner(pipe)
		for sent := false; lines.Scan(); {
			head.WriteString(lines.Text() + "\n")
			if !sent && find.MatchString(head.String()) {
				said <- find.FindStringSubmatch(head.String())[1]
				sent = true
			}
		}
		_ = cmd.Wait()
		ended <- head.String()
	}()
	select {
	case address = <-said:
	case last := <-ended:
		t.Fatalf("%s %v ended: %s", program, args, last)
	case <-time.After(30 * time.Second):
		t.Fatalf("%s %v was not ready within 30 s", program, args)
	}
	return cmd, address
}

// counter asks questions whose answer is one number.
func counter(t *testing.T, db *storage.DB) func(query string, args ...any) uint64 {
	return func(query string, args ...any) uint64 {
		t.Helper()
		n, err := db.Count(t.Context(), query, args...)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

var healthAt = regexp.MustCompile(`health\s+http://(\S+)/healthz`)

// TestRolesApart runs the roles in processes of their own on one ClickHouse, and kills the collector and
// the analyzer in the middle of load. Nothing that was acknowledged is missing, all is judged once.
func TestRolesApart(t *testing.T) {
	ch, err := server.Start(t.Context(), server.Config{Dir: t.TempDir(), MemoryBytesMax: 2 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Stop(context.Background()) })
	dsn := []string{"--storage-dsn", ch.DSN()}
	dir := t.TempDir()
	collectorArgs := func(address string) []string {
		return append([]string{"collector", "--storage-dir", dir, "--collector-http", address, "--collector-grpc", ":0", "--collector-health", ":0"}, dsn...)
	}
	analyzerArgs := append([]string{"analyzer", "--analyzer-quiet", "1s", "--analyzer-health", ":0"}, dsn...)
	collect, otlp := startRole(t, addresses["otlp"], collectorArgs(":0")...)
	analyze, health := startRole(t, healthAt, analyzerArgs...)
	_, web := startRole(t, addresses["http"], append([]string{"query", "--query-http", ":0", "--query-grpc", ":0"}, dsn...)...)

	s := &sender{}
	s.url.Store(&otlp)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { s.run(ctx) })
	}
	for range 2 {
		time.Sleep(2 * time.Second)
		_ = collect.Process.Kill()
		_ = analyze.Process.Kill()
		time.Sleep(300 * time.Millisecond)
		collect, _ = startRole(t, addresses["otlp"], collectorArgs(strings.TrimPrefix(otlp, "http://"))...)
		analyze, health = startRole(t, healthAt, analyzerArgs...)
	}
	time.Sleep(time.Second)
	cancel()
	group.Wait()

	db, err := storage.Open(t.Context(), ch.DSN(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	count := counter(t, db)
	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	if len(acked) < 50 {
		t.Fatalf("only %d requests were acknowledged", len(acked))
	}
	if n := count("SELECT count() FROM otel_traces WHERE TraceId IN (?)", acked); n != 2*uint64(len(acked)) {
		t.Errorf("%d spans are stored of %d that were acknowledged", n, 2*len(acked))
	}
	deadline := time.Now().Add(30 * time.Second)
	for count("SELECT uniqExact(TraceId) FROM otel_traces") != count("SELECT count() FROM verdicts FINAL WHERE length(Entries.Service) = 1 AND SpanRows = 2") {
		if time.Now().After(deadline) {
			t.Fatal("not every trace has one current verdict")
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, address := range []string{"http://" + health + "/readyz", web + "/readyz", web + "/api/v1/verdicts/" + acked[0]} {
		response, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", address, response.StatusCode)
		}
	}
}
