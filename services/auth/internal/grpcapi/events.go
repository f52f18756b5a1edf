package grpcapi

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// AuditService tells the history of changes.
type AuditService struct {
	authv1.UnimplementedAuditServiceServer
	audit *identity.Audit
}

// NewAuditService returns the service.
func NewAuditService(audit *identity.Audit) *AuditService { return &AuditService{audit: audit} }

// WatchEvents sends steps until the caller leaves or the watch ends.
func (s *AuditService) WatchEvents(req *authv1.WatchEventsRequest, stream grpc.ServerStreamingServer[authv1.WatchEventsResponse]) error {
	ctx := stream.Context()
	watch, err := s.audit.Watch(ctx, principal.From(ctx), req.GetAfterRevision(), identity.AuditFilter{Kind: req.GetKind(), Account: req.GetAccountId()})
	if err != nil {
		return err
	}
	for {
		events, revision, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		resp := &authv1.WatchEventsResponse{Revision: revision}
		for _, e := range events {
			resp.Events = append(resp.Events, eventMessage(e))
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

var actions = map[identity.Action]auditv1.Action{
	identity.Created:  auditv1.Action_ACTION_CREATED,
	identity.Updated:  auditv1.Action_ACTION_UPDATED,
	identity.Deleted:  auditv1.Action_ACTION_DELETED,
	identity.Revoked:  auditv1.Action_ACTION_REVOKED,
	identity.Expired:  auditv1.Action_ACTION_EXPIRED,
	identity.LoggedIn: auditv1.Action_ACTION_LOGGED_IN,
}

func eventMessage(e identity.Event) *auditv1.Event {
	return &auditv1.Event{
		Revision: e.Revision, Time: timestamppb.New(e.Time), Action: actions[e.Action], Kind: e.Kind, Name: e.Name,
		AccountId: e.Account, Actor: e.Actor, Address: e.Address, Details: e.Details,
	}
}
