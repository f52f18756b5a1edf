package etcdstore

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Commit makes the changes of a plan in one transaction, which it may share with
// plans that have nothing to do with it.
func (s *Store) Commit(ctx context.Context, plan directory.Plan) (int64, error) {
	b, err := s.build(ctx, plan)
	if err != nil {
		return 0, err
	}
	if s.groups.takes(plan, b) {
		revision, err, done := s.groups.commit(ctx, plan, b)
		if done {
			return revision, err
		}
	}
	revision, err := s.commitAlone(ctx, plan, b)
	s.groups.note(plan, err)
	return revision, err
}

// build makes a plan's transaction, but for the record of its events.
func (s *Store) build(ctx context.Context, plan directory.Plan) (*builder, error) {
	b := &builder{keep: plan.Attach}
	if err := s.account(ctx, plan, b); err != nil {
		return nil, err
	}
	for _, t := range plan.Transitions {
		b.transition(t)
	}
	b.entries(plan)
	b.ground(plan)
	b.reserve(plan.Reserve)
	if plan.Attach != nil {
		b.attach(*plan.Attach, plan.Registration)
	}
	b.explain()
	return b, b.err
}

func (s *Store) commitAlone(ctx context.Context, plan directory.Plan, b *builder) (int64, error) {
	var otherwise []clientv3.Op
	if plan.Attach != nil {
		otherwise = []clientv3.Op{clientv3.OpGet(NodeKey(directory.Connector, plan.Attach.Connector))}
	}
	b.record(plan.Events)
	if b.err != nil {
		return 0, b.err
	}
	resp, err := s.txn(ctx, b.compares, b.ops, otherwise)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded && plan.Attach != nil {
		return 0, conflict(resp, plan.Registration)
	}
	if !resp.Succeeded {
		return 0, directory.ErrConflict
	}
	return resp.Header.Revision, nil
}

// conflict tells why a transaction under a registration failed: its last
// alternative operation read the node.
func conflict(resp *clientv3.TxnResponse, registration int64) error {
	kvs := resp.Responses[len(resp.Responses)-1].GetResponseRange().Kvs
	if len(kvs) == 0 || kvs[0].Lease != registration {
		return directory.ErrNodeUnknown
	}
	return directory.ErrConflict
}

// registered compares that a node has this registration, whatever else its
// record says.
func registered(kind directory.NodeKind, id string, registration int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.LeaseValue(NodeKey(kind, id)), "=", registration)
}

// builder gathers one transaction.
type builder struct {
	// keep is written by this transaction: etcd refuses to delete it as well.
	keep     *directory.Attachment
	compares []clientv3.Cmp
	ops      []clientv3.Op
	ended    []directory.Ended
	err      error
}

// transition compares that nobody has changed the claim or added an attachment
// since they were read. An attachment that has gone meanwhile changes nothing.
func (b *builder) transition(t directory.Transition) {
	host := t.Before.Hostname
	b.compares = append(b.compares,
		clientv3.Compare(clientv3.ModRevision(ClaimKey(host)), "=", int64(t.Before.Version)),
		clientv3.Compare(clientv3.ModRevision(attachPrefix(host)).WithPrefix(), "<", t.Before.Revision+1))
	if t.Before.Claim == nil {
		b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(freedKey(host)), "<", t.Before.Revision+1))
	}
	if t.Claim == nil {
		b.ops = append(b.ops, clientv3.OpDelete(ClaimKey(host)))
		b.freed(host)
	} else {
		b.putClaim(t)
	}
	if !t.End {
		return
	}
	for _, a := range t.Before.Attachments {
		if b.keep == nil || attachKey(a) != attachKey(*b.keep) {
			b.remove(a, t.Reason)
		}
	}
}

// freed marks a name as given up. A claim that is not there looks the same before
// and after somebody has come and gone, but whoever read it before has chosen a
// generation that the other may have had. etcd refuses to write a key twice.
func (b *builder) freed(host string) {
	key := freedKey(host)
	for _, op := range b.ops {
		if string(op.KeyBytes()) == key {
			return
		}
	}
	b.ops = append(b.ops, clientv3.OpPut(key, ""))
}

func (b *builder) putClaim(t directory.Transition) {
	record, _ := t.Before.Record.(*storagev1.Claim)
	stored := claimRecord(t.Claim, record)
	if record != nil && proto.Equal(stored, record) {
		return
	}
	value, err := encode(stored)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(ClaimKey(t.Claim.Hostname), value))
}

// remove deletes an attachment on purpose.
func (b *builder) remove(a directory.Attachment, reason directory.CloseReason) {
	b.ops = append(b.ops, clientv3.OpDelete(attachKey(a)), clientv3.OpDelete(sessionKey(a)))
	b.ended = append(b.ended, directory.Ended{Attachment: a, Reason: reason})
}

// entries keeps the tunnels' entries with the claims: a tunnel has an entry if
// and only if a claim is for it.
func (b *builder) entries(plan directory.Plan) {
	type entry struct {
		name   string
		parked bool
	}
	before, after := map[directory.TunnelKey]entry{}, map[directory.TunnelKey]entry{}
	for _, t := range plan.Transitions {
		if c := t.Before.Claim; c != nil && !c.Pooled {
			before[c.Key()] = entry{c.Hostname, c.Parked}
		}
		if c := t.Claim; c != nil && !c.Pooled {
			after[c.Key()] = entry{c.Hostname, c.Parked}
		}
	}
	for key := range before {
		if _, kept := after[key]; !kept {
			b.ops = append(b.ops, clientv3.OpDelete(tunnelKey(key)))
		}
	}
	for key, e := range after {
		if before[key] == e {
			continue
		}
		value, err := encode(&storagev1.TunnelEntry{Hostname: e.name, Parked: e.parked})
		b.fail(err)
		b.ops = append(b.ops, clientv3.OpPut(tunnelKey(key), value))
	}
	if t := plan.Tunnel; t != nil {
		b.compares = append(b.compares,
			clientv3.Compare(clientv3.ModRevision(tunnelKey(t.Key)), "=", int64(t.Version)))
	}
}

func (b *builder) attach(a directory.Attachment, registration int64) {
	b.compares = append(b.compares, registered(directory.Connector, a.Connector, registration))
	b.putAttachment(a, registration)
}

func (b *builder) putAttachment(a directory.Attachment, registration int64) {
	value, err := encodeAttachment(a)
	b.fail(err)
	entry, err := encode(&storagev1.SessionEntry{Hostname: a.Hostname})
	b.fail(err)
	lease := clientv3.WithLease(clientv3.LeaseID(registration))
	b.ops = append(b.ops, clientv3.OpPut(attachKey(a), value, lease), clientv3.OpPut(sessionKey(a), entry, lease))
}

// explain leaves a word for what is removed, in the same revision.
func (b *builder) explain() {
	if len(b.ended) == 0 {
		return
	}
	value, err := encodeEnded(b.ended)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(EndedKey, value))
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
