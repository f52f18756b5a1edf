package etcdstore

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// claimRecord writes c over the record that it was read from, whose fields of a
// newer version are kept; record is nil for a claim that is new.
func claimRecord(c *directory.Claim, record *storagev1.Claim) *storagev1.Claim {
	stored := &storagev1.Claim{}
	if record != nil {
		stored = proto.CloneOf(record)
	}
	if stored.Claim == nil {
		stored.Claim = &registryv1.Claim{}
	}
	m := stored.Claim
	m.Hostname, m.Generation = c.Hostname, c.Generation
	m.State = registryv1.ClaimState_CLAIM_STATE_ACTIVE
	if c.Parked {
		m.State = registryv1.ClaimState_CLAIM_STATE_PARKED
	}
	m.AccountId, m.AgentId, m.Instance, m.TunnelId = c.Account, c.Agent, []byte(c.Instance), c.Tunnel
	m.Protocol = proxyv1.Protocol(c.Service.Protocol)
	m.Options, m.Critical, m.Metadata = c.Service.Options, c.Service.Critical, c.Service.Metadata
	m.Revision, m.Random, m.TokenId = c.Revision, c.Random, c.Token
	m.CreateTime = timestamppb.New(c.Created)
	stored.Connectors = c.Connectors
	m.Port, m.MaxConnections = uint32(c.Port()), c.MaxConnections
	m.Pooled, m.Pool = c.Pooled, directory.PoolOf(c.Hostname)
	stored.ParkUntil, stored.ParkedTime = stamp(c.ParkUntil), stamp(c.ParkedAt)
	return stored
}

// DecodeClaim reads a claim's record.
func DecodeClaim(value []byte) (*directory.Claim, *storagev1.Claim, error) {
	stored := &storagev1.Claim{}
	if err := decode(value, stored); err != nil {
		return nil, nil, err
	}
	m := stored.GetClaim()
	c := &directory.Claim{
		Hostname: m.GetHostname(), Parked: m.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED,
		Generation: m.GetGeneration(), Account: m.GetAccountId(), Agent: m.GetAgentId(),
		Instance: string(m.GetInstance()), Tunnel: m.GetTunnelId(),
		Service: directory.Service{
			Protocol: directory.Protocol(m.GetProtocol()), Options: m.GetOptions(),
			Critical: m.GetCritical(), Metadata: m.GetMetadata(),
		},
		Revision: m.GetRevision(), Random: m.GetRandom(), Token: m.GetTokenId(),
		Created: timeOf(m.GetCreateTime()), Connectors: stored.GetConnectors(),
		ParkUntil: timeOf(stored.GetParkUntil()), ParkedAt: timeOf(stored.GetParkedTime()),
		Pooled: m.GetPooled(), MaxConnections: m.GetMaxConnections(),
	}
	return c, stored, nil
}

func encodeAttachment(a directory.Attachment) (string, error) {
	return encode(&storagev1.Attachment{Attachment: attachmentMessage(a)})
}

// DecodeAttachment reads an attachment's record.
func DecodeAttachment(value []byte) (*registryv1.Attachment, error) {
	stored := &storagev1.Attachment{}
	if err := decode(value, stored); err != nil {
		return nil, err
	}
	if stored.Attachment == nil {
		stored.Attachment = &registryv1.Attachment{}
	}
	return stored.Attachment, nil
}

func attachmentMessage(a directory.Attachment) *registryv1.Attachment {
	return &registryv1.Attachment{Hostname: a.Hostname, Generation: a.Generation, ConnectorId: a.Connector, SessionId: a.Session}
}

func attachmentOf(m *registryv1.Attachment) directory.Attachment {
	return directory.Attachment{
		Hostname: m.GetHostname(), Generation: m.GetGeneration(),
		Connector: m.GetConnectorId(), Session: m.GetSessionId(),
	}
}

func encodeEnded(ended []directory.Ended) (string, error) {
	stored := &storagev1.Ended{}
	for _, e := range ended {
		stored.Attachments = append(stored.Attachments, &registryv1.AttachmentEnded{
			Attachment: attachmentMessage(e.Attachment), Reason: agentv1.CloseReason(e.Reason),
		})
	}
	return encode(stored)
}

// encodeNode writes a new registration's record. The lease is part of it, so
// that who watches sees that the registration is new.
func encodeNode(n directory.Node, registration int64) (string, error) {
	return encode(&storagev1.Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind(n.Kind), Id: n.ID, State: registryv1.NodeState(n.State),
		Address: n.Address, AgentAddresses: n.AgentAddresses, Version: n.Version,
		Capabilities: n.Capabilities, RelayAddress: n.RelayAddress, Registration: registration,
	}})
}

// DecodeNode reads a node's record.
func DecodeNode(value []byte) (*registryv1.Node, *storagev1.Node, error) {
	stored := &storagev1.Node{}
	if err := decode(value, stored); err != nil {
		return nil, nil, err
	}
	if stored.Node == nil {
		stored.Node = &registryv1.Node{}
	}
	return stored.Node, stored, nil
}

func nodeOf(m *registryv1.Node) directory.Node {
	return directory.Node{
		Kind: directory.NodeKind(m.GetKind()), ID: m.GetId(), State: directory.NodeState(m.GetState()),
		Address: m.GetAddress(), AgentAddresses: m.GetAgentAddresses(),
		RelayAddress: m.GetRelayAddress(), Version: m.GetVersion(), Capabilities: m.GetCapabilities(),
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func encode(m proto.Message) (string, error) {
	raw, err := proto.Marshal(m)
	return string(raw), err
}

func decode(value []byte, m proto.Message) error {
	if err := proto.Unmarshal(value, m); err != nil {
		return fmt.Errorf("a record of the registry is damaged: %w", err)
	}
	return nil
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
