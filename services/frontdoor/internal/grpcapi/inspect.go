package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/hostname"
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
	name, err := hostname.Normalize(req.GetHostname())
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
	idle, all := l.Conns(r.Claim.Agent)
	state.Known, state.Generation = true, r.Claim.Generation
	state.Attachments, state.IdleConnections, state.Connections = int32(len(r.Attachments())), int32(idle), int32(all) // #nosec G115 -- few
	if lost := r.LostAt(); !lost.IsZero() {
		state.LostFor = durationpb.New(time.Since(lost))
	}
	return state, r
}
