package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

const (
	maxDescription = 200 // characters
	maxGrants      = 64
	maxValidFor    = 100 * 365 * 24 * time.Hour
)

// Tokens manages authtokens and API keys, for those who operate an account and
// for administrators.
type Tokens struct {
	store TokenStore
	now   func() time.Time
}

// NewTokens returns the management of the tokens in a store.
func NewTokens(store TokenStore, now func() time.Time) *Tokens {
	return &Tokens{store: store, now: now}
}

// NewToken is what somebody asks for.
type NewToken struct {
	ID          string // empty: a random one
	AccountID   string // empty: the caller's
	Kind        Kind
	Role        principal.Role // None: Agent for authtokens, ReadOnly for API keys
	Description string
	Grants      []string      // see package grant; none: everything
	ValidFor    time.Duration // 0: for ever
}

var errKeyGrants = invalid("grants", "they are for authtokens; what an API key may do is its role")

// Create makes a token. Its text is returned this once and kept nowhere: a repeat
// with an id of the caller's choice returns what stands, with an empty text.
func (t *Tokens) Create(ctx context.Context, by Caller, n NewToken) (Token, secret.String, error) {
	token, err := n.check(by.Principal)
	if err != nil {
		return Token{}, "", err
	}
	return t.create(ctx, by, token, n, Created)
}

// create makes a token that was checked.
func (t *Tokens) create(ctx context.Context, by Caller, token Token, n NewToken, action Action) (Token, secret.String, error) {
	token.Created = t.now().UTC()
	if n.ValidFor > 0 {
		token.Expires = token.Created.Add(n.ValidFor)
	}
	// An account begins with its first token, if an administrator makes it.
	begin := by.Role == principal.Admin
	for {
		if token.ID = n.ID; n.ID == "" {
			token.ID = randomHex(tokenIDBytes)
		}
		text := newSecret(token.Kind, token.ID)
		token.Hash = Hash(text)
		event := by.event(token.Created, action, kindToken, token.ID, token.AccountID, token.details())
		made, created, err := t.store.CreateToken(ctx, token, NewTokenIn{Begin: begin, By: by, Event: event})
		switch {
		case err != nil:
			return Token{}, "", fmt.Errorf("create token: %w", err)
		case created:
			return made, text, nil
		case n.ID != "":
			standing, err := t.repeated(ctx, by.Principal, token)
			return standing, "", err
		}
	}
}

// details are what an event says of a new token. Its description is its owner's
// own words, and stays out.
func (t Token) details() map[string]string {
	details := map[string]string{"role": t.Role.String(), "grants": clip(strings.Join(t.Grants, " "))}
	if t.Kind != AgentToken {
		details["kind"] = string(t.Kind)
		delete(details, "grants")
	}
	if !t.Expires.IsZero() {
		details["expire_time"] = t.Expires.Format(time.RFC3339)
	}
	return details
}

// clip keeps an event's details within their bound.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// repeated returns the token that a repeated call has made before.
func (t *Tokens) repeated(ctx context.Context, by principal.Principal, want Token) (Token, error) {
	standing, err := t.store.Token(ctx, want.ID)
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("read token %s: %w", want.ID, err)
	case !by.Sees(standing.AccountID) || !standing.asWanted(want):
		return Token{}, ErrTokenExists
	}
	return standing, nil
}

// check returns the token without id, hash and times.
func (n NewToken) check(by principal.Principal) (Token, error) {
	if n.AccountID == "" {
		n.AccountID = by.Account
	}
	if err := checkAccountID("account_id", n.AccountID); err != nil {
		return Token{}, err
	}
	if !by.Sees(n.AccountID) {
		return Token{}, principal.ErrForeign.WithMessage("account %q is not yours", n.AccountID)
	}
	if n.ID != "" && !isTokenID(n.ID) {
		return Token{}, invalid("id", badID)
	}
	role, err := n.role()
	if err != nil {
		return Token{}, err
	}
	if role > by.Role {
		return Token{}, principal.ErrRole.WithMessage("with the role %s you cannot make a token of role %s", by.Role, role)
	}
	if err := checkDescription(n.Description); err != nil {
		return Token{}, err
	}
	grants, err := canonicalGrants(n.Grants)
	if err != nil {
		return Token{}, err
	}
	if n.Kind != AgentToken && len(grants) > 0 {
		return Token{}, errKeyGrants
	}
	if n.ValidFor < 0 || n.ValidFor > maxValidFor {
		return Token{}, invalid("valid_for", "give a positive time of at most 100 years, or leave it out for a token that does not expire")
	}
	return Token{AccountID: n.AccountID, Kind: n.Kind, Role: role, Description: n.Description, Grants: grants}, nil
}

func (n NewToken) role() (principal.Role, error) {
	switch {
	case n.Kind == AgentToken && n.Role > principal.Agent:
		return principal.None, invalid("role", "an authtoken has the role agent; ask for kind API to call with a role")
	case n.Kind == AgentToken:
		return principal.Agent, nil
	case n.Role == principal.None:
		return principal.ReadOnly, nil
	case n.Role < principal.ReadOnly || n.Role > principal.Admin:
		return principal.None, invalid("role", "an API key has the role read-only, operator or admin")
	}
	return n.Role, nil
}

// Get returns a token that the caller sees; else there is none: ErrTokenNotFound.
func (t *Tokens) Get(ctx context.Context, by principal.Principal, id string) (Token, error) {
	if !isTokenID(id) {
		return Token{}, invalid("id", badID)
	}
	token, err := t.store.Token(ctx, id)
	if err != nil {
		return Token{}, fmt.Errorf("read token %s: %w", id, err)
	}
	if !by.Sees(token.AccountID) {
		return Token{}, ErrTokenNotFound
	}
	one := []Token{token}
	err = t.addUses(ctx, one)
	return one[0], err
}

// List returns a page of tokens, in the order of their ids, and what to ask for
// the next one with; empty: the end. An empty account means all that the caller
// sees. A page of a filtered list may have fewer, and not be the last.
func (t *Tokens) List(ctx context.Context, by principal.Principal, filter TokenFilter, page string, size int) ([]Token, string, error) {
	account := filter.Account
	if account != "" {
		if err := checkAccountID("account_id", account); err != nil {
			return nil, "", err
		}
	}
	account, err := by.Scope(account)
	if err != nil {
		return nil, "", err
	}
	if page != "" && !isTokenID(page) {
		return nil, "", errPageToken
	}
	if size, err = pageSize(size); err != nil {
		return nil, "", err
	}
	tokens, next, err := matching(size, page, filter.matches, func(t Token) string { return t.ID }, func(after string, limit int) ([]Token, error) {
		return t.store.Tokens(ctx, account, after, limit)
	})
	if err != nil {
		return nil, "", fmt.Errorf("list tokens: %w", err)
	}
	return tokens, next, t.addUses(ctx, tokens)
}

// addUses sets when tokens, in the order of their ids, were used last.
func (t *Tokens) addUses(ctx context.Context, tokens []Token) error {
	if len(tokens) == 0 {
		return nil
	}
	uses, err := t.store.LastUses(ctx, tokens[0].ID, tokens[len(tokens)-1].ID)
	if err != nil {
		return fmt.Errorf("read the last uses: %w", err)
	}
	for i := range tokens {
		tokens[i].LastUse = uses[tokens[i].ID]
	}
	return nil
}
