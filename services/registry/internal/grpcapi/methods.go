// Package grpcapi is the registry's gRPC side: it checks what comes, maps it to
// the directory and back, and decides nothing.
package grpcapi

import (
	"context"

	"google.golang.org/grpc"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Methods says who may call what.
func Methods() rpc.Methods {
	var (
		connector = []string{tlsconf.RoleConnector}
		frontdoor = []string{tlsconf.RoleFrontdoor}
		both      = []string{tlsconf.RoleConnector, tlsconf.RoleFrontdoor}
	)
	return rpc.Methods{Internal: map[string][]string{
		registryv1.NodeService_RegisterNode_FullMethodName:   both,
		registryv1.NodeService_Heartbeat_FullMethodName:      both,
		registryv1.NodeService_DeregisterNode_FullMethodName: both,

		registryv1.DirectoryService_Bind_FullMethodName:       connector,
		registryv1.DirectoryService_Release_FullMethodName:    connector,
		registryv1.DirectoryService_EndSession_FullMethodName: connector,
		registryv1.DirectoryService_Reattach_FullMethodName:   connector,
		registryv1.DirectoryService_Lookup_FullMethodName:     frontdoor,
		registryv1.DirectoryService_Watch_FullMethodName:      both,
	}, External: map[string]principal.Role{
		registryv1.ReservationService_CreateReservation_FullMethodName: principal.Operator,
		registryv1.ReservationService_GetReservation_FullMethodName:    principal.ReadOnly,
		registryv1.ReservationService_ListReservations_FullMethodName:  principal.ReadOnly,
		registryv1.ReservationService_UpdateReservation_FullMethodName: principal.Operator,
		registryv1.ReservationService_DeleteReservation_FullMethodName: principal.Operator,

		registryv1.TunnelService_GetTunnel_FullMethodName:    principal.ReadOnly,
		registryv1.TunnelService_ListTunnels_FullMethodName:  principal.ReadOnly,
		registryv1.TunnelService_CloseTunnel_FullMethodName:  principal.Operator,
		registryv1.TunnelService_WatchTunnels_FullMethodName: principal.ReadOnly,

		registryv1.NameService_InspectName_FullMethodName: principal.ReadOnly,

		registryv1.NodeAdminService_GetNode_FullMethodName:     principal.ReadOnly,
		registryv1.NodeAdminService_ListNodes_FullMethodName:   principal.ReadOnly,
		registryv1.NodeAdminService_DrainNode_FullMethodName:   principal.Admin,
		registryv1.RestoreService_FinishRestore_FullMethodName: principal.Admin,
	}}
}

// Services are all that a registry serves.
type Services struct {
	Nodes        *Nodes
	Directory    *Directory
	Reservations *Reservations
	Tunnels      *Tunnels
	Names        *Names
	Admin        *Admin
}

// Register adds the services to a server.
func (s Services) Register(server grpc.ServiceRegistrar) {
	registryv1.RegisterNodeServiceServer(server, s.Nodes)
	registryv1.RegisterDirectoryServiceServer(server, s.Directory)
	registryv1.RegisterReservationServiceServer(server, s.Reservations)
	registryv1.RegisterTunnelServiceServer(server, s.Tunnels)
	registryv1.RegisterNameServiceServer(server, s.Names)
	registryv1.RegisterNodeAdminServiceServer(server, s.Admin)
	registryv1.RegisterRestoreServiceServer(server, s.Admin)
}

// caller is a node as its certificate has it.
type caller struct {
	kind directory.NodeKind
	name string
}

func callerOf(ctx context.Context) (caller, error) {
	id, ok := rpc.Caller(ctx)
	switch {
	case ok && id.Role == tlsconf.RoleConnector:
		return caller{directory.Connector, id.Name}, nil
	case ok && id.Role == tlsconf.RoleFrontdoor:
		return caller{directory.Frontdoor, id.Name}, nil
	}
	return caller{}, directory.ErrDenied.WithMessage("only connectors and frontdoors are nodes")
}

// nodeOf returns the caller if node id is one of its own.
func nodeOf(ctx context.Context, id string) (caller, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return c, err
	}
	return c, directory.CheckNodeID(id, c.name)
}
