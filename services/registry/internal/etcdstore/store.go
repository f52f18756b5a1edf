// Package etcdstore keeps the directory in etcd: keys.go says where, encode.go
// how. Each decision of the directory is one transaction.
package etcdstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

// opTimeout bounds one call of etcd's; without quorum it would wait for ever.
const opTimeout = 5 * time.Second

// proposalDropped is the text of go.etcd.io/raft's ErrProposalDropped.
const proposalDropped = "raft proposal dropped"

// Store is a directory.Store.
type Store struct {
	etcd   *clientv3.Client
	groups *groups
	reads  *readGroups
}

var _ directory.Store = (*Store)(nil)

// New returns a store on etcd.
func New(etcd *clientv3.Client) *Store {
	s := &Store{etcd: etcd}
	s.groups, s.reads = newGroups(s.txn), newReadGroups(s.txn)
	return s
}

// txnFunc runs one transaction.
type txnFunc func(ctx context.Context, compares []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error)

// txn runs one transaction.
func (s *Store) txn(ctx context.Context, compares []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.etcd.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
	return resp, outward(err)
}

func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.etcd.Get(ctx, key, opts...)
	return resp, outward(err)
}

// outward maps etcd's errors to the directory's.
func outward(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return directory.ErrNodeUnknown.WithCause(err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return directory.ErrUnavailable.WithCause(err)
	}
	var known rpctypes.EtcdError
	if errors.As(err, &known) && (known.Code() == codes.Unavailable || known.Code() == codes.DeadlineExceeded) {
		return directory.ErrUnavailable.WithCause(err)
	}
	if status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded || isDropped(err) {
		return directory.ErrUnavailable.WithCause(err)
	}
	return err
}

// isDropped reports what a member answers while the leadership moves: etcd has no
// code for it.
func isDropped(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.Unknown && strings.Contains(s.Message(), proposalDropped)
}
