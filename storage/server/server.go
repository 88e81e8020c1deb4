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
	"strconv"
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
)

// Server is a ClickHouse that is ready for queries. One that was started here is started again,
// under the same address, when it dies.
type Server struct {
	kind, dsn, version string
	command            func() *exec.Cmd
	log                *slog.Logger
	lock               *os.File

	mu       sync.Mutex // stopping is closed, and a process started, under it
	process  *os.Process
	exited   chan struct{} // of the current process
	terminal *terminal     // of an embedded one
	tail     *tailBuffer
	stopping chan struct{}
	done     chan struct{} // the supervisor has ended
}

// errStopping is why nothing is started any more.
var errStopping = errors.New("ClickHouse is being stopped")

// Start returns when the server answers. ctx bounds the start alone; Stop ends the server.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if cfg.DSN != "" {
		s := &Server{kind: KindExternal, dsn: cfg.DSN, log: log}
		var err error
		if s.version, err = s.ping(ctx); err != nil {
			return nil, fmt.Errorf("reach the ClickHouse of storage.dsn: %w", err)
		}
		return s, nil
	}
	s := &Server{log: log, stopping: make(chan struct{}), done: make(chan struct{})}
	if err := s.prepare(ctx, cfg); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		s.unlock()
		return nil, err
	}
	var err error
	if s.version, err = s.await(ctx); err != nil {
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

func (s *Server) prepare(ctx context.Context, cfg Config) error {
	if cfg.Dir == "" {
		return errors.New("storage.dir: name a directory for ClickHouse's data with --storage-dir")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return fmt.Errorf("storage.dir %q: %w", cfg.Dir, err)
	}
	data := filepath.Join(dir, "clickhouse")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make storage.dir: %w", err)
	}
	if s.lock, err = lockDir(ctx, dir); err != nil {
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
		s.command = func() *exec.Cmd {
			cmd := exec.Command(binary, "server", "--config-file="+config) //nolint:noctx // Stop ends it, by asking first
			// Its watchdog would be our child, and the server a grandchild that outlives us.
			cmd.Env = append(os.Environ(), "CLICKHOUSE_WATCHDOG_ENABLE=0")
			return cmd
		}
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
		return exec.Command(self, childCommand, engine, //nolint:noctx // Stop ends it, by asking first
			"--path="+data, fmt.Sprintf("--tcp_port=%d", port), "--listen_host=127.0.0.1",
			// The configuration's level is not looked at here; without one it traces every query.
			"--config-file="+config, "--log-level=warning",
			// It opens its port and then waits for what is typed, until that is "exit" (see terminal).
			// A history would be kept in the user's home.
			"--interactive", "--history_file=", "--disable_suggestion", "--query", "SYSTEM START LISTEN TCP")
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
		cmd.Stderr = tail
		cmd.SysProcAttr = childAttributes()
		// It holds the lock as we do: should it outlive us for a moment, nobody else touches its data.
		cmd.ExtraFiles = []*os.File{s.lock}
		exited := make(chan struct{})
		if err := s.fork(cmd, tail, exited); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait() // how it ended is in the tail
		s.mu.Lock()
		s.terminal.close()
		s.mu.Unlock()
		close(exited)
	}()
	return <-started
}

// fork starts the process unless the server is being stopped: either Stop sees the new process, or
// there is none.
func (s *Server) fork(cmd *exec.Cmd, tail *tailBuffer, exited chan struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() {
		return errStopping
	}
	var screen *terminal
	if s.kind == KindEmbedded {
		var err error
		if screen, err = openTerminal(); err != nil {
			return fmt.Errorf("open a terminal for ClickHouse: %w", err)
		}
		cmd.Stdin = screen.theirs
	}
	if err := cmd.Start(); err != nil {
		screen.close()
		return fmt.Errorf("start ClickHouse: %w", err)
	}
	s.process, s.exited, s.tail, s.terminal = cmd.Process, exited, tail, screen
	return nil
}

// await returns the version as soon as the server answers a query, or says why it does not.
func (s *Server) await(ctx context.Context) (version string, err error) {
	s.mu.Lock()
	exited, tail := s.exited, s.tail
	s.mu.Unlock()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		version, err = s.ping(attempt)
		cancel()
		if err == nil {
			return version, nil
		}
		select {
		case <-exited:
			return "", fmt.Errorf("ClickHouse (%s) ended while it started: %s", s.kind, tail)
		case <-ctx.Done():
			return "", fmt.Errorf("ClickHouse (%s) did not answer in time: %w; it said: %s", s.kind, err, tail)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Server) ping(ctx context.Context) (version string, err error) {
	conn, err := s.connect()
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	return version, nil
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
	const pauseMin, pauseMax = 100 * time.Millisecond, 10 * time.Second
	pause := pauseMin
	for {
		s.mu.Lock()
		exited, tail := s.exited, s.tail
		s.mu.Unlock()
		began := time.Now()
		<-exited
		if time.Since(began) > time.Minute {
			pause = pauseMin
		}
		if s.isStopping() {
			return
		}
		s.log.Error("clickhouse died; starting it again", "kind", s.kind, "said", tail.String())
		select {
		case <-s.stopping:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
		if err := s.restart(); err == nil {
			s.log.Info("clickhouse is back", "kind", s.kind)
		} else if !s.isStopping() {
			s.log.Error("clickhouse does not come back", "error", err)
		}
	}
}

// restart leaves no process behind when it fails.
func (s *Server) restart() error {
	if err := s.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := s.await(ctx); err != nil {
		s.kill()
		return err
	}
	return nil
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// Stop ends a server that was started here: cleanly if it can be, else by force. It is called once.
func (s *Server) Stop(ctx context.Context) error {
	if s.kind == KindExternal {
		return nil
	}
	defer s.unlock()
	s.mu.Lock()
	close(s.stopping)
	process, exited := s.process, s.exited
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	s.askToEnd(process)
	for ended := false; !ended; {
		select {
		case <-exited:
			ended = true
		case <-ctx.Done():
			s.log.Warn("clickhouse did not end in time and is killed")
			s.kill()
		case <-time.After(100 * time.Millisecond):
			s.askToEnd(process) // it may not have listened yet
		}
	}
	<-s.done
	return nil
}

// askToEnd asks for a clean shutdown, the embedded engine, which ignores SIGTERM, at its terminal.
func (s *Server) askToEnd(process *os.Process) {
	if s.kind == KindBinary {
		_ = process.Signal(syscall.SIGTERM)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terminal.enter("exit")
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

// lockDir makes sure that no two servers work on one directory. A whosehop that was killed may leave
// its ClickHouse dying: that is waited for.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock storage.dir: %w", err)
	}
	const dyingMax = 10 * time.Second
	for deadline := time.Now().Add(dyingMax); syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil; {
		text := make([]byte, 16)
		n, _ := f.ReadAt(text, 0)
		holder := strings.TrimSpace(string(text[:n]))
		pid, err := strconv.Atoi(holder)
		alive := err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		if alive || time.Now().After(deadline) || ctx.Err() != nil {
			_ = f.Close()
			return nil, fmt.Errorf("storage.dir %s is in use by process %s: stop that one, or give another --storage-dir", dir, holder)
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = f.Truncate(0)
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
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
