package session

import (
	"math/rand/v2"
	"time"
)

// Pings says how often a session is pinged, and how long it may be silent.
type Pings struct {
	Interval, Timeout time.Duration
}

// pulse is what is known of a session's liveness.
type pulse struct {
	heard   time.Time     // the last message of any kind
	next    time.Time     // when the next ping is due; zero: not planned yet
	id      uint64        // of the last ping
	waiting bool          // for the pong to it
	asked   time.Time     // when it was queued
	left    time.Time     // when it was handed to the wire
	rtt     time.Duration // of the last ping that was answered; 0: none yet
	proof   chan struct{} // closed by the next pong; nil: nobody waits for it
}

func (p *pulse) sent(id uint64, now time.Time) {
	if p.waiting && id == p.id {
		p.left = now
	}
}

// Heard notes that the agent has said something.
func (s *Session) Heard(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pulse.heard = now
}

// Pong notes the answer to a ping; an unknown one is nothing.
func (s *Session) Pong(id uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := &s.pulse; p.waiting && id == p.id && !p.left.IsZero() {
		p.waiting = false
		p.rtt = max(now.Sub(p.left), 1)
		if p.proof != nil {
			close(p.proof)
			p.proof = nil
		}
	}
}

// Silence returns how long nothing has been heard of the agent.
func (s *Session) Silence(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(now.Sub(s.pulse.heard), 0)
}

// Challenge pings the agent now. The channel is closed by its answer; all who
// challenge it before that share one.
func (s *Session) Challenge(now time.Time) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.pulse
	if p.proof != nil {
		return p.proof
	}
	p.proof = make(chan struct{})
	p.id++
	if !p.waiting { // else it is late since then
		p.waiting, p.asked = true, now
	}
	p.left = time.Time{}
	s.out.setPing(p.id)
	return p.proof
}

// RTT returns the last round trip; 0: unknown.
func (s *Session) RTT() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pulse.rtt
}

// Alive pings the agent when it is time and reports whether the session counts
// as alive. An agent that talks without reading our pings is not: it would
// never read a ReqProxy either.
func (s *Session) Alive(now time.Time, pings Pings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.pulse
	if now.Sub(p.heard) > pings.Timeout || p.waiting && now.Sub(p.asked) > pings.Timeout {
		return false
	}
	if p.next.IsZero() {
		// Sessions that came in one second are not pinged in one second for ever.
		p.next = now.Add(rand.N(pings.Interval)) // #nosec G404 -- a spread, not a secret
	}
	if !now.Before(p.next) {
		s.ping(now, pings)
	}
	return true
}

// ping queues one, unless the last one waits for its answer. The lock is held.
func (s *Session) ping(now time.Time, pings Pings) {
	p := &s.pulse
	if p.waiting {
		return
	}
	p.next = now.Add(pings.Interval)
	p.id++
	p.waiting, p.asked, p.left = true, now, time.Time{}
	s.out.setPing(p.id)
}
