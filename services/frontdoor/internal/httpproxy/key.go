package httpproxy

import (
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// key says who may share a private connection: visitors of the same endpoint,
// while it is the same tunnel of the same run of the same agent with the same
// options; and, once the connection itself stands for an identity, one visitor.
type key struct {
	hostname             string
	agent                route.Agent
	tunnelID             string
	generation, revision uint64
	visitor              *Visitor // nil: shared
}

func keyOf(r *route.Route) key {
	return key{
		hostname: r.Claim.Hostname, agent: r.Claim.Agent, tunnelID: r.Claim.TunnelID,
		generation: r.Claim.Generation, revision: r.Claim.Revision,
	}
}
