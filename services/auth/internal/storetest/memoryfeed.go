package storetest

import (
	"context"
	"maps"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

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

// Agents implements identity.AgentStore.
func (m *Memory) Agents(_ context.Context, after string, limit int) ([]identity.Agent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return list(m.agents, after, limit, func(identity.Agent) bool { return true }), m.failure
}

// SeeAgent implements identity.AgentStore.
func (m *Memory) SeeAgent(_ context.Context, id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.agents[id]; ok && m.failure == nil {
		a.Seen = now
		m.agents[id] = a
	}
	return m.failure
}

// ForgetAgent implements identity.AgentStore.
func (m *Memory) ForgetAgent(_ context.Context, a identity.Agent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.agents[a.ID]; ok && m.failure == nil && now.Seen.Equal(a.Seen) {
		delete(m.agents, a.ID)
	}
	return m.failure
}

// ChangeLive implements identity.AgentStore.
func (m *Memory) ChangeLive(_ context.Context, account string, change func(identity.Live) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	live := identity.Live{}
	for id, a := range m.live[account] {
		live[id] = identity.LiveAgent{Since: a.Since, Seen: maps.Clone(a.Seen)}
	}
	if err := change(live); err != nil {
		return err
	}
	m.live[account] = live
	return nil
}

// Events implements identity.EventStore.
func (m *Memory) Events(_ context.Context, after int64, limit int) ([]identity.Event, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return nil, 0, m.failure
	}
	if after < m.trimmed || after > m.revision {
		return nil, 0, identity.ErrCompacted
	}
	var events []identity.Event
	for _, e := range m.events {
		switch {
		case e.Revision <= after:
		case len(events) == limit:
			return events, events[limit-1].Revision, nil
		default:
			events = append(events, e)
		}
	}
	return events, m.revision, nil
}

// Bounds implements identity.EventStore.
func (m *Memory) Bounds(context.Context) (oldest, now int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trimmed, m.revision, m.failure
}

// TrimEvents implements identity.EventStore.
func (m *Memory) TrimEvents(_ context.Context, before time.Time, keep int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := 0
	for m.failure == nil && end < len(m.events) && (m.events[end].Time.Before(before) || len(m.events)-end > keep) {
		m.trimmed = m.events[end].Revision
		end++
	}
	m.events = m.events[end:]
	return end, m.failure
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
		each(identity.Change{TokenID: id, Revision: t.Revision, Ended: t.Ended(), Expires: t.Expires})
	}
	for id, a := range m.accounts {
		each(identity.Change{AccountID: id, Revision: a.Revision, Ended: a.Stopped()})
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
