package grpcapi

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// scopes are what a login asks the provider for.
var scopes = []string{"openid", "profile", "email", "groups"}

// LoginService serves people who have no key yet.
type LoginService struct {
	authv1.UnimplementedLoginServiceServer
	logins           *identity.Logins
	issuer, clientID string
	log              *slog.Logger
}

// NewLoginService returns the service; with an empty issuer there are no logins.
func NewLoginService(logins *identity.Logins, issuer, clientID string, log *slog.Logger) *LoginService {
	return &LoginService{logins: logins, issuer: issuer, clientID: clientID, log: log}
}

// GetLoginConfig answers where to log in.
func (s *LoginService) GetLoginConfig(context.Context, *authv1.GetLoginConfigRequest) (*authv1.GetLoginConfigResponse, error) {
	if s.issuer == "" {
		return nil, identity.ErrNoLogin
	}
	return &authv1.GetLoginConfigResponse{Issuer: s.issuer, ClientId: s.clientID, Scopes: scopes}, nil
}

// ExchangeIdToken gives an API key for an ID token.
func (s *LoginService) ExchangeIdToken(ctx context.Context, req *authv1.ExchangeIdTokenRequest) (*authv1.ExchangeIdTokenResponse, error) { //nolint:revive // the contract's name
	token, key, err := s.logins.Login(ctx, secret.String(req.GetIdToken()), rpc.ClientAddress(ctx))
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "logged in", "token", token.ID, "account", token.AccountID, "role", token.Role.String(), "by", token.Actor())
	return &authv1.ExchangeIdTokenResponse{
		ApiKey: key.Reveal(), ValidFor: durationpb.New(token.Expires.Sub(token.Created).Round(time.Second)),
		AccountId: token.AccountID, Role: roleMessage(token.Role), Subject: token.Subject,
	}, nil
}
