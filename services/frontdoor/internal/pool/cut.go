package pool

import (
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Cut ends an agent's connections that are bound to a tunnel, or all if tunnelID
// is empty: revoked: all of them at once. Else what is under way finishes, and is
// the last.
func (p *Pool) Cut(id route.Agent, tunnelID string, revoked bool) {
	for _, c := range p.of(id, tunnelID) {
		if revoked {
			p.later(func() { c.end(Revoked) })
		} else {
			c.retire(Cut)
		}
	}
}

// Supersede ends the connections of a run of an agent that another one has
// followed. What is known of its visitors is known of the new one.
func (p *Pool) Supersede(old, now route.Agent) {
	s := p.shard(old.ID)
	s.mu.Lock()
	if a := s.agents[old]; a != nil && old.ID == now.ID {
		b := s.agent(now)
		b.demand = a.demand
		if b.visited.IsZero() {
			b.evicted = a.evicted
		}
		a.evicted = time.Time{}
		if b.visited.Before(a.visited) {
			b.visited = a.visited
		}
	}
	s.mu.Unlock()
	for _, c := range p.of(old, "") {
		c.retire(Superseded)
	}
}

// RetireRelayed ends connections that come through frontdoors which are about to
// stop: the idle ones now, the others when their visitor's request is over. So
// those frontdoors have nothing to cut in the end.
func (p *Pool) RetireRelayed(stops func(frontdoorID string) bool) {
	for _, c := range p.all() {
		if c.Via != "" && stops(c.Via) {
			c.retire(RelayStops)
		}
	}
}

// Unbind ends what connections are bound to for a tunnel that has changed, where
// no request is under way. The connections come back.
func (p *Pool) Unbind(id route.Agent, tunnelID string) {
	for _, c := range p.of(id, tunnelID) {
		c.shard.mu.Lock()
		use := c.use
		c.shard.mu.Unlock()
		if use != nil {
			use.EndIdle()
		}
	}
}

// Yield ends what connections of an agent are bound to where no request is under
// way, so that a visitor gets one though the agent takes no more. It reports
// whether there was any.
func (p *Pool) Yield(id route.Agent) bool {
	for _, c := range p.of(id, "") {
		c.shard.mu.Lock()
		use := c.use
		c.shard.mu.Unlock()
		if use != nil && !use.IdleSince().IsZero() {
			use.EndIdle()
			return true
		}
	}
	return false
}

// of returns an agent's connections that are bound to a tunnel, or all.
func (p *Pool) of(id route.Agent, tunnelID string) []*Conn {
	s := p.shard(id.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[id]
	if a == nil {
		return nil
	}
	var list []*Conn
	for c := range a.live {
		if tunnelID == "" || c.tunnelID == tunnelID {
			list = append(list, c)
		}
	}
	return list
}
