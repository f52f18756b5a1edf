package pool

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	sweepEvery = time.Second
	// inspectEvery is how often all connections are looked at, busy ones too.
	inspectEvery = 10 * time.Second
	// renewWithin spreads the end of connections whose certificate was replaced.
	renewWithin = time.Minute
)

// Run looks after the connections until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	inspected := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.sweep(now)
			if now.Sub(inspected) >= inspectEvery {
				inspected = now
				p.inspect(now)
			}
		}
	}
}

// sweep has idle connections pinged that have not been for long, and gives those
// up that nobody has wanted.
func (p *Pool) sweep(now time.Time) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		expired := append(s.expire(&s.used, now), s.expire(&s.spares, now)...)
		s.mu.Unlock()
		for _, c := range expired {
			c.Retire()
		}
	}
}

// expire strikes off what is above the floor and was not wanted for long.
func (s *shard) expire(list *conns, now time.Time) (expired []*Conn) {
	var next *Conn
	for c := list.last; c != nil; c = next {
		next = c.links[ofShard].prev
		switch old := now.Sub(c.useful) >= s.pool.cfg.Keep; {
		case old && c.agent.idle.n > s.pool.floor(c.Agent.ID, c.agent, now):
			s.forget(c, Expired)
			expired = append(expired, c)
			continue
		case old && !c.spare:
			c.spare = true
			remove(c, ofShard)
			s.spares.push(c)
		}
		if !now.Before(c.pingAt) {
			s.pool.pingLocked(c)
		}
	}
	return expired
}

// inspect retires what has served long enough, and forgets agents of whom nothing
// is left.
func (p *Pool) inspect(now time.Time) {
	current := p.deps.Certificate()
	for _, c := range p.all() {
		if c.certificate != current {
			c.certificate = current // once; only this goroutine looks at it
			c.expired = Certificate
			at := now.Add(rand.N(renewWithin)) // #nosec G404 -- a spread, not a secret
			if at.Before(c.retireAt) {
				c.retireAt = at
			}
		}
		switch {
		case !now.Before(c.retireAt):
			c.retire(c.expired)
		case c.Bytes() >= p.lifeBytes:
			c.retire(Bytes)
		}
	}
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for id, a := range s.agents {
			if a.over(now) {
				delete(s.agents, id)
			}
		}
		s.mu.Unlock()
	}
}
