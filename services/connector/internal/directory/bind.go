package directory

import (
	"context"
	"errors"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// bindTimeout bounds a bind with the registration that it may have to wait for.
const bindTimeout = 10 * time.Second

// Request is a wanted tunnel. Options and metadata pass through unread.
type Request struct {
	TunnelID string
	Protocol proxyv1.Protocol
	// Hostname, Subdomain or, of a tcp tunnel, RemotePort; all empty: a random name
	// or port.
	Hostname, Subdomain string
	RemotePort          uint32
	// Pooling: others of the account may serve the name beside it.
	Pooling  bool
	Options  []byte
	Critical []string
	Metadata map[string]string
}

// Bind claims a name for a reserved tunnel of s and attaches it. It is not cut
// short when the session ends, and the session's end is then said once more: an
// attachment that was made behind it would dangle.
func (c *Client) Bind(ctx context.Context, s *session.Session, r Request) (session.Tunnel, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bindTimeout)
	defer cancel()
	defer c.endAgain(s)
	for {
		registration, changed := c.current()
		tunnel, err := c.bind(ctx, s, r, registration)
		switch {
		case errors.Is(err, errNodeUnknown):
			c.unknown(registration)
			if !wait(ctx, changed) {
				return session.Tunnel{}, ErrAway.WithCause(err)
			}
			continue
		case err != nil && away(err):
			return session.Tunnel{}, ErrAway.WithCause(err)
		case err != nil:
			return session.Tunnel{}, err
		}
		if !c.table.Attach(s, tunnel) {
			return session.Tunnel{}, session.ErrEnded
		}
		// The session of an older process may be here, too.
		c.table.Supersede(session.Claim{
			Hostname: tunnel.Hostname, Generation: tunnel.Generation, Agent: s.Agent, Instance: s.Instance,
		})
		// From here on an assertion under a new registration names the tunnel; one
		// that has happened since we asked may not have.
		if now, _ := c.current(); now == registration {
			return tunnel, nil
		}
	}
}

func (c *Client) bind(ctx context.Context, s *session.Session, r Request, registration int64) (session.Tunnel, error) {
	assertion := s.Assertion()
	if !time.Now().Before(assertion.Expires) {
		return session.Tunnel{}, ErrAway.WithCause(errors.New("the session's assertion has expired"))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &registryv1.BindRequest{
		Assertion: assertionToWire(assertion), Registration: registration, NodeId: c.node.ID,
		SessionId: s.ID, ClientAddress: s.Address,
		TunnelId: r.TunnelID, Protocol: r.Protocol, Options: r.Options, Critical: r.Critical, Metadata: r.Metadata,
		Pooling: r.Pooling,
	}
	switch {
	case r.Hostname != "":
		req.Name = &registryv1.BindRequest_Hostname{Hostname: r.Hostname}
	case r.Subdomain != "":
		req.Name = &registryv1.BindRequest_Subdomain{Subdomain: r.Subdomain}
	case r.RemotePort != 0:
		req.Name = &registryv1.BindRequest_RemotePort{RemotePort: r.RemotePort}
	}
	resp, err := c.names.Bind(ctx, req)
	if err != nil {
		return session.Tunnel{}, err
	}
	return session.Tunnel{
		ID: r.TunnelID, Hostname: resp.GetHostname(), Port: uint16(resp.GetPort()), Generation: resp.GetGeneration(), Pool: resp.GetPool(),
	}, nil
}

// wait returns when changed is closed; false: ctx has ended first.
func wait(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}
