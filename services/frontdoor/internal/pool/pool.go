// Package pool holds a frontdoor's proxy connections: those that serve, those
// that wait for a visitor, and the visitors who wait for one. It decides how many
// should be dialled back and which are given up; who asks for them is another's
// business.
//
// Connections are kept by run of an agent, and never serve another one. A visitor
// gets the one that was proven alive last. The pool grows by what visitors need:
// by one for each who finds nothing, and ahead of need as fast as connections are
// used up (see demand). It falls when nobody has wanted a connection for long,
// down to the floor: the warm connection that a first visitor finds.
package pool

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	shards = 64 // a power of two
	// adaptiveShare and floorShare of the cap are as far as connections are
	// dialled that no visitor waits for.
	adaptiveShare, floorShare = 0.95, 0.8
)

// Config says how a pool behaves.
type Config struct {
	// Max bounds all connections.
	Max int
	// Keep is how long one is kept that nobody wants.
	Keep time.Duration
	// Floor is how many wait for an agent's visitors though nobody comes, where
	// this frontdoor is one of those that keep it.
	Floor int
}

// Deps are what a pool works with.
type Deps struct {
	// Named says whether this frontdoor is one of those that keep a floor for an
	// agent that nobody visits. It must not block.
	Named func(agentID string) bool
	// Certificate identifies the one that agents are shown now.
	Certificate func() string
}

// Pool is all of it. Its methods may be called by any goroutine.
type Pool struct {
	cfg  Config
	deps Deps
	seed maphash.Seed

	shards   [shards]shard
	count    counters
	draining atomic.Bool
	closed   atomic.Bool
	// lifeBytes is how many bytes a connection carries: less than what a key of
	// AES-GCM is good for, as crypto/tls never changes keys.
	lifeBytes uint64
	life      context.Context
	stop      context.CancelFunc

	tasksMu sync.Mutex // guards the beginning of tasks against their end
	tasks   sync.WaitGroup
}

// shard is a share of the agents.
type shard struct {
	pool *Pool

	mu     sync.Mutex
	agents map[route.Agent]*agent
	used   conns // idle connections that visitors have had or will want
	spares conns // idle connections that are kept for the floor alone
	_      [32]byte
}

// New returns an empty pool, for Run to look after.
func New(cfg Config, deps Deps) *Pool {
	p := &Pool{cfg: cfg, deps: deps, seed: maphash.MakeSeed(), lifeBytes: 64 << 30}
	p.life, p.stop = context.WithCancel(context.Background())
	for i := range p.shards {
		p.shards[i].pool = p
		p.shards[i].agents = map[route.Agent]*agent{}
		p.shards[i].used.kind, p.shards[i].spares.kind = ofShard, ofShard
	}
	return p
}

func (p *Pool) shard(agentID string) *shard {
	return &p.shards[maphash.String(p.seed, agentID)&(shards-1)]
}

// Get returns a connection that waits, or enters the visitor among those who wait
// for one. ask is how many dial-backs the caller has to ask for: each is to end in
// Add or Failed. The first of them is the waiting visitor's.
func (p *Pool) Get(id route.Agent) (c *Conn, w *Waiter, ask int) {
	now := time.Now()
	s := p.shard(id.ID)
	s.mu.Lock()
	a := s.agent(id)
	a.visited, a.evicted = now, time.Time{}
	a.demand.add(now, 1)
	if c = a.take(now); c == nil {
		w = a.wait()
		ask = 1
	}
	ask += a.short(now, ask)
	a.book(ask)
	s.mu.Unlock()
	if w == nil {
		p.count.warm.Add(1)
		p.count.asked[Adaptive].Add(uint64(ask)) // #nosec G115 -- not negative
		return c, nil, ask
	}
	p.count.asked[Visitor].Add(1)
	p.count.asked[Adaptive].Add(uint64(ask - 1)) // #nosec G115 -- not negative
	p.makeRoom()
	return nil, w, ask
}

// Put takes a connection back that is idle again, or was never used: for the
// visitor who has waited longest, or to keep.
func (p *Pool) Put(c *Conn) {
	now, alive, exchanges := time.Now(), c.Idle(), c.Exchanges()
	s := c.shard
	s.mu.Lock()
	if c.state != busy {
		s.mu.Unlock()
		return
	}
	c.use, c.tunnelID = nil, ""
	c.agent.demand.add(now, -1)
	keep := alive && !c.retiring.Load()
	if keep {
		if exchanges > c.served {
			c.served, c.spare, c.proven, c.useful = exchanges, false, now, now
			p.count.recycled.Add(1)
		}
		s.offer(c, now)
	}
	s.mu.Unlock()
	if !keep {
		c.Discard()
	}
}

// Arrival is a connection that was dialled back.
type Arrival struct {
	Server *proxyconn.Server
	Agent  route.Agent
	// Via is the frontdoor that relays it; empty: it is the agent's own.
	Via string
	// Why it was asked for, and how long ago.
	Why  Why
	Took time.Duration
	// Certificate that it was accepted with; see Deps.
	Certificate string
}

// Add takes a new connection, for the visitor who has waited longest, or to keep.
// It reports false if there is no room: then the caller closes it.
func (p *Pool) Add(n Arrival) bool {
	now := time.Now()
	if p.count.live.Load() >= int64(p.cfg.Max) && !p.evict() {
		return false
	}
	c := newConn(p, n, now)
	s := c.shard
	s.mu.Lock()
	if p.closed.Load() {
		s.mu.Unlock()
		return false
	}
	a := s.agent(n.Agent)
	c.agent = a
	a.live[c] = struct{}{}
	p.count.live.Add(1)
	a.unbook(1)
	a.backoff = 0
	a.demand.dialled(n.Took)
	c.spare = n.Why == Floor
	s.offer(c, now)
	s.mu.Unlock()
	c.Watch(c)
	return true
}

// Failed says that dial-backs will not come. A visitor who waits for one, and for
// whom no other is on its way, gets the error.
func (p *Pool) Failed(id route.Agent, n int, err error) {
	s := p.shard(id.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agent(id)
	a.unbook(n)
	for a.waiting.Len() > a.fetching {
		a.waiter().got <- Got{Err: err}
	}
}

// Refused is Failed for an agent that takes no more connections now. It is left
// alone for a while, but for visitors.
func (p *Pool) Refused(id route.Agent, n int, err error) {
	s := p.shard(id.ID)
	s.mu.Lock()
	s.agent(id).refused(time.Now())
	s.mu.Unlock()
	p.Failed(id, n, err)
}

// Drain says that this frontdoor is leaving: nothing is dialled ahead of need.
func (p *Pool) Drain() { p.draining.Store(true) }

// Close ends all connections, and takes none from now on.
func (p *Pool) Close() {
	p.tasksMu.Lock()
	p.closed.Store(true)
	p.tasksMu.Unlock()
	p.stop()
	for _, c := range p.all() {
		c.end(Drained)
	}
	p.tasks.Wait()
}

// later does what its caller cannot wait for. It reports false if all is being
// closed.
func (p *Pool) later(f func()) bool {
	p.tasksMu.Lock()
	defer p.tasksMu.Unlock()
	if p.closed.Load() {
		return false
	}
	p.tasks.Go(f)
	return true
}

// all returns every connection.
func (p *Pool) all() []*Conn {
	var list []*Conn
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for _, a := range s.agents {
			for c := range a.live {
				list = append(list, c)
			}
		}
		s.mu.Unlock()
	}
	return list
}

// offer gives a connection to the visitor who has waited longest, or lists it.
func (s *shard) offer(c *Conn, now time.Time) {
	if c.agent.waiting.Len() > 0 {
		c.handOut(now)
		c.agent.waiter().got <- Got{Conn: c}
		return
	}
	c.state = idle
	c.pingAt = now.Add(pingPause())
	c.agent.idle.pushDirectFirst(c)
	if c.spare {
		s.spares.push(c)
	} else {
		s.used.push(c)
	}
	s.pool.count.idle.Add(1)
}

// unlist takes a connection off the lists of idle ones.
func (s *shard) unlist(c *Conn) {
	if c.state != idle {
		return
	}
	remove(c, ofAgent)
	remove(c, ofShard)
	c.state = busy
	s.pool.count.idle.Add(-1)
}

// forget strikes a connection off, once.
func (s *shard) forget(c *Conn, why Reason) {
	if c.state == gone {
		return
	}
	s.unlist(c)
	c.state = gone
	delete(c.agent.live, c)
	if c.why == 0 {
		c.why = why
	}
	s.pool.count.live.Add(-1)
	s.pool.count.ended[c.why].Add(1)
}
