package directory

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	reattachBatch = 500 // attachments a call; the contract allows 1000
	registerRetry = 250 * time.Millisecond
	retryMax      = 3 * time.Second
)

// Run keeps the node registered and its attachments asserted until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.member(ctx) })
	g.Go(func() error { return c.watch(ctx) })
	return g.Wait()
}

// member registers, asserts, and beats until it is forgotten; then again, until
// the node leaves.
func (c *Client) member(ctx context.Context) error {
	defer close(c.gone)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(c.stay, stop)()
	for {
		lease, ok := c.register(ctx)
		if !ok {
			return nil
		}
		err := c.reassert(ctx, lease)
		if err == nil {
			err = c.beat(ctx, lease)
		}
		if ctx.Err() != nil {
			return nil
		}
		c.log.WarnContext(ctx, "the registration was lost", "registration", lease.id, "error", err)
	}
}

// lease is one registration and the pace that it wants.
type lease struct {
	id     int64
	ttl    time.Duration
	beaten time.Time // when it was last renewed
}

func (l *lease) interval() time.Duration { return l.ttl / 3 }

// register enters the node, for as long as it takes; false: ctx has ended.
func (c *Client) register(ctx context.Context) (*lease, bool) {
	for delay := registerRetry; ; delay = min(2*delay, retryMax) {
		l, err := c.registerOnce(ctx)
		if err == nil {
			c.registered(l.id)
			c.log.InfoContext(ctx, "registered", "registration", l.id, "lease", l.ttl)
			return l, true
		}
		if ctx.Err() == nil {
			c.log.WarnContext(ctx, "the registry does not register this node", "error", err)
		}
		if !lifecycle.Pause(ctx, delay) {
			return nil, false
		}
	}
}

// registerOnce is not cut short: a registration whose answer nobody has heard
// could not be removed.
func (c *Client) registerOnce(ctx context.Context) (*lease, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	begun := time.Now()
	resp, err := c.nodes.RegisterNode(ctx, &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: c.node.ID, State: c.state(),
		Address: c.node.Address, AgentAddresses: c.node.AgentAddresses, RelayAddress: c.node.RelayAddress, Version: c.node.Version,
	}})
	if err != nil {
		return nil, err
	}
	ttl := resp.GetLeaseTtl().AsDuration()
	if ttl <= 0 {
		return nil, errors.New("the registry gives a lease without length")
	}
	return &lease{id: resp.GetRegistration(), ttl: ttl, beaten: begun}, nil
}

// reassert writes all attachments under a new registration, in batches between
// which the lease is renewed, and says when it has named all.
func (c *Client) reassert(ctx context.Context, l *lease) error {
	var refused []session.Attachment
	all := c.table.Attachments()
	for first := true; first || len(all) > 0; first = false {
		n := min(len(all), reattachBatch)
		if err := c.untilAnswered(ctx, l, func(ctx context.Context) error {
			batch, err := c.reattach(ctx, l, all[:n], n == len(all))
			refused = append(refused, batch...)
			return err
		}); err != nil {
			return err
		}
		all = all[n:]
	}
	if len(refused) == 0 {
		return nil
	}
	return c.untilAnswered(ctx, l, func(ctx context.Context) error { return c.settle(ctx, refused) })
}

// untilAnswered repeats call while the registry is away and the lease can still
// be alive, and renews it meanwhile.
func (c *Client) untilAnswered(ctx context.Context, l *lease, call func(context.Context) error) error {
	for {
		if time.Since(l.beaten) > l.interval() {
			if err := c.heartbeat(ctx, l); err != nil {
				return err
			}
		}
		err := call(ctx)
		if err == nil || !away(err) || time.Since(l.beaten) > l.ttl {
			return err
		}
		if !lifecycle.Pause(ctx, min(registerRetry, l.interval())) {
			return ctx.Err()
		}
	}
}

// reattach writes a batch and returns those that the registry did not accept.
func (c *Client) reattach(ctx context.Context, l *lease, batch []session.Attachment, last bool) (refused []session.Attachment, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &registryv1.ReattachRequest{NodeId: c.node.ID, Registration: l.id, SyncDone: last}
	for _, a := range batch {
		req.Attachments = append(req.Attachments, &registryv1.Attachment{
			Hostname: a.Hostname, Generation: a.Generation, ConnectorId: c.node.ID, SessionId: a.Session.ID,
		})
	}
	resp, err := c.names.Reattach(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, a := range batch {
		c.endAgain(a.Session)
	}
	for _, s := range resp.GetSuperseded() {
		if a, ok := c.table.Find(s.GetSessionId(), s.GetHostname()); ok && a.Generation == s.GetGeneration() {
			refused = append(refused, a)
		}
	}
	return refused, nil
}

// settle ends tunnels that were not accepted. The registry's claims say which of
// them were taken over; the others' agents may ask again, with the identity that
// they have: their claims have run out while the registry could not be reached.
func (c *Client) settle(ctx context.Context, refused []session.Attachment) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := c.names.Watch(ctx, &registryv1.WatchRequest{})
	if err != nil {
		return err
	}
	for whole := false; !whole; {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, change := range msg.GetChanges() {
			if claim := change.GetClaim(); claim != nil {
				c.claimed(claim)
			}
		}
		whole = msg.GetPosition() != nil
	}
	for _, a := range refused {
		c.table.CloseTunnel(a.Session, a.Tunnel, session.Lost)
	}
	return nil
}

// beat renews the lease until it is lost.
func (c *Client) beat(ctx context.Context, l *lease) error {
	timer := time.NewTimer(l.interval())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.kick:
		case <-ctx.Done():
			return ctx.Err()
		}
		if c.forgotten() {
			return errNodeUnknown
		}
		if err := c.heartbeat(ctx, l); err != nil {
			return err
		}
		timer.Reset(l.interval())
	}
}

// heartbeat renews the lease. A registry that is away is an error only once the
// lease must have run out: it may have lived on.
func (c *Client) heartbeat(ctx context.Context, l *lease) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	begun := time.Now()
	_, err := c.nodes.Heartbeat(call, &registryv1.HeartbeatRequest{NodeId: c.node.ID, Registration: l.id, State: c.state()})
	switch {
	case err == nil:
		l.beaten = begun
	case ctx.Err() != nil:
		return ctx.Err()
	case away(err) && time.Since(l.beaten) <= l.ttl:
		c.log.WarnContext(ctx, "the registry did not answer a heartbeat", "error", err)
		return nil
	}
	return err
}
