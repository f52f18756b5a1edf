// Package etcdstore keeps auth's records in etcd, under one prefix:
//
//	/dialback/auth/account/<account id>   an account, begun by its first token
//	/dialback/auth/agent/<agent id>       an agent: its account and the hash of its resume token
//	/dialback/auth/keys                   the keys that all replicas share. Secret
//	/dialback/auth/token/<token id>       an authtoken: its hash and all that is known of it
//
// Values are JSON with a version. A token's end, whatever its reason, is a
// change of its own key, so a watch of the tokens sees every end in order.
package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

const (
	// requestTimeout bounds one exchange with etcd.
	requestTimeout = 5 * time.Second
	// pageSize is how many records one exchange reads: mostly half a megabyte.
	pageSize = 1000
)

// Prefix is where auth's keys are; nobody else writes there.
const Prefix = "/dialback/auth/"

// Store keeps auth's records. It is an identity.Store.
type Store struct {
	client   *clientv3.Client
	accounts string
	agents   string
	keys     string
	tokens   string

	progressInterval time.Duration
}

// New returns the store below a prefix, which ends in a slash.
func New(client *clientv3.Client, prefix string) *Store {
	return &Store{
		client: client, accounts: prefix + "account/", agents: prefix + "agent/",
		keys: prefix + "keys", tokens: prefix + "token/",
		progressInterval: progressInterval,
	}
}

// get reads one key; nil: it is not there.
func (s *Store) get(ctx context.Context, key string) (*keyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil //nolint:nilnil // absence is an answer here
	}
	return &keyValue{value: resp.Kvs[0].Value, revision: resp.Kvs[0].ModRevision}, nil
}

type keyValue struct {
	value    []byte
	revision int64
}

// putIf writes a key if compare holds. False: it does not, nothing was written.
func (s *Store) putIf(ctx context.Context, compare clientv3.Cmp, key string, value []byte, more ...clientv3.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(compare).
		Then(append(more, clientv3.OpPut(key, string(value)))...).Commit()
	if err != nil {
		return false, unavailable(err)
	}
	return resp.Succeeded, nil
}

// absent holds while a key does not exist.
func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}

// unchanged holds while a key is as it was read.
func unchanged(key string, kv *keyValue) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", kv.revision)
}

// unavailable says to callers that etcd did not answer, and why to the log.
func unavailable(err error) error {
	return identity.ErrUnavailable.WithCause(fmt.Errorf("etcd: %w", err))
}

// isLost reports whether etcd does not know a revision: compacted, or still to
// come, which after a restore means that it is another history's.
func isLost(err error) bool {
	return errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev)
}
