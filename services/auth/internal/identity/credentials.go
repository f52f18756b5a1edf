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
	Account(ctx context.Context, id string) (Account, error)
	AgentStore
}

// Limits bound what a valid credential gets.
type Limits struct {
	// AssertionValidity is how long auth's word counts, at most.
	AssertionValidity time.Duration
	// MaxTunnels is how many tunnels a session may have; 0: no limit.
	MaxTunnels uint32
}

// CredentialDeps is what judging credentials works with.
type CredentialDeps struct {
	Store CredentialStore
	// Addresses slows down where wrong credentials come from, and IDs who guesses
	// the secret of one token from many places.
	Addresses, IDs *Throttle
	Uses           *Uses
	Now            func() time.Time
}

// Credentials judges what agents and users present.
type Credentials struct {
	store     CredentialStore
	addresses *Throttle
	ids       *Throttle
	uses      *Uses
	limits    Limits
	now       func() time.Time
	nobody    [sha256.Size]byte // the hash that stands for unknown tokens
}

// NewCredentials returns a judge of credentials.
func NewCredentials(limits Limits, d CredentialDeps) *Credentials {
	c := &Credentials{store: d.Store, addresses: d.Addresses, ids: d.IDs, uses: d.Uses, limits: limits, now: d.Now}
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
	Quotas                      Quotas
	Expires                     time.Time
}

// Verdict is the answer to a valid credential.
type Verdict struct {
	Assertion   Assertion
	ResumeToken secret.String // set when the agent is new
	ValidFor    time.Duration
	MaxTunnels  uint32
}

// Validate judges a credential. The same agent may be validated again as often as
// one likes.
func (c *Credentials) Validate(ctx context.Context, p Presented) (Verdict, error) {
	if err := p.check(); err != nil {
		return Verdict{}, err
	}
	token, account, err := c.token(ctx, p)
	if err != nil {
		return Verdict{}, err
	}
	agentID, resume, err := c.agent(ctx, account, p)
	if err != nil {
		return Verdict{}, err
	}
	now := c.now()
	expires := now.Add(c.validity(account))
	if !token.Expires.IsZero() && token.Expires.Before(expires) {
		expires = token.Expires
	}
	return Verdict{
		Assertion: Assertion{
			AccountID: token.AccountID, TokenID: token.ID, AgentID: agentID, Instance: p.Instance,
			Connector: p.Connector, Grants: token.Grants, Quotas: account.Quotas, Expires: expires,
		},
		ResumeToken: resume, ValidFor: expires.Sub(now), MaxTunnels: c.limits.MaxTunnels,
	}, nil
}

// validity is how long auth's word on a session counts. Where agents are counted
// it is short, so that those of a connector that was lost are soon not.
func (c *Credentials) validity(account Account) time.Duration {
	if account.Quotas.MaxAgents > 0 {
		return min(c.limits.AssertionValidity, liveFor)
	}
	return c.limits.AssertionValidity
}

// EndAgent counts an agent out that has no session with a connector any more.
func (c *Credentials) EndAgent(ctx context.Context, account, agent, connector string) error {
	if err := checkAccountID("account_id", account); err != nil {
		return err
	}
	err := c.store.ChangeLive(ctx, account, func(live Live) error {
		live.leave(agent, connector)
		return nil
	})
	if err != nil {
		return fmt.Errorf("count agent %s out: %w", agent, err)
	}
	return nil
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
	token, _, err := c.known(ctx, presented, err, address)
	if err != nil {
		return principal.Principal{}, fmt.Errorf("API key %q from %q: %w", presented.ID, address, err)
	}
	return principal.Principal{Account: token.AccountID, Role: token.Role, Actor: token.Actor(), TokenID: token.ID}, nil
}

func (c *Credentials) token(ctx context.Context, p Presented) (Token, Account, error) {
	presented, err := ParseAuthtoken(p.Authtoken)
	token, account, err := c.known(ctx, presented, err, p.ClientAddress)
	if err != nil {
		err = fmt.Errorf("token %q from %q by connector %q: %w", presented.ID, p.ClientAddress, p.Connector, err)
	}
	return token, account, err
}

// known returns the token whose secret was presented, unless it was malformed, and
// its account.
func (c *Credentials) known(ctx context.Context, presented PresentedToken, malformed error, address string) (Token, Account, error) {
	if wait := c.addresses.Wait(address); wait > 0 {
		return Token{}, Account{}, ErrRateLimited.WithRetry(wait)
	}
	if malformed != nil {
		c.addresses.Fail(address)
		return Token{}, Account{}, malformed
	}
	token, err := c.match(ctx, presented)
	if errors.Is(err, ErrTokenInvalid) {
		err = c.guessed(presented.ID, address)
	}
	if err != nil {
		return Token{}, Account{}, err
	}
	account, err := c.standing(ctx, token)
	if err != nil {
		return Token{}, Account{}, err
	}
	c.uses.Note(token.ID)
	return token, account, nil
}

// guessed counts a wrong secret, against its address and against the id that it
// was for. Only failures are: a revoked token is no guess, and the owner of a
// token comes in however many guess its secret elsewhere. Whether the id exists
// makes no difference.
func (c *Credentials) guessed(id, address string) error {
	c.addresses.Fail(address)
	if wait := c.ids.Wait(id); wait > 0 {
		return ErrRateLimited.WithRetry(wait)
	}
	c.ids.Fail(id)
	return ErrTokenInvalid
}

// standing is nil if a token and its account are good.
func (c *Credentials) standing(ctx context.Context, token Token) (Account, error) {
	switch {
	case !token.Revoked.IsZero():
		return Account{}, ErrTokenRevoked
	case token.Lapsed || token.ExpiredAt(c.now()):
		return Account{}, ErrTokenExpired
	}
	account, err := c.store.Account(ctx, token.AccountID)
	switch {
	case errors.Is(err, ErrAccountNotFound):
		return Account{}, ErrTokenRevoked // deleted, with all that it had
	case err != nil:
		return Account{}, fmt.Errorf("read account: %w", err)
	case account.Stopped():
		return Account{}, ErrAccountDisabled
	}
	return account, nil
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
	if !token.isSecret(presented.Text, c.now()) || token.ID != presented.ID {
		return Token{}, ErrTokenInvalid
	}
	return token, nil
}

// agent returns the id that the session has. Whoever cannot prove the id that it
// claims, be it another account's, a copy's or a forgotten one, gets a new one and
// its resume token: that is no error, for the authtoken alone says who may come.
func (c *Credentials) agent(ctx context.Context, account Account, p Presented) (string, secret.String, error) {
	if isAgentID(p.AgentID) {
		agent, found, err := c.store.Agent(ctx, p.AgentID)
		if err != nil {
			return "", "", fmt.Errorf("read agent: %w", err)
		}
		if found && matches(p.ResumeToken, agent.ResumeHash) && agent.AccountID == account.ID {
			return agent.ID, "", c.again(ctx, account, agent, p.Connector)
		}
	}
	return c.newAgent(ctx, account, p.Connector)
}

// again counts an agent in that was here before, and notes now and then that it
// was.
func (c *Credentials) again(ctx context.Context, account Account, agent Agent, connector string) error {
	if err := c.countIn(ctx, account, agent.ID, connector); err != nil {
		return err
	}
	if now := c.now().UTC(); now.Sub(agent.Seen) >= seenEvery {
		if err := c.store.SeeAgent(ctx, agent.ID, now); err != nil {
			return fmt.Errorf("note agent: %w", err)
		}
	}
	return nil
}

func (c *Credentials) newAgent(ctx context.Context, account Account, connector string) (string, secret.String, error) {
	for {
		resume, now := newResumeToken(), c.now().UTC()
		agent := Agent{ID: newAgentID(), AccountID: account.ID, ResumeHash: Hash(resume), Created: now, Seen: now}
		if err := c.countIn(ctx, account, agent.ID, connector); err != nil {
			return "", "", err
		}
		created, err := c.store.CreateAgent(ctx, agent)
		if err != nil {
			return "", "", fmt.Errorf("create agent: %w", err)
		}
		if created {
			return agent.ID, resume, nil
		}
	}
}

// countIn refuses an agent that is one too many for its account.
func (c *Credentials) countIn(ctx context.Context, account Account, agent, connector string) error {
	limit := int(account.Quotas.MaxAgents)
	if limit == 0 {
		return nil
	}
	err := c.store.ChangeLive(ctx, account.ID, func(live Live) error {
		return live.enter(agent, connector, limit, c.now().UTC())
	})
	if err != nil {
		return fmt.Errorf("count agent %s in: %w", agent, err)
	}
	return nil
}
