package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// NodeStore keeps the nodes.
type NodeStore interface {
	RegisterNode(ctx context.Context, node directory.Node, ttl time.Duration) (int64, error)
	Heartbeat(ctx context.Context, beat directory.Beat) (drain bool, err error)
	DeregisterNode(ctx context.Context, kind directory.NodeKind, id string, registration int64) error
}

// Nodes is registryv1.NodeService.
type Nodes struct {
	registryv1.UnimplementedNodeServiceServer
	store NodeStore
	ttl   time.Duration
}

// NewNodes returns the service; ttl is how long a lease lives, in whole seconds.
func NewNodes(store NodeStore, ttl time.Duration) *Nodes {
	return &Nodes{store: store, ttl: ttl}
}

// RegisterNode enters the caller and gives it a lease.
func (s *Nodes) RegisterNode(ctx context.Context, req *registryv1.RegisterNodeRequest) (*registryv1.RegisterNodeResponse, error) {
	n := req.GetNode()
	c, err := nodeOf(ctx, n.GetId())
	if err != nil {
		return nil, err
	}
	if err := checkNode(n); err != nil {
		return nil, err
	}
	registration, err := s.store.RegisterNode(ctx, directory.Node{
		Kind: c.kind, ID: n.GetId(), State: directory.NodeState(n.GetState()),
		Address: n.GetAddress(), AgentAddresses: n.GetAgentAddresses(),
		RelayAddress: n.GetRelayAddress(), Version: n.GetVersion(), Capabilities: n.GetCapabilities(),
	}, s.ttl)
	if err != nil {
		return nil, err
	}
	return &registryv1.RegisterNodeResponse{Registration: registration, LeaseTtl: durationpb.New(s.ttl)}, nil
}

// Heartbeat renews the caller's lease and changes its state.
func (s *Nodes) Heartbeat(ctx context.Context, req *registryv1.HeartbeatRequest) (*registryv1.HeartbeatResponse, error) {
	c, err := nodeOf(ctx, req.GetNodeId())
	if err != nil {
		return nil, err
	}
	state := directory.NodeState(req.GetState())
	if err := check(
		when(state != directory.Ready && state != directory.Draining, "state", "want ready or draining"),
		when(!fitsProblems(req.GetPortProblems()), "port_problems", "at most 64, each with a port and 200 bytes"),
	); err != nil {
		return nil, err
	}
	drain, err := s.store.Heartbeat(ctx, directory.Beat{
		Kind: c.kind, ID: req.GetNodeId(), Registration: req.GetRegistration(), State: state,
		PortProblems: problemsOf(req.GetPortProblems()),
	})
	if err != nil {
		return nil, err
	}
	return &registryv1.HeartbeatResponse{LeaseTtl: durationpb.New(s.ttl), Drain: drain}, nil
}

// DeregisterNode removes the caller.
func (s *Nodes) DeregisterNode(ctx context.Context, req *registryv1.DeregisterNodeRequest) (*registryv1.DeregisterNodeResponse, error) {
	c, err := nodeOf(ctx, req.GetNodeId())
	if err != nil {
		return nil, err
	}
	if err := s.store.DeregisterNode(ctx, c.kind, req.GetNodeId(), req.GetRegistration()); err != nil {
		return nil, err
	}
	return &registryv1.DeregisterNodeResponse{}, nil
}

func problemsOf(list []*registryv1.PortProblem) []directory.PortProblem {
	var problems []directory.PortProblem
	for _, p := range list {
		problems = append(problems, directory.PortProblem{Port: uint16(p.GetPort()), Problem: p.GetProblem()})
	}
	return problems
}
