package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

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

// Agents returns agents by id.
func (s *Store) Agents(ctx context.Context, after string, limit int) ([]identity.Agent, error) {
	kvs, _, err := s.page(ctx, s.agents, after, limit)
	if err != nil {
		return nil, err
	}
	agents := make([]identity.Agent, 0, len(kvs))
	for _, kv := range kvs {
		a, err := decodeAgent(nameOf(kv.Key, s.agents), kv.Value)
		if err != nil {
			return nil, err
		}
		agents = append(agents, a)
	}
	return agents, nil
}

// SeeAgent notes when an agent was seen. It is noted often enough that a lost race
// does not matter.
func (s *Store) SeeAgent(ctx context.Context, id string, now time.Time) error {
	kv, err := s.get(ctx, s.agents+id)
	if err != nil || kv == nil {
		return err
	}
	agent, err := decodeAgent(id, kv.value)
	if err != nil {
		return err
	}
	agent.Seen = now
	value, err := encodeAgent(agent)
	if err != nil {
		return err
	}
	if value, err = merge(kv.value, value, agentFields); err != nil {
		return err
	}
	_, err = s.putIf(ctx, unchanged(s.agents+id, kv), s.agents+id, value)
	return err
}

// ForgetAgent removes an agent that is as it was read.
func (s *Store) ForgetAgent(ctx context.Context, a identity.Agent) error {
	kv, err := s.get(ctx, s.agents+a.ID)
	if err != nil || kv == nil {
		return err
	}
	now, err := decodeAgent(a.ID, kv.value)
	if err != nil || !now.Seen.Equal(a.Seen) {
		return err
	}
	_, _, err = s.commit(ctx, []clientv3.Cmp{unchanged(s.agents+a.ID, kv)}, clientv3.OpDelete(s.agents+a.ID))
	return err
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
