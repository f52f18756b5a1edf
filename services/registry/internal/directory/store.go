package directory

import (
	"context"
	"time"
)

// Store keeps what the directory decides on. Every answer is the store's own at
// the moment of the call, never a copy's.
type Store interface {
	// Load reads all that is wanted, at one revision.
	Load(ctx context.Context, want Want) (View, error)
	// Endpoint reads one endpoint.
	Endpoint(ctx context.Context, name string) (Endpoint, error)
	// Nearest reads the first of several endpoints that has a claim; if none has,
	// the first.
	Nearest(ctx context.Context, names []string) (Endpoint, error)
	// Below reads whether another account has something below a wildcard.
	Below(ctx context.Context, wildcard, account string) (Subtree, error)
	// Members reads the names of a pool's members.
	Members(ctx context.Context, pool string) (Members, error)
	// Ports reads who has which port.
	Ports(ctx context.Context) (map[uint16]PortHolder, error)
	// Reservations lists those of an account, of all with an empty one, by key,
	// behind a name.
	Reservations(ctx context.Context, account, after string, limit int) ([]*Reservation, error)
	// Frontdoors reads all frontdoors that are alive.
	Frontdoors(ctx context.Context) ([]Node, error)
	// Commit makes the changes of a plan, all in one revision, if nothing that
	// the plan was made on has changed: else ErrConflict. It is ErrNodeUnknown
	// if an attachment's registration has ended. It returns the revision.
	Commit(ctx context.Context, plan Plan) (int64, error)
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
	// Heartbeat renews a lease and, where it differs, what the node says of itself.
	Heartbeat(ctx context.Context, beat Beat) (drain bool, err error)
	// Nodes reads all nodes that are alive.
	Nodes(ctx context.Context) (Nodes, error)
	// RequestDrain asks a node to drain, if it is as it was read and no connector
	// has changed since, where that matters: else ErrConflict.
	RequestDrain(ctx context.Context, n Node, unchangedSince int64, event Event) error
	// FinishRestore raises the epoch and returns it.
	FinishRestore(ctx context.Context, event Event) (uint64, error)
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

// TunnelEntry says which name a tunnel has, "" for none.
type TunnelEntry struct {
	Key      TunnelKey
	Hostname string
	Version  Version
}

// Want is what Load is to read. What is empty is not read.
type Want struct {
	// Tunnel is whose entry is read.
	Tunnel TunnelKey
	// Name is the endpoint that is read, with its reservation and with what there
	// is at the wildcards Above.
	Name  string
	Above []string
	// Count: the tunnel's account has limits, and its usage is to be right.
	Count bool
}

// View is what was read.
type View struct {
	Tunnel   TunnelEntry
	Endpoint Endpoint
	// Levels are the name's own and those above, nearest first.
	Levels []Level
	Usage  *Usage
}

// Endpoint is all that the store had about a name at one revision.
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
	// Levels and Below are what must be as they were: reservations and claims of
	// the name and above it, and that nothing was added below a wildcard.
	Levels []Level
	Below  *Subtree
	// Members is what must be as it was: that no member was added to a pool.
	Members *Members
	// Reserve is a reservation that changes, nil for none.
	Reserve *ReserveChange
	// Usage is what was read of the account whose endpoints change; nil: the
	// store reads it. To keep it with the claims is the store's.
	Usage *Usage
	// Uncount: the account has no limits any more, and is not to be counted.
	Uncount bool
	// Events are what is written down of it.
	Events []Event
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

// ReserveChange turns one reservation into another.
type ReserveChange struct {
	// Before is nil for a new one, After for one that is given up.
	Before, After *Reservation
}
