package grpcapi

import (
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// roles are those of the contract, in the order of package principal.
var roles = []authv1.Role{
	principal.None:     authv1.Role_ROLE_UNSPECIFIED,
	principal.Agent:    authv1.Role_ROLE_AGENT,
	principal.ReadOnly: authv1.Role_ROLE_READ_ONLY,
	principal.Operator: authv1.Role_ROLE_OPERATOR,
	principal.Admin:    authv1.Role_ROLE_ADMIN,
}

func roleMessage(r principal.Role) authv1.Role { return roles[r] }

var errUnknownValue = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request has a value that this release does not know")

// roleOf refuses a role of a newer release: it might mean less than any of ours.
func roleOf(m authv1.Role) (principal.Role, error) {
	for r, known := range roles {
		if known == m {
			return principal.Role(r), nil
		}
	}
	return principal.None, errUnknownValue.WithField("role", "it is not one of the roles")
}

func kindMessage(k identity.Kind) authv1.TokenKind {
	switch k {
	case identity.APIKey:
		return authv1.TokenKind_TOKEN_KIND_API
	case identity.UserKey:
		return authv1.TokenKind_TOKEN_KIND_USER
	default:
		return authv1.TokenKind_TOKEN_KIND_AGENT
	}
}

// kindOf returns the kind of a token to be made.
func kindOf(m authv1.TokenKind) (identity.Kind, error) {
	switch m {
	case authv1.TokenKind_TOKEN_KIND_UNSPECIFIED, authv1.TokenKind_TOKEN_KIND_AGENT:
		return identity.AgentToken, nil
	case authv1.TokenKind_TOKEN_KIND_API:
		return identity.APIKey, nil
	default:
		return "", errUnknownValue.WithField("kind", "ask for AGENT or API; a login makes the others")
	}
}
