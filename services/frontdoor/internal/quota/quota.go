// Package quota holds accounts to how many visitors they may have at once. Each
// frontdoor enforces its own share, for to ask somebody about every visitor would
// cost more than the quota saves.
package quota

import (
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// ErrExceeded refuses a visitor of an account that has as many as it may have.
var ErrExceeded = errs.New(errs.ResourceExhausted, errs.ReasonQuotaExceeded,
	"this endpoint's account has as many visitors at once as its quota allows").WithRetry(time.Second)

// Quota counts visitors: requests over HTTP, connections over TCP.
type Quota struct {
	frontdoors func() int

	mu       sync.Mutex
	visitors map[route.Account]uint32
}

// New returns a quota that is shared by as many frontdoors as the function says,
// this one among them.
func New(frontdoors func() int) *Quota {
	return &Quota{frontdoors: frontdoors, visitors: map[route.Account]uint32{}}
}

// Enter counts a visitor of an endpoint in, or returns ErrExceeded. The visitor
// leaves by calling leave, once.
func (q *Quota) Enter(c *route.Claim) (leave func(), err error) {
	if c.MaxConnections == 0 {
		return func() {}, nil
	}
	account := c.Account
	share := q.share(c.MaxConnections)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.visitors[account] >= share {
		return nil, ErrExceeded
	}
	q.visitors[account]++
	return func() { q.leave(account) }, nil
}

func (q *Quota) leave(account route.Account) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.visitors[account]--; q.visitors[account] == 0 {
		delete(q.visitors, account)
	}
}

// share of a limit, rounded up: an account with few is not shut out.
func (q *Quota) share(limit uint32) uint32 {
	n := uint32(max(1, q.frontdoors())) // #nosec G115 -- few
	return (limit + n - 1) / n
}
