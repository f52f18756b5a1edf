// Package session is the connector's domain: who is connected, what is to be
// said to each agent, and who waits for its answer. It knows no wire.
//
// Two promises hold everywhere: a session that does not read, or that is
// flooded, costs itself and nobody else; and nothing here waits for a peer.
package session

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
)

// Reason says why a session or a tunnel has ended.
type Reason uint8

// The reasons, with the numbers of the contract's CloseReason.
const (
	// Lost is an end without a word: the agent may be back in a moment.
	Lost Reason = iota
	// Closed was asked for by the agent.
	Closed
	// Revoked is final: the agent's token was revoked or has expired.
	Revoked
	// TakenOver went to another instance of the same agent.
	TakenOver
	// Deleted was ended by an operator.
	Deleted
	// Shutdown ends sessions when the connector stops.
	Shutdown
	// Unresponsive is a session that does not read or does not answer pings.
	Unresponsive
)

// String returns the reason for logs.
func (r Reason) String() string {
	names := [...]string{"lost", "closed", "revoked", "taken over", "deleted", "shutdown", "unresponsive"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// Instance is the random id of an agent's process.
type Instance [16]byte

// Identity is who a session is, on auth's word.
type Identity struct {
	Agent    string
	Instance Instance
	Account  string
	// Token is the public id of the authtoken.
	Token string
}

// Assertion is auth's signed word on an identity, as the registry wants it.
type Assertion struct {
	Bytes     []byte
	Signature []byte
	KeyID     string
	// Expires is when the registry stops believing it.
	Expires time.Time
}

// Ender is who has ended a session: a user, by name and address, in a trace.
type Ender struct{ Actor, Address, Trace string }

// Session is one authenticated control stream.
type Session struct {
	// ID is 32 hexadecimal digits, random: who knows it was told it.
	ID string
	Identity
	// Address is the agent's, as the network shows it.
	Address string
	// Via is the id of the frontdoor that relays the stream; empty: none does. It is
	// set before the session enters its table.
	Via string
	// Software is what the agent says that it is; set before the session is added.
	Software Software
	Opened   time.Time

	out   outbox
	done  chan struct{}
	onEnd func(Reason)

	// tunnels is guarded by the table, which also keeps them by hostname. A list,
	// for most sessions have one, and a map of it is ten times as large.
	tunnels []Tunnel

	mu        sync.Mutex
	assertion Assertion
	asked     map[string]*Asking
	pulse     pulse
	ended     bool
	reason    Reason
	cause     error
}

// Software is an agent's release and platform, in its own words.
type Software struct{ Version, OS, Arch string }

// Tunnel is an endpoint that an agent serves over a session.
type Tunnel struct {
	// ID was chosen by the agent.
	ID string
	// Hostname is the endpoint's name, which may be a wildcard or a port's; empty
	// while the registry is being asked.
	Hostname string
	// Port of a tcp endpoint; 0: it has a hostname.
	Port       uint16
	Generation uint64
	// Pool is the hostname that visitors know, if it is served by several tunnels
	// of which this is one; else empty.
	Pool string
}

// New returns a session that is in no table yet. onEnd is called once, just
// before Done is closed; it must not wait.
func New(who Identity, address string, assertion Assertion, onEnd func(Reason)) *Session {
	now := time.Now()
	return &Session{
		ID: newID(), Identity: who, Address: address, Opened: now,
		out:  outbox{wake: make(chan struct{}, 1)},
		done: make(chan struct{}), onEnd: onEnd,
		assertion: assertion, pulse: pulse{heard: now},
	}
}

// newID returns 128 random bits.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Assertion returns the latest word of auth.
func (s *Session) Assertion() Assertion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assertion
}

// Renew replaces the assertion before it expires.
func (s *Session) Renew(a Assertion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assertion = a
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// End returns why the session has ended, and what its agent is told; nil for a
// clean end. Only of a session that has left its table.
func (s *Session) End() (Reason, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason, s.cause
}

// end marks the session as ended; the first call wins.
func (s *Session) end(reason Reason, cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.ended, s.reason, s.cause = true, reason, cause
	return true
}

// Wake is sent to when Next has something.
func (s *Session) Wake() <-chan struct{} { return s.out.wake }

// Next takes the next message for the agent; false: there is none now.
func (s *Session) Next() (Message, bool) {
	m, ok := s.out.next(time.Now())
	if ping, isPing := m.(Ping); isPing {
		s.mu.Lock()
		s.pulse.sent(ping.ID, time.Now())
		s.mu.Unlock()
	}
	return m, ok
}

// Answer queues an answer or an announcement for the agent. It reports false
// when as many are unread as may be: the session is to be ended.
func (s *Session) Answer(m Message) bool { return s.out.answer(m) }

// AnswerPing queues the Pong to an agent's Ping, and our own with it if that is due
// soon: one packet, and one moment in which both ends are awake, instead of two.
func (s *Session) AnswerPing(id uint64, now time.Time, pings Pings) {
	s.out.pong(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := &s.pulse; !p.next.IsZero() && p.next.Sub(now) < pings.Interval/2 {
		s.ping(now, pings)
	}
}

// Announce tells the agent which other connectors there are, in place of earlier
// news that it was not sent.
func (s *Session) Announce(m Connectors) { s.out.setPeers(m) }
