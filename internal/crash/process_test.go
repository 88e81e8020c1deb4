package crash

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// addresses are those of one whosehop, the same after every start.
type addresses struct{ grpc, http, health, clickhouse, queryGRPC string }

// newAddresses are on a loopback address of this process alone: a port that is free while its owner is
// dead could be taken by anybody's outgoing connection on 127.0.0.1.
func newAddresses() addresses {
	pid := os.Getpid()
	host := fmt.Sprintf("127.%d.%d.%d:", 64+pid>>16&0x3f, pid>>8&0xff, pid&0xff)
	return addresses{host + "4317", host + "4318", host + "13133", host + "9000", host + "8081"}
}

// process is a whosehop that is killed and started again.
type process struct {
	args []string
	cmd  *exec.Cmd
	said *output
	// exited is closed when it has ended; code is valid then.
	exited chan struct{}
	code   int
	// failedStarts is how often it ended before it was ready, after it had been ready once.
	wasReady     bool
	failedStarts int
	lastFailure  string
}

// output keeps the end of what a process says, and tells when it says that it is ready.
type output struct {
	mu    sync.Mutex
	text  []byte
	ready chan struct{}
	once  sync.Once
}

func (o *output) Write(text []byte) (int, error) {
	const most = 32 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, text...)
	if bytes.Contains(o.text, []byte("whosehop is ready")) {
		o.once.Do(func() { close(o.ready) })
	}
	if over := len(o.text) - most; over > 0 {
		o.text = append(o.text[:0], o.text[over:]...)
	}
	return len(text), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{args: args}
	t.Cleanup(func() {
		if p.cmd == nil {
			return
		}
		p.kill()
		if t.Failed() {
			t.Logf("whosehop %s said at last:\n%s", strings.Join(p.args, " "), p.said)
		}
	})
	return p
}

// start returns when it is ready. After the first time it is started again until then, as a supervisor
// would: what it needs may be away.
func (p *process) start(t *testing.T) {
	t.Helper()
	const patience = time.Minute
	late := time.After(patience)
	for {
		if err := p.launch(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.said.ready:
			p.wasReady = true
			return
		case <-p.exited:
			if !p.wasReady {
				t.Fatalf("whosehop %v ended with %d; it said:\n%s", p.args, p.code, p.said)
			}
			p.failedStarts++
			p.lastFailure = p.said.String()
		case <-late:
			t.Fatalf("whosehop %v was not ready within %s; it said:\n%s", p.args, patience, p.said)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-late:
			t.Fatalf("whosehop %v did not start within %s; it said:\n%s", p.args, patience, p.said)
		}
	}
}

func (p *process) launch() error {
	cmd := exec.Command(program, p.args...)
	said, exited := &output{ready: make(chan struct{})}, make(chan struct{})
	cmd.Stderr = said
	// It shall not outlive a test that was broken off.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// That signal is sent when the thread that forked ends: the thread is kept.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the code says it
		p.code = cmd.ProcessState.ExitCode()
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.said, p.exited = cmd, said, exited
	return nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop ends it in an orderly way.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
		if p.code != 0 {
			t.Errorf("whosehop %s ended with %d after SIGTERM", p.args[0], p.code)
		}
	case <-time.After(45 * time.Second):
		p.kill()
		t.Errorf("whosehop %s did not end within 45 s of SIGTERM", p.args[0])
	}
}

// child is the ClickHouse that it has started.
func (p *process) child(t *testing.T) (pid int) {
	t.Helper()
	waitUntil(t, 30*time.Second, "a ClickHouse to kill", func() bool {
		pids := children(p.cmd.Process.Pid)
		if len(pids) > 0 {
			pid = pids[0]
		}
		return len(pids) == 1
	})
	return pid
}

// children lists the processes whose parent is pid, without those that have ended and were not waited for.
func children(pid int) (list []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if parent, _ := strconv.Atoi(fields[1]); parent == pid && fields[0] != "Z" {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			list = append(list, child)
		}
	}
	return list
}

// metric is what /metrics says, ok whether it does.
func metric(t *testing.T, address, name string) (value float64, ok bool) {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			value, err = strconv.ParseFloat(text, 64)
			return value, err == nil
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return 0, false
}

func waitUntil(t *testing.T, patience time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}
