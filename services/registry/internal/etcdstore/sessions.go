package etcdstore

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

const (
	// batch is how many attachments share a transaction: each takes two
	// operations, and etcd allows 128.
	batch = 50
	// maxConflicts bounds how often a batch is read again because it changed.
	maxConflicts = 10
)

// EndSession removes a session's attachments, in as many transactions as it takes.
func (s *Store) EndSession(ctx context.Context, connector, session string, reason directory.CloseReason) error {
	return s.removeAll(ctx, connector, session, reason, all)
}

func all(*mvccpb.KeyValue) bool { return true }

// removeAll removes those of a connector's or a session's attachments whose
// entries are wanted.
func (s *Store) removeAll(ctx context.Context, connector, session string, reason directory.CloseReason, wanted func(*mvccpb.KeyValue) bool) error {
	prefix := sessionsPrefix(connector, session)
	from, conflicts := prefix, 0
	for {
		page, err := s.get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(batch))
		if err != nil || len(page.Kvs) == 0 {
			return err
		}
		entries := page.Kvs[:0:0]
		for _, kv := range page.Kvs {
			if wanted(kv) {
				entries = append(entries, kv)
			}
		}
		err = s.removeEntries(ctx, connector, entries, reason)
		switch {
		case errors.Is(err, directory.ErrConflict) && conflicts < maxConflicts:
			conflicts++
			continue
		case err != nil:
			return unsettled(err)
		}
		if !page.More {
			return nil
		}
		from, conflicts = string(page.Kvs[len(page.Kvs)-1].Key)+"\x00", 0
	}
}

// removeEntries removes at most a batch, if nothing of it was written again.
func (s *Store) removeEntries(ctx context.Context, connector string, entries []*mvccpb.KeyValue, reason directory.CloseReason) error {
	if len(entries) == 0 {
		return nil
	}
	keys := make([]directory.Attachment, len(entries))
	gets := make([]clientv3.Op, len(entries))
	for i, kv := range entries {
		entry := &storagev1.SessionEntry{}
		if err := decode(kv.Value, entry); err != nil {
			return err
		}
		keys[i] = directory.Attachment{Hostname: entry.GetHostname(), Connector: connector, Session: sessionOf(string(kv.Key), connector)}
		gets[i] = clientv3.OpGet(attachKey(keys[i]))
	}
	read, err := s.txn(ctx, nil, gets, nil)
	if err != nil {
		return err
	}
	b := &builder{}
	for i, key := range keys {
		b.removeRead(key, read.Responses[i].GetResponseRange().Kvs, reason)
	}
	b.explain()
	if b.err != nil {
		return b.err
	}
	resp, err := s.txn(ctx, b.compares, b.ops, nil)
	if err == nil && !resp.Succeeded {
		return directory.ErrConflict
	}
	return err
}

// removeRead removes the attachment that was read at a key, and its entry.
func (b *builder) removeRead(key directory.Attachment, read []*mvccpb.KeyValue, reason directory.CloseReason) {
	if len(read) == 0 {
		b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(attachKey(key)), "=", 0))
		b.ops = append(b.ops, clientv3.OpDelete(sessionKey(key)))
		return
	}
	m, err := DecodeAttachment(read[0].Value)
	b.fail(err)
	key.Generation = m.GetGeneration()
	b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(attachKey(key)), "=", read[0].ModRevision))
	b.remove(key, reason)
}

// unsettled turns a conflict that would not end into something to retry.
func unsettled(err error) error {
	if errors.Is(err, directory.ErrConflict) {
		return directory.ErrUnavailable.WithCause(err)
	}
	return err
}
