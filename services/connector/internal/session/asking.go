package session

import "time"

// maxAsked bounds the tickets of one session whose fate is open.
const maxAsked = 4096

// Outcome is what became of a ticket.
type Outcome uint8

// The outcomes.
const (
	// Asked: the dial-back is in the outbox.
	Asked Outcome = iota
	// Overloaded: as many wait as may.
	Overloaded
	// Failed: the agent said that it cannot.
	Failed
	// SessionEnded before the agent was heard.
	SessionEnded
)

// Verdict is the outcome of one ticket.
type Verdict struct {
	Ticket  string
	Outcome Outcome
	// Fail is the agent's reason, as the contract numbers it.
	Fail int32
}

// Asking is a caller that waits for what becomes of its tickets.
type Asking struct {
	session *Session
	tickets []string
	later   chan Verdict
}

// Ask wants dial-backs. It returns a verdict for each at once, and an Asking for
// what comes later; nil: the session has ended. The caller must Release it.
func (s *Session) Ask(dials []Dial) (*Asking, []Verdict) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil
	}
	a := &Asking{session: s, later: make(chan Verdict, len(dials))}
	verdicts := make([]Verdict, 0, len(dials))
	for _, d := range dials {
		outcome := Overloaded
		_, twice := s.asked[d.Ticket]
		if !twice && len(s.asked) < maxAsked && s.out.want(d, now) {
			outcome = Asked
			a.tickets = append(a.tickets, d.Ticket)
			if s.asked == nil {
				s.asked = make(map[string]*Asking)
			}
			s.asked[d.Ticket] = a
		}
		verdicts = append(verdicts, Verdict{Ticket: d.Ticket, Outcome: outcome})
	}
	return a, verdicts
}

// Pending returns how many tickets can still get a verdict.
func (a *Asking) Pending() int { return len(a.tickets) }

// Later delivers at most one more verdict for each ticket that was Asked.
func (a *Asking) Later() <-chan Verdict { return a.later }

// Release forgets the tickets and withdraws what the agent was not sent.
func (a *Asking) Release() {
	s := a.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ticket := range a.tickets {
		if s.asked[ticket] == a {
			delete(s.asked, ticket)
			s.out.withdraw(ticket)
		}
	}
	s.shrink()
}

// ProxyFailed passes on the agent's word that a dial-back will not come. An
// agent can only speak of tickets that it was asked for.
func (s *Session) ProxyFailed(ticket string, fail int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.asked[ticket]; ok {
		delete(s.asked, ticket)
		a.later <- Verdict{Ticket: ticket, Outcome: Failed, Fail: fail}
		s.shrink()
	}
}

// Asked returns how many tickets have an open fate.
func (s *Session) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// failAsked tells all who wait that the session is no more.
func (s *Session) failAsked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ticket, a := range s.asked {
		a.later <- Verdict{Ticket: ticket, Outcome: SessionEnded}
	}
	s.asked = nil
}

// shrink gives a burst's memory back: maps never shrink by themselves.
func (s *Session) shrink() {
	if len(s.asked) == 0 {
		s.asked = nil
	}
}
