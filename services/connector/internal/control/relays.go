package control

import (
	"context"
	"time"

	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// relayLeft is how long an agent may take to come by another way when the
	// frontdoor that relays its control connection stops: such a frontdoor waits for
	// a while, and then cuts what it relays.
	relayLeft = 20 * time.Second
	// relaysEvery is how often sessions are looked for that are to come by another
	// way, and relayAge how old they must be: who has just come by such a frontdoor
	// would be sent there again by load balancers that have not noticed.
	relaysEvery = time.Second
	relayAge    = 3 * time.Second
)

// FollowFrontdoors asks the agents whose streams pass a frontdoor that is about to
// stop to attach by another way, once each, until ctx ends. They stay until they
// have.
func (s *Server) FollowFrontdoors(ctx context.Context) error {
	asked := map[*session.Session]bool{}
	tick := time.NewTicker(relaysEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if stopping := s.names.FrontdoorsLeaving(); len(stopping) > 0 {
			s.moveFrom(stopping, asked)
		} else {
			clear(asked)
		}
	}
}

func (s *Server) moveFrom(stopping map[string]bool, asked map[*session.Session]bool) {
	for _, sess := range s.table.All() {
		if !stopping[sess.Via] || asked[sess] || time.Since(sess.Opened) < relayAge {
			continue
		}
		asked[sess] = true
		s.table.Tell(sess, session.GoAway{
			Reason: session.Shutdown, Deadline: relayLeft, Spread: min(relayLeft/4, s.spread()),
			Text: "the frontdoor that relays this connection is stopping",
		})
	}
}
