package etcdstore

import (
	"context"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// page is how many records of a sub-tree are read at once.
const page = 500

// Below reads whether another account has something below a wildcard.
func (s *Store) Below(ctx context.Context, wildcard, account string) (directory.Subtree, error) {
	tree := directory.Subtree{Wildcard: wildcard}
	foreignClaim := func(kv *mvccpb.KeyValue) (bool, error) {
		c, _, err := DecodeClaim(kv.Value)
		if err == nil && c.Account != account {
			tree.Claim = c.Hostname
		}
		return tree.Claim == "", err
	}
	foreignReservation := func(kv *mvccpb.KeyValue) (bool, error) {
		r, err := DecodeReservation(kv)
		if err == nil && r.Account != account {
			tree.Reservation = r.Name
		}
		return tree.Reservation == "", err
	}
	revision, err := s.scan(ctx, below(ClaimPrefix, wildcard), 0, foreignClaim)
	if err != nil {
		return tree, err
	}
	tree.Revision, err = s.scan(ctx, below(ReservePrefix, wildcard), revision, foreignReservation)
	return tree, err
}

// Members reads the names of a pool's members.
func (s *Store) Members(ctx context.Context, pool string) (directory.Members, error) {
	members := directory.Members{Pool: pool}
	var err error
	members.Revision, err = s.scan(ctx, membersPrefix(pool), 0, func(kv *mvccpb.KeyValue) (bool, error) {
		c, _, err := DecodeClaim(kv.Value)
		if err == nil {
			members.Names = append(members.Names, c.Hostname)
		}
		return true, err
	})
	return members, err
}

// scan visits the records below a prefix at one revision, the current one if it
// is 0, until visit says no more. It returns the revision.
func (s *Store) scan(ctx context.Context, prefix string, revision int64, visit func(*mvccpb.KeyValue) (bool, error)) (int64, error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision))
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			if more, err := visit(kv); err != nil || !more {
				return revision, err
			}
		}
		if !resp.More {
			return revision, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// Ports reads who has which port.
func (s *Store) Ports(ctx context.Context) (map[uint16]directory.PortHolder, error) {
	held := map[uint16]directory.PortHolder{}
	r := &reads{}
	r.get(ClaimPrefix+"tcp:", func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			c, _, err := DecodeClaim(kv.Value)
			if err != nil {
				return err
			}
			held[c.Port()] = directory.PortHolder{Claim: c}
		}
		return nil
	}, clientv3.WithPrefix())
	r.get(ReservePrefix+"tcp:", func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			reservation, err := DecodeReservation(kv)
			if err != nil {
				return err
			}
			port := directory.PortOf(reservation.Name)
			held[port] = directory.PortHolder{Claim: held[port].Claim, Reservation: reservation}
		}
		return nil
	}, clientv3.WithPrefix())
	return held, r.run(ctx, s)
}

// Reservations lists those of an account, of all with an empty one, behind a name.
func (s *Store) Reservations(ctx context.Context, account, after string, limit int) ([]*directory.Reservation, error) {
	prefix, from := ReservePrefix, ReserveKey(after)
	opts := []clientv3.OpOption{clientv3.WithLimit(int64(limit))}
	if account != "" {
		prefix, from = reservationsOf(account), reservedBy(account, after)
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if after != "" {
		from += "\x00"
	}
	resp, err := s.get(ctx, from, append(opts, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)))...)
	if err != nil {
		return nil, err
	}
	if account != "" {
		return s.reservationsAt(ctx, prefix, resp.Kvs)
	}
	return reservationsIn(resp.Kvs)
}

// reservationsAt reads those that an index names.
func (s *Store) reservationsAt(ctx context.Context, prefix string, index []*mvccpb.KeyValue) ([]*directory.Reservation, error) {
	var list []*directory.Reservation
	for group := range slices.Chunk(index, 2*batch) {
		r := &reads{}
		for _, entry := range group {
			r.get(ReservePrefix+strings.TrimPrefix(string(entry.Key), prefix), func(kvs []*mvccpb.KeyValue) error {
				found, err := reservationsIn(kvs)
				list = append(list, found...)
				return err
			})
		}
		if err := r.run(ctx, s); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func reservationsIn(kvs []*mvccpb.KeyValue) ([]*directory.Reservation, error) {
	var list []*directory.Reservation
	for _, kv := range kvs {
		r, err := DecodeReservation(kv)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// DecodeReservation reads a reservation's record.
func DecodeReservation(kv *mvccpb.KeyValue) (*directory.Reservation, error) {
	stored := &storagev1.Reservation{}
	if err := decode(kv.Value, stored); err != nil {
		return nil, err
	}
	m := stored.GetReservation()
	return &directory.Reservation{
		Name: m.GetId(), Account: m.GetAccountId(), Description: m.GetDescription(),
		Created: timeOf(m.GetCreateTime()), Updated: timeOf(m.GetUpdateTime()),
		Version: directory.Version(kv.ModRevision), Record: stored,
	}, nil
}

// ground compares that a name's reservations, and the claims above it, are as
// they were, and that nothing was added below a wildcard.
func (b *builder) ground(plan directory.Plan) {
	for _, l := range plan.Levels {
		b.compares = append(b.compares,
			clientv3.Compare(clientv3.ModRevision(ReserveKey(l.Name)), "=", int64(l.Reserved)))
		if changes := slices.ContainsFunc(plan.Transitions, func(t directory.Transition) bool { return t.Before.Hostname == l.Name }); !changes {
			b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(ClaimKey(l.Name)), "=", int64(l.Claimed)))
		}
	}
	if m := plan.Members; m != nil {
		b.compares = append(b.compares,
			clientv3.Compare(clientv3.ModRevision(membersPrefix(m.Pool)).WithPrefix(), "<", m.Revision+1))
	}
	if t := plan.Below; t != nil {
		for _, prefix := range []string{ClaimPrefix, ReservePrefix} {
			b.compares = append(b.compares,
				clientv3.Compare(clientv3.ModRevision(below(prefix, t.Wildcard)).WithPrefix(), "<", t.Revision+1))
		}
	}
}

// reserve writes or removes a reservation and its entry in the account's index.
func (b *builder) reserve(change *directory.ReserveChange) {
	if change == nil {
		return
	}
	before, after := change.Before, change.After
	if before != nil {
		b.compares = append(b.compares, clientv3.Compare(clientv3.ModRevision(ReserveKey(before.Name)), "=", int64(before.Version)))
		if after == nil || after.Account != before.Account {
			b.ops = append(b.ops, clientv3.OpDelete(reservedBy(before.Account, before.Name)))
		}
	}
	if after == nil {
		b.ops = append(b.ops, clientv3.OpDelete(ReserveKey(before.Name)))
		return
	}
	stored := &storagev1.Reservation{}
	if record, ok := after.Record.(*storagev1.Reservation); ok {
		stored = proto.CloneOf(record)
	}
	if stored.Reservation == nil {
		stored.Reservation = &registryv1.Reservation{}
	}
	m := stored.Reservation
	m.Id, m.AccountId, m.Description = after.Name, after.Account, after.Description
	m.CreateTime, m.UpdateTime = stamp(after.Created), stamp(after.Updated)
	value, err := encode(stored)
	b.fail(err)
	b.ops = append(b.ops, clientv3.OpPut(ReserveKey(after.Name), value))
	if before == nil || after.Account != before.Account {
		b.ops = append(b.ops, clientv3.OpPut(reservedBy(after.Account, after.Name), ""))
	}
}
