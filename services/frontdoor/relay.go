package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/relayport"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/relay"
)

const (
	// relayConnectTimeout bounds the connecting of a node: an agent has another
	// address to try.
	relayConnectTimeout = 3 * time.Second
	// maxIntroducing bounds the relayed connections whose agents have not presented
	// a ticket yet.
	maxIntroducing = 1024
	// relaysEvery is how often connections are looked for that a frontdoor relays
	// which is about to stop.
	relaysEvery = time.Second
	// leaveWithin is left of the drain's time when the last relays are cut.
	leaveWithin = 2 * time.Second
)

// wireRelays makes what hands connections over, and what says who may to us.
func (f *Frontdoor) wireRelays() {
	f.nodes = nodes.NewTable(time.Now)
	f.peers = relay.NewPeers(f.nodes, f.cfg.RelayFrom, f.log)
	refused := newRefusedMetric(f.deps.Metrics)
	f.relays = relay.New(relay.Config{
		NodeID: f.id, MaxRelays: f.cfg.MaxRelays, ConnectTimeout: relayConnectTimeout,
	}, relay.Deps{Nodes: f.nodes, Refused: refused, Logger: f.log})
	f.refused = refused
	newRelayMetrics(f.deps.Metrics, f.relays)
}

// control brings an agent's control connection to a connector.
func (f *Frontdoor) control(c *clienthello.Replayed, connectorID string) {
	switch {
	case f.deps.Control == nil:
		f.relays.ToConnector(c, connectorID)
	case strings.Contains(connectorID, "."):
		clienthello.Refuse(c)
	default:
		f.deps.Control(c, connectorID)
	}
}

// serveRelayed takes the connections of agents that have arrived at other
// frontdoors.
func (f *Frontdoor) serveRelayed(group *lifecycle.Group, agents *tls.Config) {
	if f.relayed == nil {
		return
	}
	group.Go("relay peers", f.peers.Run)
	group.Go("relaying frontdoors", f.followRelays)
	port := relayport.Listen(f.relayed, relayport.Config{
		Names: []string{f.proxyName()}, From: f.peers.Contain,
		Refused: f.refused, Logger: f.log,
	})
	group.Go("relay port", func(ctx context.Context) error { return f.acceptRelayed(ctx, port, agents) })
	group.OnDrain("close the relay port", func(context.Context) error { return port.Close() })
}

func (f *Frontdoor) acceptRelayed(ctx context.Context, port net.Listener, config *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	places := make(chan struct{}, maxIntroducing)
	defer func() {
		cancel()
		for range cap(places) {
			places <- struct{}{} // all have left
		}
	}()
	for {
		c, err := port.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		places <- struct{}{}
		go func() {
			f.dialer.Accept(ctx, tls.Server(c, config))
			<-places
		}()
	}
}

// followRelays ends connections whose relaying frontdoor is about to stop, those
// too that come through it later, while load balancers have not noticed.
func (f *Frontdoor) followRelays(ctx context.Context) error {
	stops := func(id string) bool {
		n := f.nodes.Frontdoor(id)
		return n != nil && n.State == nodes.Draining
	}
	again := time.NewTicker(relaysEvery)
	defer again.Stop()
	for {
		changed := f.nodes.Changed()
		if slices.ContainsFunc(f.nodes.Frontdoors(), func(n *nodes.Node) bool { return n.State == nodes.Draining && n.ID != f.id }) {
			f.pool.RetireRelayed(stops)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// finishRelays lets relayed connections end: their owners, who see in the node
// table that this frontdoor drains, end the idle ones. What is busy may take the
// drain's time but for the last steps'.
func (f *Frontdoor) finishRelays(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-leaveWithin))
		defer cancel()
	}
	return f.relays.Drain(ctx)
}

// RelayAddr is where other frontdoors hand connections over; nil: nowhere.
func (f *Frontdoor) RelayAddr() net.Addr {
	if f.relayed == nil {
		return nil
	}
	return f.relayed.Addr()
}
