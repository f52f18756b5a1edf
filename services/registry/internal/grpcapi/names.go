package grpcapi

import (
	"context"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Names is registryv1.NameService.
type Names struct {
	registryv1.UnimplementedNameServiceServer
	directory *directory.Directory
}

// NewNames returns the service.
func NewNames(d *directory.Directory) *Names { return &Names{directory: d} }

// InspectName answers what there is about a name.
func (s *Names) InspectName(ctx context.Context, req *registryv1.InspectNameRequest) (*registryv1.InspectNameResponse, error) {
	found, err := s.directory.Inspect(ctx, userOf(ctx), req.GetName())
	if err != nil {
		return nil, err
	}
	endpoint := lookupMessage(found.Endpoint)
	resp := &registryv1.InspectNameResponse{
		Claim: endpoint.GetClaim(), Attachments: endpoint.GetAttachments(), Position: endpoint.GetPosition(), Forbidden: found.Why(),
	}
	for _, m := range found.Members {
		member := lookupMessage(m)
		resp.Members = append(resp.Members, &registryv1.NameMember{Claim: member.GetClaim(), Attachments: member.GetAttachments()})
	}
	if found.Reservation != nil {
		resp.Reservation = reservationMessage(found.Reservation)
	}
	return resp, nil
}
