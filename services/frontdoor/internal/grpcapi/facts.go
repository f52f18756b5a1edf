package grpcapi

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// inspect asks the registry's store as the user who asks: what is another
// account's is not there. problem is why it has not answered.
func (s *Explain) inspect(ctx context.Context, name string) (found *registryv1.InspectNameResponse, problem string) {
	ctx, cancel := context.WithTimeout(onBehalf(ctx), patience)
	defer cancel()
	found, err := registryv1.NewNameServiceClient(s.Registry).InspectName(ctx, &registryv1.InspectNameRequest{Name: name})
	if err == nil {
		return found, ""
	}
	if e, ours := errs.From(err); ours && answered(err) {
		return nil, e.Message()
	}
	return nil, "the registry did not answer within a second"
}

// remembered is a route of this frontdoor's memory in the registry's words.
func remembered(r *route.Route) *registryv1.InspectNameResponse {
	found := &registryv1.InspectNameResponse{Claim: claimOf(r)}
	if !r.Claim.Pooled {
		found.Attachments = attachmentsOf(r)
	}
	for _, m := range r.Members() {
		found.Members = append(found.Members, &registryv1.NameMember{Claim: claimOf(m), Attachments: attachmentsOf(m)})
	}
	return found
}

func claimOf(r *route.Route) *registryv1.Claim {
	claim := &registryv1.Claim{
		Hostname: r.Claim.Hostname, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Generation: r.Claim.Generation,
		AccountId: r.Claim.Account.ID(), AgentId: r.Claim.Agent.ID, TunnelId: r.Claim.TunnelID,
		Options: r.Claim.Options(), Critical: r.Claim.Critical(), Pooled: r.Claim.Pooled,
	}
	if r.Claim.Parked {
		claim.State = registryv1.ClaimState_CLAIM_STATE_PARKED
	}
	return claim
}

func attachmentsOf(r *route.Route) (list []*registryv1.Attachment) {
	for _, a := range r.Attachments() {
		list = append(list, &registryv1.Attachment{
			Hostname: a.Hostname, Generation: a.Generation, ConnectorId: a.ConnectorID, SessionId: a.SessionID,
		})
	}
	return list
}

// describe says whose the name is.
func describe(answer *frontdoorv1.ExplainResponse, found *registryv1.InspectNameResponse) {
	if r := found.GetReservation(); r != nil {
		answer.Reservation = &frontdoorv1.ReservedBy{Id: r.GetId(), AccountId: r.GetAccountId()}
	}
	if found.GetClaim() != nil && found.GetPosition() != nil {
		answer.Ownership = ownership(found.GetClaim(), found.GetPosition().GetRevision())
	}
	for _, m := range found.GetMembers() {
		answer.Members = append(answer.Members, &frontdoorv1.PoolMember{
			AgentId: m.GetClaim().GetAgentId(), TunnelId: m.GetClaim().GetTunnelId(), Generation: m.GetClaim().GetGeneration(),
		})
	}
}

func ownership(c *registryv1.Claim, revision int64) *frontdoorv1.Ownership {
	o := &frontdoorv1.Ownership{
		Hostname: c.GetHostname(), State: "active", Generation: c.GetGeneration(), AccountId: c.GetAccountId(),
		AgentId: c.GetAgentId(), Instance: hex.EncodeToString(c.GetInstance()), TunnelId: c.GetTunnelId(), TokenId: c.GetTokenId(),
		Protocol: strings.ToLower(strings.TrimPrefix(c.GetProtocol().String(), "PROTOCOL_")), Random: c.GetRandom(),
		Policy: policy(c.GetOptions()), Revision: revision, Pooled: c.GetPooled(),
	}
	if c.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED {
		o.State = "parked"
	}
	if c.GetCreateTime() != nil {
		o.Age = durationpb.New(time.Since(c.GetCreateTime().AsTime()))
	}
	return o
}

// policy says what visitors are asked for.
func policy(options []byte) []string {
	o := &agentv1.EndpointOptions{}
	if err := proto.Unmarshal(options, o); err != nil || len(o.GetBasicAuth()) == 0 {
		return nil
	}
	return []string{"a user name and a password"}
}

// ways asks the connector of each attachment, of those of a pool's members, for
// its session, and answers which connectors have said nothing.
func (s *Explain) ways(ctx context.Context, found *registryv1.InspectNameResponse, answer *frontdoorv1.ExplainResponse) (silent []string) {
	tunnels := append([]*registryv1.NameMember{{Claim: found.GetClaim(), Attachments: found.GetAttachments()}}, found.GetMembers()...)
	known, asked := s.Connectors(), Nodes{}
	for _, t := range tunnels {
		for _, a := range t.GetAttachments() {
			if conn := known[a.GetConnectorId()]; conn != nil {
				asked[a.GetSessionId()] = conn
			}
		}
	}
	// Asked by session: a connector may hold several of them.
	heard, _ := askEach(ctx, asked, func(ctx context.Context, id string, conn grpc.ClientConnInterface) (*connectorv1.GetSessionResponse, error) {
		return connectorv1.NewSessionServiceClient(conn).GetSession(ctx, &connectorv1.GetSessionRequest{Id: id})
	})
	for _, t := range tunnels {
		for _, a := range t.GetAttachments() {
			way := &frontdoorv1.AttachmentState{
				ConnectorId: a.GetConnectorId(), SessionId: a.GetSessionId(), Generation: a.GetGeneration(), AgentId: t.GetClaim().GetAgentId(),
				Current: a.GetGeneration() == t.GetClaim().GetGeneration(), Listed: s.Listed(a.GetConnectorId()),
			}
			i := slices.IndexFunc(heard, func(h said[*connectorv1.GetSessionResponse]) bool { return h.node == a.GetSessionId() })
			if way.Reachable = i >= 0; way.Reachable {
				way.Session = heard[i].answer.GetSession()
			} else if !slices.Contains(silent, a.GetConnectorId()) {
				silent = append(silent, a.GetConnectorId())
			}
			answer.Attachments = append(answer.Attachments, way)
		}
	}
	return silent
}
