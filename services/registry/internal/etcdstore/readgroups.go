package etcdstore

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxReads bounds the reads of a shared transaction: etcd refuses more than 128.
const maxReads = 128

// readGroups lets binds that come at once read together: a call costs etcd, and
// this process, more than what it reads. A transaction is sent behind the moment at
// which the last of those who share it has come, so that each sees all before that.
type readGroups struct {
	txn     txnFunc
	traffic *traffic[*reader]
}

// reader is who waits for answers to its reads.
type reader struct {
	of     string // the account
	ops    []clientv3.Op
	answer chan answer // of one
}

func (r *reader) account() string { return r.of }

// answer has what was found for each of a reader's reads. It is others', too: nobody
// changes it.
type answer struct {
	kvs      [][]*mvccpb.KeyValue
	revision int64
	err      error
}

func newReadGroups(txn txnFunc) *readGroups {
	g := &readGroups{txn: txn}
	g.traffic = &traffic[*reader]{take: g.take}
	return g
}

// read makes the reads of an account's, all at one revision.
func (g *readGroups) read(ctx context.Context, account string, ops []clientv3.Op) answer {
	r := &reader{of: account, ops: ops, answer: make(chan answer, 1)}
	g.traffic.enter(r)
	select {
	case a := <-r.answer:
		return a
	case <-ctx.Done():
		g.traffic.leave(r)
		return answer{err: ctx.Err()}
	}
}

func (g *readGroups) take(l *line[*reader]) func() {
	b := &readBatch{places: map[span]int{}}
	l.next(b.add)
	return func() { b.send(g.txn) }
}

// readBatch is the reads of several, each made once: that a wildcard is free many
// want to know.
type readBatch struct {
	readers []*reader
	ops     []clientv3.Op
	places  map[span]int // of a read among ops
}

func spanRead(op clientv3.Op) span { return span{string(op.KeyBytes()), string(op.RangeBytes())} }

// add enters a reader, unless the batch is too full for it. An empty one takes any.
func (b *readBatch) add(r *reader) bool {
	fresh := 0
	for _, op := range r.ops {
		if _, known := b.places[spanRead(op)]; !known {
			fresh++
		}
	}
	if len(b.readers) > 0 && len(b.ops)+fresh > maxReads {
		return false
	}
	for _, op := range r.ops {
		if s := spanRead(op); !b.has(s) {
			b.places[s] = len(b.ops)
			b.ops = append(b.ops, op)
		}
	}
	b.readers = append(b.readers, r)
	return true
}

func (b *readBatch) has(s span) bool {
	_, known := b.places[s]
	return known
}

// send reads and answers. No reader's context ends it: it is the others', too.
func (b *readBatch) send(txn txnFunc) {
	resp, err := txn(context.Background(), nil, b.ops, nil)
	for _, r := range b.readers {
		a := answer{err: err}
		if err == nil {
			a.revision, a.kvs = resp.Header.Revision, make([][]*mvccpb.KeyValue, len(r.ops))
			for i, op := range r.ops {
				a.kvs[i] = resp.Responses[b.places[spanRead(op)]].GetResponseRange().Kvs
			}
		}
		r.answer <- a
	}
}
