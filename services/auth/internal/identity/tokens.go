package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

const (
	maxAccountID   = 63
	maxDescription = 200 // characters
	maxGrants      = 64
	maxValidFor    = 100 * 365 * 24 * time.Hour

	defaultPage = 100
	maxPage     = 1000
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

// Create makes a token. Its text is returned this once and kept nowhere: a repeat
// with an id of the caller's choice returns what stands, with an empty text.
func (t *Tokens) Create(ctx context.Context, by principal.Principal, n NewToken) (Token, secret.String, error) {
	token, err := n.check(by)
	if err != nil {
		return Token{}, "", err
	}
	token.Created = t.now().UTC()
	if n.ValidFor > 0 {
		token.Expires = token.Created.Add(n.ValidFor)
	}
	for {
		if token.ID = n.ID; n.ID == "" {
			token.ID = randomHex(tokenIDBytes)
		}
		text := newSecret(token.Kind, token.ID)
		token.Hash = Hash(text)
		created, err := t.store.CreateToken(ctx, token)
		switch {
		case err != nil:
			return Token{}, "", fmt.Errorf("create token: %w", err)
		case created:
			return token, text, nil
		case n.ID != "":
			standing, err := t.repeated(ctx, by, token)
			return standing, "", err
		}
	}
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
	if err := checkAccountID(n.AccountID); err != nil {
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
		return Token{}, invalid("grants", "they are for authtokens; what an API key may do is its role")
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

func checkAccountID(id string) error {
	if !isSlug(id, maxAccountID) {
		return invalid("account_id", "use 1 to 63 lower-case letters, digits and hyphens")
	}
	return nil
}

// checkDescription keeps what a terminal would obey out of lists.
func checkDescription(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxDescription || strings.ContainsFunc(s, notPrintable) {
		return invalid("description", "use at most 200 printable characters")
	}
	return nil
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

func canonicalGrants(texts []string) ([]string, error) {
	if len(texts) > maxGrants {
		return nil, invalid("grants", fmt.Sprintf("give at most %d", maxGrants))
	}
	grants := make([]string, 0, len(texts))
	for i, text := range texts {
		g, err := grant.Parse(text)
		if err != nil {
			return nil, invalid(fmt.Sprintf("grants[%d]", i), err.Error())
		}
		grants = append(grants, g.String())
	}
	return grants, nil
}

// badID is said of an id in a request.
const badID = "the id of a token is 1 to 63 lower-case letters, digits and hyphens"

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
	return token, nil
}

// List returns a page of tokens, in the order of their ids, and what to ask for
// the next one with; empty: the end. An empty account means all that the caller
// sees.
func (t *Tokens) List(ctx context.Context, by principal.Principal, account, page string, size int) ([]Token, string, error) {
	if account != "" {
		if err := checkAccountID(account); err != nil {
			return nil, "", err
		}
	}
	account, err := by.Scope(account)
	if err != nil {
		return nil, "", err
	}
	if page != "" && !isTokenID(page) {
		return nil, "", invalid("page_token", "use the next_page_token of an earlier answer")
	}
	switch {
	case size < 0 || size > maxPage:
		return nil, "", invalid("page_size", fmt.Sprintf("use at most %d", maxPage))
	case size == 0:
		size = defaultPage
	}
	tokens, err := t.store.Tokens(ctx, account, page, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("list tokens: %w", err)
	}
	if len(tokens) <= size {
		return tokens, "", nil
	}
	return tokens[:size], tokens[size-1].ID, nil
}

// Revoke ends a token. To revoke a revoked one is no error and changes nothing.
func (t *Tokens) Revoke(ctx context.Context, by principal.Principal, id string) (Token, error) {
	if _, err := t.changeable(ctx, by, id); err != nil {
		return Token{}, err
	}
	token, err := t.store.RevokeToken(ctx, id, t.now().UTC())
	if err != nil {
		return Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return token, nil
}

// changeable returns a token that the caller may change: one that may do more
// than the caller would be a way up.
func (t *Tokens) changeable(ctx context.Context, by principal.Principal, id string) (Token, error) {
	token, err := t.Get(ctx, by, id)
	if err != nil {
		return Token{}, err
	}
	if token.Role > by.Role {
		return Token{}, principal.ErrRole.WithMessage("with the role %s you cannot change a token of role %s", by.Role, token.Role)
	}
	return token, nil
}
