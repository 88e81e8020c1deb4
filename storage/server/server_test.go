package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/goleak"
)

// parentCommand makes this test binary a process that starts a ClickHouse and waits to be killed.
const parentCommand = "start-and-wait"

func TestMain(m *testing.M) {
	if IsChild(os.Args) {
		os.Exit(ChildMain(os.Args))
	}
	if len(os.Args) == 3 && os.Args[1] == parentCommand {
		os.Exit(startAndWait(os.Args[2], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func startAndWait(dir string, stdout, stderr io.Writer) int {
	s, err := Start(context.Background(), Config{Dir: dir, MemoryBytesMax: 1 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintln(stdout, s.PID())
	select {}
}

func answers(ctx context.Context, s *Server) bool {
	_, err := s.ping(ctx)
	return err == nil
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, MemoryBytesMax: 1 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exec1(t *testing.T, s *Server, query string) {
	t.Helper()
	conn, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func countRows(t *testing.T, s *Server) (n uint64) {
	t.Helper()
	conn, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM default.kept").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDataOutlivesStopAndKill(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := filepath.Join(t.TempDir(), "data & <more>")
	s := start(t, dir)
	if !strings.HasPrefix(s.Version(), "2") {
		t.Fatalf("version %q", s.Version())
	}
	exec1(t, s, "CREATE TABLE default.kept (x UInt64) ENGINE = MergeTree ORDER BY x")
	exec1(t, s, "INSERT INTO default.kept SELECT number FROM numbers(1000)")

	_, err := Start(t.Context(), Config{Dir: dir, MemoryBytesMax: 1 << 30}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("in use by process ", os.Getpid(), ":")) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second start on the same directory: %v", err)
	}

	pid := s.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for ctx := t.Context(); s.PID() == pid || !answers(ctx, s); {
		if time.Now().After(deadline) {
			t.Fatal("it was not started again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := countRows(t, s); n != 1000 {
		t.Fatalf("%d rows after a kill, want 1000", n)
	}
	last := s.PID()
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(last, 0); err == nil {
		t.Fatalf("process %d is still there after Stop", last)
	}

	s = start(t, dir)
	if n := countRows(t, s); n != 1000 {
		t.Fatalf("%d rows after a clean stop, want 1000", n)
	}
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestParentsDeathIsTheChilds kills a process that has started ClickHouse; the next one may use the
// same directory at once.
func TestParentsDeathIsTheChilds(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self, parentCommand, dir)
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(stdout, &child); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	s := start(t, dir)
	if err := syscall.Kill(child, 0); err == nil && !isZombie(t, child) {
		t.Errorf("ClickHouse %d outlived its parent", child)
	}
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// isZombie: whose death nobody has asked after yet.
func isZombie(t *testing.T, pid int) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// TestStopWhileItIsStartedAgain kills the server and stops it at many moments of its coming back.
func TestStopWhileItIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	for wait := time.Duration(0); wait <= 400*time.Millisecond; wait += 100 * time.Millisecond {
		s := start(t, dir)
		if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait) // the moment is what is tried
		began := time.Now()
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping %v after the kill took %v", wait, took)
		}
		if err := syscall.Kill(s.PID(), 0); err == nil {
			t.Errorf("stopped %v after the kill: process %d is still there", wait, s.PID())
		}
	}
}

// TestDefaultUserMayNothing: it has no password, because the session that opens the port cannot have
// one.
func TestDefaultUserMayNothing(t *testing.T) {
	s := start(t, t.TempDir())
	defer func() { _ = s.Stop(context.WithoutCancel(t.Context())) }()
	exec1(t, s, "CREATE TABLE default.kept (x UInt64) ENGINE = MergeTree ORDER BY x")
	options, err := clickhouse.ParseDSN(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	options.Auth = clickhouse.Auth{Username: "default"}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, query := range []string{
		"SELECT * FROM default.kept", "INSERT INTO default.kept SELECT 1", "DROP TABLE default.kept", "CREATE DATABASE other",
		"SELECT query FROM system.processes", "SELECT * FROM file('x', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
		"KILL QUERY WHERE 1", "SYSTEM SHUTDOWN",
	} {
		var refused *clickhouse.Exception
		const accessDenied = 497
		if err := conn.Exec(t.Context(), query); !errors.As(err, &refused) || refused.Code != accessDenied {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// TestRudeClientsDoNoHarm: the engine by itself would end for each of them.
func TestRudeClientsDoNoHarm(t *testing.T) {
	s := start(t, t.TempDir())
	defer func() { _ = s.Stop(context.WithoutCancel(t.Context())) }()
	pid, tail := s.PID(), s.tail
	options, err := clickhouse.ParseDSN(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, auth := range []clickhouse.Auth{
		{Username: "whosehop", Password: "guessed"},
		{Username: "nobody"},
		{Username: "whosehop", Password: options.Auth.Password, Database: "missing"},
	} {
		other := *options
		other.Auth = auth
		conn, err := clickhouse.Open(&other)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Errorf("%s is let in", auth.Username)
		}
		_ = conn.Close()
	}
	for _, garbage := range []string{"", "\xff\xff\xffgarbage", "GET / HTTP/1.1\r\n\r\n"} {
		conn, err := net.Dial("tcp", options.Addr[0])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(garbage))
		_ = conn.(*net.TCPConn).SetLinger(0) // closing sends a reset
		_ = conn.Close()
	}
	// An engine that ends prints that first, and takes seconds to be gone.
	for range 10 {
		if !answers(t.Context(), s) {
			t.Fatal("no answer")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if text := tail.String(); s.PID() != pid || strings.Contains(text, "Terminate called") {
		t.Fatalf("it died: %s", text)
	}
}

// TestIdleServerIsQuiet: what it prints is kept for the error message alone, and costs.
func TestIdleServerIsQuiet(t *testing.T) {
	s := start(t, t.TempDir())
	defer func() { _ = s.Stop(context.WithoutCancel(t.Context())) }()
	for range 10 {
		if !answers(t.Context(), s) {
			t.Fatal("no answer")
		}
	}
	if text := s.tail.String(); text != "" {
		t.Errorf("it said: %s", text)
	}
}

func TestStartSaysWhatWentWrong(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(broken, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{Engine: "/nowhere/libchdb.so", Dir: t.TempDir()}, "storage.engine"},
		{Config{}, "storage.dir"},
		{Config{Engine: broken, Dir: t.TempDir(), MemoryBytesMax: 1 << 30}, "open the ClickHouse engine"},
		{Config{DSN: "clickhouse://127.0.0.1:1/x"}, "storage.dsn"},
	} {
		_, err := Start(t.Context(), tc.cfg, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want it to say %q", tc.cfg, err, tc.want)
		}
	}
}
