package frontdoor_test

import (
	"context"
	"slices"
	"strings"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

// keyring knows users by their keys.
type keyring map[string]principal.Principal

var users = keyring{
	"dbk_admin":  {Account: "default", Role: principal.Admin, Actor: "token:admin"},
	"dbk_owner":  {Account: "default", Role: principal.Operator, Actor: "token:owner"},
	"dbk_reader": {Account: "default", Role: principal.ReadOnly, Actor: "token:reader"},
	"dbk_other":  {Account: "other", Role: principal.Operator, Actor: "token:other"},
}

// roles are the contract's, by the domain's.
var roles = map[principal.Role]authv1.Role{
	principal.ReadOnly: authv1.Role_ROLE_READ_ONLY, principal.Operator: authv1.Role_ROLE_OPERATOR, principal.Admin: authv1.Role_ROLE_ADMIN,
}

var errBadKey = errs.New(errs.Unauthenticated, errs.ReasonTokenExpired, "the key has expired")

func (k keyring) Authenticate(_ context.Context, key secret.String, _ string) (principal.Principal, error) {
	if p, ok := k[key.Reveal()]; ok {
		return p, nil
	}
	return principal.Principal{}, errBadKey
}

func (fakeAuth) Authenticate(_ context.Context, q *authv1.AuthenticateRequest) (*authv1.AuthenticateResponse, error) {
	p, ok := users[q.GetApiKey()]
	if !ok {
		return nil, errBadKey
	}
	return &authv1.AuthenticateResponse{AccountId: p.Account, Role: roles[p.Role], Actor: p.Actor}, nil
}

var sessionMethods = map[string]principal.Role{
	connectorv1.SessionService_ListSessions_FullMethodName: principal.ReadOnly,
	connectorv1.SessionService_GetSession_FullMethodName:   principal.ReadOnly,
	connectorv1.SessionService_CloseSession_FullMethodName: principal.Operator,
}

var errNoSession = errs.New(errs.NotFound, errs.ReasonNotFound, "no such session")

// ListSessions answers the sessions of the account "default", which all are.
func (c *fakeConnector) ListSessions(ctx context.Context, q *connectorv1.ListSessionsRequest) (*connectorv1.ListSessionsResponse, error) {
	if err := c.thinks(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := &connectorv1.ListSessionsResponse{}
	for id := range c.sessions {
		if id > q.GetAfter() && principal.From(ctx).Sees("default") {
			answer.Sessions = append(answer.Sessions, &connectorv1.Session{Id: id, AccountId: "default", ConnectorId: c.id})
		}
	}
	slices.SortFunc(answer.Sessions, func(a, b *connectorv1.Session) int { return strings.Compare(a.GetId(), b.GetId()) })
	if limit := int(q.GetLimit()); len(answer.Sessions) > limit {
		answer.Sessions, answer.More = answer.Sessions[:limit], true
	}
	return answer, nil
}

func (c *fakeConnector) GetSession(ctx context.Context, q *connectorv1.GetSessionRequest) (*connectorv1.GetSessionResponse, error) {
	if err := c.thinks(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[q.GetId()] == nil || !principal.From(ctx).Sees("default") {
		return nil, errNoSession
	}
	return &connectorv1.GetSessionResponse{Session: &connectorv1.Session{Id: q.GetId(), AccountId: "default", ConnectorId: c.id}}, nil
}

func (c *fakeConnector) CloseSession(ctx context.Context, q *connectorv1.CloseSessionRequest) (*connectorv1.CloseSessionResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[q.GetId()] == nil || !principal.From(ctx).Sees("default") {
		return nil, errNoSession
	}
	delete(c.sessions, q.GetId())
	return &connectorv1.CloseSessionResponse{}, nil
}

// thinks does not come back while the connector is stuck.
func (c *fakeConnector) thinks(ctx context.Context) error {
	c.mu.Lock()
	stuck := c.stuck
	c.mu.Unlock()
	if !stuck {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
