package directory

import (
	"context"
	"time"
)

// Store keeps what the directory decides on. Every answer is the store's own at
// the moment of the call, never a copy's.
type Store interface {
	// Load reads a tunnel's entry and an endpoint; with an empty hostname, the
	// entry alone.
	Load(ctx context.Context, tunnel TunnelKey, hostname string) (TunnelEntry, Endpoint, error)
	// Endpoint reads one endpoint.
	Endpoint(ctx context.Context, hostname string) (Endpoint, error)
	// Frontdoors reads all frontdoors that are alive.
	Frontdoors(ctx context.Context) ([]Node, error)
	// Commit makes the changes of a plan, all in one revision, if nothing that
	// the plan was made on has changed: else ErrConflict. It is ErrNodeUnknown
	// if an attachment's registration has ended.
	Commit(ctx context.Context, plan Plan) error
	// EndSession removes a session's attachments.
	EndSession(ctx context.Context, connector, session string, reason CloseReason) error
	// Reattach writes attachments under a registration, each only while its
	// claim accepts it, and returns those that were not written.
	Reattach(ctx context.Context, node string, registration int64, attachments []Attachment) ([]Attachment, error)
	// Sync says that a connector has attached all it has under a registration:
	// what it attached under earlier ones is removed.
	Sync(ctx context.Context, node string, registration int64) error

	// RegisterNode enters a node under a new lease and returns the lease.
	RegisterNode(ctx context.Context, node Node, ttl time.Duration) (int64, error)
	// Heartbeat renews a lease and, where it differs, the node's state.
	Heartbeat(ctx context.Context, kind NodeKind, id string, registration int64, state NodeState) error
	// DeregisterNode removes a node and what it has attached.
	DeregisterNode(ctx context.Context, kind NodeKind, id string, registration int64) error
}

// Version is the store's mark of a record as it was read; 0: there was none.
type Version int64

// TunnelKey names a tunnel.
type TunnelKey struct {
	Account string
	Agent   string
	Tunnel  string
}

// TunnelEntry says which hostname a tunnel has, "" for none.
type TunnelEntry struct {
	Key      TunnelKey
	Hostname string
	Version  Version
}

// Endpoint is all that the store had about a hostname at one revision.
type Endpoint struct {
	Hostname string
	// Claim is nil while the name is free.
	Claim       *Claim
	Attachments []Attachment
	// Version is the claim's.
	Version Version
	// Revision is the store's when it was read; higher than every generation
	// that the name has had.
	Revision int64
	// Epoch is the store's.
	Epoch uint64
	// Record is the claim as the store has it, with what only the store knows.
	Record any
}

// Plan is a set of changes and what they were decided on.
type Plan struct {
	// Tunnel is the entry that was read, nil if none was.
	Tunnel *TunnelEntry
	// Attach is the attachment to write, nil for none, under Registration.
	Attach       *Attachment
	Registration int64
	Transitions  []Transition
}

// Transition turns one endpoint into another. The tunnels' entries follow the
// claims: they are the store's to keep.
type Transition struct {
	Before Endpoint
	// Claim is what the claim becomes; nil: the name is free.
	Claim *Claim
	// Reason with which the attachments that Before had are ended, if End is set.
	End    bool
	Reason CloseReason
}
