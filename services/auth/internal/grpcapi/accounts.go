package grpcapi

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// AccountService serves accounts to themselves and to administrators.
type AccountService struct {
	authv1.UnimplementedAccountServiceServer
	accounts *identity.Accounts
	log      *slog.Logger
}

// NewAccountService returns the service.
func NewAccountService(accounts *identity.Accounts, log *slog.Logger) *AccountService {
	return &AccountService{accounts: accounts, log: log}
}

// CreateAccount makes an account.
func (s *AccountService) CreateAccount(ctx context.Context, req *authv1.CreateAccountRequest) (*authv1.CreateAccountResponse, error) {
	by, wanted := callerOf(ctx), req.GetAccount()
	a, err := s.accounts.Create(ctx, by, identity.Account{
		ID: wanted.GetId(), DisplayName: wanted.GetDisplayName(), Disabled: wanted.GetDisabled(), Quotas: quotasOf(wanted.GetQuotas()),
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "account stands", "account", a.ID, "by", by.Actor)
	return &authv1.CreateAccountResponse{Account: accountMessage(a)}, nil
}

// GetAccount answers one account.
func (s *AccountService) GetAccount(ctx context.Context, req *authv1.GetAccountRequest) (*authv1.GetAccountResponse, error) {
	a, err := s.accounts.Get(ctx, principal.From(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return &authv1.GetAccountResponse{Account: accountMessage(a)}, nil
}

// ListAccounts answers a page of accounts.
func (s *AccountService) ListAccounts(ctx context.Context, req *authv1.ListAccountsRequest) (*authv1.ListAccountsResponse, error) {
	wanted, err := accountFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	accounts, next, err := s.accounts.List(ctx, principal.From(ctx), wanted, req.GetPageToken(), int(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	resp := &authv1.ListAccountsResponse{NextPageToken: next}
	for _, a := range accounts {
		resp.Accounts = append(resp.Accounts, accountMessage(a))
	}
	return resp, nil
}

// UpdateAccount changes what the mask names.
func (s *AccountService) UpdateAccount(ctx context.Context, req *authv1.UpdateAccountRequest) (*authv1.UpdateAccountResponse, error) {
	change, err := accountChange(req)
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx)
	a, err := s.accounts.Update(ctx, by, req.GetAccount().GetId(), change)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "account changed", "account", a.ID, "fields", req.GetUpdateMask().GetPaths(), "by", by.Actor)
	return &authv1.UpdateAccountResponse{Account: accountMessage(a)}, nil
}

func accountChange(req *authv1.UpdateAccountRequest) (identity.AccountChange, error) {
	wanted, quotas := req.GetAccount(), quotasOf(req.GetAccount().GetQuotas())
	change := identity.AccountChange{}
	var err error
	if change.Revision, err = revisionOf(wanted.GetEtag()); err != nil {
		return change, err
	}
	return change, eachPath(req.GetUpdateMask(), "account", func(path string) bool {
		switch path {
		case "display_name":
			change.DisplayName = &wanted.DisplayName
		case "disabled":
			change.Disabled = &wanted.Disabled
		case "quotas":
			change.MaxAgents, change.MaxEndpoints, change.MaxConnections = &quotas.MaxAgents, &quotas.MaxEndpoints, &quotas.MaxConnections
		case "quotas.max_agents":
			change.MaxAgents = &quotas.MaxAgents
		case "quotas.max_endpoints":
			change.MaxEndpoints = &quotas.MaxEndpoints
		case "quotas.max_connections":
			change.MaxConnections = &quotas.MaxConnections
		default:
			return false
		}
		return true
	})
}

// DeleteAccount deletes an account with its tokens.
func (s *AccountService) DeleteAccount(ctx context.Context, req *authv1.DeleteAccountRequest) (*authv1.DeleteAccountResponse, error) {
	revision, err := revisionOf(req.GetEtag())
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx)
	if err := s.accounts.Delete(ctx, by, req.GetId(), req.GetForce(), revision); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "account deleted", "account", req.GetId(), "by", by.Actor)
	return &authv1.DeleteAccountResponse{}, nil
}

func quotasOf(m *authv1.Quotas) identity.Quotas {
	return identity.Quotas{MaxAgents: m.GetMaxAgents(), MaxEndpoints: m.GetMaxEndpoints(), MaxConnections: m.GetMaxConnections()}
}

func accountMessage(a identity.Account) *authv1.Account {
	return &authv1.Account{
		Id: a.ID, DisplayName: a.DisplayName, Disabled: a.Stopped(),
		Quotas: &authv1.Quotas{
			MaxAgents: a.Quotas.MaxAgents, MaxEndpoints: a.Quotas.MaxEndpoints, MaxConnections: a.Quotas.MaxConnections,
		},
		CreateTime: timestamppb.New(a.Created), Etag: etag(a.Revision),
	}
}
