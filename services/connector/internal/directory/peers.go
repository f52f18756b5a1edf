package directory

import (
	"sync"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

// peers are the other connectors that take sessions.
type peers struct {
	mu      sync.Mutex
	ids     map[string]struct{}
	listed  map[string]struct{} // of a snapshot that is not whole yet; nil: none
	fresh   bool                // ids have changed since the last position
	changed chan struct{}       // of one
}

func newPeers() peers {
	return peers{ids: make(map[string]struct{}), changed: make(chan struct{}, 1)}
}

// some returns at most n of them.
func (p *peers) some(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id := range p.ids { // in a map's order, so that agents spread
		if len(ids) == n {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// begin starts a list that replaces the present one when it is whole: nobody is
// told of a half.
func (p *peers) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed = make(map[string]struct{})
}

func (p *peers) set(id string, present bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := p.ids
	if p.listed != nil {
		ids = p.listed
	}
	if _, was := ids[id]; was == present {
		return
	}
	if p.fresh = true; present {
		ids[id] = struct{}{}
	} else {
		delete(ids, id)
	}
}

// whole says that all up to a position has been set.
func (p *peers) whole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listed != nil {
		p.ids, p.listed, p.fresh = p.listed, nil, true
	}
	if !p.fresh {
		return
	}
	p.fresh = false
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Peers returns the ids of at most n other connectors that take sessions.
func (c *Client) Peers(n int) []string { return c.peers.some(n) }

// PeersChanged is sent to when Peers has changed.
func (c *Client) PeersChanged() <-chan struct{} { return c.peers.changed }

// DrainAsked is closed when an operator wants this connector to drain.
func (c *Client) DrainAsked() <-chan struct{} { return c.drainAsked }

func (c *Client) setNode(n *registryv1.Node) {
	ready := n.GetState() == registryv1.NodeState_NODE_STATE_READY && !n.GetDrainRequested()
	switch {
	case n.GetKind() == registryv1.NodeKind_NODE_KIND_FRONTDOOR:
		c.leaving.set(n.GetId(), !ready)
	case n.GetKind() != registryv1.NodeKind_NODE_KIND_CONNECTOR:
	case n.GetId() != c.node.ID:
		c.peers.set(n.GetId(), ready)
	case n.GetDrainRequested() && c.state() == registryv1.NodeState_NODE_STATE_READY:
		c.Drain()
		close(c.drainAsked) // once: it is never ready again
	}
}

func (c *Client) removeNode(n *registryv1.NodeRemoved) {
	switch n.GetKind() {
	case registryv1.NodeKind_NODE_KIND_CONNECTOR:
		c.peers.set(n.GetId(), false)
	case registryv1.NodeKind_NODE_KIND_FRONTDOOR:
		c.leaving.set(n.GetId(), false)
	}
}
