package directory

import (
	"context"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// watch follows the registry's changes. A watch that breaks off is resumed where
// it was; if that is not possible any more, with a snapshot.
func (c *Client) watch(ctx context.Context) error {
	var after *registryv1.Position
	for delay := registerRetry; ; delay = min(2*delay, retryMax) {
		heard, err := c.follow(ctx, &after)
		if ctx.Err() != nil {
			return nil
		}
		c.log.WarnContext(ctx, "the watch of the registry broke off", "error", err)
		if heard {
			delay = registerRetry
		} else {
			after = nil // whatever the registry has against it
		}
		if !lifecycle.Pause(ctx, delay) {
			return nil
		}
	}
}

func (c *Client) follow(ctx context.Context, after **registryv1.Position) (heard bool, err error) {
	stream, err := c.names.Watch(ctx, &registryv1.WatchRequest{After: *after})
	if err != nil {
		return false, err
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		heard = true
		if msg.GetSnapshot() {
			c.peers.begin()
			c.leaving.begin()
		}
		for _, change := range msg.GetChanges() {
			c.apply(change)
		}
		if p := msg.GetPosition(); p != nil {
			*after = p
			c.peers.whole()
		}
	}
}

func (c *Client) apply(change *registryv1.Change) {
	switch change := change.GetChange().(type) {
	case *registryv1.Change_Claim:
		c.claimed(change.Claim)
	case *registryv1.Change_AttachmentEnded:
		c.ended(change.AttachmentEnded)
	case *registryv1.Change_Node:
		c.setNode(change.Node)
	case *registryv1.Change_NodeRemoved:
		c.removeNode(change.NodeRemoved)
	}
}

// claimed ends the tunnels of ours that a claim has left behind.
func (c *Client) claimed(claim *registryv1.Claim) {
	if !c.table.Serves(claim.GetHostname()) {
		return
	}
	taken := session.Claim{Hostname: claim.GetHostname(), Generation: claim.GetGeneration(), Agent: claim.GetAgentId()}
	copy(taken.Instance[:], claim.GetInstance())
	c.table.Supersede(taken)
}

// ended closes a tunnel of ours that somebody else has ended. What the agent
// itself has closed, or lost, is known here already.
func (c *Client) ended(e *registryv1.AttachmentEnded) {
	at := e.GetAttachment()
	if at.GetConnectorId() != c.node.ID {
		return
	}
	var reason session.Reason
	switch e.GetReason() {
	case agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER:
		reason = session.TakenOver
	case agentv1.CloseReason_CLOSE_REASON_DELETED:
		reason = session.Deleted
	case agentv1.CloseReason_CLOSE_REASON_REVOKED:
		reason = session.Revoked
	default:
		return
	}
	if a, ok := c.table.Find(at.GetSessionId(), at.GetHostname()); ok && a.Generation == at.GetGeneration() {
		c.table.CloseTunnel(a.Session, a.Tunnel, reason)
	}
}
