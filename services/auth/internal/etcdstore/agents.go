package etcdstore

import (
	"context"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// CreateAgent adds an agent.
func (s *Store) CreateAgent(ctx context.Context, a identity.Agent) (bool, error) {
	value, err := encodeAgent(a)
	if err != nil {
		return false, err
	}
	return s.putIf(ctx, absent(s.agents+a.ID), s.agents+a.ID, value)
}

// Agent returns one.
func (s *Store) Agent(ctx context.Context, id string) (identity.Agent, bool, error) {
	kv, err := s.get(ctx, s.agents+id)
	if err != nil || kv == nil {
		return identity.Agent{}, false, err
	}
	agent, err := decodeAgent(id, kv.value)
	return agent, err == nil, err
}

// Keys writes the proposal if there are no keys, and returns those that stand.
func (s *Store) Keys(ctx context.Context, proposal identity.Keys) (identity.Keys, error) {
	value, err := encodeKeys(proposal)
	if err != nil {
		return identity.Keys{}, err
	}
	if _, err := s.putIf(ctx, absent(s.keys), s.keys, value); err != nil {
		return identity.Keys{}, err
	}
	kv, err := s.get(ctx, s.keys)
	if err != nil {
		return identity.Keys{}, err
	}
	if kv == nil {
		return identity.Keys{}, identity.ErrUnavailable
	}
	return decodeKeys(kv.value)
}
