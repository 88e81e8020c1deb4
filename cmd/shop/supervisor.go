package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// addressesEnv tells every service where all of them are: name=host:port,…
	addressesEnv = "SHOP_ADDRESSES"
	// readyLine is what a service prints once it serves.
	readyLine = "ready"
	// listenerFile is the number of the file under which a service finds its listening socket.
	listenerFile = 3

	startTimeout = 30 * time.Second
	// settle is how long the services go on after the last answer of a run that ended in time: the
	// slowest has a call to end that nobody waits for, and all have spans to send.
	settle = 3 * time.Second
	// stopTimeout is how long a service may take to end when it is asked to.
	stopTimeout = 3 * time.Second
	// An outage is a service that is down for so long, again and again.
	outageUp, outageDown = 1500 * time.Millisecond, 1500 * time.Millisecond
)

// runShop starts all services, each in a process of its own, puts them under load, and ends them
// when ctx does or the time is up.
func runShop(ctx context.Context, c *runCmd, to streams) error {
	s, err := newSupervisor(c, to.err)
	if err != nil {
		return err
	}
	defer s.closeListeners()
	var group sync.WaitGroup
	defer group.Wait()
	// The services outlive the load, so that what is under way comes to its end.
	services, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	start := func(p member, keep func(context.Context, member)) { group.Go(func() { keep(services, p) }) }
	for _, p := range processes() {
		if slices.Contains(c.Fault, "refused") && p.name == "shipping" {
			start(p, s.keepFailing)
		} else {
			start(p, s.keepRunning)
		}
	}
	if err := s.awaitReady(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was ended before it had begun
		}
		return err
	}
	what := "no fault is on"
	for i, name := range c.Fault {
		f, _ := findFault(name)
		if i == 0 {
			what = ""
		} else {
			what += "; "
		}
		what += "fault " + f.Name + ": " + f.Story
	}
	front := "http://" + s.listeners["storefront"].Addr().String()
	if _, err := fmt.Fprintf(to.out, "the shop is open at %s/checkout, %g requests a second, %s\n", front, c.Rate, what); err != nil {
		return fmt.Errorf("say where the shop is: %w", err)
	}
	load(ctx, front, c)
	if ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
	}
	return nil
}

// supervisor starts the services. It opens their sockets itself and hands them over, so that no port
// is lost to another program, and so that a service which has crashed refuses nobody while it is
// started again: its callers wait, as behind a load balancer.
type supervisor struct {
	self   string // the own program
	env    []string
	errOut io.Writer
	ready  chan string

	mu        sync.Mutex
	listeners map[string]*net.TCPListener
}

func newSupervisor(c *runCmd, errOut io.Writer) (*supervisor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	s := &supervisor{self: self, errOut: errOut, ready: make(chan string, 64), listeners: make(map[string]*net.TCPListener)}
	var list []string
	for _, p := range processes() {
		address := "127.0.0.1:0"
		if p.name == "storefront" {
			address = c.EntryAddr
		}
		if err := s.listen(p.name, address); err != nil {
			s.closeListeners()
			return nil, err
		}
		list = append(list, p.name+"="+s.listeners[p.name].Addr().String())
	}
	s.env = append(os.Environ(), addressesEnv+"="+strings.Join(list, ","),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+c.OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL="+c.Protocol)
	return s, nil
}

func (s *supervisor) listen(name, address string) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // on this host, at once
	if err != nil {
		return fmt.Errorf("open a port for %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[name] = l.(*net.TCPListener)
	return nil
}

func (s *supervisor) listener(name string) *net.TCPListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners[name]
}

func (s *supervisor) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// keepRunning starts a service again whenever it ends, until ctx does.
func (s *supervisor) keepRunning(ctx context.Context, p member) {
	const pauseMin, pauseMax = 10 * time.Millisecond, 2 * time.Second
	pause := pauseMin
	for ctx.Err() == nil {
		served, err := s.runOnce(ctx, p)
		if err != nil && ctx.Err() == nil {
			_, _ = fmt.Fprintf(s.errOut, "shop: %s ended: %v; it is started again\n", p.name, err)
		}
		if served {
			pause = pauseMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
}

// keepFailing has a service go down again and again, its socket with it.
func (s *supervisor) keepFailing(ctx context.Context, p member) {
	address := s.listener(p.name).Addr().String()
	for ctx.Err() == nil {
		up, cancel := context.WithCancel(ctx)
		// The socket goes first: a caller whose connection nobody accepts any more would be reset.
		down := time.AfterFunc(outageUp, func() {
			_ = s.listener(p.name).Close()
			cancel()
		})
		s.keepRunning(up, p)
		down.Stop()
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(outageDown):
		}
		if err := s.listen(p.name, address); err != nil {
			_, _ = fmt.Fprintf(s.errOut, "shop: %v; %s stays down\n", err, p.name)
			return
		}
	}
}

// runOnce runs a service until it ends; the end of ctx asks it to. A service ends as well when its
// input does, so that none outlives a supervisor that was killed. served says whether it got ready.
func (s *supervisor) runOnce(ctx context.Context, p member) (served bool, err error) {
	socket, err := s.listener(p.name).File()
	if err != nil {
		return false, fmt.Errorf("hand over the socket: %w", err)
	}
	defer func() { _ = socket.Close() }()
	cmd := exec.CommandContext(ctx, s.self, "service", p.name)
	cmd.Env = append(s.env[:len(s.env):len(s.env)], "OTEL_SERVICE_NAME="+p.name, "OTEL_RESOURCE_ATTRIBUTES="+resourceAttributes(p))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = s.errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the supervisor
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, fmt.Errorf("open its input: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("open its output: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start it: %w", err)
	}
	// It has its own now. Held here until it has ended, the socket would take connections that nobody accepts any more.
	_ = socket.Close()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == readyLine {
			served = true
			select {
			case s.ready <- p.name:
			default: // all have started long ago
			}
		}
	}
	return served, cmd.Wait()
}

// resourceAttributes are the user's and what a deployment says of a service.
func resourceAttributes(p member) string {
	attributes := []string{"service.version=1.4.0"}
	if p.owner != "" {
		attributes = append(attributes, "service.owner.name="+p.owner)
	}
	if users := os.Getenv("OTEL_RESOURCE_ATTRIBUTES"); users != "" {
		attributes = append(attributes, users)
	}
	return strings.Join(attributes, ",")
}

// awaitReady returns when all services serve.
func (s *supervisor) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	waiting := make(map[string]bool)
	for _, p := range processes() {
		waiting[p.name] = true
	}
	for len(waiting) > 0 {
		select {
		case name := <-s.ready:
			delete(waiting, name)
		case <-ctx.Done():
			var names []string
			for _, p := range processes() {
				if waiting[p.name] {
					names = append(names, p.name)
				}
			}
			return fmt.Errorf("the shop did not open within %s: %s did not start", startTimeout, strings.Join(names, ", "))
		}
	}
	return nil
}
