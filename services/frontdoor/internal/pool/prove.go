package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// pingEvery is how often an idle connection is asked whether it lives, within a
	// spread of a quarter; pongWithin how long it has to answer.
	pingEvery  = 20 * time.Second
	pongWithin = 5 * time.Second
)

func pingPause() time.Duration {
	return pingEvery*3/4 + rand.N(pingEvery/2) // #nosec G404 -- a spread, not a secret
}

// prove pings a connection that waits, and ends it if there is no answer.
func (p *Pool) prove(c *Conn) {
	ctx, cancel := context.WithTimeout(p.life, pongWithin)
	defer cancel()
	_, err := c.Ping(ctx)
	now := time.Now()
	s := c.shard
	s.mu.Lock()
	c.pinged = false
	dead := false
	switch {
	case err == nil:
		s.proven(c, now)
	case errors.Is(err, context.DeadlineExceeded):
		dead = c.state == idle || c.state == doubted // else a visitor has it, who sees for himself
	case errors.Is(err, proxyconn.ErrBusy) && c.state == doubted:
		dead = true // nobody can have it: it is not what it seems
	}
	s.mu.Unlock()
	if dead {
		c.end(NoPong)
	}
}

func (s *shard) proven(c *Conn, now time.Time) {
	switch c.state {
	case idle:
		c.proven, c.pingAt = now, now.Add(pingPause())
		remove(c, ofAgent)
		c.agent.idle.pushDirectFirst(c)
	case doubted:
		c.proven = now
		s.offer(c, now)
	}
}

// Session says that an agent has a new session: its network may have changed
// meanwhile, and what is idle may be dead.
func (p *Pool) Session(id route.Agent, session string) {
	s := p.shard(id.ID)
	s.mu.Lock()
	a := s.agents[id]
	if a == nil || a.session == session {
		s.mu.Unlock()
		return
	}
	a.session = session // its other tunnels will say the same
	s.mu.Unlock()
	p.Doubt(id)
}

// Doubt has all idle connections of an agent proven before a visitor gets one.
// Those that are bound to a private connection are ended by it.
func (p *Pool) Doubt(id route.Agent) {
	s := p.shard(id.ID)
	s.mu.Lock()
	a := s.agents[id]
	if a == nil {
		s.mu.Unlock()
		return
	}
	for c := a.idle.first; c != nil; c = a.idle.first {
		s.unlist(c)
		c.state = doubted
		p.pingLocked(c)
	}
	uses := a.uses(len(a.live))
	s.mu.Unlock()
	for _, use := range uses {
		use.EndIdle()
	}
}

// pingLocked begins a proof, unless one is under way.
func (p *Pool) pingLocked(c *Conn) {
	if !c.pinged {
		c.pinged = p.later(func() { p.prove(c) })
	}
}
