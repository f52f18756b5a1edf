package control

import (
	"context"
	"time"

	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// Agents that move together take so long each, at least and at most: a
	// connector that they come to has handshakes and binds to do for every one.
	movePace             = 4 * time.Millisecond
	minSpread, maxSpread = time.Second, time.Minute
	// announceEvery bounds how often agents are told of connectors that come and
	// go: during a rollout they do so by the dozen.
	announceEvery = 500 * time.Millisecond
)

// spread is what the agents of this connector are to distribute a move over.
func (s *Server) spread() time.Duration {
	return min(max(time.Duration(s.table.Len())*movePace, minSpread), maxSpread)
}

// connectors is what an agent is told of other connectors.
func (s *Server) connectors() session.Connectors {
	return session.Connectors{Others: s.names.Peers(maxPeers), Spread: s.spread()}
}

// Announce tells all agents whenever connectors come or go, until ctx ends. Each
// hears of some, in an order of its own.
func (s *Server) Announce(ctx context.Context) error {
	for {
		select {
		case <-s.names.PeersChanged():
		case <-ctx.Done():
			return nil
		}
		for _, sess := range s.table.All() {
			sess.Announce(s.connectors())
		}
		if !lifecycle.Pause(ctx, announceEvery) {
			return nil
		}
	}
}

// Leave takes no new sessions and tunnels from now on and asks all agents to
// attach elsewhere, by the deadline. Dial-backs are asked for over their sessions
// as long as they stay. The channel is closed when none is left. Calling it again
// asks again.
func (s *Server) Leave(deadline time.Time) <-chan struct{} {
	empty := s.table.Drain()
	left := time.Until(deadline)
	for _, sess := range s.table.All() {
		s.table.Tell(sess, session.GoAway{
			Reason: session.Shutdown, Deadline: left, Spread: min(left/2, s.spread()), Text: "this connector is stopping",
		})
	}
	return empty
}

// Drain asks all agents to leave and waits until they have, or until ctx ends;
// then it ends what is left. An agent leaves by itself once another attachment
// serves.
func (s *Server) Drain(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now()
	}
	select {
	case <-s.Leave(deadline):
		return nil
	case <-ctx.Done():
	}
	for _, sess := range s.table.All() {
		s.table.End(sess, session.Shutdown, session.ErrDraining)
	}
	return nil
}
