package grpcapi

import (
	"context"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/frontdoor/internal/explain"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

var errURL = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "that is not a URL")

// ExplainDeps are whom an explanation asks.
type ExplainDeps struct {
	Local Local
	// Registry looks endpoints up in the store.
	Registry grpc.ClientConnInterface
	// Connectors and Frontdoors are the other nodes; Listed holds if the registry
	// names a connector.
	Connectors, Frontdoors func() Nodes
	Listed                 func(connectorID string) bool
	// Hold is how long a visitor waits for an agent that has just gone.
	Hold time.Duration
	// Capabilities are the critical options that are known here.
	Capabilities []string
}

// Explain says what would become of a visitor's request.
type Explain struct {
	frontdoorv1.UnimplementedExplainServiceServer
	ExplainDeps
}

// NewExplain returns the service.
func NewExplain(d ExplainDeps) *Explain { return &Explain{ExplainDeps: d} }

// Explain implements frontdoorv1.ExplainServiceServer.
func (s *Explain) Explain(ctx context.Context, req *frontdoorv1.ExplainRequest) (*frontdoorv1.ExplainResponse, error) {
	name, err := endpointOf(req.GetUrl())
	if err != nil {
		return nil, err
	}
	var asking sync.WaitGroup
	var states []said[*frontdoorv1.InspectEndpointResponse]
	var away []string
	asking.Go(func() {
		states, away = ask(ctx, s.Frontdoors(), func(ctx context.Context, conn grpc.ClientConnInterface) (*frontdoorv1.InspectEndpointResponse, error) {
			return frontdoorv1.NewInspectServiceClient(conn).InspectEndpoint(ctx, &frontdoorv1.InspectEndpointRequest{Hostname: name})
		})
	})
	own, known := s.Local.state(ctx, name)
	answer := &frontdoorv1.ExplainResponse{Endpoint: name}
	claim, attachments := s.lookup(ctx, name, answer)
	if answer.GetRegistryProblem() != "" && known != nil {
		claim, attachments = remembered(known)
	}
	silent := s.ways(ctx, claim, attachments, answer)
	asking.Wait()
	answer.Frontdoors = append(answer.Frontdoors, own)
	for _, other := range states {
		if other.err == nil {
			answer.Frontdoors = append(answer.Frontdoors, other.answer.GetState())
		}
	}
	answer.MissingNodes = slices.Concat(silent, away)
	s.judge(answer, claim, own)
	return answer, nil
}

// endpointOf returns the hostname of a URL, or of a name alone.
func endpointOf(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", errURL.WithMessage("%q is not a URL", text).WithField("url", "want a URL such as https://web.example.com/, or a hostname")
	}
	name, err := hostname.Normalize(u.Hostname())
	if err != nil {
		e, _ := errs.From(err)
		return "", e.WithField("url", e.Message())
	}
	return name, nil
}

// lookup asks the registry's store. What is another account's is not there.
func (s *Explain) lookup(ctx context.Context, name string, answer *frontdoorv1.ExplainResponse) (*registryv1.Claim, []*registryv1.Attachment) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := registryv1.NewDirectoryServiceClient(s.Registry).Lookup(ctx, &registryv1.LookupRequest{Hostname: name})
	switch {
	case errors.Is(err, route.ErrNotFound):
		return nil, nil
	case err != nil:
		answer.RegistryProblem = "the registry did not answer within a second"
		if e, ours := errs.From(err); ours {
			answer.RegistryProblem = e.Message()
		}
		return nil, nil
	case !principal.From(ctx).Sees(found.GetClaim().GetAccountId()):
		return nil, nil
	}
	answer.Ownership = ownership(found.GetClaim(), found.GetPosition().GetRevision())
	return found.GetClaim(), found.GetAttachments()
}

func ownership(c *registryv1.Claim, revision int64) *frontdoorv1.Ownership {
	o := &frontdoorv1.Ownership{
		Hostname: c.GetHostname(), State: "active", Generation: c.GetGeneration(), AccountId: c.GetAccountId(),
		AgentId: c.GetAgentId(), Instance: hex.EncodeToString(c.GetInstance()), TunnelId: c.GetTunnelId(), TokenId: c.GetTokenId(),
		Protocol: strings.ToLower(strings.TrimPrefix(c.GetProtocol().String(), "PROTOCOL_")), Random: c.GetRandom(),
		Policy: policy(c.GetOptions()), Revision: revision,
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

// remembered is a route of this frontdoor's memory in the registry's words.
func remembered(r *route.Route) (*registryv1.Claim, []*registryv1.Attachment) {
	claim := &registryv1.Claim{
		Hostname: r.Claim.Hostname, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Generation: r.Claim.Generation,
		AccountId: r.Claim.Account.ID(), AgentId: r.Claim.Agent.ID, Options: r.Claim.Options(), Critical: r.Claim.Critical(),
	}
	if r.Claim.Parked {
		claim.State = registryv1.ClaimState_CLAIM_STATE_PARKED
	}
	var list []*registryv1.Attachment
	for _, a := range r.Attachments() {
		list = append(list, &registryv1.Attachment{
			Hostname: a.Hostname, Generation: a.Generation, ConnectorId: a.ConnectorID, SessionId: a.SessionID,
		})
	}
	return claim, list
}

// ways asks the connector of each attachment for its session, and answers which
// connectors have said nothing.
func (s *Explain) ways(ctx context.Context, claim *registryv1.Claim, list []*registryv1.Attachment, answer *frontdoorv1.ExplainResponse) []string {
	known, asked := s.Connectors(), Nodes{}
	for _, a := range list {
		if conn := known[a.GetConnectorId()]; conn != nil {
			asked[a.GetSessionId()] = conn
		}
	}
	// Asked by session: a connector may hold several of them.
	heard, _ := askEach(ctx, asked, func(ctx context.Context, id string, conn grpc.ClientConnInterface) (*connectorv1.GetSessionResponse, error) {
		return connectorv1.NewSessionServiceClient(conn).GetSession(ctx, &connectorv1.GetSessionRequest{Id: id})
	})
	var silent []string
	for _, a := range list {
		way := &frontdoorv1.AttachmentState{
			ConnectorId: a.GetConnectorId(), SessionId: a.GetSessionId(), Generation: a.GetGeneration(),
			Current: a.GetGeneration() == claim.GetGeneration(), Listed: s.Listed(a.GetConnectorId()),
		}
		i := slices.IndexFunc(heard, func(h said[*connectorv1.GetSessionResponse]) bool { return h.node == a.GetSessionId() })
		if way.Reachable = i >= 0; way.Reachable {
			way.Session = heard[i].answer.GetSession()
		} else if !slices.Contains(silent, a.GetConnectorId()) {
			silent = append(silent, a.GetConnectorId())
		}
		answer.Attachments = append(answer.Attachments, way)
	}
	return silent
}

func (s *Explain) judge(answer *frontdoorv1.ExplainResponse, claim *registryv1.Claim, own *frontdoorv1.FrontdoorState) {
	f := explain.Facts{
		Endpoint: answer.GetEndpoint(), RegistryDown: answer.GetRegistryProblem() != "",
		Warm: int(own.GetIdleConnections()), Known: own.GetKnown(), LostFor: own.GetLostFor().AsDuration(), Hold: s.Hold,
	}
	if claim != nil {
		f.Owner = &explain.Owner{
			Agent: claim.GetAgentId(), Parked: claim.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED, Policy: policy(claim.GetOptions()),
		}
		if i := slices.IndexFunc(claim.GetCritical(), func(name string) bool { return !slices.Contains(s.Capabilities, name) }); i >= 0 {
			f.Unsupported = claim.GetCritical()[i]
		}
	}
	for _, a := range answer.GetAttachments() {
		f.Ways = append(f.Ways, explain.Way{
			Connector: a.GetConnectorId(), Current: a.GetCurrent(), Reachable: a.GetReachable(),
			Session: a.GetSession() != nil, RTT: a.GetSession().GetRoundTrip().AsDuration(),
		})
	}
	v := explain.Judge(f)
	answer.Verdict = &frontdoorv1.Verdict{Served: v.Served, HttpStatus: int32(v.Status), Reason: string(v.Reason), Text: v.Text} // #nosec G115 -- a status
}
