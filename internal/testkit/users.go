package testkit

import (
	"context"
	"strings"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

// ErrKey is Users' refusal.
var ErrKey = errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid, "no such key")

// Users is an rpc.Authenticator whose keys say who one is: "operator@team-a" is
// an operator of the account team-a, "admin" an administrator.
type Users struct{}

// Authenticate reads a key. The actor is "token:" and the key.
func (Users) Authenticate(_ context.Context, key secret.String, _ string) (principal.Principal, error) {
	name, account, _ := strings.Cut(key.Reveal(), "@")
	role, err := principal.ParseRole(name)
	if err != nil {
		return principal.Principal{}, ErrKey
	}
	if account == "" {
		account = principal.DefaultAccount
	}
	return principal.Principal{Account: account, Role: role, Actor: "token:" + key.Reveal(), TokenID: key.Reveal()}, nil
}
