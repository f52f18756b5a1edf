package pool

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ann, bob = route.Agent{ID: "ann", Instance: route.Instance{1}}, route.Agent{ID: "bob", Instance: route.Instance{2}}

// rig is a pool with true connections to agents in this process.
type rig struct {
	*Pool
	t           testing.TB
	ctx         context.Context
	named       atomic.Bool  // the frontdoor keeps every agent's floor
	certificate atomic.Value // string: that agents are shown
	serve       proxyconn.Handler
}

// inBubble runs a test with a pool under a clock of its own.
func inBubble(t *testing.T, cfg Config, f func(r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, cfg)
		defer r.close()
		go func() { _ = r.Run(r.ctx) }()
		f(r)
	})
}

func newRig(t testing.TB, cfg Config) *rig {
	if cfg.Max == 0 {
		cfg.Max = 100
	}
	if cfg.Keep == 0 {
		cfg.Keep = 90 * time.Second
	}
	r := &rig{t: t, serve: func(_ context.Context, e *proxyconn.ClientExchange) {
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
	}}
	r.certificate.Store("")
	r.Pool = New(cfg, Deps{
		Named:       func(string) bool { return r.named.Load() },
		Certificate: func() string { return r.certificate.Load().(string) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	t.Cleanup(cancel)
	return r
}

func (r *rig) close() {
	r.Close()
	if s := r.Stats(); s.Live != 0 || s.Idle != 0 {
		r.t.Errorf("at the end: %+v", s)
	}
}

// settle lets everything happen that does not need time to pass.
func settle() { synctest.Wait() }

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// arrive is an agent that dials back. It refuses visitors, unless r.serve is
// something else.
func (r *rig) arrive(id route.Agent, why Why) *proxyconn.Client {
	r.t.Helper()
	return r.arriveAs(Arrival{Agent: id, Why: why})
}

func (r *rig) arriveAs(n Arrival) *proxyconn.Client {
	r.t.Helper()
	near, far := net.Pipe()
	client := make(chan *proxyconn.Client, 1)
	go func() {
		c, err := proxyconn.Register(r.ctx, far, &proxyv1.RegProxy{Ticket: []byte("0123456789abcdef")}, proxyconn.Options{})
		client <- c
		if err == nil {
			_ = c.Serve(r.ctx, r.serve)
		}
	}()
	r.add(near, n)
	return <-client
}

// arriveMute is an agent that says nothing behind its introduction.
func (r *rig) arriveMute(id route.Agent) {
	r.t.Helper()
	near, far := net.Pipe()
	go func() {
		_, _ = proxyconn.Register(r.ctx, far, &proxyv1.RegProxy{Ticket: []byte("0123456789abcdef")}, proxyconn.Options{})
		_, _ = io.Copy(io.Discard, far)
	}()
	r.add(near, Arrival{Agent: id})
}

func (r *rig) add(near net.Conn, n Arrival) {
	r.t.Helper()
	server, _, err := proxyconn.Accept(r.ctx, near, proxyconn.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	n.Server, n.Took, n.Certificate = server, 100*time.Millisecond, r.certificate.Load().(string)
	if !r.Add(n) {
		_ = server.Close()
		r.t.Fatal("there was no room")
	}
}

// hold lets exchanges go on until it is called.
func (r *rig) hold() (release func()) {
	over := make(chan struct{})
	r.serve = func(ctx context.Context, e *proxyconn.ClientExchange) {
		select {
		case <-over:
		case <-ctx.Done():
		}
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
	}
	return func() { close(over) }
}

// start begins an exchange.
func (r *rig) start(c *Conn) *proxyconn.ServerExchange {
	r.t.Helper()
	e, err := c.Start(r.ctx, &proxyv1.Start{Protocol: proxyv1.Protocol_PROTOCOL_TCP})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// warm takes a connection that waits.
func (r *rig) warm(id route.Agent) *Conn {
	r.t.Helper()
	c, w, ask := r.Get(id)
	if w != nil {
		r.t.Fatal("there was no connection")
	}
	r.Failed(id, ask, io.EOF)
	return c
}

// missing wants a connection and finds none.
func (r *rig) missing(id route.Agent) *Waiter {
	r.t.Helper()
	c, w, ask := r.Get(id)
	if c != nil {
		r.t.Fatal("there was a connection")
	}
	r.Failed(id, ask-1, io.EOF) // of those ahead of need nothing comes here
	return w
}

// visit is a visitor whom the service refuses: the connection is free again.
func (r *rig) visit(c *Conn) {
	r.t.Helper()
	e := r.start(c)
	<-e.End()
	if !e.Outcome().Reusable {
		r.t.Fatalf("%+v", e.Outcome())
	}
}

// fakeUse is a private connection.
type fakeUse struct {
	since time.Time
	ended bool
}

func (u *fakeUse) IdleSince() time.Time { return u.since }
func (u *fakeUse) EndIdle()             { u.ended = true }
