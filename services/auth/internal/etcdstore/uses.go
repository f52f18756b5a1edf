package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// usesAtOnce is how many uses one transaction writes; etcd takes 128 operations.
const usesAtOnce = 60

// UseTokens writes uses in as few transactions as etcd allows. A use of a token
// that was deleted meanwhile is not written: it would stay for ever.
func (s *Store) UseTokens(ctx context.Context, uses map[string]time.Time) error {
	var ops []clientv3.Op
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, _, err := s.commit(ctx, nil, ops...)
		ops = ops[:0]
		return err
	}
	for id, at := range uses {
		present := clientv3.Compare(clientv3.CreateRevision(s.tokens+id), ">", 0)
		put := clientv3.OpPut(s.uses+id, at.UTC().Format(time.RFC3339))
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{present}, []clientv3.Op{put}, nil))
		if len(ops) == usesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// LastUses reads the uses of a range of tokens.
func (s *Store) LastUses(ctx context.Context, first, last string) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, s.uses+first, clientv3.WithRange(s.uses+last+"\x00"))
	if err != nil {
		return nil, unavailable(err)
	}
	uses := make(map[string]time.Time, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		if at, err := time.Parse(time.RFC3339, string(kv.Value)); err == nil {
			uses[nameOf(kv.Key, s.uses)] = at
		}
	}
	return uses, nil
}

// ChangeLive changes who lives of an account.
func (s *Store) ChangeLive(ctx context.Context, account string, change func(identity.Live) error) error {
	key := s.live + account
	for {
		kv, err := s.get(ctx, key)
		if err != nil {
			return err
		}
		compare, live := absent(key), identity.Live{}
		if kv != nil {
			compare = unchanged(key, kv)
			if live, err = decodeLive(kv.value); err != nil {
				return err
			}
		}
		if err := change(live); err != nil {
			return err
		}
		value, err := encodeLive(live)
		if err != nil {
			return err
		}
		op := clientv3.OpPut(key, string(value))
		if len(live) == 0 {
			op = clientv3.OpDelete(key)
		}
		if done, _, err := s.commit(ctx, []clientv3.Cmp{compare}, op); err != nil || done {
			return err
		}
	}
}
