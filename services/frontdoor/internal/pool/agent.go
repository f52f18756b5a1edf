package pool

import (
	"container/list"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// recently is how long behind its last visitor an agent has a floor here.
	recently = 10 * time.Minute
	// An agent that refuses is left alone for so long, and longer each time.
	backoffFirst, backoffLast = time.Second, 5 * time.Minute
	// evictedFor is how long it is remembered of an agent without visitors that
	// there was no place for it.
	evictedFor = 24 * time.Hour
)

// agent is what is known of a run of an agent. Its shard's lock guards it.
type agent struct {
	pool     *Pool
	id       route.Agent
	live     map[*Conn]struct{}
	idle     conns     // the most recently proven one first
	waiting  list.List // of *Waiter, who came first first
	fetching int       // dial-backs on their way
	demand   demand
	visited  time.Time
	session  string // the newest one for which connections were doubted
	// evicted is when the cap took a connection: there is no floor until a visitor
	// comes. Zero: it did not.
	evicted time.Time
	// notBefore is until when nothing is dialled ahead of need.
	notBefore time.Time
	backoff   time.Duration
}

// agent returns the record of a run of an agent, a new one if there is none.
func (s *shard) agent(id route.Agent) *agent {
	a := s.agents[id]
	if a == nil {
		a = &agent{pool: s.pool, id: id, live: map[*Conn]struct{}{}}
		a.idle.kind = ofAgent
		s.agents[id] = a
	}
	return a
}

// take returns the idle connection that was proven last, one that is relayed only
// if there is no other; nil if there is none.
func (a *agent) take(now time.Time) *Conn {
	for c := a.idle.first; c != nil; c = a.idle.first {
		c.shard.unlist(c)
		if c.Idle() {
			c.handOut(now)
			return c
		} // else it has died this moment, which Ended is about to tell
	}
	return nil
}

func (c *Conn) handOut(now time.Time) {
	c.state = busy
	c.stale = now.Sub(c.proven) > freshFor
}

// Waiter is a visitor who waits for a connection.
type Waiter struct {
	shard *shard
	agent *agent
	place *list.Element
	got   chan Got
}

// Got is what a visitor has waited for, or why it will not come.
type Got struct {
	Conn *Conn
	Err  error
}

// Got is where it comes, once.
func (w *Waiter) Got() <-chan Got { return w.got }

// Leave says that the visitor waits no more. A connection that has come for him in
// the meantime goes to the next.
func (w *Waiter) Leave() {
	w.shard.mu.Lock()
	w.agent.waiting.Remove(w.place) // nothing, if he has been served
	w.shard.mu.Unlock()
	select {
	case got := <-w.got:
		if got.Conn != nil {
			w.agent.pool.Put(got.Conn)
		}
	default:
	}
}

func (a *agent) wait() *Waiter {
	w := &Waiter{shard: a.pool.shard(a.id.ID), agent: a, got: make(chan Got, 1)}
	w.place = a.waiting.PushBack(w)
	return w
}

// waiter takes the one out who has waited longest.
func (a *agent) waiter() *Waiter { return a.waiting.Remove(a.waiting.Front()).(*Waiter) }

func (a *agent) book(n int) {
	a.fetching += n
	a.pool.count.fetching.Add(int64(n))
}

// unbook never goes below zero: a dial-back may come when it was given up.
func (a *agent) unbook(n int) {
	n = min(n, a.fetching)
	a.fetching -= n
	a.pool.count.fetching.Add(-int64(n))
}

// short is how many dial-backs are wanted ahead of need, beside those that are on
// their way and n more.
func (a *agent) short(now time.Time, n int) int {
	if now.Before(a.notBefore) || !a.pool.room(adaptiveShare) {
		return 0
	}
	coming := a.idle.n + a.fetching + n - a.waiting.Len()
	return max(0, a.demand.target(now)-coming)
}

// room says whether connections may be dialled ahead of need, up to a share of
// the cap.
func (p *Pool) room(share float64) bool {
	n := p.count.live.Load() + p.count.fetching.Load()
	return !p.draining.Load() && !p.closed.Load() && float64(n) < share*float64(p.cfg.Max)
}

func (a *agent) refused(now time.Time) {
	a.backoff = min(max(backoffFirst, 2*a.backoff), backoffLast)
	a.notBefore = now.Add(a.backoff)
}

// over says that nothing is left to be known of an agent.
func (a *agent) over(now time.Time) bool {
	return len(a.live) == 0 && a.fetching == 0 && a.waiting.Len() == 0 &&
		now.Sub(a.visited) > recently && now.After(a.notBefore) && now.Sub(a.evicted) > evictedFor
}
