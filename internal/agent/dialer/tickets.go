package dialer

import (
	"sync"
	"time"
)

// maxTickets bounds the tickets that are remembered: far more than an agent may
// dial in their lifetime.
const maxTickets = 1 << 16

// tickets remembers which were dialled, until their deadline. A frontdoor that
// is in doubt sends the same ticket by another session: it is dialled once.
type tickets struct {
	mu     sync.Mutex
	until  map[string]time.Time
	purged time.Time
}

// first reports whether the ticket is new, and remembers it for d. It answers
// false when there is no room: forgetting one could dial it twice.
func (t *tickets) first(ticket []byte, d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.purge(now)
	if until, known := t.until[string(ticket)]; known && now.Before(until) || len(t.until) >= maxTickets {
		return false
	}
	if t.until == nil {
		t.until = map[string]time.Time{}
	}
	t.until[string(ticket)] = now.Add(d)
	return true
}

func (t *tickets) purge(now time.Time) {
	if now.Sub(t.purged) < time.Second {
		return
	}
	t.purged = now
	for ticket, until := range t.until {
		if !now.Before(until) {
			delete(t.until, ticket)
		}
	}
}
