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
	tokens    map[string]identity.Token
	changed   map[string]int64 // revision of each token's last change
	agents    map[string]identity.Agent
	keys      *identity.Keys
	history   []identity.Change
	more      chan struct{} // closed with every change
	failure   error
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		revision: 1, tokens: map[string]identity.Token{}, changed: map[string]int64{},
		agents: map[string]identity.Agent{}, more: make(chan struct{}),
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

// Agents returns how many there are.
func (m *Memory) Agents() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.agents)
}

func (m *Memory) wake() {
	close(m.more)
	m.more = make(chan struct{})
}

// put wants mu.
func (m *Memory) put(t identity.Token) {
	m.revision++
	m.tokens[t.ID], m.changed[t.ID] = t, m.revision
	m.history = append(m.history, identity.Change{TokenID: t.ID, Revision: m.revision, Ended: t.Ended(), Expires: t.Expires})
	m.wake()
}

// CreateToken implements identity.TokenStore.
func (m *Memory) CreateToken(_ context.Context, t identity.Token) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.tokens[t.ID]; exists || m.failure != nil {
		return false, m.failure
	}
	m.put(t)
	return true, nil
}

// Token implements identity.TokenStore.
func (m *Memory) Token(_ context.Context, id string) (identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[id]
	switch {
	case m.failure != nil:
		return identity.Token{}, m.failure
	case !ok:
		return identity.Token{}, identity.ErrTokenNotFound
	}
	return t, nil
}

// Tokens implements identity.TokenStore.
func (m *Memory) Tokens(_ context.Context, account, after string, limit int) ([]identity.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var tokens []identity.Token
	for _, id := range slices.Sorted(maps.Keys(m.tokens)) {
		if t := m.tokens[id]; id > after && (account == "" || t.AccountID == account) && len(tokens) < limit {
			tokens = append(tokens, t)
		}
	}
	return tokens, m.failure
}

// RevokeToken implements identity.TokenStore.
func (m *Memory) RevokeToken(ctx context.Context, id string, now time.Time) (identity.Token, error) {
	t, err := m.Token(ctx, id)
	if err != nil || !t.Revoked.IsZero() {
		return t, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t = m.tokens[id]; t.Revoked.IsZero() {
		t.Revoked = now
		m.put(t)
	}
	return t, nil
}

// LapseToken implements identity.TokenStore.
func (m *Memory) LapseToken(_ context.Context, id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tokens[id]; ok && m.failure == nil && !t.Ended() && t.ExpiredAt(now) {
		t.Lapsed = true
		m.put(t)
	}
	return m.failure
}

// CreateAgent implements identity.AgentStore.
func (m *Memory) CreateAgent(_ context.Context, a identity.Agent) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.agents[a.ID]; exists || m.failure != nil {
		return false, m.failure
	}
	m.agents[a.ID] = a
	return true, nil
}

// Agent implements identity.AgentStore.
func (m *Memory) Agent(_ context.Context, id string) (identity.Agent, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.agents[id]
	return a, ok, m.failure
}

// Keys implements identity.KeyStore.
func (m *Memory) Keys(_ context.Context, proposal identity.Keys) (identity.Keys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil {
		m.keys = &proposal
	}
	return *m.keys, m.failure
}

// Snapshot implements identity.Feed.
func (m *Memory) Snapshot(_ context.Context, each func(identity.Change)) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, t := range m.tokens {
		each(identity.Change{TokenID: id, Revision: m.changed[id], Ended: t.Ended(), Expires: t.Expires})
	}
	return m.revision, m.failure
}

// Follow implements identity.Feed.
func (m *Memory) Follow(ctx context.Context, after int64, each func(identity.Progress)) error {
	for {
		m.mu.Lock()
		progress, more := identity.Progress{Revision: m.revision}, m.more
		err := m.kept(after)
		for _, c := range m.history {
			if c.Revision > after {
				progress.Changes = append(progress.Changes, c)
			}
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
		if progress.Revision > after {
			each(progress)
			after = progress.Revision
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}

// Kept implements identity.Feed.
func (m *Memory) Kept(_ context.Context, revision int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept(revision)
}

func (m *Memory) kept(revision int64) error {
	if m.failure != nil {
		return m.failure
	}
	if revision < m.compacted || revision > m.revision {
		return identity.ErrCompacted
	}
	return nil
}
