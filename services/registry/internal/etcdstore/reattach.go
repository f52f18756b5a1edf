package etcdstore

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Reattach writes attachments in batches. A batch that fails because one of its
// claims changed is written again one by one: one agent must not hold up others.
func (s *Store) Reattach(ctx context.Context, node string, registration int64, attachments []directory.Attachment) ([]directory.Attachment, error) {
	var superseded []directory.Attachment
	for group := range slices.Chunk(attachments, batch) {
		refused, err := s.reattach(ctx, node, registration, group)
		if errors.Is(err, directory.ErrConflict) {
			refused, err = s.reattachSingly(ctx, node, registration, group)
		}
		if err != nil {
			return nil, err
		}
		superseded = append(superseded, refused...)
	}
	return superseded, nil
}

func (s *Store) reattachSingly(ctx context.Context, node string, registration int64, group []directory.Attachment) ([]directory.Attachment, error) {
	var superseded []directory.Attachment
	for i := range group {
		var refused []directory.Attachment
		err := directory.ErrConflict
		for range maxConflicts {
			if refused, err = s.reattach(ctx, node, registration, group[i:i+1]); !errors.Is(err, directory.ErrConflict) {
				break
			}
		}
		if err != nil {
			return nil, unsettled(err)
		}
		superseded = append(superseded, refused...)
	}
	return superseded, nil
}

// reattach writes those attachments of a group whose claims accept them, in one
// transaction that holds only while each of these claims is as it was read.
func (s *Store) reattach(ctx context.Context, node string, registration int64, group []directory.Attachment) (superseded []directory.Attachment, err error) {
	var gets []clientv3.Op
	for _, a := range group {
		gets = append(gets, clientv3.OpGet(ClaimKey(a.Hostname)),
			clientv3.OpGet(attachPrefix(a.Hostname), clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	}
	read, err := s.txn(ctx, nil, gets, nil)
	if err != nil {
		return nil, err
	}
	b := &builder{compares: []clientv3.Cmp{registered(directory.Connector, node, registration)}}
	for i, a := range group {
		claim, ways := read.Responses[2*i].GetResponseRange().Kvs, read.Responses[2*i+1].GetResponseRange().Kvs
		accepted, err := accepts(claim, a)
		if err != nil {
			return nil, err
		}
		if !accepted || !hasRoom(group[:i], ways, a) {
			superseded = append(superseded, a)
			continue
		}
		b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(ClaimKey(a.Hostname)), "=", claim[0].ModRevision),
			clientv3.Compare(clientv3.ModRevision(attachPrefix(a.Hostname)).WithPrefix(), "<", read.Header.Revision+1))
		b.putAttachment(a, registration)
	}
	if b.err != nil {
		return nil, b.err
	}
	resp, err := s.txn(ctx, b.compares, b.ops, []clientv3.Op{clientv3.OpGet(NodeKey(directory.Connector, node))})
	if err == nil && !resp.Succeeded {
		err = conflict(resp, registration)
	}
	return superseded, err
}

func accepts(kvs []*mvccpb.KeyValue, a directory.Attachment) (bool, error) {
	if len(kvs) == 0 {
		return false, nil
	}
	claim, _, err := DecodeClaim(kvs[0].Value)
	return err == nil && claim.Accepts(a), err
}

// hasRoom reports whether a is one of the claim's attachments, or may be one
// more beside those that were read and those before it in its group.
func hasRoom(before []directory.Attachment, ways []*mvccpb.KeyValue, a directory.Attachment) bool {
	count := len(ways)
	for _, kv := range ways {
		if string(kv.Key) == attachKey(a) {
			return true
		}
	}
	for _, other := range before {
		if other.Hostname == a.Hostname {
			count++
		}
	}
	return count < directory.MaxAttachments
}

// Sync removes what the connector attached under earlier registrations and not
// again under this one, and then marks the node.
func (s *Store) Sync(ctx context.Context, node string, registration int64) error {
	if _, err := s.node(ctx, directory.Connector, node, registration); err != nil {
		return err
	}
	older := func(kv *mvccpb.KeyValue) bool { return kv.Lease != registration }
	if err := s.removeAll(ctx, node, "", directory.Lost, older); err != nil {
		return err
	}
	return s.changeNode(ctx, directory.Connector, node, registration, func(n *registryv1.Node) bool {
		changed := !n.GetSynced()
		n.Synced = true
		return changed
	})
}
