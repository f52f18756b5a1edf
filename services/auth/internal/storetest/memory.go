// Package storetest has what tests of auth need of a store: one suite that every
// identity.Store passes, and a store in memory with a switch for failures.
package storetest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// Memory is an identity.Store of one process.
type Memory struct {
	mu        sync.Mutex
	revision  int64
	compacted int64 // changes up to here are forgotten
	accounts  map[string]identity.Account
	tokens    map[string]identity.Token
	agents    map[string]identity.Agent
	live      map[string]identity.Live
	uses      map[string]time.Time
	keys      *identity.Keys
	history   []identity.Change
	events    []identity.Event
	trimmed   int64         // events up to here may be gone
	more      chan struct{} // closed with every change
	failure   error
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		revision: 1, accounts: map[string]identity.Account{}, tokens: map[string]identity.Token{},
		agents: map[string]identity.Agent{}, live: map[string]identity.Live{}, uses: map[string]time.Time{},
		more: make(chan struct{}),
	}
}

// Fail makes every call fail with err, and breaks who follows; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
	m.wake()
}

// Compact forgets all changes so far.
func (m *Memory) Compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compacted = m.revision
	m.history = nil
}

// CountAgents returns how many there are.
func (m *Memory) CountAgents() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.agents)
}

func (m *Memory) wake() {
	close(m.more)
	m.more = make(chan struct{})
}

// commit notes a change with its event, in a revision of its own. It wants mu.
func (m *Memory) commit(c identity.Change, e identity.Event) {
	e.Revision, c.Revision = m.revision, m.revision
	m.history, m.events = append(m.history, c), append(m.events, e)
	m.wake()
}

func (m *Memory) put(t identity.Token, e identity.Event, fresh bool) identity.Token {
	m.revision++
	t.Revision = m.revision
	m.tokens[t.ID] = t
	m.commit(identity.Change{TokenID: t.ID, Ended: t.Ended(), Fresh: fresh, Expires: t.Expires}, e)
	return t
}

func (m *Memory) putAccount(a identity.Account, e identity.Event, fresh bool) identity.Account {
	m.revision++
	a.Revision = m.revision
	m.accounts[a.ID] = a
	m.commit(identity.Change{AccountID: a.ID, Ended: a.Stopped(), Fresh: fresh}, e)
	return a
}

// CreateAccount implements identity.AccountStore.
func (m *Memory) CreateAccount(_ context.Context, a identity.Account, e identity.Event) (identity.Account, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if standing, exists := m.accounts[a.ID]; exists || m.failure != nil {
		return standing, false, m.failure
	}
	return m.putAccount(a, e, true), true, nil
}

// Account implements identity.AccountStore.
func (m *Memory) Account(_ context.Context, id string) (identity.Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m, m.accounts, id, identity.ErrAccountNotFound)
}

// find wants mu.
func find[T any](m *Memory, all map[string]T, id string, missing error) (T, error) {
	x, ok := all[id]
	switch {
	case m.failure != nil:
		return x, m.failure
	case !ok:
		return x, missing
	}
	return x, nil
}

// Accounts implements identity.AccountStore.
func (m *Memory) Accounts(_ context.Context, after string, limit int) ([]identity.Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return list(m.accounts, after, limit, func(identity.Account) bool { return true }), m.failure
}

func list[T any](all map[string]T, after string, limit int, wanted func(T) bool) []T {
	var some []T
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if id > after && wanted(all[id]) && len(some) < limit {
			some = append(some, all[id])
		}
	}
	return some
}

// ChangeAccount implements identity.AccountStore.
func (m *Memory) ChangeAccount(_ context.Context, id string, change func(*identity.Account) (*identity.Event, error)) (identity.Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := find(m, m.accounts, id, identity.ErrAccountNotFound)
	if err != nil {
		return identity.Account{}, err
	}
	event, err := change(&a)
	switch {
	case err != nil:
		return identity.Account{}, err
	case event == nil:
		return a, nil
	}
	return m.putAccount(a, *event, false), nil
}

// DeleteAccount implements identity.AccountStore.
func (m *Memory) DeleteAccount(_ context.Context, id string, e identity.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := find(m, m.accounts, id, identity.ErrAccountNotFound); err != nil {
		return err
	}
	delete(m.accounts, id)
	delete(m.live, id)
	m.revision++
	m.commit(identity.Change{AccountID: id, Ended: true}, e)
	return nil
}

// CreateToken implements identity.TokenStore.
func (m *Memory) CreateToken(_ context.Context, t identity.Token, in identity.NewTokenIn) (identity.Token, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	account, known := m.accounts[t.AccountID]
	_, exists := m.tokens[t.ID]
	switch {
	case m.failure != nil:
		return identity.Token{}, false, m.failure
	case !known && !in.Begin:
		return identity.Token{}, false, identity.ErrAccountNotFound
	case account.Deleting:
		return identity.Token{}, false, identity.ErrAccountDisabled
	case exists:
		return identity.Token{}, false, nil
	case !known:
		a, e := t.Begun(in.By)
		m.putAccount(a, e, true)
	}
	return m.put(t, in.Event, true), true, nil
}

// Token implements identity.TokenStore.
func (m *Memory) Token(_ context.Context, id string) (identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m, m.tokens, id, identity.ErrTokenNotFound)
}

// Tokens implements identity.TokenStore.
func (m *Memory) Tokens(_ context.Context, account, after string, limit int) ([]identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return list(m.tokens, after, limit, func(t identity.Token) bool { return account == "" || t.AccountID == account }), m.failure
}

// ChangeToken implements identity.TokenStore.
func (m *Memory) ChangeToken(_ context.Context, id string, change func(*identity.Token) (*identity.Event, error)) (identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := find(m, m.tokens, id, identity.ErrTokenNotFound)
	if err != nil {
		return identity.Token{}, err
	}
	event, err := change(&t)
	switch {
	case err != nil:
		return identity.Token{}, err
	case event == nil:
		return t, nil
	}
	return m.put(t, *event, false), nil
}

// DeleteToken implements identity.TokenStore.
func (m *Memory) DeleteToken(_ context.Context, id string, judge func(identity.Token) (identity.Event, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := find(m, m.tokens, id, identity.ErrTokenNotFound)
	if err != nil {
		return err
	}
	event, err := judge(t)
	if err != nil {
		return err
	}
	delete(m.tokens, id)
	delete(m.uses, id)
	m.revision++
	m.commit(identity.Change{TokenID: id, Ended: true}, event)
	return nil
}

// UseTokens implements identity.TokenStore.
func (m *Memory) UseTokens(_ context.Context, uses map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range uses {
		if _, ok := m.tokens[id]; ok && m.failure == nil {
			m.uses[id] = at
		}
	}
	return m.failure
}

// LastUses implements identity.TokenStore.
func (m *Memory) LastUses(_ context.Context, first, last string) (map[string]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uses := map[string]time.Time{}
	for id, at := range m.uses {
		if first <= id && id <= last {
			uses[id] = at
		}
	}
	return uses, m.failure
}
