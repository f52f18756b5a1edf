// Package lobby is a listener whose connections are looked at before they are
// accepted: each on its own, so that one that says nothing delays no other.
package lobby

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	retryFirst = 5 * time.Millisecond
	retryLast  = time.Second
)

// Config says what is looked at.
type Config struct {
	// Admit looks at a connection, with bounds of its own on time, and returns it
	// as it is to be accepted. One that it does not admit it has closed. ctx ends
	// when the listener is closed.
	Admit func(ctx context.Context, c net.Conn) (net.Conn, error)
	// MaxWaiting bounds the connections that are being looked at or wait to be
	// accepted; above it newcomers are closed at once.
	MaxWaiting int
	Logger     *slog.Logger
}

// Listener is a net.Listener of admitted connections.
type Listener struct {
	net.Listener
	cfg      Config
	admitted chan net.Conn
	waiting  atomic.Int64
	ctx      context.Context
	end      context.CancelFunc
	tasks    sync.WaitGroup
}

// New returns a listener of those whom cfg admits. Close ends it and l.
func New(l net.Listener, cfg Config) *Listener {
	ctx, end := context.WithCancel(context.Background())
	n := &Listener{Listener: l, cfg: cfg, admitted: make(chan net.Conn), ctx: ctx, end: end}
	n.tasks.Go(n.run)
	return n
}

// Accept implements net.Listener.
func (n *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-n.admitted:
		return c, nil
	case <-n.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listener and those who wait, but not those who were accepted.
func (n *Listener) Close() error {
	err := n.Listener.Close()
	n.end()
	n.tasks.Wait()
	return err
}

// run accepts until the listener is closed. Running out of files is waited out.
func (n *Listener) run() {
	defer n.end()
	wait := retryFirst
	for {
		c, err := n.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed) || err != nil && n.ctx.Err() != nil:
			return
		case err != nil:
			n.cfg.Logger.Error("a connection could not be accepted", "error", err)
			n.pause(wait)
			wait = min(2*wait, retryLast)
			continue
		}
		wait = retryFirst
		if n.waiting.Add(1) > int64(n.cfg.MaxWaiting) {
			n.waiting.Add(-1)
			_ = c.Close()
			continue
		}
		n.tasks.Go(func() {
			defer n.waiting.Add(-1)
			n.admit(c)
		})
	}
}

func (n *Listener) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-n.ctx.Done():
	}
}

func (n *Listener) admit(raw net.Conn) {
	stop := context.AfterFunc(n.ctx, func() { _ = raw.Close() })
	c, err := n.cfg.Admit(n.ctx, raw)
	if err != nil {
		stop()
		n.cfg.Logger.Debug("a connection was not admitted", "remote", raw.RemoteAddr().String(), "error", err)
		return
	}
	select {
	case n.admitted <- c:
		stop()
	case <-n.ctx.Done():
		_ = c.Close()
	}
}
