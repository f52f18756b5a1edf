package etcdstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

const (
	// trimAtOnce is how many events one transaction removes.
	trimAtOnce = 1000
	// maxSkew is how far replicas' clocks may be apart.
	maxSkew = time.Hour
	// horizonAge is how old a horizon may become.
	horizonAge = 10 * time.Minute
)

// horizon is a moment at which the store was at a revision: what came later has
// keys from later, but for clocks that are apart. It spares those who follow the
// history from reading all of it with each step.
type horizon struct {
	revision int64
	at       time.Time
}

// eventKey orders events by time, for trimming; their own order is that of their
// revisions.
func (s *Store) eventKey(at time.Time) string {
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // it never fails
	return s.eventsFrom(at) + "-" + hex.EncodeToString(unique[:])
}

func (s *Store) eventsFrom(at time.Time) string {
	return s.events + fmt.Sprintf("%016x", uint64(max(at.UnixNano(), 0)))
}

func (s *Store) putEvent(e identity.Event) (clientv3.Op, error) {
	value, err := json.Marshal(eventRecord{
		header: header{recordVersion}, Time: e.Time, Action: string(e.Action), Kind: e.Kind, Name: e.Name,
		AccountID: e.Account, Actor: e.Actor, Address: e.Address, Details: e.Details,
	})
	return clientv3.OpPut(s.eventKey(e.Time), string(value)), err
}

// Events reads what came after a revision, in the order of revisions.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]identity.Event, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	begun := time.Now()
	resp, err := s.client.Txn(ctx).Then(clientv3.OpGet(s.floor), clientv3.OpGet(s.eventsAfter(after), clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.events)),
		clientv3.WithMinModRev(after+1), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend),
		clientv3.WithLimit(int64(limit)+1))).Commit()
	if err != nil {
		return nil, 0, unavailable(err)
	}
	if after < floorOf(resp.Responses[0].GetResponseRange().GetKvs()) || after > resp.Header.Revision {
		return nil, 0, identity.ErrCompacted
	}
	if h := s.horizon.Load(); h == nil || begun.Sub(h.at) > horizonAge {
		s.horizon.Store(&horizon{resp.Header.Revision, begun})
	}
	kvs, upTo := resp.Responses[1].GetResponseRange().GetKvs(), resp.Header.Revision
	if len(kvs) > limit {
		kvs, upTo = wholeRevisions(kvs)
	}
	events := make([]identity.Event, 0, len(kvs))
	for _, kv := range kvs {
		e, err := decodeEvent(kv)
		if err != nil {
			return nil, 0, err
		}
		events = append(events, e)
	}
	return events, upTo, nil
}

// eventsAfter returns a key that no event from after a revision is before.
func (s *Store) eventsAfter(revision int64) string {
	if h := s.horizon.Load(); h != nil && revision >= h.revision {
		return s.eventsFrom(h.at.Add(-maxSkew))
	}
	return s.events
}

// wholeRevisions drops the last revision, of which there may be more than was
// read. A transaction writes a few events only, so some are left.
func wholeRevisions(kvs []*mvccpb.KeyValue) ([]*mvccpb.KeyValue, int64) {
	cut := kvs[len(kvs)-1].ModRevision
	for len(kvs) > 0 && kvs[len(kvs)-1].ModRevision == cut {
		kvs = kvs[:len(kvs)-1]
	}
	return kvs, cut - 1
}

// floorOf returns up to which revision events may be gone.
func floorOf(kvs []*mvccpb.KeyValue) int64 {
	if len(kvs) == 0 {
		return 0
	}
	floor, _ := strconv.ParseInt(string(kvs[0].Value), 10, 64) // our own number
	return floor
}

// Bounds returns the floor and the present revision.
func (s *Store) Bounds(ctx context.Context) (oldest, now int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, s.floor)
	if err != nil {
		return 0, 0, unavailable(err)
	}
	return floorOf(resp.Kvs), resp.Header.Revision, nil
}

// TrimEvents removes the oldest events, some at once, and raises the floor in the
// same transaction: whoever asks for them is told that they are gone.
func (s *Store) TrimEvents(ctx context.Context, before time.Time, keep int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	oldest, err := s.client.Get(ctx, s.events, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(trimAtOnce))
	if err != nil {
		return 0, unavailable(err)
	}
	old, end := s.eventsFrom(before), 0
	surplus := int(oldest.Count) - keep
	var floor int64
	for i, kv := range oldest.Kvs {
		if string(kv.Key) >= old && i >= surplus {
			break
		}
		end, floor = i+1, max(floor, kv.ModRevision)
	}
	if end == 0 {
		return 0, nil
	}
	kept, err := s.get(ctx, s.floor)
	if err != nil {
		return 0, err
	}
	same := absent(s.floor)
	if kept != nil {
		same = unchanged(s.floor, kept)
		floor = max(floor, floorOf([]*mvccpb.KeyValue{{Value: kept.value}}))
	}
	last := string(oldest.Kvs[end-1].Key)
	done, _, err := s.commit(ctx, []clientv3.Cmp{same},
		clientv3.OpDelete(s.events, clientv3.WithRange(last+"\x00")),
		clientv3.OpPut(s.floor, strconv.FormatInt(floor, 10)))
	if err != nil || !done { // another replica is at it
		return 0, err
	}
	return end, nil
}
