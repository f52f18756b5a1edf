package etcdstore

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// kind is how records of one kind are kept.
type kind[T any] struct {
	prefix  string
	missing error
	decode  func(id string, value []byte, revision int64) (T, error)
	encode  func(T) ([]byte, error)
	// fields are the names that encode may write, and leaves out when they are
	// empty.
	fields []string
}

func (k kind[T]) read(ctx context.Context, s *Store, id string) (T, *keyValue, error) {
	var none T
	kv, err := s.get(ctx, k.prefix+id)
	if err != nil {
		return none, nil, err
	}
	if kv == nil {
		return none, nil, k.missing
	}
	record, err := k.decode(id, kv.value, kv.revision)
	return record, kv, err
}

// change reads a record, has f change it and writes it with its event if nobody
// else has changed it meanwhile; else it begins anew. Records are changed by
// people, so that ends.
func (k kind[T]) change(ctx context.Context, s *Store, id string, f func(*T) (*identity.Event, error)) (T, error) {
	var none T
	for {
		record, kv, err := k.read(ctx, s, id)
		if err != nil {
			return none, err
		}
		event, err := f(&record)
		if err != nil {
			return none, err
		}
		if event == nil {
			return record, nil
		}
		value, err := k.encode(record)
		if err != nil {
			return none, err
		}
		if value, err = merge(kv.value, value, k.fields); err != nil {
			return none, err
		}
		told, err := s.putEvent(*event)
		if err != nil {
			return none, err
		}
		done, revision, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.prefix+id, kv)}, clientv3.OpPut(k.prefix+id, string(value)), told)
		switch {
		case err != nil:
			return none, err
		case done:
			return k.decode(id, value, revision)
		}
	}
}

// remove removes a record with its event, unless judge fails.
func (k kind[T]) remove(ctx context.Context, s *Store, id string, judge func(T) (identity.Event, error), more ...clientv3.Op) error {
	for {
		record, kv, err := k.read(ctx, s, id)
		if err != nil {
			return err
		}
		event, err := judge(record)
		if err != nil {
			return err
		}
		told, err := s.putEvent(event)
		if err != nil {
			return err
		}
		ops := append([]clientv3.Op{clientv3.OpDelete(k.prefix + id), told}, more...)
		if done, _, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.prefix+id, kv)}, ops...); err != nil || done {
			return err
		}
	}
}
