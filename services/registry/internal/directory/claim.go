package directory

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"time"
)

// maxConnectors bounds the connectors that a claim remembers; the oldest goes.
const maxConnectors = 8

// Claim says who owns an endpoint.
type Claim struct {
	// Hostname is the endpoint's canonical name, which may be a wildcard or a port.
	Hostname string
	// Parked: kept for its agent since ParkedAt until ParkUntil, served to nobody.
	// ParkedAt is zero in records of a version that did not note it.
	Parked    bool
	ParkedAt  time.Time
	ParkUntil time.Time
	// Generation rises on take-over and change of owner, and only then.
	Generation uint64
	Account    string
	Agent      string
	Instance   string
	Tunnel     string
	Service    Service
	// Revision rises when Service changes.
	Revision uint64
	// Random: the registry chose the name.
	Random  bool
	Created time.Time
	// Token is the id of the token that it was last bound with.
	Token string
	// Connectors through which the owner has bound this generation with an
	// assertion, latest last. No other connector may attach without one: it
	// could be no more than a connector's claim on a stranger's visitors.
	Connectors []string
	// MaxConnections is how many visitors the account may have at once, in auth's word
	// when it was last bound; 0: no bound. Frontdoors enforce it.
	MaxConnections uint32
	// Pooled: the name is served by members, which have claims of their own. This
	// one has no tunnel.
	Pooled bool
}

// Service is what a claim's owner wants for its visitors.
type Service struct {
	Protocol Protocol
	// Options are opaque here: kept and passed on as these bytes, so that no
	// field is lost that this version does not know.
	Options  []byte
	Critical []string
	Metadata map[string]string
}

// Protocol is an endpoint's protocol, by its number in the contract.
type Protocol int32

// The protocols that can be bound.
const (
	ProtocolHTTP Protocol = 1
	ProtocolTCP  Protocol = 2
)

// String is the protocol as events have it.
func (p Protocol) String() string {
	switch p {
	case ProtocolHTTP:
		return "http"
	case ProtocolTCP:
		return "tcp"
	}
	return "protocol " + strconv.Itoa(int(p))
}

// Attachment says through which session a claim can be reached.
type Attachment struct {
	Hostname   string
	Generation uint64
	Connector  string
	Session    string
}

// CloseReason says why an attachment was ended, by its number in the contract.
type CloseReason int32

// The reasons that are given here; others are passed through.
const (
	// Lost: the session ended without a word from the agent.
	Lost CloseReason = iota
	Closed
	Revoked
	TakenOver
	Deleted
	Shutdown
	Unresponsive
)

// Ended is an attachment that was ended on purpose.
type Ended struct {
	Attachment Attachment
	Reason     CloseReason
}

// Accepts reports whether a may be written again without an assertion: the
// claim is in use, has a's generation and was bound through a's connector.
func (c *Claim) Accepts(a Attachment) bool {
	return c != nil && !c.Parked && c.Generation == a.Generation && slices.Contains(c.Connectors, a.Connector)
}

// Key names the tunnel that the claim is for.
func (c *Claim) Key() TunnelKey {
	return TunnelKey{Account: c.Account, Agent: c.Agent, Tunnel: c.Tunnel}
}

// has reports whether the claim is the tunnel's.
func (c *Claim) has(key TunnelKey) bool { return c != nil && !c.Pooled && c.Key() == key }

// active reports whether the claim is a tunnel in use: it counts against quotas.
func (c *Claim) active() bool { return c != nil && !c.Parked && !c.Pooled }

func (c *Claim) clone() *Claim {
	copied := *c
	copied.Connectors = slices.Clone(c.Connectors)
	return &copied
}

func (c *Claim) addConnector(id string) {
	if slices.Contains(c.Connectors, id) {
		return
	}
	c.Connectors = append(c.Connectors, id)
	if surplus := len(c.Connectors) - maxConnectors; surplus > 0 {
		c.Connectors = c.Connectors[surplus:]
	}
}

func (c *Claim) serve(s Service) {
	if c.Service.equal(s) {
		return
	}
	c.Service = s
	c.Revision++
}

func (s Service) equal(o Service) bool {
	return s.Protocol == o.Protocol && bytes.Equal(s.Options, o.Options) &&
		slices.Equal(s.Critical, o.Critical) && maps.Equal(s.Metadata, o.Metadata)
}

// Port of a TCP endpoint, 0 for a hostname.
func (c *Claim) Port() uint16 { return PortOf(c.Hostname) }

// keeps reports whether the name stays its tunnel's after an end: it was chosen
// by the registry, or is a port, whose visitors know no name that would tell them
// that it is somebody else's.
func (c *Claim) keeps() bool { return c.Random || c.Port() != 0 }
