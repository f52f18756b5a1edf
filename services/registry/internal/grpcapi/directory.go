package grpcapi

import (
	"context"

	"google.golang.org/grpc"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/assertion"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Watcher feeds streams of changes.
type Watcher interface {
	// Watch sends what follows a position, or everything, until ctx ends. Its
	// last send may outlive it, until ctx ends.
	Watch(ctx context.Context, after *registryv1.Position, send func(*registryv1.WatchResponse) error) error
}

// Directory is registryv1.DirectoryService.
type Directory struct {
	registryv1.UnimplementedDirectoryServiceServer
	directory *directory.Directory
	store     directory.Store
	watcher   Watcher
	keys      assertion.Keys
}

// NewDirectory returns the service.
func NewDirectory(d *directory.Directory, store directory.Store, watcher Watcher, keys assertion.Keys) *Directory {
	return &Directory{directory: d, store: store, watcher: watcher, keys: keys}
}

// Bind claims a name for a tunnel and attaches it.
func (s *Directory) Bind(ctx context.Context, req *registryv1.BindRequest) (*registryv1.BindResponse, error) {
	c, err := nodeOf(ctx, req.GetNodeId())
	if err != nil {
		return nil, err
	}
	if err := checkBind(req); err != nil {
		return nil, err
	}
	principal, err := assertion.Verify(ctx, s.keys, req.GetAssertion(), c.name)
	if err != nil {
		return nil, err
	}
	claim, err := s.directory.Bind(ctx, directory.BindRequest{
		Principal: principal, Node: req.GetNodeId(), Registration: req.GetRegistration(),
		Session: req.GetSessionId(), Tunnel: req.GetTunnelId(),
		Name:    directory.Name{Hostname: req.GetHostname(), Subdomain: req.GetSubdomain(), Port: uint16(req.GetRemotePort())},
		Pooling: req.GetPooling(), Address: req.GetClientAddress(),
		Service: directory.Service{
			Protocol: directory.Protocol(req.GetProtocol()), Options: req.GetOptions(),
			Critical: req.GetCritical(), Metadata: req.GetMetadata(),
		},
	})
	if err != nil {
		return nil, err
	}
	return &registryv1.BindResponse{
		Hostname: claim.Hostname, Generation: claim.Generation, Port: uint32(claim.Port()), Pool: directory.PoolOf(claim.Hostname),
	}, nil
}

// Release ends a tunnel.
func (s *Directory) Release(ctx context.Context, req *registryv1.ReleaseRequest) (*registryv1.ReleaseResponse, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := check(
		when(!isTunnelID(req.GetTunnelId()), "tunnel_id", "want 32 lower-case hexadecimal digits"),
		when(len(req.GetClientAddress()) > maxAddress, "client_address", "too long"),
	); err != nil {
		return nil, err
	}
	by := directory.Source{Address: req.GetClientAddress()}
	if req.GetNodeId() != "" { // a connector of a former version does not say which one it is
		if err := directory.CheckNodeID(req.GetNodeId(), c.name); err != nil {
			return nil, err
		}
		by.Node = req.GetNodeId()
	}
	principal, err := assertion.Verify(ctx, s.keys, req.GetAssertion(), c.name)
	if err != nil {
		return nil, err
	}
	by.Actor = principal.Actor()
	if err := s.directory.Release(ctx, principal, req.GetTunnelId(), directory.CloseReason(req.GetReason()), by); err != nil {
		return nil, err
	}
	return &registryv1.ReleaseResponse{}, nil
}

// EndSession removes a session's attachments.
func (s *Directory) EndSession(ctx context.Context, req *registryv1.EndSessionRequest) (*registryv1.EndSessionResponse, error) {
	if _, err := nodeOf(ctx, req.GetNodeId()); err != nil {
		return nil, err
	}
	if err := check(when(!isSessionID(req.GetSessionId()), "session_id", "want 1 to 64 letters, digits, hyphens and underscores")); err != nil {
		return nil, err
	}
	by := req.GetEndedBy()
	if err := check(
		when(len(by.GetActor()) > maxActor, "ended_by.actor", "too long"),
		when(len(by.GetAddress()) > maxAddress, "ended_by.address", "too long"),
		when(len(by.GetTraceId()) > maxTrace, "ended_by.trace_id", "too long"),
		when(!isAccount(by.GetAccountId()), "ended_by.account_id", "want letters, digits, hyphens and underscores"),
		when(!isAccount(by.GetAgentId()), "ended_by.agent_id", "want letters, digits, hyphens and underscores"),
	); err != nil {
		return nil, err
	}
	reason := directory.CloseReason(req.GetReason())
	if err := s.store.EndSession(ctx, req.GetNodeId(), req.GetSessionId(), reason); err != nil {
		return nil, err
	}
	if by != nil {
		err := s.directory.NoteEnd(ctx, directory.SessionEnd{
			Session: req.GetSessionId(), Account: by.GetAccountId(), Agent: by.GetAgentId(), Reason: reason,
			By: directory.Source{Actor: by.GetActor(), Address: by.GetAddress(), Node: req.GetNodeId(), Trace: by.GetTraceId()},
		})
		if err != nil {
			return nil, err
		}
	}
	return &registryv1.EndSessionResponse{}, nil
}

// Reattach writes attachments again under a new lease.
func (s *Directory) Reattach(ctx context.Context, req *registryv1.ReattachRequest) (*registryv1.ReattachResponse, error) {
	if _, err := nodeOf(ctx, req.GetNodeId()); err != nil {
		return nil, err
	}
	attachments, err := attachmentsOf(req)
	if err != nil {
		return nil, err
	}
	superseded, err := s.store.Reattach(ctx, req.GetNodeId(), req.GetRegistration(), attachments)
	if err != nil {
		return nil, err
	}
	if req.GetSyncDone() {
		if err := s.store.Sync(ctx, req.GetNodeId(), req.GetRegistration()); err != nil {
			return nil, err
		}
	}
	resp := &registryv1.ReattachResponse{}
	for _, a := range superseded {
		resp.Superseded = append(resp.Superseded, attachmentMessage(a))
	}
	return resp, nil
}

// attachmentsOf checks what a connector says that it has; a repeat is dropped,
// for a transaction cannot write a key twice.
func attachmentsOf(req *registryv1.ReattachRequest) ([]directory.Attachment, error) {
	if err := check(when(len(req.GetAttachments()) > maxReattach, "attachments", "at most 1000 a call")); err != nil {
		return nil, err
	}
	type way struct{ hostname, session string }
	seen := map[way]bool{}
	var list []directory.Attachment
	for _, m := range req.GetAttachments() {
		host, err := directory.ParseKnown(m.GetHostname())
		if err != nil {
			return nil, err
		}
		if err := check(
			when(m.GetConnectorId() != req.GetNodeId(), "attachments.connector_id", "want the calling node's id"),
			when(!isSessionID(m.GetSessionId()), "attachments.session_id", "want 1 to 64 letters, digits, hyphens and underscores"),
		); err != nil {
			return nil, err
		}
		if seen[way{host, m.GetSessionId()}] {
			continue
		}
		seen[way{host, m.GetSessionId()}] = true
		list = append(list, directory.Attachment{
			Hostname: host, Generation: m.GetGeneration(), Connector: m.GetConnectorId(), Session: m.GetSessionId(),
		})
	}
	return list, nil
}

// Lookup answers one endpoint's route.
func (s *Directory) Lookup(ctx context.Context, req *registryv1.LookupRequest) (*registryv1.LookupResponse, error) {
	host, err := directory.ParseName(req.GetHostname())
	if err != nil {
		return nil, err
	}
	e, err := s.directory.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return lookupMessage(e), nil
}

// Watch streams a snapshot, then changes.
func (s *Directory) Watch(req *registryv1.WatchRequest, stream grpc.ServerStreamingServer[registryv1.WatchResponse]) error {
	return s.watcher.Watch(stream.Context(), req.GetAfter(), stream.Send)
}
