package route

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

// What a wait can end with.
var (
	ErrNotFound = errs.New(errs.NotFound, errs.ReasonEndpointNotFound,
		"there is no such endpoint here; check the address, or start its tunnel")
	ErrOffline = errs.New(errs.Unavailable, errs.ReasonAgentOffline,
		"the endpoint is known, but its agent is not connected").WithRetry(5 * time.Second)
	ErrFull = errs.New(errs.Unavailable, errs.ReasonOverloaded,
		"too many visitors are waiting for this endpoint").WithRetry(time.Second)
)

// startingAtOnce is how many held visitors of an agent start at the same time
// when it is back: it has no warm connection, and its service may be cold.
const startingAtOnce = 4

// Room holds visitors until a route of their agent has changed, in the order in
// which they came, and lets them go a few at a time.
type Room struct {
	perEndpoint int
	lookup      func(hostname string) *Route

	mu     sync.Mutex
	queues map[string]*queue // by agent id
	held   map[string]int    // by hostname
}

type queue struct {
	waiting  *list.List // of *visitor
	starting int
}

type visitor struct {
	hostname string
	seen     *Route
	ready    chan struct{}
	released bool
}

// NewRoom returns an empty room that holds at most perEndpoint visitors of one
// endpoint. Who makes it has the table call Changed.
func NewRoom(perEndpoint int, lookup func(hostname string) *Route) *Room {
	return &Room{perEndpoint: perEndpoint, lookup: lookup, queues: map[string]*queue{}, held: map[string]int{}}
}

// Crowded reports whether visitors of the agent are waiting already, so that a
// newcomer has to stand behind them.
func (r *Room) Crowded(agentID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[agentID]
	return q != nil && q.waiting.Len() > 0
}

// Wait returns when the endpoint has a route other than seen, with attachments,
// and it is this visitor's turn. The caller calls started, once, when its
// dial-back has come or failed. ErrFull: too many wait. Otherwise ctx's error.
func (r *Room) Wait(ctx context.Context, agentID, hostname string, seen *Route) (started func(), err error) {
	r.mu.Lock()
	if r.held[hostname] >= r.perEndpoint {
		r.mu.Unlock()
		return nil, ErrFull
	}
	q := r.queues[agentID]
	if q == nil {
		q = &queue{waiting: list.New()}
		r.queues[agentID] = q
	}
	v := &visitor{hostname: hostname, seen: seen, ready: make(chan struct{})}
	place := q.waiting.PushBack(v)
	r.held[hostname]++
	r.release(agentID, q) // the route may have changed since the caller looked
	r.mu.Unlock()

	select {
	case <-v.ready:
		return sync.OnceFunc(func() { r.started(agentID) }), nil
	case <-ctx.Done():
		r.leave(agentID, q, place)
		return nil, context.Cause(ctx)
	}
}

// Changed is told by the table of a route that is another one now.
func (r *Room) Changed(now *Route) {
	if now != nil && now.Reachable() {
		r.Wake(now.Claim.Agent.ID)
	}
}

// Wake lets visitors of an agent go whose route has changed.
func (r *Room) Wake(agentID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.queues[agentID]; q != nil {
		r.release(agentID, q)
	}
}

// release lets go whose turn it is. The lock is held.
func (r *Room) release(agentID string, q *queue) {
	for e := q.waiting.Front(); e != nil && q.starting < startingAtOnce; {
		v, next := e.Value.(*visitor), e.Next()
		if now := r.lookup(v.hostname); now != v.seen && now != nil && now.Reachable() {
			q.starting++
			v.released = true
			close(v.ready)
			r.remove(q, e)
		}
		e = next
	}
	if q.waiting.Len() == 0 && q.starting == 0 {
		delete(r.queues, agentID)
	}
}

func (r *Room) started(agentID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[agentID]
	q.starting--
	r.release(agentID, q)
}

// leave takes a visitor out who has gone or waited long enough. One that was
// released in the same moment gives its turn to the next.
func (r *Room) leave(agentID string, q *queue, place *list.Element) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if place.Value.(*visitor).released {
		q.starting--
	} else {
		r.remove(q, place)
	}
	r.release(agentID, q)
}

func (r *Room) remove(q *queue, e *list.Element) {
	v := q.waiting.Remove(e).(*visitor)
	if r.held[v.hostname]--; r.held[v.hostname] == 0 {
		delete(r.held, v.hostname)
	}
}
