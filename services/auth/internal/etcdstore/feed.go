package etcdstore

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// progressInterval is how often a quiet feed asks etcd how far it is. Revisions
// that are handed out stay younger than that, far below any compaction's age.
const progressInterval = 30 * time.Second

// Snapshot reads all accounts and tokens at one revision, page by page.
func (s *Store) Snapshot(ctx context.Context, each func(identity.Change)) (int64, error) {
	var revision int64
	for _, prefix := range []string{s.accounts, s.tokens} {
		for from := prefix; from != ""; {
			resp, err := s.snapshotPage(ctx, from, clientv3.GetPrefixRangeEnd(prefix), revision)
			if err != nil {
				return 0, err
			}
			if revision == 0 {
				revision = resp.Header.Revision
			}
			for _, kv := range resp.Kvs {
				if change, ok := s.changeOf(kv); ok {
					each(change)
				}
			}
			if from = ""; resp.More {
				from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
			}
		}
	}
	return revision, nil
}

// snapshotPage reads at the given revision; 0: now.
func (s *Store) snapshotPage(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
	if err != nil {
		return nil, unavailable(err)
	}
	return resp, nil
}

// Follow watches all from the accounts to the tokens with one etcd watch, so that
// what it tells has one order. It wants a leader: a member that
// has lost the others would be silent for ever.
func (s *Store) Follow(ctx context.Context, after int64, each func(identity.Progress)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	responses := s.client.Watch(ctx, s.accounts, clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.tokens)), clientv3.WithRev(after+1))
	ask := time.NewTicker(s.progressInterval)
	defer ask.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ask.C:
			if err := s.client.RequestProgress(ctx); err != nil {
				return unavailable(err)
			}
		case resp, ok := <-responses:
			if !ok {
				return cmp.Or(ctx.Err(), unavailable(errWatchEnded))
			}
			if err := broken(resp, after); err != nil {
				return err
			}
			progress := s.progressOf(resp)
			after = progress.Revision
			each(progress)
		}
	}
}

var errWatchEnded = errors.New("the watch has ended")

// broken returns why a watch cannot go on. A revision that runs backwards means
// that etcd was restored: that is no history to go on with either.
func broken(resp clientv3.WatchResponse, after int64) error {
	err := resp.Err()
	switch {
	case err == nil && resp.Header.Revision < after:
		return identity.ErrCompacted
	case err == nil:
		return nil
	case resp.CompactRevision != 0 || isLost(err):
		return identity.ErrCompacted.WithCause(err)
	default:
		return unavailable(err)
	}
}

// progressOf maps a response. While a watch catches up, the header is ahead of the
// events: only the last event, or a notice of progress, says how far it is.
func (s *Store) progressOf(resp clientv3.WatchResponse) identity.Progress {
	if len(resp.Events) == 0 {
		return identity.Progress{Revision: resp.Header.Revision}
	}
	var p identity.Progress
	for _, event := range resp.Events {
		if change, ok := s.changeOf(event.Kv); ok {
			p.Changes = append(p.Changes, change)
		}
		p.Revision = event.Kv.ModRevision
	}
	return p
}

// changeOf reads the record of a token or an account; false: it is something else.
// One that is gone or cannot be read has ended: nobody can say any more that it
// has not.
func (s *Store) changeOf(kv *mvccpb.KeyValue) (identity.Change, bool) {
	change := identity.Change{Revision: kv.ModRevision, Fresh: kv.CreateRevision == kv.ModRevision, Ended: true}
	key := string(kv.Key)
	switch {
	case strings.HasPrefix(key, s.tokens):
		change.TokenID = nameOf(kv.Key, s.tokens)
		if token, err := decodeToken(change.TokenID, kv.Value, kv.ModRevision); err == nil {
			change.Ended, change.Expires = token.Ended(), token.Expires
		}
	case strings.HasPrefix(key, s.accounts):
		change.AccountID = nameOf(kv.Key, s.accounts)
		if account, err := decodeAccount(change.AccountID, kv.Value, kv.ModRevision); err == nil {
			change.Ended = account.Stopped()
		}
	default:
		return change, false
	}
	return change, true
}

// Kept asks etcd to read at the revision.
func (s *Store) Kept(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.client.Get(ctx, s.tokens, clientv3.WithRev(revision), clientv3.WithCountOnly(), clientv3.WithLimit(1))
	switch {
	case err == nil:
		return nil
	case isLost(err):
		return identity.ErrCompacted.WithCause(err)
	default:
		return unavailable(err)
	}
}
