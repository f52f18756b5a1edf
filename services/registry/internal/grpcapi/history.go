package grpcapi

import (
	"context"

	"google.golang.org/grpc"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

// History is what has happened.
type History interface {
	// Watch sends what happened behind a revision of an epoch, from now on with 0,
	// all that is kept with -1, until ctx ends. Each send is one revision's, or, without events, says how far
	// all has been sent.
	Watch(ctx context.Context, after int64, epoch uint64, send func(*registryv1.WatchTunnelsResponse) error) error
}

// WatchTunnels streams what happens.
func (s *Tunnels) WatchTunnels(req *registryv1.WatchTunnelsRequest, stream grpc.ServerStreamingServer[registryv1.WatchTunnelsResponse]) error {
	ctx := stream.Context()
	account, err := userOf(ctx).Scope(req.GetAccountId())
	if err != nil {
		return err
	}
	return s.history.Watch(ctx, req.GetAfterRevision(), req.GetEpoch(), func(all *registryv1.WatchTunnelsResponse) error {
		mine := &registryv1.WatchTunnelsResponse{Revision: all.GetRevision(), Epoch: all.GetEpoch()}
		for _, e := range all.GetEvents() {
			if concerns(e, account, req.GetKind()) {
				mine.Events = append(mine.Events, e)
			}
		}
		if len(mine.Events) == 0 && len(all.GetEvents()) > 0 {
			return nil // somebody else's; how far we are is said now and then
		}
		return stream.Send(mine)
	})
}

func concerns(e *auditv1.Event, account, kind string) bool {
	return (account == "" || e.GetAccountId() == account) && (kind == "" || e.GetKind() == kind)
}
