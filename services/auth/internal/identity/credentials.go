package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

const (
	// InstanceSize is how many bytes name a process of an agent.
	InstanceSize = 16

	maxPresented = 256 // bytes of each text that somebody presents
	tooLong      = "it is longer than 256 bytes"
)

// CredentialStore is what judging credentials needs of a Store.
type CredentialStore interface {
	Token(ctx context.Context, id string) (Token, error)
	AgentStore
}

// Limits bound what a valid credential gets.
type Limits struct {
	// AssertionValidity is how long auth's word counts, at most.
	AssertionValidity time.Duration
	// MaxTunnels is how many tunnels a session may have; 0: no limit.
	MaxTunnels uint32
}

// Credentials judges what agents and users present.
type Credentials struct {
	store    CredentialStore
	throttle *Throttle
	limits   Limits
	now      func() time.Time
	nobody   [sha256.Size]byte // the hash that stands for unknown tokens
}

// NewCredentials returns a judge of credentials.
func NewCredentials(store CredentialStore, throttle *Throttle, limits Limits, now func() time.Time) *Credentials {
	c := &Credentials{store: store, throttle: throttle, limits: limits, now: now}
	rand.Read(c.nobody[:])
	return c
}

// Presented is what an agent showed to a connector.
type Presented struct {
	Authtoken     secret.String
	AgentID       string
	ResumeToken   secret.String
	Instance      []byte
	ClientAddress string
	Connector     string // the connector's verified name
}

// Assertion is auth's word on who a session is.
type Assertion struct {
	AccountID, TokenID, AgentID string
	Instance                    []byte
	Connector                   string
	Grants                      []string
	Expires                     time.Time
}

// Verdict is the answer to a valid credential.
type Verdict struct {
	Assertion   Assertion
	ResumeToken secret.String // set when the agent is new
	ValidFor    time.Duration
	MaxTunnels  uint32
}

// Validate judges a credential. It writes only for an agent that cannot prove an
// id it has: the same agent may be validated again as often as one likes.
func (c *Credentials) Validate(ctx context.Context, p Presented) (Verdict, error) {
	if err := p.check(); err != nil {
		return Verdict{}, err
	}
	token, err := c.token(ctx, p)
	if err != nil {
		return Verdict{}, err
	}
	agentID, resume, err := c.agent(ctx, token.AccountID, p)
	if err != nil {
		return Verdict{}, err
	}
	now := c.now()
	expires := now.Add(c.limits.AssertionValidity)
	if !token.Expires.IsZero() && token.Expires.Before(expires) {
		expires = token.Expires
	}
	return Verdict{
		Assertion: Assertion{
			AccountID: token.AccountID, TokenID: token.ID, AgentID: agentID,
			Instance: p.Instance, Connector: p.Connector, Grants: token.Grants, Expires: expires,
		},
		ResumeToken: resume, ValidFor: expires.Sub(now), MaxTunnels: c.limits.MaxTunnels,
	}, nil
}

func (p Presented) check() error {
	switch {
	case len(p.Authtoken.Reveal()) > maxPresented:
		return invalid("authtoken", tooLong)
	case len(p.AgentID) > maxPresented:
		return invalid("agent_id", tooLong)
	case len(p.ResumeToken.Reveal()) > maxPresented:
		return invalid("resume_token", tooLong)
	case len(p.ClientAddress) > maxPresented:
		return invalid("client_address", tooLong)
	case len(p.Instance) != InstanceSize:
		return invalid("instance", "it is 16 bytes, drawn at each start of an agent")
	}
	return nil
}

// Authenticate judges an API key that came from an address, and says whose it is.
func (c *Credentials) Authenticate(ctx context.Context, key secret.String, address string) (principal.Principal, error) {
	switch {
	case len(key.Reveal()) > maxPresented:
		return principal.Principal{}, invalid("api_key", tooLong)
	case len(address) > maxPresented:
		return principal.Principal{}, invalid("client_address", tooLong)
	}
	presented, err := parseAPIKey(key)
	token, err := c.known(ctx, presented, err, address)
	if err != nil {
		return principal.Principal{}, fmt.Errorf("API key %q from %q: %w", presented.ID, address, err)
	}
	return principal.Principal{Account: token.AccountID, Role: token.Role, Actor: token.Actor(), TokenID: token.ID}, nil
}

func (c *Credentials) token(ctx context.Context, p Presented) (Token, error) {
	presented, err := ParseAuthtoken(p.Authtoken)
	token, err := c.known(ctx, presented, err, p.ClientAddress)
	if err != nil {
		return Token{}, fmt.Errorf("token %q from %q by connector %q: %w", presented.ID, p.ClientAddress, p.Connector, err)
	}
	return token, nil
}

// known returns the token whose secret was presented, unless it was malformed.
// Only failures of who does not have a secret count against the address: a
// revoked token is no guess.
func (c *Credentials) known(ctx context.Context, presented PresentedToken, malformed error, address string) (Token, error) {
	if wait := c.throttle.Wait(address); wait > 0 {
		return Token{}, ErrRateLimited.WithRetry(wait)
	}
	if malformed != nil {
		c.throttle.Fail(address)
		return Token{}, malformed
	}
	token, err := c.match(ctx, presented)
	switch {
	case errors.Is(err, ErrTokenInvalid):
		c.throttle.Fail(address)
		return Token{}, err
	case err != nil:
		return Token{}, err
	case !token.Revoked.IsZero():
		return Token{}, ErrTokenRevoked
	case token.Lapsed || token.ExpiredAt(c.now()):
		return Token{}, ErrTokenExpired
	}
	return token, nil
}

// match finds the token by id and secret. For an id that does not exist it does
// the same work, and gives the same answer, as for a wrong secret.
func (c *Credentials) match(ctx context.Context, presented PresentedToken) (Token, error) {
	token, err := c.store.Token(ctx, presented.ID)
	switch {
	case errors.Is(err, ErrTokenNotFound):
		token = Token{Hash: c.nobody}
	case err != nil:
		return Token{}, fmt.Errorf("read token: %w", err)
	}
	if !matches(presented.Text, token.Hash) || token.ID != presented.ID {
		return Token{}, ErrTokenInvalid
	}
	return token, nil
}

// agent returns the id that the session has. Whoever cannot prove the id that it
// claims, be it another account's, a copy's or a forgotten one, gets a new one and
// its resume token: that is no error, for the authtoken alone says who may come.
func (c *Credentials) agent(ctx context.Context, account string, p Presented) (string, secret.String, error) {
	if isAgentID(p.AgentID) {
		agent, found, err := c.store.Agent(ctx, p.AgentID)
		if err != nil {
			return "", "", fmt.Errorf("read agent: %w", err)
		}
		if found && matches(p.ResumeToken, agent.ResumeHash) && agent.AccountID == account {
			return agent.ID, "", nil
		}
	}
	return c.newAgent(ctx, account)
}

func (c *Credentials) newAgent(ctx context.Context, account string) (string, secret.String, error) {
	for {
		resume := newResumeToken()
		agent := Agent{ID: newAgentID(), AccountID: account, ResumeHash: Hash(resume), Created: c.now().UTC()}
		created, err := c.store.CreateAgent(ctx, agent)
		if err != nil {
			return "", "", fmt.Errorf("create agent: %w", err)
		}
		if created {
			return agent.ID, resume, nil
		}
	}
}
