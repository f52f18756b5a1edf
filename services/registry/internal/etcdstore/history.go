package etcdstore

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

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
