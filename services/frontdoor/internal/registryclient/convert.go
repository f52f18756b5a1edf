package registryclient

import (
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func claimOf(c *registryv1.Claim) route.Claim {
	claim := route.Claim{
		Hostname:   c.GetHostname(),
		Parked:     c.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED,
		Generation: c.GetGeneration(),
		Account:    route.AccountOf(c.GetAccountId()),
		Agent:      route.Agent{ID: c.GetAgentId(), Instance: InstanceOf(c.GetInstance())},
		TunnelID:   c.GetTunnelId(),
		Protocol:   protocolOf(c.GetProtocol()),
		Revision:   c.GetRevision(),
		Pooled:     c.GetPooled(),

		MaxConnections: c.GetMaxConnections(),
	}
	if len(c.GetOptions()) > 0 || len(c.GetCritical()) > 0 {
		claim.Terms = &route.Terms{Options: c.GetOptions(), Critical: c.GetCritical()}
	}
	if claim.Pooled {
		claim.Agent.ID = "@" + claim.Hostname // its visitors wait for whichever member
	}
	return claim
}

// InstanceOf reads an instance from the wire. One of a wrong length matches none.
func InstanceOf(b []byte) (i route.Instance) {
	if len(b) == len(i) {
		copy(i[:], b)
	}
	return i
}

func protocolOf(p proxyv1.Protocol) route.Protocol {
	switch p {
	case proxyv1.Protocol_PROTOCOL_HTTP:
		return route.ProtocolHTTP
	case proxyv1.Protocol_PROTOCOL_TCP:
		return route.ProtocolTCP
	case proxyv1.Protocol_PROTOCOL_TLS:
		return route.ProtocolTLS
	case proxyv1.Protocol_PROTOCOL_UDP:
		return route.ProtocolUDP
	}
	return route.ProtocolUnknown
}

func attachmentOf(a *registryv1.Attachment) route.Attachment {
	return route.Attachment{
		Hostname: a.GetHostname(), Generation: a.GetGeneration(),
		ConnectorID: a.GetConnectorId(), SessionID: a.GetSessionId(),
	}
}

func connectorOf(n *registryv1.Node) route.Connector {
	return route.Connector{
		ID: n.GetId(), Address: n.GetAddress(), Registration: n.GetRegistration(), Synced: n.GetSynced(),
	}
}

// nodeOf reads a node; kinds and states have the contract's numbers.
func nodeOf(n *registryv1.Node) nodes.Node {
	return nodes.Node{
		Kind: nodes.Kind(n.GetKind()), ID: n.GetId(), State: nodes.State(n.GetState()),
		Address: n.GetAddress(), RelayAddress: n.GetRelayAddress(), AgentAddresses: n.GetAgentAddresses(),
	}
}

func positionOf(p *registryv1.Position) route.Position {
	return route.Position{Epoch: p.GetEpoch(), Revision: p.GetRevision()}
}
