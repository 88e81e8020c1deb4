package server

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if IsChild(os.Args) {
		os.Exit(ChildMain(os.Args))
	}
	os.Exit(m.Run())
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
	dir := t.TempDir()
	s := start(t, dir)
	if !strings.HasPrefix(s.Version(), "2") {
		t.Fatalf("version %q", s.Version())
	}
	exec1(t, s, "CREATE TABLE default.kept (x UInt64) ENGINE = MergeTree ORDER BY x")
	exec1(t, s, "INSERT INTO default.kept SELECT number FROM numbers(1000)")

	_, err := Start(t.Context(), Config{Dir: dir, MemoryBytesMax: 1 << 30}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "in use by process") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second start on the same directory: %v", err)
	}

	pid := s.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for ctx := t.Context(); s.PID() == pid || s.ping(ctx) != nil; {
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

func TestNoEngineSaysWhatToDo(t *testing.T) {
	_, err := Start(t.Context(), Config{Dir: t.TempDir(), Engine: "/nowhere/libchdb.so"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "storage.engine") {
		t.Fatalf("got %v", err)
	}
}
