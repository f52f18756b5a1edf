package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/principal"
)

const maxDisplayName = 200 // characters

// Accounts manages accounts: everybody reads the own one, administrators all.
type Accounts struct {
	store interface {
		AccountStore
		TokenStore
	}
	now func() time.Time
}

// NewAccounts returns the management of the accounts in a store.
func NewAccounts(store interface {
	AccountStore
	TokenStore
}, now func() time.Time,
) *Accounts {
	return &Accounts{store: store, now: now}
}

// Create makes an account. A repeat with the same content returns what stands;
// ErrAccountExists: there is one with other content.
func (m *Accounts) Create(ctx context.Context, by Caller, a Account) (Account, error) {
	if err := errors.Join(checkAccountID("id", a.ID), checkDisplayName(a.DisplayName)); err != nil {
		return Account{}, err
	}
	a.Created = m.now().UTC()
	event := by.event(a.Created, Created, kindAccount, a.ID, a.ID, nil)
	standing, created, err := m.store.CreateAccount(ctx, a, event)
	switch {
	case err != nil:
		return Account{}, fmt.Errorf("create account %s: %w", a.ID, err)
	case !created && (standing.DisplayName != a.DisplayName || standing.Disabled != a.Disabled || standing.Quotas != a.Quotas):
		return Account{}, ErrAccountExists
	}
	return standing, nil
}

// Get returns an account that the caller sees; else there is none.
func (m *Accounts) Get(ctx context.Context, by principal.Principal, id string) (Account, error) {
	if err := checkAccountID("id", id); err != nil {
		return Account{}, err
	}
	if !by.Sees(id) {
		return Account{}, ErrAccountNotFound
	}
	a, err := m.store.Account(ctx, id)
	if err != nil {
		return Account{}, fmt.Errorf("read account %s: %w", id, err)
	}
	return a, nil
}

// List returns a page of the accounts that the caller sees, by id, and what to
// ask for the next one with; empty: the end.
func (m *Accounts) List(ctx context.Context, by principal.Principal, filter AccountFilter, page string, size int) ([]Account, string, error) {
	if page != "" && checkAccountID("page_token", page) != nil {
		return nil, "", errPageToken
	}
	size, err := pageSize(size)
	if err != nil {
		return nil, "", err
	}
	if by.Role != principal.Admin {
		own, err := m.Get(ctx, by, by.Account)
		if err != nil || !filter.matches(own) {
			return nil, "", err
		}
		return []Account{own}, "", nil
	}
	accounts, next, err := matching(size, page, filter.matches, func(a Account) string { return a.ID }, func(after string, limit int) ([]Account, error) {
		return m.store.Accounts(ctx, after, limit)
	})
	if err != nil {
		return nil, "", fmt.Errorf("list accounts: %w", err)
	}
	return accounts, next, nil
}

// AccountChange is what is to become of an account; nil leaves as it is.
type AccountChange struct {
	DisplayName                             *string
	Disabled                                *bool
	MaxAgents, MaxEndpoints, MaxConnections *uint32
	// Revision that the account must still have; 0: any.
	Revision int64
}

// apply returns the names of what it has changed.
func (c AccountChange) apply(a *Account) []string {
	var changed []string
	set(&changed, "display_name", &a.DisplayName, c.DisplayName)
	set(&changed, "disabled", &a.Disabled, c.Disabled)
	set(&changed, "max_agents", &a.Quotas.MaxAgents, c.MaxAgents)
	set(&changed, "max_endpoints", &a.Quotas.MaxEndpoints, c.MaxEndpoints)
	set(&changed, "max_connections", &a.Quotas.MaxConnections, c.MaxConnections)
	return changed
}

func set[T comparable](changed *[]string, name string, field, value *T) {
	if value != nil && *field != *value {
		*field = *value
		*changed = append(*changed, name)
	}
}

// Update changes an account. ErrEtag: it is not the one that was meant.
func (m *Accounts) Update(ctx context.Context, by Caller, id string, c AccountChange) (Account, error) {
	if c.DisplayName != nil {
		if err := checkDisplayName(*c.DisplayName); err != nil {
			return Account{}, err
		}
	}
	if _, err := m.Get(ctx, by.Principal, id); err != nil {
		return Account{}, err
	}
	a, err := m.store.ChangeAccount(ctx, id, func(a *Account) (*Event, error) {
		if c.Revision != 0 && a.Revision != c.Revision {
			return nil, ErrEtag
		}
		changed := c.apply(a)
		if len(changed) == 0 {
			return nil, nil //nolint:nilnil // nothing to write is no error
		}
		details := map[string]string{"changed": strings.Join(changed, ",")}
		if c.Disabled != nil {
			details["disabled"] = fmt.Sprint(a.Disabled)
		}
		event := by.event(m.now(), Updated, kindAccount, id, id, details)
		return &event, nil
	})
	if err != nil {
		return Account{}, fmt.Errorf("change account %s: %w", id, err)
	}
	return a, nil
}

// Delete deletes an account with its tokens. It refuses while some are good,
// unless it is forced to. One that was broken off goes on when it is repeated.
func (m *Accounts) Delete(ctx context.Context, by Caller, id string, force bool, revision int64) error {
	a, err := m.Get(ctx, by.Principal, id)
	switch {
	case err != nil:
		return err
	case id == principal.DefaultAccount:
		return ErrAccountInUse.WithMessage("the account %q is always there", id)
	case revision != 0 && a.Revision != revision:
		return ErrEtag
	}
	if err := m.stop(ctx, by, id, force); err != nil {
		return fmt.Errorf("stop account %s: %w", id, err)
	}
	if err := m.deleteTokens(ctx, by, id); err != nil {
		return fmt.Errorf("delete the tokens of account %s: %w", id, err)
	}
	event := by.event(m.now(), Deleted, kindAccount, id, id, nil)
	if err := m.store.DeleteAccount(ctx, id, event); err != nil {
		return fmt.Errorf("delete account %s: %w", id, err)
	}
	return nil
}

// stop ends everything that lives by the account, and bars what would be added.
// Unless it is forced, it looks for good tokens before, so that nothing is
// interrupted for a refusal, and behind the bar, where none can come any more.
func (m *Accounts) stop(ctx context.Context, by Caller, id string, force bool) error {
	if err := m.unused(ctx, id, force); err != nil {
		return err
	}
	if err := m.setDeleting(ctx, by, id, true); err != nil {
		return err
	}
	if err := m.unused(ctx, id, force); err != nil {
		return errors.Join(err, m.setDeleting(ctx, by, id, false))
	}
	return nil
}

func (m *Accounts) setDeleting(ctx context.Context, by Caller, id string, deleting bool) error {
	_, err := m.store.ChangeAccount(ctx, id, func(a *Account) (*Event, error) {
		if a.Deleting == deleting {
			return nil, nil //nolint:nilnil // nothing to write is no error
		}
		a.Deleting = deleting
		event := by.event(m.now(), Updated, kindAccount, id, id, map[string]string{"changed": "deleting"})
		return &event, nil
	})
	return err
}

// unused is nil if no token of the account is good, or if that does not matter.
func (m *Accounts) unused(ctx context.Context, id string, force bool) error {
	if force {
		return nil
	}
	good, err := m.hasGoodTokens(ctx, id)
	if err == nil && good {
		err = ErrAccountInUse
	}
	return err
}

// deletePage is how many tokens are read at once.
const deletePage = 500

func (m *Accounts) hasGoodTokens(ctx context.Context, account string) (bool, error) {
	for after := ""; ; {
		tokens, err := m.store.Tokens(ctx, account, after, deletePage)
		if err != nil || len(tokens) == 0 {
			return false, err
		}
		for _, t := range tokens {
			if !t.Ended() && !t.ExpiredAt(m.now()) {
				return true, nil
			}
			after = t.ID
		}
	}
}

func (m *Accounts) deleteTokens(ctx context.Context, by Caller, account string) error {
	for {
		tokens, err := m.store.Tokens(ctx, account, "", deletePage)
		if err != nil || len(tokens) == 0 {
			return err
		}
		for _, t := range tokens {
			err := m.store.DeleteToken(ctx, t.ID, func(Token) (Event, error) {
				return by.event(m.now(), Deleted, kindToken, t.ID, account, map[string]string{"reason": "account deleted"}), nil
			})
			if err != nil && !errors.Is(err, ErrTokenNotFound) {
				return err
			}
		}
	}
}

func checkDisplayName(s string) error { return checkText("display_name", s, maxDisplayName) }
