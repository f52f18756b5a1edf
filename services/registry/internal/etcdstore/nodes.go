package etcdstore

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// RegisterNode enters a node under a new lease. An earlier lease of the same
// node is left to run out: what hangs on it serves until it is attached again.
func (s *Store) RegisterNode(ctx context.Context, n directory.Node, ttl time.Duration) (int64, error) {
	lease, err := s.grant(ctx, ttl)
	if err != nil {
		return 0, err
	}
	value, err := encodeNode(n, int64(lease))
	if err == nil {
		_, err = s.txn(ctx, nil, []clientv3.Op{clientv3.OpPut(NodeKey(n.Kind, n.ID), value, clientv3.WithLease(lease))}, nil)
	}
	if err != nil {
		s.revoke(context.WithoutCancel(ctx), lease)
		return 0, err
	}
	return int64(lease), nil
}

// Heartbeat renews the lease once; a registry keeps no lease alive by itself.
func (s *Store) Heartbeat(ctx context.Context, beat directory.Beat) (drain bool, err error) {
	// The number is the caller's word: it must be its own lease.
	n, err := s.node(ctx, beat.Kind, beat.ID, beat.Registration)
	if err != nil {
		return false, err
	}
	drain = n.stored.GetNode().GetDrainRequested()
	if err := s.keepAlive(ctx, clientv3.LeaseID(beat.Registration)); err != nil {
		return drain, err
	}
	problems := problemMessages(beat.PortProblems)
	return drain, s.changeNode(ctx, beat.Kind, beat.ID, beat.Registration, func(n *registryv1.Node) bool {
		said := &registryv1.Node{State: n.GetState(), PortProblems: n.GetPortProblems()}
		n.State, n.PortProblems = registryv1.NodeState(beat.State), problems
		return !proto.Equal(said, &registryv1.Node{State: n.State, PortProblems: n.PortProblems})
	})
}

func problemMessages(list []directory.PortProblem) []*registryv1.PortProblem {
	var out []*registryv1.PortProblem
	for _, p := range list {
		out = append(out, &registryv1.PortProblem{Port: uint32(p.Port), Problem: p.Problem})
	}
	return out
}

// DeregisterNode ends a node and what it has attached. One that is not there is
// no error; one that has registered again is ErrNodeUnknown.
func (s *Store) DeregisterNode(ctx context.Context, kind directory.NodeKind, id string, registration int64) error {
	if _, err := s.node(ctx, kind, id, registration); err != nil {
		if errors.Is(err, errNodeGone) {
			return nil
		}
		return err
	}
	if kind == directory.Connector {
		if err := s.removeAll(ctx, id, "", directory.Shutdown, all); err != nil {
			return err
		}
	}
	// Not by revoking the lease alone: the record goes even if that fails.
	_, err := s.txn(ctx, []clientv3.Cmp{registered(kind, id, registration)},
		[]clientv3.Op{clientv3.OpDelete(NodeKey(kind, id))}, nil)
	if err == nil {
		s.revoke(ctx, clientv3.LeaseID(registration))
	}
	return err
}

// errNodeGone is the case of ErrNodeUnknown in which there is no record at all.
var errNodeGone = errors.New("no such node")

// nodeRecord is a node as it was read.
type nodeRecord struct {
	stored  *storagev1.Node
	version int64
}

// node reads a node that has this registration.
func (s *Store) node(ctx context.Context, kind directory.NodeKind, id string, registration int64) (*nodeRecord, error) {
	resp, err := s.get(ctx, NodeKey(kind, id))
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, directory.ErrNodeUnknown.WithCause(errNodeGone)
	}
	kv := resp.Kvs[0]
	if kv.Lease != registration {
		return nil, directory.ErrNodeUnknown
	}
	_, stored, err := DecodeNode(kv.Value)
	return &nodeRecord{stored: stored, version: kv.ModRevision}, err
}

// changeNode rewrites a node's record if change says so.
func (s *Store) changeNode(ctx context.Context, kind directory.NodeKind, id string, registration int64, change func(*registryv1.Node) bool) error {
	for range maxConflicts {
		n, err := s.node(ctx, kind, id, registration)
		if err != nil || !change(n.stored.Node) {
			return err
		}
		value, err := encode(n.stored)
		if err != nil {
			return err
		}
		key := NodeKey(kind, id)
		resp, err := s.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", n.version)},
			[]clientv3.Op{clientv3.OpPut(key, value, clientv3.WithLease(clientv3.LeaseID(registration)))}, nil)
		if err != nil || resp.Succeeded {
			return err
		}
	}
	return unsettled(directory.ErrConflict)
}

func (s *Store) grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.etcd.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return 0, outward(err)
	}
	return resp.ID, nil
}

func (s *Store) keepAlive(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_, err := s.etcd.KeepAliveOnce(ctx, lease)
	return outward(err)
}

// revoke gives a lease back; if that fails it runs out by itself.
func (s *Store) revoke(ctx context.Context, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_, _ = s.etcd.Revoke(ctx, lease)
}

// Nodes reads all nodes that are alive.
func (s *Store) Nodes(ctx context.Context) (directory.Nodes, error) {
	var nodes directory.Nodes
	var err error
	nodes.Revision, err = s.scan(ctx, NodePrefix, 0, func(kv *mvccpb.KeyValue) (bool, error) {
		m, stored, err := DecodeNode(kv.Value)
		if err != nil {
			return false, err
		}
		n := nodeOf(m)
		n.DrainRequested, n.Registration = m.GetDrainRequested(), kv.Lease
		n.Stored, n.Record = directory.Version(kv.ModRevision), stored
		nodes.List = append(nodes.List, n)
		return true, nil
	})
	return nodes, err
}

// RequestDrain notes on a node's record that it is to drain; the node hears of it
// with its next heartbeat.
func (s *Store) RequestDrain(ctx context.Context, n directory.Node, unchangedSince int64, event directory.Event) error {
	record, ok := n.Record.(*storagev1.Node)
	if !ok {
		return directory.ErrNodeUnknown
	}
	stored := proto.CloneOf(record)
	stored.Node.DrainRequested = true
	key := NodeKey(n.Kind, n.ID)
	b := &builder{compares: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", int64(n.Stored))}}
	if unchangedSince != 0 {
		b.compares = append(b.compares,
			clientv3.Compare(clientv3.ModRevision(nodeKindPrefix(directory.Connector)).WithPrefix(), "<", unchangedSince+1))
	}
	value, err := encode(stored)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(key, value, clientv3.WithLease(clientv3.LeaseID(n.Registration))))
	b.record([]directory.Event{event})
	if b.err != nil {
		return b.err
	}
	resp, err := s.txn(ctx, b.compares, b.ops, nil)
	if err == nil && !resp.Succeeded {
		return directory.ErrConflict
	}
	return err
}
