package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// CreateToken adds a token and, in the same transaction, its account if there is
// none.
func (s *Store) CreateToken(ctx context.Context, t identity.Token) (bool, error) {
	value, err := encodeToken(t)
	if err != nil {
		return false, err
	}
	account, err := json.Marshal(accountRecord{header: header{recordVersion}, Created: t.Created})
	if err != nil {
		return false, err
	}
	key := s.accounts + t.AccountID
	begin := clientv3.OpTxn([]clientv3.Cmp{absent(key)}, []clientv3.Op{clientv3.OpPut(key, string(account))}, nil)
	return s.putIf(ctx, absent(s.tokens+t.ID), s.tokens+t.ID, value, begin)
}

// Token returns one, or ErrTokenNotFound.
func (s *Store) Token(ctx context.Context, id string) (identity.Token, error) {
	token, _, err := s.token(ctx, id)
	return token, err
}

func (s *Store) token(ctx context.Context, id string) (identity.Token, *keyValue, error) {
	kv, err := s.get(ctx, s.tokens+id)
	if err != nil {
		return identity.Token{}, nil, err
	}
	if kv == nil {
		return identity.Token{}, nil, identity.ErrTokenNotFound
	}
	token, err := decodeToken(id, kv.value)
	return token, kv, err
}

// Tokens reads on until it has limit tokens of the account.
func (s *Store) Tokens(ctx context.Context, account, after string, limit int) ([]identity.Token, error) {
	var tokens []identity.Token
	for from := s.tokens + after + "\x00"; from != "" && len(tokens) < limit; {
		page, next, err := s.tokenPage(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, t := range page {
			if (account == "" || t.AccountID == account) && len(tokens) < limit {
				tokens = append(tokens, t)
			}
		}
		from = next
	}
	return tokens, nil
}

// tokenPage reads tokens from a key on, and answers the key to read on from.
func (s *Store) tokenPage(ctx context.Context, from string) ([]identity.Token, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.tokens)), clientv3.WithLimit(pageSize))
	if err != nil {
		return nil, "", unavailable(err)
	}
	page := make([]identity.Token, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		t, err := decodeToken(s.tokenID(kv.Key), kv.Value)
		if err != nil {
			return nil, "", err
		}
		page = append(page, t)
	}
	if !resp.More {
		return page, "", nil
	}
	return page, string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00", nil
}

func (s *Store) tokenID(key []byte) string { return strings.TrimPrefix(string(key), s.tokens) }

// RevokeToken sets the time of revocation once.
func (s *Store) RevokeToken(ctx context.Context, id string, now time.Time) (identity.Token, error) {
	return s.change(ctx, id, func(t *identity.Token) bool {
		if !t.Revoked.IsZero() {
			return false
		}
		t.Revoked = now
		return true
	})
}

// LapseToken marks an expired token once.
func (s *Store) LapseToken(ctx context.Context, id string, now time.Time) error {
	_, err := s.change(ctx, id, func(t *identity.Token) bool {
		if t.Ended() || !t.ExpiredAt(now) {
			return false
		}
		t.Lapsed = true
		return true
	})
	if errors.Is(err, identity.ErrTokenNotFound) {
		return nil
	}
	return err
}

// change reads a token, lets f change it (false: leave it) and writes it if
// nobody else has meanwhile; else it begins anew. Tokens change twice in their
// lives at most, so that ends.
func (s *Store) change(ctx context.Context, id string, f func(*identity.Token) bool) (identity.Token, error) {
	for {
		token, kv, err := s.token(ctx, id)
		if err != nil || !f(&token) {
			return token, err
		}
		value, err := encodeToken(token)
		if err != nil {
			return identity.Token{}, err
		}
		if value, err = merge(kv.value, value); err != nil {
			return identity.Token{}, err
		}
		written, err := s.putIf(ctx, unchanged(s.tokens+id, kv), s.tokens+id, value)
		if err != nil || written {
			return token, err
		}
	}
}
