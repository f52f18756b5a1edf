package pool

import (
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// floor is how many connections are to wait for an agent's visitors though nobody
// comes. a may be nil: nothing is known of the agent.
func (p *Pool) floor(id string, a *agent, now time.Time) int {
	switch {
	case p.cfg.Floor == 0 || p.draining.Load():
		return 0
	case a != nil && !a.evicted.IsZero():
		return 0 // or the cap and the floor would fight for ever
	case a != nil && now.Sub(a.visited) < recently, p.deps.Named(id):
		return p.cfg.Floor
	}
	return 0
}

// LacksFloor says whether connections of an agent are to be dialled for nobody.
func (p *Pool) LacksFloor(id route.Agent) bool {
	if !p.room(floorShare) {
		return false
	}
	now := time.Now()
	s := p.shard(id.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.lacksFloor(id, s.agents[id], now)
}

func (p *Pool) lacksFloor(id route.Agent, a *agent, now time.Time) bool {
	if a == nil {
		return p.floor(id.ID, nil, now) > 0
	}
	return !now.Before(a.notBefore) && a.idle.n+a.fetching-a.waiting.Len() < p.floor(id.ID, a, now)
}

// BookFloor books a dial-back for the floor if it is still lacking: the caller has
// to ask for it, and it ends in Add or Failed.
func (p *Pool) BookFloor(id route.Agent) bool {
	if !p.room(floorShare) {
		return false
	}
	now := time.Now()
	s := p.shard(id.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.lacksFloor(id, s.agents[id], now) {
		return false
	}
	s.agent(id).book(1)
	p.count.asked[Floor].Add(1)
	return true
}
