package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dialback/dialback/internal/grant"
	"github.com/dialback/dialback/internal/secret"
)

const (
	defaultAccount = "default"
	maxAccountID   = 63
	maxDescription = 200 // characters
	maxGrants      = 64
	maxValidFor    = 100 * 365 * 24 * time.Hour

	defaultPage = 100
	maxPage     = 1000
)

// Tokens manages authtokens, for administrators.
type Tokens struct {
	store TokenStore
	now   func() time.Time
}

// NewTokens returns the management of the tokens in a store.
func NewTokens(store TokenStore, now func() time.Time) *Tokens {
	return &Tokens{store: store, now: now}
}

// NewToken is what an administrator asks for.
type NewToken struct {
	AccountID   string // empty: "default"
	Description string
	Grants      []string      // see package grant; none: everything
	ValidFor    time.Duration // 0: for ever
}

// Create makes an authtoken. Its text is returned this once and kept nowhere.
func (t *Tokens) Create(ctx context.Context, n NewToken) (Token, secret.String, error) {
	token, err := n.check()
	if err != nil {
		return Token{}, "", err
	}
	token.Created = t.now().UTC()
	if n.ValidFor > 0 {
		token.Expires = token.Created.Add(n.ValidFor)
	}
	for {
		authtoken := newAuthtoken()
		token.ID, token.Hash = authtoken.ID, Hash(authtoken.Text)
		created, err := t.store.CreateToken(ctx, token)
		if err != nil {
			return Token{}, "", fmt.Errorf("create token: %w", err)
		}
		if created {
			return token, authtoken.Text, nil
		}
	}
}

// check returns the token without id, hash and times.
func (n NewToken) check() (Token, error) {
	if n.AccountID == "" {
		n.AccountID = defaultAccount
	}
	if err := checkAccountID(n.AccountID); err != nil {
		return Token{}, err
	}
	if err := checkDescription(n.Description); err != nil {
		return Token{}, err
	}
	grants, err := canonicalGrants(n.Grants)
	if err != nil {
		return Token{}, err
	}
	if n.ValidFor < 0 || n.ValidFor > maxValidFor {
		return Token{}, invalid("valid_for", "give a positive time of at most 100 years, or leave it out for a token that does not expire")
	}
	return Token{AccountID: n.AccountID, Description: n.Description, Grants: grants}, nil
}

func checkAccountID(id string) error {
	ok := id != "" && len(id) <= maxAccountID
	for i := range len(id) {
		c := id[i]
		ok = ok && (('a' <= c && c <= 'z') || ('0' <= c && c <= '9') || c == '-')
	}
	if !ok {
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

// List returns a page of tokens, in the order of their ids, and what to ask for
// the next one with; empty: the end. An empty account means all.
func (t *Tokens) List(ctx context.Context, account, page string, size int) ([]Token, string, error) {
	if account != "" {
		if err := checkAccountID(account); err != nil {
			return nil, "", err
		}
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
func (t *Tokens) Revoke(ctx context.Context, id string) (Token, error) {
	if !isTokenID(id) {
		return Token{}, invalid("id", `the id of a token is 16 lower-case hexadecimal digits, as "dialbackctl token list" prints it`)
	}
	token, err := t.store.RevokeToken(ctx, id, t.now().UTC())
	if err != nil {
		return Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return token, nil
}
