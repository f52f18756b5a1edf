package etcdstore

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Load reads a tunnel's entry and an endpoint at one revision.
func (s *Store) Load(ctx context.Context, key directory.TunnelKey, host string) (directory.TunnelEntry, directory.Endpoint, error) {
	ops := []clientv3.Op{clientv3.OpGet(tunnelKey(key))}
	if host != "" {
		ops = append(ops, endpointOps(host)...)
	}
	resp, err := s.txn(ctx, nil, ops, nil)
	if err != nil {
		return directory.TunnelEntry{}, directory.Endpoint{}, err
	}
	entry := directory.TunnelEntry{Key: key}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		stored := &storagev1.TunnelEntry{}
		if err := decode(kvs[0].Value, stored); err != nil {
			return entry, directory.Endpoint{}, err
		}
		entry.Hostname, entry.Version = stored.GetHostname(), directory.Version(kvs[0].ModRevision)
	}
	if host == "" {
		return entry, directory.Endpoint{}, nil
	}
	endpoint, err := endpointOf(host, resp, 1)
	return entry, endpoint, err
}

// Endpoint reads one endpoint.
func (s *Store) Endpoint(ctx context.Context, host string) (directory.Endpoint, error) {
	resp, err := s.txn(ctx, nil, endpointOps(host), nil)
	if err != nil {
		return directory.Endpoint{}, err
	}
	return endpointOf(host, resp, 0)
}

func endpointOps(host string) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(ClaimKey(host)),
		clientv3.OpGet(attachPrefix(host), clientv3.WithPrefix()),
		clientv3.OpGet(EpochKey),
	}
}

// endpointOf reads the answers to endpointOps, the first of which is at i.
func endpointOf(host string, resp *clientv3.TxnResponse, i int) (directory.Endpoint, error) {
	e := directory.Endpoint{Hostname: host, Revision: resp.Header.Revision}
	if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
		claim, record, err := DecodeClaim(kvs[0].Value)
		if err != nil {
			return e, err
		}
		e.Claim, e.Record, e.Version = claim, record, directory.Version(kvs[0].ModRevision)
	}
	for _, kv := range resp.Responses[i+1].GetResponseRange().Kvs {
		a, err := DecodeAttachment(kv.Value)
		if err != nil {
			return e, err
		}
		e.Attachments = append(e.Attachments, attachmentOf(a))
	}
	if kvs := resp.Responses[i+2].GetResponseRange().Kvs; len(kvs) > 0 {
		var err error
		if e.Epoch, err = DecodeEpoch(kvs[0].Value); err != nil {
			return e, err
		}
	}
	return e, nil
}

// DecodeEpoch reads the epoch's record.
func DecodeEpoch(value []byte) (uint64, error) {
	stored := &storagev1.Epoch{}
	err := decode(value, stored)
	return stored.GetNumber(), err
}

// Frontdoors reads all frontdoors that are alive.
func (s *Store) Frontdoors(ctx context.Context) ([]directory.Node, error) {
	resp, err := s.get(ctx, nodeKindPrefix(directory.Frontdoor), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	var nodes []directory.Node
	for _, kv := range resp.Kvs {
		m, _, err := DecodeNode(kv.Value)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, nodeOf(m))
	}
	return nodes, nil
}

// Revision returns etcd's current revision.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	resp, err := s.get(ctx, EpochKey)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}
