package session

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxDials is how many dial-backs may be wanted and not yet sent. Wants are
	// state, not a queue: they merge, and one too many is refused to whoever
	// asked, so that a burst of visitors never closes an agent's session.
	maxDials = 256
	// dialsPerMessage keeps a ReqProxy small, so that a ping on a thin line does
	// not wait behind 256 of them.
	dialsPerMessage = 32
	// maxPongs and maxAnswers bound what an agent may leave unread.
	maxPongs   = 16
	maxAnswers = 1024
)

// outbox is what an agent has not been sent yet. Pings and pongs go first, then
// answers, then the news of connectors, then wanted dial-backs.
type outbox struct {
	wake chan struct{} // of one: there is something

	mu      sync.Mutex
	ping    *Ping
	pongs   []Pong
	answers []Message
	peers   *Connectors
	dials   []Dial
}

// signal wakes the writer; one signal stands for any number of messages.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// setPing replaces a ping that was not sent: only the latest is of use.
func (o *outbox) setPing(id uint64) {
	o.mu.Lock()
	o.ping = &Ping{ID: id}
	o.mu.Unlock()
	o.signal()
}

// pong drops the oldest unsent pong when there are too many: an agent that
// pings without reading has no use for it.
func (o *outbox) pong(id uint64) {
	o.mu.Lock()
	if len(o.pongs) == maxPongs {
		o.pongs = slices.Delete(o.pongs, 0, 1)
	}
	o.pongs = append(o.pongs, Pong{ID: id})
	o.mu.Unlock()
	o.signal()
}

func (o *outbox) answer(m Message) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.answers) >= maxAnswers {
		return false
	}
	o.answers = append(o.answers, m)
	o.signal()
	return true
}

// setPeers replaces news of connectors that were not sent: they are state.
func (o *outbox) setPeers(m Connectors) {
	o.mu.Lock()
	o.peers = &m
	o.mu.Unlock()
	o.signal()
}

// want queues a dial-back; false: as many wait as may.
func (o *outbox) want(d Dial, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.dials) >= maxDials {
		o.dropExpired(now)
	}
	if len(o.dials) >= maxDials {
		return false
	}
	o.dials = append(o.dials, d)
	o.signal()
	return true
}

// withdraw removes a dial-back that nobody wants any more and that was not sent.
func (o *outbox) withdraw(ticket string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dials = slices.DeleteFunc(o.dials, func(d Dial) bool { return d.Ticket == ticket })
}

func (o *outbox) dropExpired(now time.Time) {
	o.dials = slices.DeleteFunc(o.dials, func(d Dial) bool { return !now.Before(d.Deadline) })
}

// next takes the next message by rank.
func (o *outbox) next(now time.Time) (Message, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case len(o.pongs) > 0:
		return take(&o.pongs), true
	case o.ping != nil:
		p := *o.ping
		o.ping = nil
		return p, true
	case len(o.answers) > 0:
		return take(&o.answers), true
	case o.peers != nil:
		m := *o.peers
		o.peers = nil
		return m, true
	}
	o.dropExpired(now)
	if len(o.dials) == 0 {
		o.dials = nil
		return nil, false
	}
	n := min(len(o.dials), dialsPerMessage)
	batch := slices.Clone(o.dials[:n])
	o.dials = slices.Delete(o.dials, 0, n)
	return ReqProxy{Dials: batch}, true
}

// take removes the first; an empty queue gives its memory back, for most
// sessions are silent most of the time.
func take[T any](queue *[]T) T {
	first := (*queue)[0]
	if len(*queue) == 1 {
		*queue = nil
	} else {
		*queue = slices.Delete(*queue, 0, 1)
	}
	return first
}
