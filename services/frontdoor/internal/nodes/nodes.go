// Package nodes is the frontdoor's copy of the registry's node table: which
// connectors and frontdoors there are, and where they are reached. Like the
// routes it outlives the registry.
package nodes

import "time"

// Kind is what a node does, by its number in the contract.
type Kind uint8

// The kinds. Ids of different kinds may be equal.
const (
	Connector Kind = iota + 1
	Frontdoor
)

// State is where a node is in its life, by its number in the contract.
type State uint8

// The states. Draining takes nothing new, but is reached until it is gone.
const (
	Ready State = iota + 1
	Draining
)

// Node is an entry of the table. It is immutable.
type Node struct {
	Kind  Kind
	ID    string
	State State
	// Address is the "host:port" of its gRPC service; empty: it has none.
	Address string
	// RelayAddress is the "host:port" that takes agents' connections from
	// frontdoors; empty: none does.
	RelayAddress string
	// AgentAddresses are "host:port" for agents, best first; may be empty.
	AgentAddresses []string
	// VanishedAt is when the registry has stopped naming the node; zero while it
	// names it. A lease that ran out is no proof of death: such a node is used as
	// long as it answers, behind all others.
	VanishedAt time.Time
}

const (
	// vanishedFor is how long a node that the registry does not name is kept.
	vanishedFor = 10 * time.Minute
	// readyFor is how long one that vanished while it was ready counts as ready:
	// behind an outage of the registry all are gone, and back at once.
	readyFor = 30 * time.Second
	// maxNodes bounds what the registry can make us hold.
	maxNodes = 4096
)

func (n *Node) ready(now time.Time) bool {
	return n.State == Ready && (n.VanishedAt.IsZero() || now.Sub(n.VanishedAt) < readyFor)
}
