package grpcapi

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/filter"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Admin is registryv1.NodeAdminService and registryv1.RestoreService.
type Admin struct {
	registryv1.UnimplementedNodeAdminServiceServer
	registryv1.UnimplementedRestoreServiceServer
	directory *directory.Directory
}

// NewAdmin returns the services.
func NewAdmin(d *directory.Directory) *Admin { return &Admin{directory: d} }

// GetNode answers one that is alive.
func (s *Admin) GetNode(ctx context.Context, req *registryv1.GetNodeRequest) (*registryv1.GetNodeResponse, error) {
	n, _, err := s.directory.Node(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &registryv1.GetNodeResponse{Node: nodeMessage(n)}, nil
}

var kinds = map[string]directory.NodeKind{"connector": directory.Connector, "frontdoor": directory.Frontdoor}

// ListNodes lists those that are alive by kind and id.
func (s *Admin) ListNodes(ctx context.Context, req *registryv1.ListNodesRequest) (*registryv1.ListNodesResponse, error) {
	wanted, err := filter.Parse(req.GetFilter(), "kind")
	if err != nil {
		return nil, err
	}
	kind, known := kinds[wanted["kind"]]
	if err := check(when(wanted["kind"] != "" && !known, "filter", "kind is connector or frontdoor")); err != nil {
		return nil, err
	}
	after, err := parsePageToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	nodes, err := s.directory.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(nodes, func(a, b directory.Node) int { return cmp.Compare(nodeOrder(a), nodeOrder(b)) })
	resp, size := &registryv1.ListNodesResponse{}, pageSize(req.GetPageSize())
	last := after
	for _, n := range nodes {
		switch {
		case known && n.Kind != kind || nodeOrder(n) <= after:
			continue
		case len(resp.Nodes) == size:
			resp.NextPageToken = pageToken(last)
			return resp, nil
		}
		resp.Nodes, last = append(resp.Nodes, nodeMessage(n)), nodeOrder(n)
	}
	return resp, nil
}

func nodeOrder(n directory.Node) string {
	if n.Kind == directory.Connector {
		return "connector/" + n.ID
	}
	return "frontdoor/" + n.ID
}

// DrainNode has a node drain.
func (s *Admin) DrainNode(ctx context.Context, req *registryv1.DrainNodeRequest) (*registryv1.DrainNodeResponse, error) {
	n, err := s.directory.Drain(ctx, userOf(ctx), req.GetId(), req.GetForce())
	if err != nil {
		return nil, err
	}
	return &registryv1.DrainNodeResponse{Node: nodeMessage(n)}, nil
}

// FinishRestore raises the epoch.
func (s *Admin) FinishRestore(ctx context.Context, _ *registryv1.FinishRestoreRequest) (*registryv1.FinishRestoreResponse, error) {
	epoch, err := s.directory.FinishRestore(ctx, userOf(ctx))
	if err != nil {
		return nil, err
	}
	return &registryv1.FinishRestoreResponse{Epoch: epoch}, nil
}

// nodeMessage is the node as it is stored, and what was asked of it since.
func nodeMessage(n directory.Node) *registryv1.Node {
	stored, _ := n.Record.(*storagev1.Node)
	m := proto.CloneOf(stored.GetNode())
	m.DrainRequested = n.DrainRequested
	return m
}
