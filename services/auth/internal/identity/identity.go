// Package identity is auth's domain: authtokens and the accounts they belong to,
// agents and how they prove that they are the same as before, and the word that
// auth gives on both. It knows no wire and no store; Store says what it needs.
//
// Secrets come in and go out as secret.String and are kept as SHA-256 only: all
// of them are 256 random bits, for which a slow hash adds nothing.
package identity

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/dialback/dialback/internal/errs"
)

// The refusals of a credential. ErrTokenInvalid is answered for an unknown id
// and for a wrong secret alike, so that nobody learns which ids exist; whether a
// token is revoked or expired learns only who has its secret.
var (
	ErrTokenMissing = errs.New(errs.Unauthenticated, errs.ReasonTokenMissing,
		`no authtoken was presented, or not a whole one; it looks like "dbt_..." and is printed by "dialbackctl token create"`)
	ErrTokenInvalid = errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid,
		"the token is not known here; check that it was copied whole and that this is its server")
	ErrTokenRevoked = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked,
		"the token was revoked; ask the server's administrator for another one")
	ErrTokenExpired = errs.New(errs.Unauthenticated, errs.ReasonTokenExpired,
		"the token has expired; ask the server's administrator for another one")
	ErrKeyMissing = errs.New(errs.Unauthenticated, errs.ReasonTokenMissing,
		`what was presented is no API key; one looks like "dbk_..."`)
	ErrRateLimited = errs.New(errs.ResourceExhausted, errs.ReasonRateLimited,
		"too many credentials from this address were refused; try again later")
)

// The other errors of the domain.
var (
	ErrTokenNotFound = errs.New(errs.NotFound, errs.ReasonNotFound,
		`no token has this id; "dialbackctl token list" prints them all`)
	ErrTokenExists = errs.New(errs.AlreadyExists, errs.ReasonAlreadyExists,
		"there is another token with this id; choose another id")
	ErrCompacted = errs.New(errs.NotFound, errs.ReasonCompacted,
		"the revision is not kept any more; validate all sessions again and watch from now")
	ErrUnavailable = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"auth cannot answer now; try again")
	errInvalid = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request is malformed")
)

// invalid returns the refusal of one field of a request.
func invalid(field, problem string) *errs.Error {
	return errInvalid.WithMessage("%s: %s", field, problem).WithField(field, problem)
}

// randomHex returns n random bytes as lower-case hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}

// isHex reports whether s is n lower-case hexadecimal digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
