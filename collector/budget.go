package collector

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// budget bounds the bytes of requests that were read and of blocks that are not stored.
type budget struct {
	bytesMax int64
	used     atomic.Int64
}

// take takes n bytes, or none and says so.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.bytesMax {
		b.used.Add(-n)
		return false
	}
	return true
}

// force takes n bytes whether they are there or not: what is already held has to be counted.
func (b *budget) force(n int64) { b.used.Add(n) }

func (b *budget) give(n int64) { b.used.Add(-n) }

// meteredReader takes from the budget what it reads; it fails when there is no more.
type meteredReader struct {
	from   io.Reader
	budget *budget
	taken  int64
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	if !m.budget.take(int64(n)) {
		return 0, errOverloaded
	}
	m.taken += int64(n)
	return n, err
}

// connectionsMax bounds the connections of one port; more wait to be accepted.
const connectionsMax = 4096

// limitedListener has no more than so many connections open.
type limitedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limitConnections(l net.Listener) *limitedListener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, connectionsMax), closed: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, slots: l.slots}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}
