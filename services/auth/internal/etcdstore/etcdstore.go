// Package etcdstore keeps auth's records in etcd, under one prefix:
//
//	/dialback/auth/account/<account id>   an account
//	/dialback/auth/agent/<agent id>       an agent: its account and the hash of its resume token
//	/dialback/auth/event/<time>-<random>  who has changed what
//	/dialback/auth/eventfloor             up to which revision events are gone
//	/dialback/auth/keys                   the keys that all replicas share. Secret
//	/dialback/auth/token/<token id>       an authtoken or API key: its hash and all that is known of it
//	/dialback/auth/used/live/<account id> who lives of an account that has a quota of agents
//	/dialback/auth/used/token/<token id>  when a token was used last
//
// Values are JSON with a version. A token's end, whatever its reason, is a
// change of its own key, and an account's is, so one watch sees every end in
// order. What is written often is below used/, behind the range of that watch.
package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
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
	events   string
	floor    string
	keys     string
	tokens   string
	live     string
	uses     string

	progressInterval time.Duration
	horizon          atomic.Pointer[horizon]
}

// New returns the store below a prefix, which ends in a slash.
func New(client *clientv3.Client, prefix string) *Store {
	return &Store{
		client: client, accounts: prefix + "account/", agents: prefix + "agent/",
		events: prefix + "event/", floor: prefix + "eventfloor", keys: prefix + "keys", tokens: prefix + "token/",
		live: prefix + "used/live/", uses: prefix + "used/token/",
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
func (s *Store) putIf(ctx context.Context, compare clientv3.Cmp, key string, value []byte) (bool, error) {
	done, _, err := s.commit(ctx, []clientv3.Cmp{compare}, clientv3.OpPut(key, string(value)))
	return done, err
}

// commit does all ops if all compares hold, and returns the revision of that.
func (s *Store) commit(ctx context.Context, compares []clientv3.Cmp, ops ...clientv3.Op) (bool, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	if err != nil {
		return false, 0, unavailable(err)
	}
	return resp.Succeeded, resp.Header.Revision, nil
}

// page reads the keys of a prefix that come after a name, at most limit, and
// reports whether there are more.
func (s *Store) page(ctx context.Context, prefix, after string, limit int) ([]*mvccpb.KeyValue, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	from := prefix
	if after != "" {
		from += after + "\x00"
	}
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, false, unavailable(err)
	}
	return resp.Kvs, resp.More, nil
}

// nameOf is what a key has behind its prefix.
func nameOf(key []byte, prefix string) string { return strings.TrimPrefix(string(key), prefix) }

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
