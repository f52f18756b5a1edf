package grpcapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/filter"
	"github.com/dialback/dialback/internal/principal"
)

const defaultPage = 100

var (
	errNoSession = errs.New(errs.NotFound, errs.ReasonNotFound, "no such session")
	errSilent    = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"no connector that answers has this session, and not all have answered; retry")
)

// Sessions shows and ends sessions, wherever they are. Each connector decides
// anew what the caller may see.
type Sessions struct {
	frontdoorv1.UnimplementedSessionServiceServer
	connectors func() Nodes
}

// NewSessions returns the service over the connectors that are known.
func NewSessions(connectors func() Nodes) *Sessions { return &Sessions{connectors: connectors} }

// ListSessions implements frontdoorv1.SessionServiceServer.
func (s *Sessions) ListSessions(ctx context.Context, req *frontdoorv1.ListSessionsRequest) (*frontdoorv1.ListSessionsResponse, error) {
	want, err := filter.Parse(req.GetFilter(), "account_id", "agent_id")
	if err != nil {
		return nil, err
	}
	account, err := principal.From(ctx).Scope(want["account_id"])
	if err != nil {
		return nil, err
	}
	size := int(cmp.Or(req.GetPageSize(), defaultPage))
	each := &connectorv1.ListSessionsRequest{
		AccountId: account, AgentId: want["agent_id"], After: req.GetPageToken(), Limit: int32(size), // #nosec G115 -- at most 1000
	}
	heard, missing := ask(ctx, s.connectors(), func(ctx context.Context, conn grpc.ClientConnInterface) (*connectorv1.ListSessionsResponse, error) {
		return connectorv1.NewSessionServiceClient(conn).ListSessions(ctx, each)
	})
	answer := &frontdoorv1.ListSessionsResponse{MissingNodes: missing}
	more := false
	for _, one := range heard {
		if one.err != nil {
			return nil, one.err
		}
		answer.Sessions = append(answer.Sessions, one.answer.GetSessions()...)
		more = more || one.answer.GetMore()
	}
	slices.SortFunc(answer.Sessions, func(a, b *connectorv1.Session) int { return cmp.Compare(a.GetId(), b.GetId()) })
	if len(answer.Sessions) > size {
		answer.Sessions, more = answer.Sessions[:size], true
	}
	if more {
		answer.NextPageToken = answer.Sessions[size-1].GetId()
	}
	return answer, nil
}

// GetSession implements frontdoorv1.SessionServiceServer.
func (s *Sessions) GetSession(ctx context.Context, req *frontdoorv1.GetSessionRequest) (*frontdoorv1.GetSessionResponse, error) {
	got, err := one(ctx, s.connectors(), func(ctx context.Context, client connectorv1.SessionServiceClient) (*connectorv1.GetSessionResponse, error) {
		return client.GetSession(ctx, &connectorv1.GetSessionRequest{Id: req.GetId()})
	})
	if err != nil {
		return nil, err
	}
	return &frontdoorv1.GetSessionResponse{Session: got.GetSession()}, nil
}

// CloseSession implements frontdoorv1.SessionServiceServer.
func (s *Sessions) CloseSession(ctx context.Context, req *frontdoorv1.CloseSessionRequest) (*frontdoorv1.CloseSessionResponse, error) {
	_, err := one(ctx, s.connectors(), func(ctx context.Context, client connectorv1.SessionServiceClient) (*connectorv1.CloseSessionResponse, error) {
		return client.CloseSession(ctx, &connectorv1.CloseSessionRequest{Id: req.GetId()})
	})
	return &frontdoorv1.CloseSessionResponse{}, err
}

// one asks all connectors for what one of them has.
func one[A any](ctx context.Context, connectors Nodes, call func(context.Context, connectorv1.SessionServiceClient) (A, error)) (found A, err error) {
	heard, missing := ask(ctx, connectors, func(ctx context.Context, conn grpc.ClientConnInterface) (A, error) {
		return call(ctx, connectorv1.NewSessionServiceClient(conn))
	})
	for _, s := range heard {
		switch {
		case s.err == nil:
			return s.answer, nil
		case !errors.Is(s.err, errNoSession):
			return found, s.err
		}
	}
	if len(missing) > 0 {
		return found, errSilent.WithMetadata("missing_nodes", strings.Join(missing, ","))
	}
	return found, errNoSession
}
