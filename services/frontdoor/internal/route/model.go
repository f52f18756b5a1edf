// Package route is the frontdoor's knowledge of who serves which endpoint: a
// copy of the registry's mapping that outlives the registry, and the waiting
// room for visitors whose agent is away for a moment.
package route

import "unique"

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

// Account is an account's id. Many endpoints are one account's, so equal ones
// share their memory; they compare with ==.
type Account struct{ id unique.Handle[string] }

// AccountOf returns the account with an id; empty: none.
func AccountOf(id string) Account {
	if id == "" {
		return Account{}
	}
	return Account{unique.Make(id)}
}

// ID returns the account's id; empty: none.
func (a Account) ID() string {
	if a == (Account{}) {
		return ""
	}
	return a.id.Value()
}

// Terms are what an endpoint's owner has set for its visitors.
type Terms struct {
	Options  []byte // serialized, opaque here
	Critical []string
}

// Claim says who owns an endpoint. A table has as many of them as there are
// endpoints: what few of them have lies behind a pointer.
type Claim struct {
	Hostname   string
	Agent      Agent
	TunnelID   string
	Account    Account
	Generation uint64
	Revision   uint64 // rises when options change
	Terms      *Terms // nil: none
	// MaxConnections is how many visitors the account may have at once, on all
	// frontdoors; 0: no bound.
	MaxConnections uint32
	Protocol       Protocol
	Parked         bool // kept for its agent, served to nobody
	// Pooled: the name is served by tunnels that have claims of their own, whose
	// Pool is this name. Agent is none of theirs.
	Pooled bool
}

// Pool returns the hostname that visitors know; empty: it is Hostname.
func (c *Claim) Pool() string { return PoolOf(c.Hostname) }

// Options returns the endpoint's options, serialized; empty: none.
func (c *Claim) Options() []byte {
	if c.Terms == nil {
		return nil
	}
	return c.Terms.Options
}

// Critical returns the names of options that who does not know them must not serve.
func (c *Claim) Critical() []string {
	if c.Terms == nil {
		return nil
	}
	return c.Terms.Critical
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
