// Package principal says who a user is to every service alike: whose account,
// which role, and the name under which what it does is kept in the audit.
package principal

import (
	"context"
	"fmt"

	"github.com/dialback/dialback/internal/errs"
)

// DefaultAccount is there from the start: whoever names no account means it, and
// administrators who have a certificate instead of a key belong to it.
const DefaultAccount = "default"

// Role is what somebody may do. Each one may do all that the ones below may.
type Role uint8

// The roles, in their order. None may do nothing.
const (
	None Role = iota
	// Agent may attach agents and call no external method.
	Agent
	// ReadOnly reads what belongs to its account.
	ReadOnly
	// Operator also changes what belongs to its account.
	Operator
	// Admin may do everything in every account.
	Admin
)

var names = [...]string{None: "none", Agent: "agent", ReadOnly: "read-only", Operator: "operator", Admin: "admin"}

// String is the role's name, as operators write it.
func (r Role) String() string {
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole reads a name that String writes; "none" is no role to ask for.
func ParseRole(s string) (Role, error) {
	for role := Agent; role <= Admin; role++ {
		if names[role] == s {
			return role, nil
		}
	}
	return None, fmt.Errorf("%q is no role: want agent, read-only, operator or admin", s)
}

// Principal is a user, or a program that acts for one.
type Principal struct {
	// Account is whose it is.
	Account string
	Role    Role
	// Actor names it in the audit: "token:<id>", "user:<subject>", "admin:<name>".
	Actor string
	// TokenID is that of the API key that was presented; empty: none was.
	TokenID string
}

// The refusals that depend on who asks.
var (
	// ErrForeign refuses who names another account than its own.
	ErrForeign = errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied, "this is for the account itself and for administrators")
	// ErrRole refuses who may do too little.
	ErrRole = errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied, "this needs another role")
)

// Sees reports whether what belongs to an account is this principal's to see. An
// object that it does not see does not exist for it.
func (p Principal) Sees(account string) bool {
	return p.Role == Admin || p.Role > None && p.Account == account
}

// Scope returns the account whose objects are listed when one asks for those of
// the given account; empty is an administrator's word for all, and everybody
// else's for the own one. ErrForeign if the account is another one's.
func (p Principal) Scope(account string) (string, error) {
	switch {
	case account == "" && p.Role != Admin:
		return p.Account, nil
	case account == "" || p.Sees(account):
		return account, nil
	default:
		return "", ErrForeign.WithMessage("account %q is not yours", account)
	}
}

type key struct{}

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, key{}, p)
}

// From returns the principal that a context carries. Without one it is nobody,
// who may do nothing.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(key{}).(Principal)
	return p
}
