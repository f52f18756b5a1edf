package dialback

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const ticketLen = 16 // bytes: not to be guessed

type ticket [ticketLen]byte

var errTickets = errs.New(errs.Unavailable, errs.ReasonOverloaded,
	"too many visitors are waiting for their agents").WithRetry(time.Second)

// want is one dial-back that was asked for.
type want struct {
	agent route.Agent
	why   pool.Why
	begun time.Time
	// redeemed is told when the agent has come. It has room for every ticket that
	// was asked for with this one.
	redeemed chan<- ticket
}

// tickets are the dial-backs under way. A ticket is good once, for one run of
// one agent, until it is withdrawn.
type tickets struct {
	max int

	mu   sync.Mutex
	open map[ticket]*want
}

func newTickets(limit int) *tickets { return &tickets{max: limit, open: map[ticket]*want{}} }

// issue draws a ticket.
func (t *tickets) issue(w *want) (ticket, error) {
	var id ticket
	_, _ = rand.Read(id[:]) // it never fails
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= t.max {
		return ticket{}, errTickets
	}
	t.open[id] = w
	return id, nil
}

// redeem consumes a ticket: whatever becomes of the connection that presents
// it, nobody can present it again. Nil: it is not valid.
func (t *tickets) redeem(presented []byte) *want {
	if len(presented) != ticketLen {
		return nil
	}
	id := ticket(presented)
	w := t.withdraw(id)
	if w != nil {
		w.redeemed <- id
	}
	return w
}

// withdraw makes a ticket worthless. It returns its want, nil if there is none.
func (t *tickets) withdraw(id ticket) *want {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.open[id]
	delete(t.open, id)
	return w
}
