package grpcapi

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
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

// TokenService serves those who operate an account, and administrators.
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

// CreateToken makes a token.
func (s *TokenService) CreateToken(ctx context.Context, req *authv1.CreateTokenRequest) (*authv1.CreateTokenResponse, error) {
	n := identity.NewToken{ID: req.GetId(), AccountID: req.GetAccountId(), Description: req.GetDescription(), Grants: req.GetGrants()}
	var err error
	if n.Kind, err = kindOf(req.GetKind()); err != nil {
		return nil, err
	}
	if n.Role, err = roleOf(req.GetRole()); err != nil {
		return nil, err
	}
	if req.GetValidFor() != nil {
		// AsDuration saturates what is out of range; 0 would mean for ever.
		if n.ValidFor = req.GetValidFor().AsDuration(); n.ValidFor == 0 {
			n.ValidFor = -1
		}
	}
	by := callerOf(ctx)
	token, text, err := s.tokens.Create(ctx, by, n)
	if err != nil {
		return nil, err
	}
	if text != "" {
		s.logCreated(ctx, token, by)
	}
	shown := s.show(token, text)
	return &authv1.CreateTokenResponse{
		Token: tokenMessage(token), Authtoken: shown.authtoken, ApiKey: shown.apiKey, Server: shown.server, CaPins: shown.pins,
	}, nil
}

// shown is what somebody is told of a new secret, this once.
type shown struct {
	authtoken, apiKey, server string
	pins                      [][]byte
}

func (s *TokenService) show(token identity.Token, text secret.String) shown {
	if token.Kind != identity.AgentToken {
		return shown{apiKey: text.Reveal()}
	}
	return shown{authtoken: text.Reveal(), server: s.server.Address, pins: s.server.CAPins}
}

func (s *TokenService) logCreated(ctx context.Context, token identity.Token, by identity.Caller) {
	attrs := []any{"token", token.ID, "account", token.AccountID, "role", token.Role.String(), "grants", token.Grants, "by", by.Actor}
	if !token.Expires.IsZero() {
		attrs = append(attrs, "expires", token.Expires)
	}
	s.log.InfoContext(ctx, "token created", attrs...)
}

// GetToken answers one token.
func (s *TokenService) GetToken(ctx context.Context, req *authv1.GetTokenRequest) (*authv1.GetTokenResponse, error) {
	token, err := s.tokens.Get(ctx, principal.From(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return &authv1.GetTokenResponse{Token: tokenMessage(token)}, nil
}

// ListTokens answers a page of tokens.
func (s *TokenService) ListTokens(ctx context.Context, req *authv1.ListTokensRequest) (*authv1.ListTokensResponse, error) {
	wanted, err := tokenFilter(req.GetFilter(), req.GetAccountId())
	if err != nil {
		return nil, err
	}
	tokens, next, err := s.tokens.List(ctx, principal.From(ctx), wanted, req.GetPageToken(), int(req.GetPageSize()))
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

// UpdateToken changes what the mask names.
func (s *TokenService) UpdateToken(ctx context.Context, req *authv1.UpdateTokenRequest) (*authv1.UpdateTokenResponse, error) {
	wanted := req.GetToken()
	change := identity.TokenChange{}
	var err error
	if change.Revision, err = revisionOf(wanted.GetEtag()); err != nil {
		return nil, err
	}
	err = eachPath(req.GetUpdateMask(), "token", func(path string) bool {
		switch path {
		case "description":
			change.Description = &wanted.Description
		case "grants":
			change.Grants = &wanted.Grants
		case "expire_time":
			expires := time.Time{}
			if wanted.GetExpireTime() != nil {
				expires = wanted.GetExpireTime().AsTime()
			}
			change.Expires = &expires
		default:
			return false
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx)
	token, err := s.tokens.Update(ctx, by, wanted.GetId(), change)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "token changed", "token", token.ID, "account", token.AccountID, "fields", req.GetUpdateMask().GetPaths(), "by", by.Actor)
	return &authv1.UpdateTokenResponse{Token: tokenMessage(token)}, nil
}

// RotateToken gives a token another secret.
func (s *TokenService) RotateToken(ctx context.Context, req *authv1.RotateTokenRequest) (*authv1.RotateTokenResponse, error) {
	revision, err := revisionOf(req.GetEtag())
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx)
	token, text, err := s.tokens.Rotate(ctx, by, req.GetId(), req.GetOverlap().AsDuration(), revision)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "token rotated", "token", token.ID, "account", token.AccountID, "overlap", req.GetOverlap().AsDuration(), "by", by.Actor)
	shown := s.show(token, text)
	return &authv1.RotateTokenResponse{
		Token: tokenMessage(token), Authtoken: shown.authtoken, ApiKey: shown.apiKey, Server: shown.server, CaPins: shown.pins,
	}, nil
}

// RevokeToken ends a token.
func (s *TokenService) RevokeToken(ctx context.Context, req *authv1.RevokeTokenRequest) (*authv1.RevokeTokenResponse, error) {
	by := callerOf(ctx)
	token, err := s.tokens.Revoke(ctx, by, req.GetId())
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "token revoked", "token", token.ID, "account", token.AccountID, "by", by.Actor)
	return &authv1.RevokeTokenResponse{Token: tokenMessage(token)}, nil
}

// DeleteToken ends a token and forgets it.
func (s *TokenService) DeleteToken(ctx context.Context, req *authv1.DeleteTokenRequest) (*authv1.DeleteTokenResponse, error) {
	revision, err := revisionOf(req.GetEtag())
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx)
	if err := s.tokens.Delete(ctx, by, req.GetId(), revision); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "token deleted", "token", req.GetId(), "by", by.Actor)
	return &authv1.DeleteTokenResponse{}, nil
}

func tokenMessage(t identity.Token) *authv1.Token {
	return &authv1.Token{
		Id: t.ID, AccountId: t.AccountID, Description: t.Description, Grants: t.Grants,
		CreateTime: timestamppb.New(t.Created), ExpireTime: timestamp(t.Expires), RevokeTime: timestamp(t.Revoked),
		Kind: kindMessage(t.Kind), Role: roleMessage(t.Role), Subject: t.Subject,
		LastUseTime: timestamp(t.LastUse), OverlapEndTime: timestamp(t.PreviousUntil), Etag: etag(t.Revision),
	}
}
