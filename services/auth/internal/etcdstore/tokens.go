package etcdstore

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func (s *Store) tokenKind() kind[identity.Token] {
	return kind[identity.Token]{
		prefix: s.tokens, missing: identity.ErrTokenNotFound,
		decode: decodeToken, encode: encodeToken, fields: tokenFields,
	}
}

// CreateToken adds a token, if its account is there and stays, or with its account.
func (s *Store) CreateToken(ctx context.Context, t identity.Token, in identity.NewTokenIn) (identity.Token, bool, error) {
	value, err := encodeToken(t)
	if err != nil {
		return identity.Token{}, false, err
	}
	told, err := s.putEvent(in.Event)
	if err != nil {
		return identity.Token{}, false, err
	}
	put := []clientv3.Op{clientv3.OpPut(s.tokens+t.ID, string(value)), told}
	for {
		compares, begin, err := s.roomFor(ctx, t, in)
		if err != nil {
			return identity.Token{}, false, err
		}
		done, revision, err := s.commit(ctx, append(compares, absent(s.tokens+t.ID)), append(begin, put...)...)
		switch {
		case err != nil:
			return identity.Token{}, false, err
		case done:
			t.Revision = revision
			return t, true, nil
		}
		// Either the id is in use, or the account has changed.
		if kv, err := s.get(ctx, s.tokens+t.ID); err != nil || kv != nil {
			return identity.Token{}, false, err
		}
	}
}

// roomFor returns what must hold of a token's account, and what makes it hold.
func (s *Store) roomFor(ctx context.Context, t identity.Token, in identity.NewTokenIn) ([]clientv3.Cmp, []clientv3.Op, error) {
	key := s.accounts + t.AccountID
	kv, err := s.get(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if kv == nil {
		if !in.Begin {
			return nil, nil, identity.ErrAccountNotFound
		}
		begin, err := s.beginAccount(t.Begun(in.By))
		return []clientv3.Cmp{absent(key)}, begin, err
	}
	account, err := decodeAccount(t.AccountID, kv.value, kv.revision)
	if err == nil && account.Deleting {
		err = identity.ErrAccountDisabled
	}
	return []clientv3.Cmp{unchanged(key, kv)}, nil, err
}

// Token returns one, or ErrTokenNotFound.
func (s *Store) Token(ctx context.Context, id string) (identity.Token, error) {
	token, _, err := s.tokenKind().read(ctx, s, id)
	return token, err
}

// Tokens reads on until it has limit tokens of the account.
func (s *Store) Tokens(ctx context.Context, account, after string, limit int) ([]identity.Token, error) {
	var tokens []identity.Token
	for more := true; more && len(tokens) < limit; {
		kvs, rest, err := s.page(ctx, s.tokens, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, kv := range kvs {
			after = nameOf(kv.Key, s.tokens)
			t, err := decodeToken(after, kv.Value, kv.ModRevision)
			if err != nil {
				return nil, err
			}
			if (account == "" || t.AccountID == account) && len(tokens) < limit {
				tokens = append(tokens, t)
			}
		}
		more = rest
	}
	return tokens, nil
}

// ChangeToken changes a token.
func (s *Store) ChangeToken(ctx context.Context, id string, change func(*identity.Token) (*identity.Event, error)) (identity.Token, error) {
	return s.tokenKind().change(ctx, s, id, change)
}

// DeleteToken removes a token.
func (s *Store) DeleteToken(ctx context.Context, id string, judge func(identity.Token) (identity.Event, error)) error {
	return s.tokenKind().remove(ctx, s, id, judge, clientv3.OpDelete(s.uses+id))
}
