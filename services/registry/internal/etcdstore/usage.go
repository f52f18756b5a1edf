package etcdstore

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// usage reads an account's record.
func (r *reads) usage(u *directory.Usage) {
	r.get(quotaKey(u.Account), func(kvs []*mvccpb.KeyValue) error {
		if len(kvs) == 0 {
			return nil
		}
		stored := &storagev1.Usage{}
		if err := decode(kvs[0].Value, stored); err != nil {
			return err
		}
		u.Counted, u.Endpoints, u.Agents = stored.GetCounted(), int(stored.GetEndpoints()), int(stored.GetAgents())
		u.Version, u.Record = directory.Version(kvs[0].ModRevision), stored
		return nil
	})
}

// live reads how many endpoints an agent has in use.
func (r *reads) live(key directory.TunnelKey, view *directory.View) {
	r.get(agentPrefix(key.Account, key.Agent), func(kvs []*mvccpb.KeyValue) error {
		count := 0
		for _, kv := range kvs {
			parked, err := isParked(kv)
			if err != nil {
				return err
			}
			if !parked {
				count++
			}
		}
		view.Usage.Live[key.Agent] = count
		return nil
	}, clientv3.WithPrefix())
}

func isParked(kv *mvccpb.KeyValue) (bool, error) {
	stored := &storagev1.TunnelEntry{}
	err := decode(kv.Value, stored)
	return stored.GetParked(), err
}

// complete makes the usage in a view one to decide on, if the account is counted
// or is to be: an account without a record begins one, which is a conflict that
// is tried again, and a count that is not there is made.
func (s *Store) complete(ctx context.Context, view *directory.View, count bool, revision int64) error {
	u := view.Usage
	switch {
	case u.Version == 0 && !count:
		return nil
	case u.Version == 0:
		return s.beginCount(ctx, u.Account)
	case !u.Counted:
		if err := s.recount(ctx, u, revision); err != nil {
			return err
		}
	}
	agents := []string{view.Tunnel.Key.Agent}
	if c := view.Endpoint.Claim; c != nil && c.Account == u.Account {
		agents = append(agents, c.Agent)
	}
	return s.liveAt(ctx, view, agents, revision)
}

// liveAt reads what the agents have that have not been read yet.
func (s *Store) liveAt(ctx context.Context, view *directory.View, agents []string, revision int64) error {
	for _, agent := range agents {
		if _, known := view.Usage.Live[agent]; known {
			continue
		}
		count := 0
		_, err := s.scan(ctx, agentPrefix(view.Usage.Account, agent), revision, func(kv *mvccpb.KeyValue) (bool, error) {
			parked, err := isParked(kv)
			if !parked {
				count++
			}
			return true, err
		})
		if err != nil {
			return err
		}
		view.Usage.Live[agent] = count
	}
	return nil
}

// beginCount enters a record. From now on each change of the account's endpoints
// writes it, so that a count that was made meanwhile is noticed.
func (s *Store) beginCount(ctx context.Context, account string) error {
	value, err := encode(&storagev1.Usage{})
	if err != nil {
		return err
	}
	key := quotaKey(account)
	_, err = s.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", 0)}, []clientv3.Op{clientv3.OpPut(key, value)}, nil)
	if err != nil {
		return err
	}
	return directory.ErrConflict
}

// recount counts an account's endpoints and agents at a revision.
func (s *Store) recount(ctx context.Context, u *directory.Usage, revision int64) error {
	prefix, agents := accountPrefix(u.Account), map[string]bool{}
	u.Endpoints = 0
	_, err := s.scan(ctx, prefix, revision, func(kv *mvccpb.KeyValue) (bool, error) {
		parked, err := isParked(kv)
		if !parked {
			agent, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
			agents[agent] = true
			u.Endpoints++
		}
		return true, err
	})
	u.Agents, u.Counted = len(agents), true
	return err
}

// account keeps the record of an account whose endpoints a plan changes. One that
// has none must still have none: it may be being counted.
func (s *Store) account(ctx context.Context, plan directory.Plan, b *builder) error {
	account, delta := plan.Delta()
	if len(delta) == 0 {
		return nil
	}
	usage, err := s.usageFor(ctx, plan, account, delta)
	if err != nil {
		return err
	}
	key := quotaKey(account)
	b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(key), "=", int64(usage.Version)))
	if usage.Version == 0 {
		return nil
	}
	if plan.Uncount {
		b.ops = append(b.ops, clientv3.OpDelete(key))
		return nil
	}
	after := usage.After(delta)
	stored := &storagev1.Usage{}
	if record, ok := usage.Record.(*storagev1.Usage); ok {
		stored = proto.CloneOf(record)
	}
	stored.Counted, stored.Endpoints, stored.Agents = true, uint32(after.Endpoints), uint32(after.Agents)
	value, err := encode(stored)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(key, value))
	return nil
}

// usageFor returns what the plan has read, or reads what it has not.
func (s *Store) usageFor(ctx context.Context, plan directory.Plan, account string, delta map[string]int) (directory.Usage, error) {
	view := directory.View{Usage: plan.Usage}
	if view.Usage == nil || view.Usage.Account != account {
		view.Usage = &directory.Usage{Account: account, Live: map[string]int{}}
		r := &reads{}
		r.usage(view.Usage)
		if err := r.run(ctx, s); err != nil {
			return directory.Usage{}, err
		}
		if view.Usage.Version != 0 && !view.Usage.Counted {
			if err := s.recount(ctx, view.Usage, r.revision); err != nil {
				return directory.Usage{}, err
			}
		}
		return *view.Usage, s.liveOf(ctx, &view, delta, r.revision)
	}
	return *view.Usage, s.liveOf(ctx, &view, delta, 0)
}

// liveOf reads what the agents of a change have. The revision matters only as far
// as the record is as it was read, which the transaction compares: each change of
// what is counted here writes it.
func (s *Store) liveOf(ctx context.Context, view *directory.View, delta map[string]int, revision int64) error {
	if view.Usage.Version == 0 {
		return nil
	}
	var agents []string
	for agent := range delta {
		agents = append(agents, agent)
	}
	return s.liveAt(ctx, view, agents, revision)
}

// RepairUsage counts every account that is counted, and corrects records that say
// something else. It returns how many it corrected.
func (s *Store) RepairUsage(ctx context.Context) (corrected int, err error) {
	var accounts []string
	_, err = s.scan(ctx, quotaPrefix, 0, func(kv *mvccpb.KeyValue) (bool, error) {
		accounts = append(accounts, strings.TrimPrefix(string(kv.Key), quotaPrefix))
		return true, nil
	})
	for _, account := range accounts {
		if err != nil {
			return corrected, err
		}
		var changed bool
		if changed, err = s.repair(ctx, account); changed {
			corrected++
		}
	}
	return corrected, err
}

func (s *Store) repair(ctx context.Context, account string) (bool, error) {
	said := &directory.Usage{Account: account}
	r := &reads{}
	r.usage(said)
	if err := r.run(ctx, s); err != nil || !said.Counted {
		return false, err
	}
	counted := *said
	if err := s.recount(ctx, &counted, r.revision); err != nil {
		return false, err
	}
	if counted.Endpoints == said.Endpoints && counted.Agents == said.Agents {
		return false, nil
	}
	value, err := encode(&storagev1.Usage{})
	if err != nil {
		return false, err
	}
	key := quotaKey(account)
	resp, err := s.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", int64(said.Version))},
		[]clientv3.Op{clientv3.OpPut(key, value)}, nil)
	return err == nil && resp.Succeeded, err
}
