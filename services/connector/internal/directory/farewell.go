package directory

import (
	"context"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	farewellsAtOnce = 8
	// farewellsWaiting bounds what is kept for a registry that is away. What does
	// not fit is swept by a complete re-assertion instead.
	farewellsWaiting = 32768
	farewellRetry    = 250 * time.Millisecond
	farewellRetryMax = 5 * time.Second
	// farewellsFor is how long one is tried: by then the lease has run out, or
	// the node has been registered anew and has asserted what it has.
	farewellsFor = 10 * time.Minute
)

// EndSession has a session's attachments removed, now or when the registry is
// back, after whatever else is under way for the session.
func (c *Client) EndSession(s *session.Session, reason session.Reason) {
	c.say(s, func(ctx context.Context) error {
		_, err := c.names.EndSession(ctx, &registryv1.EndSessionRequest{
			NodeId: c.node.ID, SessionId: s.ID, Reason: reasonToWire(reason),
		})
		return err
	})
}

// Ended has it written down who has ended a session, behind its end.
func (c *Client) Ended(s *session.Session, by session.Ender) {
	c.say(s, func(ctx context.Context) error {
		_, err := c.names.EndSession(ctx, &registryv1.EndSessionRequest{
			NodeId: c.node.ID, SessionId: s.ID, Reason: reasonToWire(session.Deleted),
			EndedBy: &registryv1.SessionEnder{
				Actor: by.Actor, Address: by.Address, TraceId: by.Trace, AccountId: s.Account, AgentId: s.Agent,
			},
		})
		return err
	})
}

// endAgain repeats the end of a session that left while something was attached to
// it: the attachment may have come after the end.
func (c *Client) endAgain(s *session.Session) {
	if c.table.Get(s.ID) == nil {
		reason, _ := s.End()
		c.EndSession(s, reason)
	}
}

// Release ends a tunnel and frees its name, now or when the registry is back.
// The channel is closed when that was said, or has been given up.
func (c *Client) Release(s *session.Session, tunnelID string, reason session.Reason) <-chan struct{} {
	return c.say(s, func(ctx context.Context) error {
		_, err := c.names.Release(ctx, &registryv1.ReleaseRequest{
			Assertion: assertionToWire(s.Assertion()), TunnelId: tunnelID, Reason: reasonToWire(reason),
			NodeId: c.node.ID, ClientAddress: s.Address,
		})
		return err
	})
}

// say queues one call behind the session's others and repeats it while the
// registry is away.
func (c *Client) say(s *session.Session, call func(context.Context) error) <-chan struct{} {
	said := make(chan struct{})
	if !c.farewells.Do(s.ID, func() {
		defer close(said)
		c.deliver(s, call)
	}) {
		close(said)
		c.log.Warn("too much to say to the registry: everything will be asserted anew", "session", s.ID)
		id, _ := c.current()
		c.unknown(id)
	}
	return said
}

func (c *Client) deliver(s *session.Session, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(c.life, farewellsFor)
	defer cancel()
	for delay := farewellRetry; ; delay = min(2*delay, farewellRetryMax) {
		attempt, done := context.WithTimeout(ctx, callTimeout)
		err := call(attempt)
		done()
		if err == nil {
			return
		}
		if refusal(err) || ctx.Err() != nil {
			c.log.WarnContext(ctx, "the registry was not told of an end", "session", s.ID, "error", err)
			return
		}
		if !lifecycle.Pause(ctx, delay) {
			return
		}
	}
}

func assertionToWire(a session.Assertion) *authv1.SignedAssertion {
	return &authv1.SignedAssertion{Assertion: a.Bytes, Signature: a.Signature, KeyId: a.KeyID}
}
