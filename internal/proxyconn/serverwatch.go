package proxyconn

import "time"

// Watcher is told what becomes of a frontdoor's connection. Its calls come in
// goroutines of their own; they must not wait for the connection's end.
type Watcher interface {
	// Retired: the agent wants no new exchange. One under way goes on.
	Retired()
	// Ended: the connection has ended, and why.
	Ended(err error)
}

// Watch has w told what comes, and what has come. There is one Watcher.
func (s *Server) Watch(w Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher = w
	switch err := s.err; {
	case err != nil:
		go w.Ended(err) // the connection's own tasks may have been waited for
	case s.retired:
		s.tasks.Go(w.Retired)
	}
}

// Exchanges is how many have begun.
func (s *Server) Exchanges() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Bytes is how many of visitors and services have passed, both ways.
func (s *Server) Bytes() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	if s.ex != nil {
		n += s.ex.sent + s.ex.received.Load()
	}
	return n
}

// measuredLocked enters a round trip, within reason. Longer ones count at once, shorter ones by
// and by: a wait that is too short takes a connection for dead that lives.
func (s *Server) measuredLocked(rtt time.Duration) {
	s.rtt = min(max(rtt, s.rtt-s.rtt/8), maxRTT)
}

func (s *Server) ackTimeoutLocked() time.Duration {
	if s.opt.AckTimeout > 0 {
		return s.opt.AckTimeout
	}
	return AckTimeout(s.rtt)
}
