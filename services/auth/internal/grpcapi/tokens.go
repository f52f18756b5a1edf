package grpcapi

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// maxList is about how many bytes of tokens one answer carries: a page ends
// early where tokens have long lists of grants.
const maxList = 1 << 20

// Server is where agents connect, for who is given a new token.
type Server struct {
	Address string   // "host:port"
	CAPins  [][]byte // SHA-256 each
}

// TokenService serves administrators.
type TokenService struct {
	authv1.UnimplementedTokenServiceServer
	tokens *identity.Tokens
	server Server
	log    *slog.Logger
}

// NewTokenService returns the service.
func NewTokenService(tokens *identity.Tokens, server Server, log *slog.Logger) *TokenService {
	return &TokenService{tokens: tokens, server: server, log: log}
}

// CreateToken makes an authtoken.
func (s *TokenService) CreateToken(ctx context.Context, req *authv1.CreateTokenRequest) (*authv1.CreateTokenResponse, error) {
	n := identity.NewToken{AccountID: req.GetAccountId(), Description: req.GetDescription(), Grants: req.GetGrants()}
	if req.GetValidFor() != nil {
		// AsDuration saturates what is out of range; 0 would mean for ever.
		if n.ValidFor = req.GetValidFor().AsDuration(); n.ValidFor == 0 {
			n.ValidFor = -1
		}
	}
	token, authtoken, err := s.tokens.Create(ctx, n)
	if err != nil {
		return nil, err
	}
	attrs := []any{"token", token.ID, "account", token.AccountID, "grants", token.Grants, "by", callerName(ctx)}
	if !token.Expires.IsZero() {
		attrs = append(attrs, "expires", token.Expires)
	}
	s.log.InfoContext(ctx, "authtoken created", attrs...)
	return &authv1.CreateTokenResponse{
		Token: tokenMessage(token), Authtoken: authtoken.Reveal(),
		Server: s.server.Address, CaPins: s.server.CAPins,
	}, nil
}

// ListTokens answers a page of tokens.
func (s *TokenService) ListTokens(ctx context.Context, req *authv1.ListTokensRequest) (*authv1.ListTokensResponse, error) {
	tokens, next, err := s.tokens.List(ctx, req.GetAccountId(), req.GetPageToken(), int(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	resp := &authv1.ListTokensResponse{NextPageToken: next}
	size := 0
	for i, t := range tokens {
		m := tokenMessage(t)
		resp.Tokens = append(resp.Tokens, m)
		if size += proto.Size(m); size > maxList && i < len(tokens)-1 {
			resp.NextPageToken = t.ID
			break
		}
	}
	return resp, nil
}

// RevokeToken ends a token.
func (s *TokenService) RevokeToken(ctx context.Context, req *authv1.RevokeTokenRequest) (*authv1.RevokeTokenResponse, error) {
	token, err := s.tokens.Revoke(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "authtoken revoked", "token", token.ID, "account", token.AccountID, "by", callerName(ctx))
	return &authv1.RevokeTokenResponse{Token: tokenMessage(token)}, nil
}

func tokenMessage(t identity.Token) *authv1.Token {
	return &authv1.Token{
		Id: t.ID, AccountId: t.AccountID, Description: t.Description, Grants: t.Grants,
		CreateTime: timestamppb.New(t.Created), ExpireTime: timestamp(t.Expires), RevokeTime: timestamp(t.Revoked),
	}
}

// timestamp leaves a zero time out.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func callerName(ctx context.Context) string {
	id, _ := rpc.Caller(ctx)
	return id.Name
}
