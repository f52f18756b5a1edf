// Package credentials is the connector's side of auth: it has agents judged,
// keeps auth's word on each session fresh, and ends what was revoked.
package credentials

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	validateTimeout = 5 * time.Second
	// rememberFor is how long a judged credential counts while auth is away.
	rememberFor = 10 * time.Minute
	// retryAfter is what agents are told to wait for while auth is away.
	retryAfter = 2 * time.Second
)

// ErrAway says that auth cannot be asked and that the credential is not a
// recent one.
var ErrAway = errs.New(errs.Unavailable, errs.ReasonUnavailable,
	"the authtoken cannot be checked right now; retry").WithRetry(retryAfter)

// Credential is what an agent presents.
type Credential struct {
	Authtoken secret.String
	// Agent and Resume are empty at first contact.
	Agent    string
	Resume   secret.String
	Instance session.Instance
	// Address is the agent's, for auth's brake on guessing.
	Address string
}

// key names a credential without keeping it: each part is hashed by itself, so
// that no two credentials share one.
func (c Credential) key() [sha256.Size]byte {
	var all []byte
	for _, part := range []string{c.Authtoken.Reveal(), c.Resume.Reveal(), c.Agent, string(c.Instance[:])} {
		hash := sha256.Sum256([]byte(part))
		all = append(all, hash[:]...)
	}
	return sha256.Sum256(all)
}

// Grant is auth's answer to a credential.
type Grant struct {
	session.Identity
	session.Assertion
	// Resume is set when the agent id is new.
	Resume     secret.String
	MaxTunnels int
	// MaxAgents is the account's quota; 0: its agents are not counted.
	MaxAgents int
	// Allowed are the token's grants. Auth alone understands all of them: nil stands
	// for what this release does not know, and then for everything, for the
	// registry judges each bind by itself.
	Allowed grant.Set
	asked   time.Time
	// credential is complete: with the agent id and resume token that auth gave.
	credential Credential
	validFor   time.Duration
}

// Release has the registry forget a tunnel that its session may not have any more.
type Release func(s *session.Session, tunnelID string)

// Keeper has credentials judged and sessions kept in good standing.
type Keeper struct {
	auth    authv1.CredentialServiceClient
	table   *session.Table
	release Release
	log     *slog.Logger
	renews  *session.Lanes

	mu       sync.Mutex
	judged   map[[sha256.Size]byte]judgement
	held     map[string]*holding // by session id
	traceKey []byte
	changed  time.Time // when a token or an account has changed last, as far as is known
}

// judgement is a grant that counts for a while when auth is away.
type judgement struct {
	grant Grant
	at    time.Time
}

// New returns a Keeper; Run does its work.
func New(conn grpc.ClientConnInterface, table *session.Table, release Release, log *slog.Logger) *Keeper {
	return &Keeper{
		auth: authv1.NewCredentialServiceClient(conn), table: table, release: release, log: log,
		renews: session.NewLanes(renewsAtOnce, renewsWaiting),
		judged: make(map[[sha256.Size]byte]judgement),
		held:   make(map[string]*holding),
	}
}

// Login has a credential judged. A refusal is auth's own; ErrAway if auth cannot
// be asked and the credential was not judged in the last ten minutes.
func (k *Keeper) Login(ctx context.Context, c Credential) (Grant, error) {
	grant, err := k.validate(ctx, c)
	if err == nil {
		k.remember(grant)
		return grant, nil
	}
	if !away(err) {
		return Grant{}, err
	}
	if grant, ok := k.recall(c); ok {
		k.log.WarnContext(ctx, "auth is away: a recent judgement counts", "agent", grant.Agent, "error", err)
		return grant, nil
	}
	return Grant{}, ErrAway.WithCause(err)
}

func (k *Keeper) validate(ctx context.Context, c Credential) (Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()
	asked := time.Now()
	resp, err := k.auth.Validate(ctx, &authv1.ValidateRequest{
		Authtoken: c.Authtoken.Reveal(), AgentId: c.Agent, ResumeToken: c.Resume.Reveal(),
		Instance: c.Instance[:], ClientAddress: c.Address,
	})
	if err != nil {
		return Grant{}, err
	}
	validFor := resp.GetValidFor().AsDuration()
	g := Grant{
		Identity: session.Identity{
			Agent: resp.GetAgentId(), Instance: c.Instance, Account: resp.GetAccountId(), Token: resp.GetTokenId(),
		},
		Assertion: session.Assertion{
			Bytes: resp.GetAssertion().GetAssertion(), Signature: resp.GetAssertion().GetSignature(),
			KeyID: resp.GetAssertion().GetKeyId(), Expires: time.Now().Add(validFor),
		},
		MaxTunnels: int(resp.GetMaxTunnels()),
		MaxAgents:  int(resp.GetMaxAgents()),
		asked:      asked,
		credential: c,
		validFor:   validFor,
	}
	if g.Allowed, err = grant.ParseAll(resp.GetGrants()); err != nil {
		k.log.WarnContext(ctx, "a token has grants that this release does not know", "token", g.Token, "error", err)
	}
	if resume := resp.GetResumeToken(); resume != "" {
		g.Resume = secret.String(resume)
		g.credential.Agent, g.credential.Resume = g.Agent, g.Resume
	}
	return g, nil
}

// away reports whether err says nothing about the credential.
func away(err error) bool {
	e, ok := errs.From(err)
	if !ok {
		return true
	}
	switch e.Kind() {
	case errs.Unavailable, errs.Internal, errs.DeadlineExceeded:
		return true
	}
	return false
}

// final reports whether err takes a standing session's ground away.
func final(err error) bool {
	e, ok := errs.From(err)
	return ok && (e.Kind() == errs.Unauthenticated || e.Kind() == errs.PermissionDenied || e.Reason() == errs.ReasonQuotaExceeded)
}

// ended reports whether err says that a token is good for nobody. A secret that
// was rotated is refused too, while the token lives on with the new one.
func ended(err error) bool {
	e, ok := errs.From(err)
	return ok && (e.Reason() == errs.ReasonTokenRevoked || e.Reason() == errs.ReasonTokenExpired)
}

func (k *Keeper) remember(g Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.judged[g.credential.key()] = judgement{grant: g, at: time.Now()}
}

func (k *Keeper) recall(c Credential) (Grant, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j, ok := k.judged[c.key()]
	if !ok || !j.counts(time.Now()) || k.table.Revoked(j.grant.Token, j.grant.Account) {
		return Grant{}, false
	}
	// The agent presented what it was given: nothing is new to it.
	j.grant.Resume = ""
	return j.grant, true
}

func (j judgement) counts(now time.Time) bool {
	return now.Sub(j.at) < rememberFor && now.Before(j.grant.Expires)
}

// TraceKey returns the key of trace MACs; nil: not known yet.
func (k *Keeper) TraceKey() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.traceKey
}
