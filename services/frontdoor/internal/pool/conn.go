package pool

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// life is how long a connection is used, within a spread of a fifth, so that
	// those of one moment do not end in one.
	life = time.Hour
	// freshFor is how long a proof of life is as good as a new one.
	freshFor = time.Second
)

// Use is what a connection is bound to between two requests.
type Use interface {
	// IdleSince is when the last request ended; zero while there is one.
	IdleSince() time.Time
	// EndIdle ends the use if no request is under way.
	EndIdle()
}

// Conn is a proxy connection of a run of an agent.
type Conn struct {
	*proxyconn.Server
	Agent route.Agent
	// Via is the frontdoor that relays it; empty: none does.
	Via string

	pool     *Pool
	shard    *shard
	agent    *agent
	retiring atomic.Bool

	// Used by inspect alone:
	retireAt    time.Time
	expired     Reason // why it is to be retired then
	certificate string // the frontdoor's, when it was accepted

	// The rest is guarded by shard.mu.
	state    state
	why      Reason    // of its end; zero: nobody here has decided it
	served   uint64    // exchanges that had begun when it last came back
	proven   time.Time // when it last showed that it lives
	useful   time.Time // when it last served, or came
	pingAt   time.Time // while it is idle
	pinged   bool      // and its PONG is awaited
	spare    bool      // it is kept for the floor alone
	stale    bool      // it had waited long when it was handed out
	links    [2]links
	tunnelID string // that it is bound to; empty: none
	use      Use
}

type state uint8

const (
	busy    state = iota // with a visitor, or bound
	idle                 // on the lists
	doubted              // to be proven before anybody gets it
	gone
)

func newConn(p *Pool, n Arrival, now time.Time) *Conn {
	spread := time.Duration(rand.Int64N(int64(life * 2 / 5))) // #nosec G404 -- a spread, not a secret
	return &Conn{
		Server: n.Server, Agent: n.Agent, Via: n.Via, pool: p, shard: p.shard(n.Agent.ID),
		retireAt: now.Add(life*4/5 + spread), expired: Age, certificate: n.Certificate,
		proven: now, useful: now,
	}
}

// Serve notes which tunnel the connection is bound to.
func (c *Conn) Serve(tunnelID string, use Use) {
	c.shard.mu.Lock()
	c.tunnelID, c.use = tunnelID, use
	c.shard.mu.Unlock()
	if c.retiring.Load() {
		use.EndIdle()
	}
}

// Retiring says that no more requests are to be begun on it.
func (c *Conn) Retiring() bool { return c.retiring.Load() }

// Stale says that the connection was idle for long when it was handed out: it may
// have died unnoticed.
func (c *Conn) Stale() bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	return c.stale
}

// Discard closes the connection at once.
func (c *Conn) Discard() { c.end(Broken) }

// end closes the connection; why counts if it has not ended by itself, which
// Ended may be about to tell. The caller holds no lock.
func (c *Conn) end(why Reason) {
	if err := c.Err(); err != nil {
		why = reasonOf(err)
	}
	c.shard.mu.Lock()
	c.shard.forget(c, why)
	c.shard.mu.Unlock()
	_ = c.Close()
}

// retire lets the request under way be the last.
func (c *Conn) retire(why Reason) {
	c.shard.mu.Lock()
	if c.state == gone || c.retiring.Load() {
		c.shard.mu.Unlock()
		return
	}
	c.why = why
	c.retiring.Store(true)
	c.shard.unlist(c)
	use := c.use
	c.shard.mu.Unlock()
	c.Retire()
	if use != nil {
		use.EndIdle()
	}
}

// Retired implements proxyconn.Watcher. What the agent wants out is never given
// to a visitor again.
func (c *Conn) Retired() { c.retire(AgentRetired) }

// Ended implements proxyconn.Watcher.
func (c *Conn) Ended(err error) {
	c.shard.mu.Lock()
	c.shard.forget(c, reasonOf(err))
	c.shard.mu.Unlock()
	if errors.Is(err, proxyconn.ErrAckTimeout) {
		c.pool.Doubt(c.Agent) // those that were proven earlier are no better
	}
}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, proxyconn.ErrAckTimeout):
		return NoAck
	case errors.Is(err, proxyconn.ErrRetired):
		return AgentRetired // who retires one here notes why first
	}
	return Broken
}
