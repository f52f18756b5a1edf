// Package dialback gets connections to agents: it asks for them through the
// connectors, accepts them, and ends them when the agent's right to them does.
package dialback

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// What asking can end with.
var (
	// ErrUnreachable: no attachment of the route leads to the agent, now.
	ErrUnreachable = errs.New(errs.Unavailable, errs.ReasonAgentOffline,
		"the endpoint is known, but its agent cannot be reached").WithRetry(5 * time.Second)
	ErrTimeout = errs.New(errs.DeadlineExceeded, errs.ReasonDialbackTimeout,
		"the agent was asked for a connection, but did not connect in time")
	ErrLimit = errs.New(errs.Unavailable, errs.ReasonOverloaded,
		"the agent has as many connections as it can take").WithRetry(time.Second)

	errConns = errs.New(errs.Unavailable, errs.ReasonOverloaded,
		"this server has as many connections as it can take").WithRetry(time.Second)
)

// Conn is a proxy connection of a run of an agent.
type Conn = pool.Conn

// Config says how dial-backs are asked for.
type Config struct {
	// Timeout is how long an agent has to come.
	Timeout time.Duration
	// MaxTickets bounds the dial-backs under way.
	MaxTickets int
	// Addresses are where agents reach this frontdoor, best first.
	Addresses []string
	// ServerName is what they present as SNI: this frontdoor and no other.
	ServerName string
	// FloorRate is how many dial-backs a second are asked for the floor at most.
	FloorRate float64
	// Certificate identifies the one that agents are shown now.
	Certificate func() string
	// Waited is told how long a visitor has waited for a connection.
	Waited func(time.Duration)
}

// Dialer asks for dial-backs and accepts them.
type Dialer struct {
	cfg     Config
	table   *route.Table
	tickets *tickets
	pool    *pool.Pool
	asks    *asks
	links   *Links
	log     *slog.Logger

	life  context.Context
	end   context.CancelFunc
	mu    sync.Mutex // guards the beginning of tasks against their end
	tasks sync.WaitGroup
}

// Deps are what a Dialer works with.
type Deps struct {
	Table *route.Table
	Pool  *pool.Pool
	// Connector returns a connection to a connector.
	Connector func(id, address string) (grpc.ClientConnInterface, error)
	Log       *slog.Logger
}

// New returns a dialer; it and its Links are to be run.
func New(cfg Config, deps Deps) *Dialer {
	d := &Dialer{
		cfg: cfg, table: deps.Table, tickets: newTickets(cfg.MaxTickets), pool: deps.Pool,
		links: newLinks(deps.Connector, deps.Table, deps.Pool, deps.Log), log: deps.Log,
	}
	d.asks = newAsks(d)
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Links are the streams to the connectors.
func (d *Dialer) Links() *Links { return d.links }

// Keep leaves a connection that is free to a visitor who waits for one, or to the
// next.
func (d *Dialer) Keep(c *Conn) { d.pool.Put(c) }

// Close ends all connections and takes no more.
func (d *Dialer) Close() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.tasks.Wait()
	d.pool.Close()
}

// later runs f beside its caller, unless all is being closed.
func (d *Dialer) later(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() == nil {
		d.tasks.Go(f)
	}
}

// State counts the connections of an agent: those that wait for a visitor, and all.
func (d *Dialer) State(agent route.Agent) (idle, all int) { return d.pool.State(agent) }

// Dial returns a connection of the route's agent: one that nobody needs, or a
// new one. If ctx ends first, a connection that comes later is kept for the
// next visitor.
func (d *Dialer) Dial(ctx context.Context, r *route.Route) (*Conn, error) {
	if !r.Reachable() {
		return nil, ErrUnreachable
	}
	c, w, ask := d.pool.Get(r.Claim.Agent)
	if w == nil {
		d.asks.want(d.life, r, pool.Adaptive, ask)
		return c, nil
	}
	d.asks.want(context.WithoutCancel(ctx), r, pool.Visitor, 1)
	d.asks.want(d.life, r, pool.Adaptive, ask-1)
	began := time.Now()
	timer := time.NewTimer(d.cfg.Timeout)
	defer timer.Stop()
	select {
	case got := <-w.Got():
		if got.Err == nil {
			d.cfg.Waited(time.Since(began))
		}
		return got.Conn, got.Err
	case <-ctx.Done():
		w.Leave()
		return nil, context.Cause(ctx)
	case <-timer.C:
		w.Leave()
		return nil, ErrTimeout
	}
}

// Changed is told by the table of a route that is another one now; either may be
// nil. What is bound to the old one must not outlive it.
func (d *Dialer) Changed(old, now *route.Route) {
	if old == nil || now == nil || now.Claim.Pooled {
		return
	}
	switch a, b := &old.Claim, &now.Claim; {
	case a.Agent.ID == b.Agent.ID && a.Agent != b.Agent:
		d.later(func() { d.pool.Supersede(a.Agent, b.Agent) })
		return
	case a.Agent == b.Agent && (a.TunnelID != b.TunnelID || a.Generation != b.Generation || a.Revision != b.Revision):
		d.later(func() { d.pool.Unbind(a.Agent, a.TunnelID) })
	}
	for _, attachment := range now.Attachments() {
		if !old.Through(attachment.SessionID) {
			d.later(func() { d.pool.Session(now.Claim.Agent, attachment.SessionID) })
		}
	}
}
