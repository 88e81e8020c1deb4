package clickhousetest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Proxy is the network between a program and ClickHouse.
type Proxy struct {
	address, backend string

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener
	conns    map[net.Conn]struct{}
	// stalled are the directions in which nothing is forwarded at the moment.
	stalled [2]bool
	closed  bool
	group   sync.WaitGroup
}

const (
	toClickHouse = iota
	fromClickHouse
)

// StartProxy forwards what comes in at address to backend, until the test ends.
func StartProxy(t *testing.T, address, backend string) *Proxy {
	t.Helper()
	p := &Proxy{address: address, backend: backend, conns: make(map[net.Conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Vanish()
		p.Stall(false, false)
		p.group.Wait()
	})
	return p
}

// Stall lets connections be made, and bytes wait.
func (p *Proxy) Stall(requests, answers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = [2]bool{toClickHouse: requests, fromClickHouse: answers}
	p.changed.Broadcast()
}

// Cut breaks all connections; others can be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, and not an orderly end
		_ = c.Close()
	}
}

// Vanish breaks all connections and refuses others.
func (p *Proxy) Vanish() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Cut()
}

// Heal ends whatever was wrong.
func (p *Proxy) Heal() error {
	p.Stall(false, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", p.address)
	if err != nil {
		return err
	}
	p.listener = listener
	p.group.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.serve(listener, c) })
		}
	})
	return nil
}

func (p *Proxy) serve(listener net.Listener, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.backend)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.mu.Lock()
	if p.listener != listener { // it has vanished meanwhile
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.forward(fromClickHouse, client, server)
	}()
	p.forward(toClickHouse, server, client)
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// forward copies until one side ends; then the other does.
func (p *Proxy) forward(direction int, to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	for buffer := make([]byte, 16<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.stalled[direction] {
			p.changed.Wait()
		}
		p.mu.Unlock()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
