// Package apikey has auth say whose an API key is, for every service that serves
// users.
package apikey

import (
	"container/list"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

const (
	// fresh is how long an answer counts: a revoked key is refused within that.
	fresh = time.Second
	// remembered is how many answers are kept at most.
	remembered = 4096
	// callTimeout bounds a call to auth.
	callTimeout = 5 * time.Second
)

// Authenticator asks auth, and not again for a second.
type Authenticator struct {
	auth authv1.CredentialServiceClient
	now  func() time.Time

	mu      sync.Mutex
	order   *list.List // of *answer; the most recent first
	answers map[[sha256.Size]byte]*list.Element
}

// answer is auth's to a key, of which only the hash is kept.
type answer struct {
	key       [sha256.Size]byte
	principal principal.Principal
	refusal   error
	until     time.Time
}

// New returns an Authenticator on a connection to auth.
func New(conn grpc.ClientConnInterface, now func() time.Time) *Authenticator {
	return &Authenticator{
		auth: authv1.NewCredentialServiceClient(conn), now: now,
		order: list.New(), answers: make(map[[sha256.Size]byte]*list.Element),
	}
}

// Authenticate returns whose a key is. A refusal is auth's own; if auth is away
// nobody is anybody: an error that says so.
func (a *Authenticator) Authenticate(ctx context.Context, key secret.String, address string) (principal.Principal, error) {
	hash := sha256.Sum256([]byte(key.Reveal()))
	if known, ok := a.recall(hash); ok {
		return known.principal, known.refusal
	}
	asked := a.now()
	p, err := a.ask(ctx, key, address)
	if err == nil || refused(err) {
		// It counts from before auth was asked: what was revoked since then is refused
		// in time.
		a.remember(&answer{key: hash, principal: p, refusal: err, until: asked.Add(fresh)})
	}
	return p, err
}

func (a *Authenticator) ask(ctx context.Context, key secret.String, address string) (principal.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := a.auth.Authenticate(ctx, &authv1.AuthenticateRequest{ApiKey: key.Reveal(), ClientAddress: address})
	if err != nil {
		return principal.Principal{}, err
	}
	return principal.Principal{
		Account: resp.GetAccountId(), Role: roleOf(resp.GetRole()), Actor: resp.GetActor(), TokenID: resp.GetTokenId(),
	}, nil
}

// refused reports whether err is about the key. That an address has to wait is
// not: the same key may come from another one.
func refused(err error) bool {
	e, ok := errs.From(err)
	return ok && e.Kind() == errs.Unauthenticated
}

// roleOf takes a role that this release does not know for none.
func roleOf(r authv1.Role) principal.Role {
	switch r {
	case authv1.Role_ROLE_AGENT:
		return principal.Agent
	case authv1.Role_ROLE_READ_ONLY:
		return principal.ReadOnly
	case authv1.Role_ROLE_OPERATOR:
		return principal.Operator
	case authv1.Role_ROLE_ADMIN:
		return principal.Admin
	default:
		return principal.None
	}
}

func (a *Authenticator) recall(key [sha256.Size]byte) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.answers[key]
	if !ok {
		return answer{}, false
	}
	known := answerOf(e)
	if !a.now().Before(known.until) {
		a.forget(e)
		return answer{}, false
	}
	a.order.MoveToFront(e)
	return *known, true
}

func (a *Authenticator) remember(fresh *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.answers[fresh.key]; ok {
		a.forget(old)
	}
	if a.order.Len() >= remembered {
		a.forget(a.order.Back())
	}
	a.answers[fresh.key] = a.order.PushFront(fresh)
}

func (a *Authenticator) forget(e *list.Element) {
	delete(a.answers, answerOf(e).key)
	a.order.Remove(e)
}

func answerOf(e *list.Element) *answer {
	return e.Value.(*answer) //nolint:forcetypeassert // the list holds nothing else
}
