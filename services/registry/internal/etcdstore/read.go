package etcdstore

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// Load reads all that is wanted, at one revision.
func (s *Store) Load(ctx context.Context, want directory.Want) (directory.View, error) {
	var view directory.View
	r := &reads{}
	if want.Tunnel != (directory.TunnelKey{}) {
		r.tunnel(want.Tunnel, &view)
	}
	if want.Name != "" {
		r.endpoint(want.Name, &view.Endpoint)
		r.levels(want, &view)
	}
	if want.Count {
		r.live(want.Tunnel, &view)
	}
	if err := r.take(s.reads.read(ctx, want.Tunnel.Account, r.ops)); err != nil {
		return view, err
	}
	if len(view.Levels) > 0 {
		view.Levels[0].Claim, view.Levels[0].Claimed = view.Endpoint.Claim, view.Endpoint.Version
	}
	if view.Usage == nil {
		return view, nil
	}
	return view, s.complete(ctx, &view, want.Count, r.revision)
}

// Endpoint reads one endpoint.
func (s *Store) Endpoint(ctx context.Context, name string) (directory.Endpoint, error) {
	return s.Nearest(ctx, []string{name})
}

// Nearest reads the first of several endpoints that has a claim; if none has, the
// first.
func (s *Store) Nearest(ctx context.Context, names []string) (directory.Endpoint, error) {
	list := make([]directory.Endpoint, len(names))
	r := &reads{}
	for i, name := range names {
		r.endpoint(name, &list[i])
	}
	if err := r.run(ctx, s); err != nil {
		return directory.Endpoint{}, err
	}
	for _, e := range list {
		if e.Claim != nil {
			return e, nil
		}
	}
	return list[0], nil
}

// reads gathers gets, which one transaction makes, and what is done with each
// answer. Two of the same keys are the same get: none has options but its range.
type reads struct {
	ops      []clientv3.Op
	takes    []func(kvs []*mvccpb.KeyValue) error
	revision int64
}

func (r *reads) get(key string, take func(kvs []*mvccpb.KeyValue) error, opts ...clientv3.OpOption) {
	r.ops = append(r.ops, clientv3.OpGet(key, opts...))
	r.takes = append(r.takes, take)
}

// run makes the gets, alone.
func (r *reads) run(ctx context.Context, s *Store) error {
	resp, err := s.txn(ctx, nil, r.ops, nil)
	if err != nil {
		return err
	}
	a := answer{revision: resp.Header.Revision}
	for _, op := range resp.Responses {
		a.kvs = append(a.kvs, op.GetResponseRange().Kvs)
	}
	return r.take(a)
}

// take does with each answer what is to be done.
func (r *reads) take(a answer) error {
	if a.err != nil {
		return a.err
	}
	r.revision = a.revision
	for i, take := range r.takes {
		if err := take(a.kvs[i]); err != nil {
			return err
		}
	}
	return nil
}

// tunnel reads a tunnel's entry, and whether its account is counted.
func (r *reads) tunnel(key directory.TunnelKey, view *directory.View) {
	view.Tunnel.Key = key
	r.get(tunnelKey(key), func(kvs []*mvccpb.KeyValue) error {
		if len(kvs) == 0 {
			return nil
		}
		stored := &storagev1.TunnelEntry{}
		view.Tunnel.Version = directory.Version(kvs[0].ModRevision)
		err := decode(kvs[0].Value, stored)
		view.Tunnel.Hostname = stored.GetHostname()
		return err
	})
	view.Usage = &directory.Usage{Account: key.Account, Live: map[string]int{}}
	r.usage(view.Usage)
}

func (r *reads) endpoint(name string, e *directory.Endpoint) {
	e.Hostname = name
	r.claim(name, func(c *directory.Claim, record *storagev1.Claim, version directory.Version) {
		e.Claim, e.Record, e.Version = c, record, version
	})
	r.get(attachPrefix(name), func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			a, err := DecodeAttachment(kv.Value)
			if err != nil {
				return err
			}
			e.Attachments = append(e.Attachments, attachmentOf(a))
		}
		return nil
	}, clientv3.WithPrefix())
	r.get(EpochKey, func(kvs []*mvccpb.KeyValue) (err error) {
		e.Revision = r.revision
		if len(kvs) > 0 {
			e.Epoch, err = DecodeEpoch(kvs[0].Value)
		}
		return err
	})
}

func (r *reads) claim(name string, take func(*directory.Claim, *storagev1.Claim, directory.Version)) {
	r.get(ClaimKey(name), func(kvs []*mvccpb.KeyValue) error {
		if len(kvs) == 0 {
			return nil
		}
		claim, record, err := DecodeClaim(kvs[0].Value)
		if err == nil {
			take(claim, record, directory.Version(kvs[0].ModRevision))
		}
		return err
	})
}

// levels reads the name's reservation, and those and the claims above it.
func (r *reads) levels(want directory.Want, view *directory.View) {
	view.Levels = make([]directory.Level, 1+len(want.Above))
	for i, name := range append([]string{want.Name}, want.Above...) {
		l := &view.Levels[i]
		l.Name = name
		r.get(ReserveKey(name), func(kvs []*mvccpb.KeyValue) (err error) {
			if len(kvs) > 0 {
				l.Reserved = directory.Version(kvs[0].ModRevision)
				l.Reservation, err = DecodeReservation(kvs[0])
			}
			return err
		})
		if i > 0 {
			r.claim(name, func(c *directory.Claim, _ *storagev1.Claim, version directory.Version) {
				l.Claim, l.Claimed = c, version
			})
		}
	}
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
