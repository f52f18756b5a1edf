package control

import (
	"context"
	"time"

	"github.com/dialback/dialback/services/connector/internal/session"
)

// relayLeft is how long an agent may take to come by another way when the
// frontdoor that relays its control connection stops: such a frontdoor waits for a
// while, and then cuts what it relays.
const relayLeft = 20 * time.Second

// FollowFrontdoors asks the agents whose streams pass a frontdoor that is about to
// stop to attach by another way, until ctx ends. They stay until they have.
func (s *Server) FollowFrontdoors(ctx context.Context) error {
	for {
		select {
		case <-s.names.FrontdoorsLeaving():
		case <-ctx.Done():
			return nil
		}
		for _, id := range s.names.TakeLeaving() {
			s.moveFrom(id)
		}
	}
}

func (s *Server) moveFrom(frontdoorID string) {
	for _, sess := range s.table.All() {
		if sess.Via != frontdoorID {
			continue
		}
		s.table.Tell(sess, session.GoAway{
			Reason: session.Shutdown, Deadline: relayLeft, Spread: min(relayLeft/2, s.spread()),
			Text: "the frontdoor that relays this connection is stopping",
		})
	}
}
