package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/http1"
	"github.com/dialback/dialback/services/frontdoor/internal/httpproxy"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
)

const (
	maxStreams = 250 // requests at the same time on one HTTP/2 connection
	// pingAfter is the silence after which an HTTP/2 visitor is asked whether it
	// is there, pingWait how long it has to answer.
	pingAfter = 30 * time.Second
	pingWait  = 15 * time.Second
)

// server is the HTTP server for visitors on all listeners: one for HTTP/1.1, and
// net/http's for those whose TLS has settled on HTTP/2.
type server struct {
	http1    *http1.Server
	http2    *http.Server
	queue    *ingress.Queue // of those who have chosen HTTP/2
	engine   httpproxy.Engine
	next     http.Handler
	draining *atomic.Bool
	visitors sync.Map // by HTTP/2: net.Conn -> *httpproxy.Visitor

	mu       sync.Mutex
	active   int
	finished chan struct{} // closed when none is active; nil: nobody waits
}

func newServer(cfg Config, next http.Handler, engine httpproxy.Engine, draining *atomic.Bool, at net.Addr, log *slog.Logger) *server {
	s := &server{next: next, engine: engine, draining: draining, queue: ingress.NewQueue(at)}
	s.http1 = http1.New(http1.Config{
		HeaderTimeout: cfg.HeaderTimeout, IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeaderBytes,
	}, http1.Deps{
		Handler: s, Arrived: s.arrived, HTTP2: func(c *tls.Conn) { s.queue.Put(c) }, Log: log,
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	s.http2 = &http.Server{
		Handler:           s,
		Protocols:         protocols,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}, // tells it that h2 will come
		ReadHeaderTimeout: cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingWait,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			ctx, v := httpproxy.NewVisitor(ctx, c)
			s.visitors.Store(c, v)
			return ctx
		},
		ConnState: s.changed,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// "OPTIONS *" is the services' to answer.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// serveHTTP2 serves visitors who have chosen HTTP/2.
func (s *server) serveHTTP2() error {
	if err := s.http2.Serve(s.queue); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count(1)
	defer s.count(-1)
	if s.draining.Load() {
		w.Header().Set("Connection", "close") // to HTTP/2 visitors it becomes GOAWAY
	}
	s.next.ServeHTTP(w, r)
}

// arrived makes the context of a connection's requests, and what ends it.
func (s *server) arrived(ctx context.Context, c net.Conn) (context.Context, func()) {
	ctx, v := httpproxy.NewVisitor(ctx, c)
	return ctx, func() { s.engine.ForgetVisitor(v) }
}

func (s *server) changed(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	if v, ok := s.visitors.LoadAndDelete(c); ok {
		s.engine.ForgetVisitor(v.(*httpproxy.Visitor))
	}
}

func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active += n
	if s.active == 0 && s.finished != nil {
		close(s.finished)
		s.finished = nil
	}
}

// quiet is closed when no request is under way.
func (s *server) quiet() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	finished := make(chan struct{})
	if s.active == 0 {
		close(finished)
	} else {
		s.finished = finished
	}
	return finished
}

// drain lets requests finish, upgraded connections too, and closes idle
// connections last: a request may be on its way on one of them.
func (s *server) drain(ctx context.Context) error {
	select {
	case <-s.quiet():
	case <-ctx.Done():
	}
	var err1, err2 error
	var both sync.WaitGroup
	both.Go(func() { err1 = s.http1.Shutdown(ctx) })
	both.Go(func() { err2 = s.http2.Shutdown(ctx) })
	both.Wait()
	err := errors.Join(err1, err2)
	if err != nil {
		s.http1.Close()
		err = errors.Join(err, s.http2.Close())
	}
	return err
}
