package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/filter"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Reservations is registryv1.ReservationService.
type Reservations struct {
	registryv1.UnimplementedReservationServiceServer
	directory *directory.Directory
}

// NewReservations returns the service.
func NewReservations(d *directory.Directory) *Reservations { return &Reservations{directory: d} }

// CreateReservation reserves a name.
func (s *Reservations) CreateReservation(ctx context.Context, req *registryv1.CreateReservationRequest) (*registryv1.CreateReservationResponse, error) {
	m := req.GetReservation()
	if err := check(when(!isAccount(m.GetAccountId()), "reservation.account_id", "want letters, digits, hyphens and underscores")); err != nil {
		return nil, err
	}
	r, err := s.directory.Reserve(ctx, userOf(ctx), directory.Reservation{
		Name: m.GetId(), Account: m.GetAccountId(), Description: m.GetDescription(),
	})
	if err != nil {
		return nil, err
	}
	return &registryv1.CreateReservationResponse{Reservation: reservationMessage(r)}, nil
}

// GetReservation answers one.
func (s *Reservations) GetReservation(ctx context.Context, req *registryv1.GetReservationRequest) (*registryv1.GetReservationResponse, error) {
	r, err := s.directory.Reservation(ctx, userOf(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return &registryv1.GetReservationResponse{Reservation: reservationMessage(r)}, nil
}

// ListReservations lists those that the caller sees.
func (s *Reservations) ListReservations(ctx context.Context, req *registryv1.ListReservationsRequest) (*registryv1.ListReservationsResponse, error) {
	wanted, err := filter.Parse(req.GetFilter(), "account_id")
	if err != nil {
		return nil, err
	}
	if err := check(when(!isAccount(wanted["account_id"]), "filter", "that is no account's id")); err != nil {
		return nil, err
	}
	after, err := parsePageToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	list, err := s.directory.Reservations(ctx, userOf(ctx), wanted["account_id"], after, size+1)
	if err != nil {
		return nil, err
	}
	resp := &registryv1.ListReservationsResponse{}
	for i, r := range list {
		if i == size {
			resp.NextPageToken = pageToken(list[i-1].Name)
			break
		}
		resp.Reservations = append(resp.Reservations, reservationMessage(r))
	}
	return resp, nil
}

// UpdateReservation changes one.
func (s *Reservations) UpdateReservation(ctx context.Context, req *registryv1.UpdateReservationRequest) (*registryv1.UpdateReservationResponse, error) {
	m := req.GetReservation()
	version, err := parseEtag(m.GetEtag())
	if err != nil {
		return nil, err
	}
	change := directory.Change{Version: version}
	paths := req.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		paths = setFields(m)
	}
	for _, path := range paths {
		switch path {
		case "description":
			change.Description = &m.Description
		case "account_id":
			if err := check(when(m.GetAccountId() == "" || !isAccount(m.GetAccountId()), "reservation.account_id", "want letters, digits, hyphens and underscores")); err != nil {
				return nil, err
			}
			change.Account = &m.AccountId
		default:
			return nil, check(fault{"update_mask", "want description or account_id"})
		}
	}
	r, err := s.directory.UpdateReservation(ctx, userOf(ctx), m.GetId(), change)
	if err != nil {
		return nil, err
	}
	return &registryv1.UpdateReservationResponse{Reservation: reservationMessage(r)}, nil
}

func setFields(m *registryv1.Reservation) (paths []string) {
	if m.GetDescription() != "" {
		paths = append(paths, "description")
	}
	if m.GetAccountId() != "" {
		paths = append(paths, "account_id")
	}
	return paths
}

// DeleteReservation gives a name up.
func (s *Reservations) DeleteReservation(ctx context.Context, req *registryv1.DeleteReservationRequest) (*registryv1.DeleteReservationResponse, error) {
	version, err := parseEtag(req.GetEtag())
	if err != nil {
		return nil, err
	}
	if err := s.directory.Unreserve(ctx, userOf(ctx), req.GetId(), version); err != nil {
		return nil, err
	}
	return &registryv1.DeleteReservationResponse{}, nil
}

func reservationMessage(r *directory.Reservation) *registryv1.Reservation {
	return &registryv1.Reservation{
		Id: r.Name, AccountId: r.Account, Description: r.Description, Etag: etag(r.Version),
		CreateTime: timestamppb.New(r.Created), UpdateTime: timestamppb.New(r.Updated),
	}
}

// isAccount holds for what may be an account's id, which becomes part of a key;
// empty is left to the caller.
func isAccount(s string) bool { return s == "" || isSessionID(s) }
