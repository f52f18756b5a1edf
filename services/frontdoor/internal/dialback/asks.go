package dialback

import (
	"context"
	"sync"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// maxBatch is how many tickets one call may carry.
	maxBatch = 256
	// gather is how long wants are gathered, at most, while a call for the same
	// agent has not been answered. The first of a burst never waits.
	gather = 2 * time.Millisecond
)

// asks turns wants of connections into calls: a burst of visitors who find
// nothing is two calls, not one for each.
type asks struct {
	dialer *Dialer

	mu     sync.Mutex
	queues map[route.Agent]*queue
}

// queue are the wants of an agent that have not been asked for. It is there while
// a call for that agent is new.
type queue struct {
	ctx   context.Context
	route *route.Route
	wants [pool.Floor + 1]int
	total int
}

func newAsks(d *Dialer) *asks { return &asks{dialer: d, queues: map[route.Agent]*queue{}} }

// want asks for n connections that are booked with the pool. ctx gives the trace
// that the dial-back belongs to, and no deadline.
func (s *asks) want(ctx context.Context, r *route.Route, why pool.Why, n int) {
	if n <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, gathering := s.queues[r.Claim.Agent]
	if !gathering {
		q = &queue{ctx: ctx}
		s.queues[r.Claim.Agent] = q
	}
	if q.total == 0 {
		q.ctx = ctx
	}
	q.route = r
	q.wants[why] += n
	q.total += n
	if !gathering || q.total >= maxBatch {
		s.sendLocked(q)
	}
}

// next is called when a call is not new any more.
func (s *asks) next(agent route.Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[agent]; q == nil || q.total == 0 {
		delete(s.queues, agent)
	} else {
		s.sendLocked(q)
	}
}

// sendLocked begins a call for what a queue holds.
func (s *asks) sendLocked(q *queue) {
	b := s.dialer.newBatch(q.route, min(q.total, maxBatch))
	for why := range q.wants {
		n := min(q.wants[why], maxBatch-b.size())
		q.wants[why] -= n
		q.total -= n
		b.issue(pool.Why(why), n) // #nosec G115 -- one of three
	}
	ctx, agent := q.ctx, q.route.Claim.Agent
	s.dialer.later(func() {
		heard := sync.OnceFunc(func() { s.next(agent) })
		timer := time.AfterFunc(gather, heard)
		defer timer.Stop()
		b.run(ctx, heard)
		heard()
	})
}
