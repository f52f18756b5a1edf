package registry_test

import (
	"context"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	hesitates  = 3 // one transaction in so many does
	hesitation = 100 * time.Millisecond
)

// hesitant is an etcd to which some transactions that write are long on their way:
// what they were decided on has often changed when they arrive.
type hesitant struct{ clientv3.KV }

// Txn implements clientv3.KV.
func (h hesitant) Txn(ctx context.Context) clientv3.Txn {
	return &hesitantTxn{Txn: h.KV.Txn(ctx), ctx: ctx}
}

type hesitantTxn struct {
	clientv3.Txn
	ctx    context.Context //nolint:containedctx // as etcd's own has it
	writes bool
}

func (t *hesitantTxn) If(compares ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(compares...)
	return t
}

func (t *hesitantTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		t.writes = t.writes || !op.IsGet()
	}
	t.Txn = t.Txn.Then(ops...)
	return t
}

func (t *hesitantTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Else(ops...)
	return t
}

func (t *hesitantTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.writes && rand.IntN(hesitates) == 0 { // #nosec G404 -- no secret
		select {
		case <-time.After(rand.N(hesitation)): // #nosec G404 -- no secret
		case <-t.ctx.Done():
		}
	}
	return t.Txn.Commit()
}
