// Package ingress accepts connections on the public ports and tells what each
// one is for before a byte of it is decrypted.
package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/internal/proxyheader"
)

// probes find dead visitors in about a minute.
var probes = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}

// Listen listens for TCP with keep-alive probes.
func Listen(ctx context.Context, address string) (*net.TCPListener, error) {
	l, err := listenTCP(ctx, address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Conn is an accepted connection that counts until it is closed.
type Conn struct {
	*proxyheader.Conn
	open   *atomic.Int64 // counts it
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// acceptor takes connections off a listener, so many and no more.
type acceptor struct {
	listener *net.TCPListener
	limit    int64
	// behind are the networks of load balancers that say for whom they connect.
	behind proxyheader.Networks
	open   atomic.Int64
	log    *slog.Logger
}

// introduced reads what a load balancer says of the connection. It reports false,
// and has closed it, if that does not come.
func (a *acceptor) introduced(c *Conn) bool {
	if !a.behind.Contain(c.RemoteAddr()) {
		return true
	}
	if err := c.Expect(); err != nil {
		a.log.Debug("a connection without a PROXY header", "remote", c.RemoteAddr().String(), "error", err)
		_ = c.Close()
		return false
	}
	return true
}

const (
	acceptRetryFirst = 5 * time.Millisecond
	acceptRetryLast  = time.Second
)

// run hands connections to serve until the listener is closed. Running out of
// files ends nothing: it is waited out. Above the limit newcomers are closed at
// once: in the backlog they would stand before agents who dial back.
func (a *acceptor) run(serve func(*Conn)) error {
	wait := acceptRetryFirst
	for {
		tcp, err := a.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			a.log.Error("a connection could not be accepted", "error", err)
			time.Sleep(wait)
			wait = min(2*wait, acceptRetryLast)
			continue
		}
		wait = acceptRetryFirst
		if a.open.Add(1) > a.limit {
			a.open.Add(-1)
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
			continue
		}
		serve(&Conn{Conn: proxyheader.NewConn(tcp), open: &a.open})
	}
}

// Queue is a net.Listener whose connections come from elsewhere.
type Queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// NewQueue returns a listener at an address.
func NewQueue(addr net.Addr) *Queue {
	return &Queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Put hands a connection to whoever accepts, or closes it.
func (q *Queue) Put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (q *Queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *Queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *Queue) Addr() net.Addr { return q.addr }
