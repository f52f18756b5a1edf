package frontdoors

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/durationpb"

	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const defaultPage = 100

var errNoSession = errs.New(errs.NotFound, errs.ReasonNotFound, "no such session here")

// Sessions shows users the sessions of this connector.
type Sessions struct {
	connectorv1.UnimplementedSessionServiceServer
	table *session.Table
	node  string
	ended func(*session.Session, session.Ender)
	log   *slog.Logger
}

// NewSessions returns the service of the connector with a node id. ended is told
// of each session that a user has ended.
func NewSessions(table *session.Table, node string, ended func(*session.Session, session.Ender), log *slog.Logger) *Sessions {
	return &Sessions{table: table, node: node, ended: ended, log: log}
}

// ListSessions implements connectorv1.SessionServiceServer.
func (s *Sessions) ListSessions(ctx context.Context, req *connectorv1.ListSessionsRequest) (*connectorv1.ListSessionsResponse, error) {
	account, err := principal.From(ctx).Scope(req.GetAccountId())
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(s.table.All(), func(one *session.Session) bool {
		return one.ID <= req.GetAfter() || account != "" && one.Account != account ||
			req.GetAgentId() != "" && one.Agent != req.GetAgentId()
	})
	slices.SortFunc(found, func(a, b *session.Session) int { return cmp.Compare(a.ID, b.ID) })
	limit := int(cmp.Or(req.GetLimit(), defaultPage))
	answer := &connectorv1.ListSessionsResponse{More: len(found) > limit}
	for _, one := range found[:min(limit, len(found))] {
		answer.Sessions = append(answer.Sessions, s.describe(one))
	}
	return answer, nil
}

// GetSession implements connectorv1.SessionServiceServer.
func (s *Sessions) GetSession(ctx context.Context, req *connectorv1.GetSessionRequest) (*connectorv1.GetSessionResponse, error) {
	one, err := s.get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &connectorv1.GetSessionResponse{Session: s.describe(one)}, nil
}

// CloseSession implements connectorv1.SessionServiceServer.
func (s *Sessions) CloseSession(ctx context.Context, req *connectorv1.CloseSessionRequest) (*connectorv1.CloseSessionResponse, error) {
	one, err := s.get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	by := session.Ender{Actor: principal.From(ctx).Actor, Address: rpc.ClientAddress(ctx)}
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		by.Trace = sc.TraceID().String()
	}
	s.log.InfoContext(ctx, "a session is closed on demand", "session", one.ID, "agent", one.Agent, "actor", by.Actor)
	s.table.End(one, session.Deleted, session.ErrClosed)
	s.ended(one, by)
	return &connectorv1.CloseSessionResponse{}, nil
}

// get returns a session that the caller may see. Whose id is another account's
// learns nothing.
func (s *Sessions) get(ctx context.Context, id string) (*session.Session, error) {
	one := s.table.Get(id)
	if one == nil || !principal.From(ctx).Sees(one.Account) {
		return nil, errNoSession
	}
	return one, nil
}

func (s *Sessions) describe(one *session.Session) *connectorv1.Session {
	now := time.Now()
	d := &connectorv1.Session{
		Id: one.ID, AccountId: one.Account, AgentId: one.Agent, Instance: hex.EncodeToString(one.Instance[:]),
		TokenId: one.Token, ConnectorId: s.node, ClientAddress: one.Address,
		AgentVersion: one.Software.Version, Os: one.Software.OS, Arch: one.Software.Arch,
		Age: durationpb.New(now.Sub(one.Opened)), Silence: durationpb.New(one.Silence(now)),
	}
	if rtt := one.RTT(); rtt > 0 {
		d.RoundTrip = durationpb.New(rtt)
	}
	for _, t := range s.table.TunnelsOf(one) {
		d.Tunnels = append(d.Tunnels, &connectorv1.SessionTunnel{TunnelId: t.ID, Hostname: t.Hostname, Generation: t.Generation})
	}
	return d
}
