package etcdstore

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func (s *Store) accountKind() kind[identity.Account] {
	return kind[identity.Account]{
		prefix: s.accounts, missing: identity.ErrAccountNotFound,
		decode: decodeAccount, encode: encodeAccount, fields: accountFields,
	}
}

// CreateAccount adds an account and returns what stands.
func (s *Store) CreateAccount(ctx context.Context, a identity.Account, e identity.Event) (identity.Account, bool, error) {
	begin, err := s.beginAccount(a, e)
	if err != nil {
		return identity.Account{}, false, err
	}
	for {
		done, revision, err := s.commit(ctx, []clientv3.Cmp{absent(s.accounts + a.ID)}, begin...)
		if err != nil {
			return identity.Account{}, false, err
		}
		if done {
			a.Revision = revision
			return a, true, nil
		}
		standing, err := s.Account(ctx, a.ID)
		if !errors.Is(err, identity.ErrAccountNotFound) {
			return standing, false, err
		}
	}
}

// beginAccount returns what writes a new account.
func (s *Store) beginAccount(a identity.Account, e identity.Event) ([]clientv3.Op, error) {
	value, err := encodeAccount(a)
	if err != nil {
		return nil, err
	}
	told, err := s.putEvent(e)
	return []clientv3.Op{clientv3.OpPut(s.accounts+a.ID, string(value)), told}, err
}

// Account returns one, or ErrAccountNotFound.
func (s *Store) Account(ctx context.Context, id string) (identity.Account, error) {
	a, _, err := s.accountKind().read(ctx, s, id)
	return a, err
}

// Accounts returns accounts by id.
func (s *Store) Accounts(ctx context.Context, after string, limit int) ([]identity.Account, error) {
	kvs, _, err := s.page(ctx, s.accounts, after, limit)
	if err != nil {
		return nil, err
	}
	accounts := make([]identity.Account, 0, len(kvs))
	for _, kv := range kvs {
		a, err := decodeAccount(nameOf(kv.Key, s.accounts), kv.Value, kv.ModRevision)
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// ChangeAccount changes an account.
func (s *Store) ChangeAccount(ctx context.Context, id string, change func(*identity.Account) (*identity.Event, error)) (identity.Account, error) {
	return s.accountKind().change(ctx, s, id, change)
}

// DeleteAccount removes an account, and who lives of it.
func (s *Store) DeleteAccount(ctx context.Context, id string, e identity.Event) error {
	return s.accountKind().remove(ctx, s, id, func(identity.Account) (identity.Event, error) { return e, nil },
		clientv3.OpDelete(s.live+id))
}
