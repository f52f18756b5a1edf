// Package grpcapi is auth's wire: it maps messages to the domain and back, and
// decides nothing itself.
package grpcapi

import (
	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// MaxMessage is the size in bytes of the largest request that is read. A token
// with all its grants takes 20 KiB.
const MaxMessage = 64 << 10

// Methods returns who may call what.
func Methods() rpc.Methods {
	services := []string{tlsconf.RoleConnector, tlsconf.RoleFrontdoor, tlsconf.RoleRegistry}
	return rpc.Methods{
		Internal: map[string][]string{
			authv1.CredentialService_Validate_FullMethodName:         {tlsconf.RoleConnector},
			authv1.CredentialService_WatchRevocations_FullMethodName: {tlsconf.RoleConnector},
			authv1.CredentialService_EndAgent_FullMethodName:         {tlsconf.RoleConnector},
			authv1.CredentialService_Authenticate_FullMethodName:     services,
			authv1.CredentialService_GetKeys_FullMethodName:          services,

			authv1.LoginService_GetLoginConfig_FullMethodName:  {rpc.RoleAnyone},
			authv1.LoginService_ExchangeIdToken_FullMethodName: {rpc.RoleAnyone},
		},
		External: map[string]principal.Role{
			authv1.AccountService_CreateAccount_FullMethodName: principal.Admin,
			authv1.AccountService_GetAccount_FullMethodName:    principal.ReadOnly,
			authv1.AccountService_ListAccounts_FullMethodName:  principal.ReadOnly,
			authv1.AccountService_UpdateAccount_FullMethodName: principal.Admin,
			authv1.AccountService_DeleteAccount_FullMethodName: principal.Admin,

			authv1.TokenService_CreateToken_FullMethodName: principal.Operator,
			authv1.TokenService_GetToken_FullMethodName:    principal.ReadOnly,
			authv1.TokenService_ListTokens_FullMethodName:  principal.ReadOnly,
			authv1.TokenService_UpdateToken_FullMethodName: principal.Operator,
			authv1.TokenService_RotateToken_FullMethodName: principal.Operator,
			authv1.TokenService_RevokeToken_FullMethodName: principal.Operator,
			authv1.TokenService_DeleteToken_FullMethodName: principal.Operator,

			authv1.AuditService_WatchEvents_FullMethodName: principal.ReadOnly,
		},
	}
}

// Services are what auth offers.
type Services struct {
	Credentials *CredentialService
	Accounts    *AccountService
	Tokens      *TokenService
	Audit       *AuditService
	Login       *LoginService
}

// Register adds the services to a server.
func (s Services) Register(server grpc.ServiceRegistrar) {
	authv1.RegisterCredentialServiceServer(server, s.Credentials)
	authv1.RegisterAccountServiceServer(server, s.Accounts)
	authv1.RegisterTokenServiceServer(server, s.Tokens)
	authv1.RegisterAuditServiceServer(server, s.Audit)
	authv1.RegisterLoginServiceServer(server, s.Login)
}

// receivesTraceKey lists who makes or checks trace MACs.
func receivesTraceKey(role string) bool {
	return role == tlsconf.RoleConnector || role == tlsconf.RoleFrontdoor
}
