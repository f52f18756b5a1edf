package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/filter"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Overview is a copy of the state, which may be some milliseconds behind.
type Overview interface {
	// Tunnels visits the claims behind a name, in the order of their keys, until
	// visit says no more.
	Tunnels(after string, visit func(claim *registryv1.Claim, parkUntil time.Time, attachments []*registryv1.Attachment) bool)
	// PortProblems returns what frontdoors say of a port, by node.
	PortProblems(port uint32) map[string]string
}

// Tunnels is registryv1.TunnelService.
type Tunnels struct {
	registryv1.UnimplementedTunnelServiceServer
	directory *directory.Directory
	overview  Overview
	history   History
}

// NewTunnels returns the service.
func NewTunnels(d *directory.Directory, overview Overview, history History) *Tunnels {
	return &Tunnels{directory: d, overview: overview, history: history}
}

// GetTunnel answers one from the store.
func (s *Tunnels) GetTunnel(ctx context.Context, req *registryv1.GetTunnelRequest) (*registryv1.GetTunnelResponse, error) {
	e, err := s.directory.Tunnel(ctx, userOf(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	stored, _ := e.Record.(*storagev1.Claim)
	var attachments []*registryv1.Attachment
	for _, a := range e.Attachments {
		attachments = append(attachments, attachmentMessage(a))
	}
	t := s.message(stored.GetClaim(), e.Claim.ParkUntil, attachments)
	s.addProblems(t)
	return &registryv1.GetTunnelResponse{Tunnel: t}, nil
}

// ListTunnels lists those that the caller sees, from the copy.
func (s *Tunnels) ListTunnels(ctx context.Context, req *registryv1.ListTunnelsRequest) (*registryv1.ListTunnelsResponse, error) {
	matches, err := tunnelFilter(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	after, err := parsePageToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	resp := &registryv1.ListTunnelsResponse{}
	s.overview.Tunnels(after, func(claim *registryv1.Claim, parkUntil time.Time, attachments []*registryv1.Attachment) bool {
		if !matches(claim) {
			return ctx.Err() == nil
		}
		if len(resp.Tunnels) == size {
			resp.NextPageToken = pageToken(resp.Tunnels[size-1].GetId())
			return false
		}
		resp.Tunnels = append(resp.Tunnels, s.message(claim, parkUntil, attachments))
		return true
	})
	for _, t := range resp.Tunnels { // behind the visit, during which the copy answers nothing
		s.addProblems(t)
	}
	return resp, ctx.Err()
}

// CloseTunnel ends one.
func (s *Tunnels) CloseTunnel(ctx context.Context, req *registryv1.CloseTunnelRequest) (*registryv1.CloseTunnelResponse, error) {
	if err := s.directory.Close(ctx, userOf(ctx), req.GetId()); err != nil {
		return nil, err
	}
	return &registryv1.CloseTunnelResponse{}, nil
}

var (
	protocols = map[string]proxyv1.Protocol{"http": proxyv1.Protocol_PROTOCOL_HTTP, "tcp": proxyv1.Protocol_PROTOCOL_TCP}
	states    = map[string]registryv1.ClaimState{
		"active": registryv1.ClaimState_CLAIM_STATE_ACTIVE, "parked": registryv1.ClaimState_CLAIM_STATE_PARKED,
	}
)

// tunnelFilter returns what a filter lets through, of what the caller sees.
func tunnelFilter(ctx context.Context, text string) (func(*registryv1.Claim) bool, error) {
	wanted, err := filter.Parse(text, "account_id", "agent_id", "token_id", "protocol", "state")
	if err != nil {
		return nil, err
	}
	account, err := userOf(ctx).Scope(wanted["account_id"])
	if err != nil {
		return nil, err
	}
	protocol, ofProtocol := protocols[wanted["protocol"]]
	state, ofState := states[wanted["state"]]
	if err := check(
		when(wanted["protocol"] != "" && !ofProtocol, "filter", "protocol is http or tcp"),
		when(wanted["state"] != "" && !ofState, "filter", "state is active or parked"),
	); err != nil {
		return nil, err
	}
	is := func(wanted, is string) bool { return wanted == "" || wanted == is }
	return func(c *registryv1.Claim) bool {
		return is(account, c.GetAccountId()) && is(wanted["agent_id"], c.GetAgentId()) && is(wanted["token_id"], c.GetTokenId()) &&
			(!ofProtocol || c.GetProtocol() == protocol) && (!ofState || c.GetState() == state)
	}, nil
}

func (s *Tunnels) message(c *registryv1.Claim, parkUntil time.Time, attachments []*registryv1.Attachment) *registryv1.Tunnel {
	t := &registryv1.Tunnel{
		Id: c.GetHostname(), AccountId: c.GetAccountId(), AgentId: c.GetAgentId(), TunnelId: c.GetTunnelId(),
		Protocol: c.GetProtocol(), Port: c.GetPort(), State: c.GetState(), Generation: c.GetGeneration(), Random: c.GetRandom(),
		CreateTime: c.GetCreateTime(), TokenId: c.GetTokenId(), Metadata: c.GetMetadata(),
	}
	if !parkUntil.IsZero() {
		t.ParkUntil = timestamppb.New(parkUntil)
	}
	for _, a := range attachments {
		if a.GetGeneration() == c.GetGeneration() {
			t.Attachments = append(t.Attachments, &registryv1.TunnelAttachment{ConnectorId: a.GetConnectorId(), SessionId: a.GetSessionId()})
		}
	}
	return t
}

// addProblems says which frontdoors cannot listen on the tunnel's port.
func (s *Tunnels) addProblems(t *registryv1.Tunnel) {
	if t.GetPort() == 0 {
		return
	}
	for node, problem := range s.overview.PortProblems(t.GetPort()) {
		t.PortProblems = append(t.PortProblems, &registryv1.TunnelPortProblem{NodeId: node, Problem: problem})
	}
}
