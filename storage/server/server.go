// Package server starts and supervises the ClickHouse that whosehop works on: one that the user
// names, else a `clickhouse` from the PATH, else the embedded engine, in a process of its own.
package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Config says which ClickHouse to use.
type Config struct {
	// DSN of a running ClickHouse; nothing is started then.
	DSN string
	// Dir holds the data of a server that is started here.
	Dir string
	// Engine is the path of the embedded library; empty: it is looked for.
	Engine string
	// MemoryBytesMax caps a server that is started here.
	MemoryBytesMax uint64
}

// The kinds of servers.
const (
	KindExternal = "external"
	KindBinary   = "binary"
	KindEmbedded = "embedded"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 15 * time.Second
	// keepAlive is the query that the embedded server lives as long as; stopping means killing it.
	keepAlive = "SYSTEM START LISTEN TCP; SELECT sleepEachRow(3) FROM system.numbers " +
		"SETTINGS max_block_size=1, function_sleep_max_microseconds_per_block=0 FORMAT Null"
)

// Server is a ClickHouse that is ready for queries. One that was started here is started again,
// under the same address, when it dies.
type Server struct {
	kind, dsn, version string
	command            func() *exec.Cmd
	log                *slog.Logger
	lock               *os.File

	mu       sync.Mutex
	process  *os.Process
	exited   chan struct{} // of the current process
	tail     *tailBuffer
	stopping bool
	done     chan struct{} // the supervisor has ended
}

// Start returns when the server answers. ctx bounds the start alone; Stop ends the server.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if cfg.DSN != "" {
		s := &Server{kind: KindExternal, dsn: cfg.DSN, log: log}
		if err := s.ping(ctx); err != nil {
			return nil, fmt.Errorf("reach the ClickHouse of storage.dsn: %w", err)
		}
		return s, nil
	}
	s := &Server{log: log, done: make(chan struct{})}
	if err := s.prepare(cfg); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		s.unlock()
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.kill()
		s.unlock()
		return nil, err
	}
	go s.supervise()
	return s, nil
}

// DSN is the address for storage.Open.
func (s *Server) DSN() string { return s.dsn }

// Kind is KindExternal, KindBinary or KindEmbedded.
func (s *Server) Kind() string { return s.kind }

// Version is what the server says it is.
func (s *Server) Version() string { return s.version }

// PID is the process of a server started here, 0 for an external one.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Pid
}

func (s *Server) prepare(cfg Config) error {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return fmt.Errorf("storage.dir %q: %w", cfg.Dir, err)
	}
	data := filepath.Join(dir, "clickhouse")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make storage.dir: %w", err)
	}
	if s.lock, err = lockDir(dir); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		s.unlock()
		return fmt.Errorf("find a port for ClickHouse: %w", err)
	}
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // never fails
	password := hex.EncodeToString(secret)
	config, err := writeConfig(dir, configValues{Data: data, Password: password, Port: port, MemoryBytesMax: cfg.MemoryBytesMax})
	if err != nil {
		s.unlock()
		return err
	}
	s.dsn = fmt.Sprintf("clickhouse://whosehop:%s@127.0.0.1:%d/whosehop", password, port)

	if binary, err := exec.LookPath("clickhouse"); err == nil && cfg.Engine == "" {
		s.kind = KindBinary
		s.command = func() *exec.Cmd { return exec.Command(binary, "server", "--config-file="+config) } //nolint:noctx // Stop ends it, by asking first
		return nil
	}
	engine, err := findEngine(cfg.Engine)
	if err != nil {
		s.unlock()
		return err
	}
	self, err := os.Executable()
	if err != nil {
		s.unlock()
		return fmt.Errorf("find the own program: %w", err)
	}
	s.kind = KindEmbedded
	s.command = func() *exec.Cmd {
		return exec.Command(self, childCommand, engine, "--path="+data, //nolint:noctx // Stop ends it, by asking first
			"--config-file="+config,
			fmt.Sprintf("--tcp_port=%d", port), "--listen_host=127.0.0.1", "--query", keepAlive)
	}
	return nil
}

// launch starts the process. It is forked from a thread that lives as long as it does: the kernel
// sends the death signal when the thread that forked ends, not the process.
func (s *Server) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		cmd := s.command()
		tail := &tailBuffer{}
		cmd.Stdout, cmd.Stderr = tail, tail
		cmd.SysProcAttr = childAttributes()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start ClickHouse: %w", err)
			return
		}
		exited := make(chan struct{})
		s.mu.Lock()
		s.process, s.exited, s.tail = cmd.Process, exited, tail
		s.mu.Unlock()
		started <- nil
		_ = cmd.Wait() // how it ended is in the tail
		close(exited)
	}()
	return <-started
}

// await returns when the server answers a query, or says why it does not.
func (s *Server) await(ctx context.Context) error {
	s.mu.Lock()
	exited, tail := s.exited, s.tail
	s.mu.Unlock()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := s.ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("ClickHouse (%s) ended while it started: %s", s.kind, tail)
		case <-ctx.Done():
			return fmt.Errorf("ClickHouse (%s) did not answer in time: %w; it said: %s", s.kind, err, tail)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.QueryRow(ctx, "SELECT version()").Scan(&s.version); err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	return nil
}

// connect opens a connection that does not need our database to exist.
func (s *Server) connect() (clickhouse.Conn, error) {
	options, err := clickhouse.ParseDSN(s.dsn)
	if err != nil {
		return nil, fmt.Errorf("storage.dsn: %w", err)
	}
	options.Auth.Database = ""
	options.DialTimeout = 5 * time.Second
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, fmt.Errorf("connect to ClickHouse: %w", err)
	}
	return conn, nil
}

// supervise starts the server again whenever it dies, less and less eagerly.
func (s *Server) supervise() {
	defer close(s.done)
	const pauseMax = 10 * time.Second
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, pauseMax) {
		s.mu.Lock()
		exited := s.exited
		s.mu.Unlock()
		began := time.Now()
		<-exited
		if s.isStopping() {
			return
		}
		s.log.Error("clickhouse died; starting it again", "kind", s.kind, "said", s.tail.String())
		if time.Since(began) > time.Minute {
			pause = 100 * time.Millisecond
		}
		time.Sleep(pause)
		if s.isStopping() {
			return
		}
		if err := s.launch(); err != nil {
			s.log.Error("clickhouse does not start", "error", err)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		err := s.await(ctx)
		cancel()
		if err != nil {
			s.log.Error("clickhouse does not answer", "error", err)
			s.kill()
			continue
		}
		s.log.Info("clickhouse is back", "kind", s.kind)
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Stop ends a server that was started here: cleanly if it can be, else by force.
func (s *Server) Stop(ctx context.Context) error {
	if s.kind == KindExternal {
		return nil
	}
	defer s.unlock()
	s.mu.Lock()
	s.stopping = true
	process, exited := s.process, s.exited
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if s.kind == KindBinary {
		_ = process.Signal(syscall.SIGTERM)
	} else if err := s.endKeepAlive(ctx); err != nil {
		s.log.Warn("clickhouse could not be asked to end", "error", err)
		s.kill()
	}
	select {
	case <-exited:
	case <-ctx.Done():
		s.log.Warn("clickhouse did not end in time and is killed")
		s.kill()
	}
	<-s.done
	return nil
}

func (s *Server) endKeepAlive(ctx context.Context) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(ctx, "KILL QUERY WHERE query LIKE 'SELECT sleepEachRow%' OR user = 'default' ASYNC"); err != nil {
		return fmt.Errorf("end the query that keeps it alive: %w", err)
	}
	return nil
}

func (s *Server) kill() {
	s.mu.Lock()
	process, exited := s.process, s.exited
	s.mu.Unlock()
	_ = process.Kill()
	<-exited
}

func (s *Server) unlock() {
	if s.lock != nil {
		_ = s.lock.Close() // which gives up the lock
	}
}

// lockDir makes sure that no two servers work on one directory.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock storage.dir: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 16)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		return nil, fmt.Errorf("storage.dir %s is in use by process %s: stop that one, or give another --storage-dir",
			dir, strings.TrimSpace(string(holder[:n])))
	}
	_ = f.Truncate(0)
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock storage.dir: %w", err)
	}
	return f, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// engineFile is where `make engine` puts the library, from the top of a checkout.
const engineFile = "deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// errNoEngine says what to do when there is no ClickHouse at all.
var errNoEngine = errors.New("there is no ClickHouse: run `make engine` for the embedded one, install `clickhouse`, or name a running one with --storage-dsn")

// findEngine looks for the library beside the program and in the folders above it and above the
// working directory.
func findEngine(path string) (string, error) {
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("storage.engine: %w", err)
		}
		return path, nil
	}
	var from []string
	if self, err := os.Executable(); err == nil {
		from = append(from, filepath.Dir(self))
	}
	if wd, err := os.Getwd(); err == nil {
		from = append(from, wd)
	}
	for _, dir := range from {
		for {
			candidate := filepath.Join(dir, engineFile)
			if _, err := os.Stat(candidate); err == nil {
				return candidate, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return "", errNoEngine
}

// tailBuffer keeps the end of what a process prints.
type tailBuffer struct {
	mu   sync.Mutex
	text []byte
}

const tailBytesMax = 16 << 10

// Write implements io.Writer.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytesMax; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is the errors among what was printed; without any, the last line.
func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var said []string
	last := ""
	for line := range bytes.Lines(bytes.TrimSpace(t.text)) {
		last = string(bytes.TrimSpace(line))
		if strings.Contains(last, "Exception") || strings.Contains(last, "<Error>") || strings.Contains(last, "<Fatal>") {
			said = append(said, last)
		}
	}
	if len(said) == 0 {
		return last
	}
	return strings.Join(said, "; ")
}
