// Package http1 serves visitors who speak HTTP/1.1. It reads requests with
// net/http's parser and hands them to an http.Handler, as net/http's own server
// does. What a request costs there beyond that is not paid here: a goroutine and
// four changes of deadlines, to hear of a visitor's leaving from the first
// microsecond on, and an answer's head that is copied, completed and sorted anew.
package http1

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config is how visitors are served.
type Config struct {
	// HeaderTimeout bounds the time for a TLS handshake, and for a request's head
	// from its first byte on. IdleTimeout bounds the wait for that byte.
	HeaderTimeout, IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's head; slop more are let pass.
	MaxHeaderBytes int
}

// Deps are what a Server works with.
type Deps struct {
	Handler http.Handler
	// Arrived is told of each connection that will carry requests. It returns
	// their context, which ends with the connection and not with one of them; and
	// what is called when the connection has ended or was hijacked.
	Arrived func(context.Context, net.Conn) (context.Context, func())
	// HTTP2 takes over a connection whose visitor has chosen HTTP/2.
	HTTP2 func(*tls.Conn)
	Log   *slog.Logger
}

// Server serves connections, from any number of listeners.
type Server struct {
	cfg   Config
	deps  Deps
	watch watch

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed chan struct{} // nothing is served behind it

	next  chan net.Conn // for goroutines that have served one
	spare atomic.Int32  // that wait for it
}

const (
	// maxSpare is how many goroutines wait for a connection to serve, and spareFor how
	// long. A new one's stack has to grow, step by step, to what serving takes; theirs
	// have.
	maxSpare = 64
	spareFor = time.Second
)

// New returns a server.
func New(cfg Config, deps Deps) *Server {
	return &Server{cfg: cfg, deps: deps, conns: map[*conn]struct{}{}, closed: make(chan struct{}), next: make(chan net.Conn)}
}

// Start serves a connection, *tls.Conn or not, beside its caller.
func (s *Server) Start(c net.Conn) {
	select {
	case s.next <- c:
	default:
		go s.work(c)
	}
}

// work serves a connection, and others behind it.
func (s *Server) work(c net.Conn) {
	for ok := true; ok; {
		s.serve(c)
		c, ok = s.await()
	}
}

// await returns the next connection, if it may wait for one.
func (s *Server) await() (net.Conn, bool) {
	defer s.spare.Add(-1)
	if s.spare.Add(1) > maxSpare {
		return nil, false
	}
	enough := time.NewTimer(spareFor)
	defer enough.Stop()
	select {
	case c := <-s.next:
		return c, true
	case <-enough.C:
		return nil, false
	case <-s.closed:
		return nil, false
	}
}

func (s *Server) serve(raw net.Conn) {
	c := &conn{server: s, raw: raw, since: time.Now()}
	if !s.add(c) {
		_ = raw.Close()
		return
	}
	defer s.remove(c)
	c.serve()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) closing() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

const (
	// firstWait is how long a connection may be without its first request before it
	// counts as idle: that request may be on its way.
	firstWait = 5 * time.Second
	// pollEvery is how often Shutdown looks at what is left.
	pollEvery = 20 * time.Millisecond
)

// Shutdown closes idle connections, and the others when their requests are over.
// It returns when none is left, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing() {
		close(s.closed)
	}
	s.mu.Unlock()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !s.closeIdle() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// closeIdle reports whether no connection is left.
func (s *Server) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for c := range s.conns {
		c.closeIdle(now)
	}
	return len(s.conns) == 0
}

// Close ends all connections at once.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing() {
		close(s.closed)
	}
	for c := range s.conns {
		_ = c.raw.Close()
	}
}
