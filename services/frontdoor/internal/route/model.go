// Package route is the frontdoor's knowledge of who serves which endpoint: a
// copy of the registry's mapping that outlives the registry, and the waiting
// room for visitors whose agent is away for a moment.
package route

import "time"

// Protocol is an endpoint's kind of traffic.
type Protocol uint8

// The protocols.
const (
	ProtocolUnknown Protocol = iota
	ProtocolHTTP
	ProtocolTCP
	ProtocolTLS
	ProtocolUDP
)

// Instance is the random id of one run of an agent's process.
type Instance [16]byte

// Agent is one run of one agent: the key of everything that must not outlive it.
type Agent struct {
	ID       string
	Instance Instance
}

// Claim says who owns an endpoint.
type Claim struct {
	Hostname   string
	Parked     bool // kept for its agent, served to nobody
	Generation uint64
	AccountID  string
	Agent      Agent
	TunnelID   string
	Protocol   Protocol
	Options    []byte // serialized, opaque here
	Critical   []string
	// Pooled: the name is served by tunnels that have claims of their own, whose
	// Pool is this name. Agent is none of theirs.
	Pooled bool
	// Pool is the hostname that visitors know; empty: it is Hostname.
	Pool     string
	Revision uint64 // rises when options change
}

// Attachment says through which session of which connector an endpoint can be
// reached. It counts only while its generation is its claim's.
type Attachment struct {
	Hostname    string
	Generation  uint64
	ConnectorID string
	SessionID   string
}

// Connector is a connector's entry in the node table.
type Connector struct {
	ID           string
	Address      string // of its gRPC service
	Registration int64
	Synced       bool // it has attached all it has under this registration
}

// Position is a place in the registry's stream of changes. Positions of
// different epochs do not compare.
type Position struct {
	Epoch    uint64
	Revision int64
}

// before holds if p is an earlier place of the same epoch.
func (p Position) before(q Position) bool {
	return p.Epoch == q.Epoch && p.Revision < q.Revision
}

// Route is what is known of an endpoint at one moment. It is immutable and
// shared: a change makes a new one.
type Route struct {
	Claim Claim
	// Attachments are those of the claim's generation, best first: linked
	// before unlinked connectors, sure before suspect.
	Attachments []Attachment
	// LostAt is since when there is no attachment; zero while there is one.
	LostAt time.Time
	// Members are the routes of a pooled endpoint that lead to an agent; its own
	// Attachments are theirs, together.
	Members []*Route
}
