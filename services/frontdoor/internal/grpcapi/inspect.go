package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Local is what this frontdoor itself knows.
type Local struct {
	// ID is this frontdoor's in the node table.
	ID     string
	Routes *route.Table
	// Conns counts an agent's proxy connections: free ones, and all.
	Conns func(route.Agent) (idle, all int)
	// InFlight counts the visitors on their way through a member of a pool, by the
	// name of its claim.
	InFlight func(member string) int
	// PortProblem is why the port of an endpoint's name cannot be listened on; ""
	// for names without one.
	PortProblem func(name string) string
	// Draining says that this frontdoor is stopping.
	Draining func() bool
}

// Inspect shows users what one frontdoor knows.
type Inspect struct {
	frontdoorv1.UnimplementedInspectServiceServer
	local Local
}

// NewInspect returns the service.
func NewInspect(local Local) *Inspect { return &Inspect{local: local} }

// InspectEndpoint implements frontdoorv1.InspectServiceServer.
func (s *Inspect) InspectEndpoint(ctx context.Context, req *frontdoorv1.InspectEndpointRequest) (*frontdoorv1.InspectEndpointResponse, error) {
	name, err := nameOf(req.GetHostname())
	if err != nil {
		return nil, err
	}
	state, _ := s.local.state(ctx, name)
	return &frontdoorv1.InspectEndpointResponse{State: state}, nil
}

// state answers what the caller may know of an endpoint: a route of another
// account is none.
func (l Local) state(ctx context.Context, name string) (*frontdoorv1.FrontdoorState, *route.Route) {
	position, age := l.Routes.Progress()
	state := &frontdoorv1.FrontdoorState{
		FrontdoorId: l.ID, Revision: position.Revision, Age: durationpb.New(age), Draining: l.Draining(),
	}
	r := l.Routes.Lookup(name)
	if r == nil || !principal.From(ctx).Sees(r.Claim.Account.ID()) {
		return state, nil
	}
	state.Known, state.Generation, state.PortProblem = true, r.Claim.Generation, l.PortProblem(name)
	state.Attachments = int32(len(r.Attachments())) // #nosec G115 -- few
	if !r.Claim.Pooled {
		state.IdleConnections, state.Connections = l.conns(r.Claim.Agent)
	}
	for _, m := range r.Members() {
		load := &frontdoorv1.MemberLoad{
			AgentId: m.Claim.Agent.ID, TunnelId: m.Claim.TunnelID, InFlight: int32(l.InFlight(m.Claim.Hostname)), // #nosec G115 -- few
		}
		load.IdleConnections, load.Connections = l.conns(m.Claim.Agent)
		state.IdleConnections += load.GetIdleConnections()
		state.Connections += load.GetConnections()
		state.Members = append(state.Members, load)
	}
	if lost := r.LostAt(); !lost.IsZero() {
		state.LostFor = durationpb.New(time.Since(lost))
	}
	return state, r
}

func (l Local) conns(agent route.Agent) (idle, all int32) {
	i, a := l.Conns(agent)
	return int32(i), int32(a) // #nosec G115 -- few
}
