package crash

import (
	"net"
	"sync"
	"testing"
)

// proxy is the network between a collector and ClickHouse.
type proxy struct {
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
	toCollector
)

func startProxy(t *testing.T, address, backend string) *proxy {
	t.Helper()
	p := &proxy{address: address, backend: backend, conns: make(map[net.Conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	if err := p.heal(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.vanish()
		p.stall(false, false)
		p.group.Wait()
	})
	return p
}

// stall lets connections be made, and bytes wait.
func (p *proxy) stall(requests, answers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = [2]bool{toClickHouse: requests, toCollector: answers}
	p.changed.Broadcast()
}

// cut breaks all connections; others can be made.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, and not an orderly end
		_ = c.Close()
	}
}

// vanish breaks all connections and refuses others.
func (p *proxy) vanish() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.cut()
}

// heal ends whatever was wrong.
func (p *proxy) heal() error {
	p.stall(false, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	listener, err := net.Listen("tcp", p.address)
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

func (p *proxy) serve(listener net.Listener, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.backend)
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
		p.forward(toCollector, client, server)
	}()
	p.forward(toClickHouse, server, client)
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// forward copies until one side ends; then the other does.
func (p *proxy) forward(direction int, to, from net.Conn) {
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
