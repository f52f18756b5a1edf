// Package assertion verifies auth's word on who a session is.
package assertion

import (
	"context"
	"crypto/ed25519"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

const (
	// prefix is signed with each assertion: a signature over anything else
	// never stands for one.
	prefix = "dialback-assertion-v1\x00"
	// maxSize allows for 64 grants of 300 bytes.
	maxSize      = 32 << 10
	maxKeyID     = 128
	maxID        = 64
	instanceSize = 16
)

// ErrInvalid is what every assertion is refused with that does not hold. The
// session has to be validated again.
var ErrInvalid = errs.New(errs.Unauthenticated, errs.ReasonPermissionDenied,
	"the assertion does not hold; validate the session again")

// Keys are auth's public keys.
type Keys interface {
	// AssertionKey returns the key with an id, or an error that says whether
	// auth does not have it or cannot be asked.
	AssertionKey(ctx context.Context, id string) (ed25519.PublicKey, error)
}

// Verify returns who the session is, if auth has signed it for the connector
// whose certificate has this name, and it has not expired.
func Verify(ctx context.Context, keys Keys, signed *authv1.SignedAssertion, connector string) (directory.Principal, error) {
	raw := signed.GetAssertion()
	if len(raw) == 0 || len(raw) > maxSize || len(signed.GetKeyId()) > maxKeyID {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion is missing or too long")
	}
	key, err := keys.AssertionKey(ctx, signed.GetKeyId())
	if err != nil {
		return directory.Principal{}, err
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(prefix), raw...), signed.GetSignature()) {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion's signature is not auth's")
	}
	a := &authv1.Assertion{}
	if err := proto.Unmarshal(raw, a); err != nil {
		return directory.Principal{}, ErrInvalid.WithCause(err)
	}
	if a.GetConnector() != connector || connector == "" {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion was made for another connector")
	}
	if !time.Now().Before(a.GetExpireTime().AsTime()) {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion has expired; validate the session again")
	}
	return principalOf(a)
}

// principalOf checks what will be part of keys: a slash in an id would be
// somebody else's record.
func principalOf(a *authv1.Assertion) (directory.Principal, error) {
	if !isID(a.GetAccountId()) || !isID(a.GetAgentId()) || len(a.GetInstance()) != instanceSize || len(a.GetTokenId()) > maxID {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion names no account, agent and instance")
	}
	grants, err := grant.ParseAll(a.GetGrants())
	if err != nil {
		return directory.Principal{}, ErrInvalid.WithMessage("the assertion has a grant that this version does not know").WithCause(err)
	}
	p := directory.Principal{
		Account: a.GetAccountId(), Agent: a.GetAgentId(), Instance: string(a.GetInstance()), Token: a.GetTokenId(),
		Limits:         directory.Limits{Endpoints: int(a.GetMaxEndpoints()), Agents: int(a.GetMaxAgents())},
		MaxConnections: a.GetMaxConnections(),
	}
	if len(grants) > 0 {
		p.Grants = grants
	}
	return p, nil
}

func isID(s string) bool {
	return s != "" && len(s) <= maxID &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
