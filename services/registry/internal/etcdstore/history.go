package etcdstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// TrimBatch is how many records of the past one transaction removes at most.
const TrimBatch = 1000

// record writes down what a transaction does, in its revision.
func (b *builder) record(events []directory.Event) {
	if len(events) == 0 {
		return
	}
	stored := &storagev1.History{}
	for _, e := range events {
		stored.Events = append(stored.Events, eventMessage(e))
	}
	value, err := encode(stored)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(historyKey(time.Now()), value))
}

func eventMessage(e directory.Event) *auditv1.Event {
	return &auditv1.Event{
		Time: stamp(e.Time), Action: auditv1.Action(e.Action), Kind: e.Kind, Name: e.Name, AccountId: e.Account,
		Actor: e.Actor, Address: e.Address, NodeId: e.Node, Reason: e.Reason, TraceId: e.Trace, Details: e.Details,
	}
}

// DecodeHistory reads what a transaction did.
func DecodeHistory(value []byte, revision int64) ([]*auditv1.Event, error) {
	stored := &storagev1.History{}
	err := decode(value, stored)
	for _, e := range stored.GetEvents() {
		e.Revision = revision
	}
	return stored.GetEvents(), err
}

// HistoryEntry is what happened in one revision.
type HistoryEntry struct {
	Revision int64
	Events   []*auditv1.Event
}

// Past is what is kept of what happened, up to a revision.
type Past struct {
	// Floor: of the revisions after it nothing is missing.
	Floor    int64
	Revision int64
	Epoch    uint64
	Entries  []HistoryEntry
}

// Now returns how far the store is, without any entry.
func (s *Store) Now(ctx context.Context) (Past, error) {
	past, _, err := s.floor(ctx)
	return past, err
}

// HistoryAfter returns what happened behind a revision, in order.
func (s *Store) HistoryAfter(ctx context.Context, after int64) (Past, error) {
	past, _, err := s.floor(ctx)
	if err != nil || after < past.Floor || after > past.Revision {
		return past, err
	}
	resp, err := s.get(ctx, HistoryPrefix, clientv3.WithPrefix(), clientv3.WithMinModRev(after+1), clientv3.WithRev(past.Revision))
	if err != nil {
		return past, err
	}
	for _, kv := range resp.Kvs {
		events, err := DecodeHistory(kv.Value, kv.ModRevision)
		if err != nil {
			return past, err
		}
		past.Entries = append(past.Entries, HistoryEntry{kv.ModRevision, events})
	}
	slices.SortFunc(past.Entries, func(a, b HistoryEntry) int { return cmp.Compare(a.Revision, b.Revision) })
	return past, nil
}

// floor reads what is not kept any more, and the version of the record that says so.
func (s *Store) floor(ctx context.Context) (past Past, version int64, err error) {
	r := &reads{}
	r.get(FloorKey, func(kvs []*mvccpb.KeyValue) error {
		if len(kvs) == 0 {
			return nil
		}
		stored := &storagev1.HistoryFloor{}
		version = kvs[0].ModRevision
		err := decode(kvs[0].Value, stored)
		past.Floor = stored.GetRevision()
		return err
	})
	r.get(EpochKey, func(kvs []*mvccpb.KeyValue) (err error) {
		if len(kvs) > 0 {
			past.Epoch, err = DecodeEpoch(kvs[0].Value)
		}
		return err
	})
	err = r.run(ctx, s)
	past.Revision = r.revision
	return past, version, err
}

// TrimHistory removes what is older than keep, and the oldest beyond count; at
// most one batch. Of several replicas that do so at once one does it. It returns
// how many records it removed.
func (s *Store) TrimHistory(ctx context.Context, keep time.Duration, count int) (int, error) {
	past, version, err := s.floor(ctx)
	if err != nil {
		return 0, err
	}
	all, err := s.get(ctx, HistoryPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	oldest, err := s.get(ctx, HistoryPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(TrimBatch))
	if err != nil {
		return 0, err
	}
	surplus, tooOld := int(all.Count)-count, historyTime(time.Now().Add(-keep))
	n := 0
	for n < len(oldest.Kvs) && (n < surplus || string(oldest.Kvs[n].Key) < tooOld) {
		past.Floor = max(past.Floor, oldest.Kvs[n].ModRevision)
		n++
	}
	if n == 0 {
		return 0, nil
	}
	value, err := encode(&storagev1.HistoryFloor{Revision: past.Floor})
	if err != nil {
		return 0, err
	}
	resp, err := s.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(FloorKey), "=", version)}, []clientv3.Op{
		clientv3.OpDelete(HistoryPrefix, clientv3.WithRange(string(oldest.Kvs[n-1].Key)+"\x00")),
		clientv3.OpPut(FloorKey, value),
	}, nil)
	if err != nil || !resp.Succeeded {
		return 0, err
	}
	return n, nil
}

// FinishRestore raises the epoch and returns it.
func (s *Store) FinishRestore(ctx context.Context, event directory.Event) (uint64, error) {
	for range maxConflicts {
		resp, err := s.get(ctx, EpochKey)
		if err != nil {
			return 0, err
		}
		var version int64
		stored := &storagev1.Epoch{}
		if len(resp.Kvs) > 0 {
			version = resp.Kvs[0].ModRevision
			if err := decode(resp.Kvs[0].Value, stored); err != nil {
				return 0, err
			}
		}
		stored.Number++
		b := &builder{compares: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(EpochKey), "=", version)}}
		value, err := encode(stored)
		b.fail(err)
		b.ops = append(b.ops, clientv3.OpPut(EpochKey, value))
		b.record([]directory.Event{event})
		if b.err != nil {
			return 0, b.err
		}
		done, err := s.txn(ctx, b.compares, b.ops, nil)
		if err != nil || done.Succeeded {
			return stored.Number, err
		}
	}
	return 0, unsettled(directory.ErrConflict)
}
