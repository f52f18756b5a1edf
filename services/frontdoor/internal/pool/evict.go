package pool

import (
	"math/rand/v2"
	"time"
)

// sampled is how many bound connections are looked at to find one to give up.
const sampled = 32

// makeRoom gives a connection up, if the one that is about to be asked for would
// not have a place.
func (p *Pool) makeRoom() {
	if p.count.live.Load()+p.count.fetching.Load() > int64(p.cfg.Max) && !p.evict() {
		p.evictBound()
	}
}

// evict closes an idle connection: one of the floor's, or else the one that was
// useful least recently. It reports false if there is none.
func (p *Pool) evict() bool {
	for _, list := range []func(*shard) *conns{
		func(s *shard) *conns { return &s.spares },
		func(s *shard) *conns { return &s.used },
	} {
		if c := p.oldest(list); c != nil {
			c.Retire()
			return true
		}
	}
	return false
}

// oldest strikes off the connection of these lists that was useful least recently.
func (p *Pool) oldest(list func(*shard) *conns) *Conn {
	var found *shard
	var since time.Time
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		if c := list(s).last; c != nil && (found == nil || c.useful.Before(since)) {
			found, since = s, c.useful
		}
		s.mu.Unlock()
	}
	if found == nil {
		return nil
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	c := list(found).last
	if c != nil {
		c.agent.evicted = time.Now()
		found.forget(c, Evicted)
	}
	return c
}

// evictBound ends the use of a connection that is bound and idle, the longest idle
// one of a sample: it comes back, for whoever waits, or to be evicted.
func (p *Pool) evictBound() {
	var best Use
	var since time.Time
	for _, use := range p.uses(sampled) {
		if at := use.IdleSince(); !at.IsZero() && (best == nil || at.Before(since)) {
			best, since = use, at
		}
	}
	if best != nil {
		best.EndIdle()
	}
}

// uses returns what some connections are bound to.
func (p *Pool) uses(limit int) []Use {
	var list []Use
	first := rand.IntN(shards) // #nosec G404 -- a sample
	for i := range p.shards {
		s := &p.shards[(first+i)&(shards-1)]
		s.mu.Lock()
		for _, a := range s.agents {
			list = append(list, a.uses(limit-len(list))...)
			if len(list) >= limit {
				break
			}
		}
		s.mu.Unlock()
		if len(list) >= limit {
			break
		}
	}
	return list
}

func (a *agent) uses(limit int) []Use {
	var list []Use
	for c := range a.live {
		if len(list) >= limit {
			break
		}
		if c.use != nil {
			list = append(list, c.use)
		}
	}
	return list
}
