package dialback

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const ticketLen = 16 // bytes: not to be guessed

type ticket [ticketLen]byte

var errTickets = errs.New(errs.Unavailable, errs.ReasonOverloaded,
	"too many visitors are waiting for their agents").WithRetry(time.Second)

// want is one dial-back that was asked for.
type want struct {
	agent   route.Agent
	timer   *time.Timer
	arrived chan *Conn // holds one: who brings a connection never waits

	mu   sync.Mutex
	done bool // it has its connection, or nobody waits for one
}

// deliver hands the connection to who waits for it, if somebody does.
func (w *want) deliver(c *Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return false
	}
	w.done = true
	w.arrived <- c
	return true
}

// abandon says that nobody waits any more. It returns a connection that has
// come in the meantime.
func (w *want) abandon() *Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	select {
	case c := <-w.arrived:
		return c
	default:
		return nil
	}
}

// tickets are the dial-backs under way. A ticket is good once, for one run of
// one agent, and not for long.
type tickets struct {
	max int

	mu      sync.Mutex
	open    map[ticket]*want
	byAgent map[route.Agent]map[ticket]*want
}

func newTickets(limit int) *tickets {
	return &tickets{max: limit, open: map[ticket]*want{}, byAgent: map[route.Agent]map[ticket]*want{}}
}

// issue draws a ticket that is valid for ttl.
func (t *tickets) issue(agent route.Agent, ttl time.Duration) (ticket, *want, error) {
	var id ticket
	_, _ = rand.Read(id[:]) // it never fails
	w := &want{agent: agent, arrived: make(chan *Conn, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= t.max {
		return ticket{}, nil, errTickets
	}
	t.open[id] = w
	if t.byAgent[agent] == nil {
		t.byAgent[agent] = map[ticket]*want{}
	}
	t.byAgent[agent][id] = w
	w.timer = time.AfterFunc(ttl, func() { t.withdraw(id) })
	return id, w, nil
}

// redeem consumes a ticket: whatever becomes of the connection that presents
// it, nobody can present it again.
func (t *tickets) redeem(presented []byte) *want {
	if len(presented) != ticketLen {
		return nil
	}
	return t.withdraw(ticket(presented))
}

// withdraw makes a ticket worthless. It returns its want, nil if there is none.
func (t *tickets) withdraw(id ticket) *want {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.open[id]
	if w == nil {
		return nil
	}
	w.timer.Stop()
	delete(t.open, id)
	if delete(t.byAgent[w.agent], id); len(t.byAgent[w.agent]) == 0 {
		delete(t.byAgent, w.agent)
	}
	return w
}

// offer hands a connection that is not needed where it was meant for to another
// who waits for that agent.
func (t *tickets) offer(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.byAgent[c.Agent] {
		if w.deliver(c) {
			return true
		}
	}
	return false
}

func (t *tickets) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}
