package httpproxy

import (
	"sync"
	"time"
)

const (
	retryShare = 0.1  // of an endpoint's requests
	retryASec  = 10.0 // and these
	maxSaved   = 50.0
	maxBudgets = 10_000
)

// retries bounds how many requests of an endpoint are sent a second time. What
// fails because it is overloaded must not get twice the load for it.
type retries struct {
	mu      sync.Mutex
	budgets map[string]*budget
}

type budget struct {
	left float64
	at   time.Time
}

func newRetries() *retries { return &retries{budgets: map[string]*budget{}} }

func (r *retries) request(hostname string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.budget(hostname).left += retryShare
}

// spend takes one retry out of the endpoint's budget.
func (r *retries) spend(hostname string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.budget(hostname)
	now := time.Now()
	b.left = min(maxSaved, b.left+retryASec*now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (r *retries) budget(hostname string) *budget {
	b := r.budgets[hostname]
	if b == nil {
		if len(r.budgets) >= maxBudgets {
			clear(r.budgets) // a full budget each is what most have anyway
		}
		b = &budget{left: retryASec, at: time.Now()}
		r.budgets[hostname] = b
	}
	return b
}
