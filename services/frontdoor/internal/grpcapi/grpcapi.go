// Package grpcapi serves users what frontdoors offer them: what lives on many
// nodes at once, gathered on behalf of who asks.
package grpcapi

import (
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
)

// Services are all that a frontdoor serves.
type Services struct {
	Sessions *Sessions
	Explain  *Explain
	Inspect  *Inspect
	Events   *Events
}

// Register adds the services to a server with the Methods.
func (s Services) Register(server *rpc.Server) {
	frontdoorv1.RegisterSessionServiceServer(server, s.Sessions)
	frontdoorv1.RegisterExplainServiceServer(server, s.Explain)
	frontdoorv1.RegisterInspectServiceServer(server, s.Inspect)
	frontdoorv1.RegisterEventServiceServer(server, s.Events)
}

// Methods says who may call what. All of it is for users: another frontdoor asks
// with the credential of the user who asked it.
func Methods() rpc.Methods {
	return rpc.Methods{External: map[string]principal.Role{
		frontdoorv1.SessionService_ListSessions_FullMethodName:    principal.ReadOnly,
		frontdoorv1.SessionService_GetSession_FullMethodName:      principal.ReadOnly,
		frontdoorv1.SessionService_CloseSession_FullMethodName:    principal.Operator,
		frontdoorv1.EventService_WatchEvents_FullMethodName:       principal.ReadOnly,
		frontdoorv1.ExplainService_Explain_FullMethodName:         principal.ReadOnly,
		frontdoorv1.InspectService_InspectEndpoint_FullMethodName: principal.ReadOnly,
	}}
}
