package grpcapi

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/frontdoor/internal/explain"
)

// ExplainDeps are whom an explanation asks.
type ExplainDeps struct {
	Local Local
	// Registry tells what there is about a name in the store.
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
	found, problem := s.inspect(ctx, name)
	if answer.RegistryProblem = problem; problem != "" && known != nil {
		found = remembered(known)
	}
	describe(answer, found)
	silent := s.ways(ctx, found, answer)
	asking.Wait()
	answer.Frontdoors = append(answer.Frontdoors, own)
	for _, other := range states {
		if other.err == nil {
			answer.Frontdoors = append(answer.Frontdoors, other.answer.GetState())
		}
	}
	answer.MissingNodes = slices.Concat(silent, away)
	addLoads(answer)
	answer.Verdict = s.judge(ctx, answer, found, own)
	return answer, nil
}

// addLoads adds up what the frontdoors say of a pool's members.
func addLoads(answer *frontdoorv1.ExplainResponse) {
	for _, f := range answer.GetFrontdoors() {
		for _, load := range f.GetMembers() {
			for _, m := range answer.GetMembers() {
				if m.GetAgentId() == load.GetAgentId() && m.GetTunnelId() == load.GetTunnelId() {
					m.InFlight += load.GetInFlight()
				}
			}
		}
	}
}

func (s *Explain) judge(ctx context.Context, answer *frontdoorv1.ExplainResponse, found *registryv1.InspectNameResponse, own *frontdoorv1.FrontdoorState) *frontdoorv1.Verdict {
	claim := found.GetClaim()
	f := explain.Facts{
		Endpoint: answer.GetEndpoint(), Port: strings.HasPrefix(answer.GetEndpoint(), portPrefix), PortProblem: own.GetPortProblem(),
		RegistryDown: answer.GetRegistryProblem() != "", Forbidden: found.GetForbidden(), SeesAll: principal.From(ctx).Role >= principal.Admin,
		Warm: int(own.GetIdleConnections()), Known: own.GetKnown(), LostFor: own.GetLostFor().AsDuration(), Hold: s.Hold,
	}
	if r := found.GetReservation(); r != nil {
		f.Reserved = &explain.Reserved{Name: r.GetId(), Account: r.GetAccountId()}
	}
	if claim != nil {
		f.Owner = &explain.Owner{
			Agent: claim.GetAgentId(), Parked: claim.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED, Policy: policy(claim.GetOptions()),
		}
		for _, m := range answer.GetMembers() {
			f.Owner.Members = append(f.Owner.Members, m.GetAgentId())
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
	return &frontdoorv1.Verdict{Served: v.Served, HttpStatus: int32(v.Status), Reason: string(v.Reason), Text: v.Text} // #nosec G115 -- a status
}
