package etcdstore

import (
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

// maxBatchOps bounds a shared transaction's compares, and its changes. etcd
// refuses more than 128 of either by default; one is for the record of events.
const maxBatchOps = 120

// span is the keys from one to before another.
type span struct{ from, end string }

// batchOf is one transaction of several plans that do not touch each other: none
// changes what another changes or compares, so that all of them are decided as if
// they came one after the other.
type batchOf struct {
	members  []*member
	compares []clientv3.Cmp
	ops      []clientv3.Op
	events   []directory.Event

	compared map[string]struct{} // compares that it has, whole
	points   map[string]struct{} // keys that are compared
	ranges   []span              // of keys that are compared together
	written  map[string]struct{}
}

func newBatch() *batchOf {
	return &batchOf{compared: map[string]struct{}{}, points: map[string]struct{}{}, written: map[string]struct{}{}}
}

// add enters a member, unless the batch is too full for it, or touches it.
func (b *batchOf) add(m *member) bool {
	fresh, keys, err := b.unknown(m.tx.compares)
	if err != nil || len(b.compares)+len(fresh) > maxBatchOps || len(b.ops)+len(m.tx.ops) > maxBatchOps || b.touches(m.tx) {
		return false
	}
	for i, c := range fresh {
		b.compared[keys[i]] = struct{}{}
		if s, many := spanOf(c); many {
			b.ranges = append(b.ranges, s)
		} else {
			b.points[s.from] = struct{}{}
		}
	}
	for _, op := range m.tx.ops {
		b.written[string(op.KeyBytes())] = struct{}{}
	}
	b.members, b.compares, b.ops = append(b.members, m), append(b.compares, fresh...), append(b.ops, m.tx.ops...)
	b.events = append(b.events, m.plan.Events...)
	return true
}

// unknown returns the compares that the batch does not make yet: that a connector
// is registered, or a wildcard free, is the same for many.
func (b *batchOf) unknown(compares []clientv3.Cmp) (fresh []clientv3.Cmp, keys []string, err error) {
	for _, c := range compares {
		raw, err := proto.Marshal(c.GetCompare())
		if err != nil {
			return nil, nil, err
		}
		if _, known := b.compared[string(raw)]; !known {
			fresh, keys = append(fresh, c), append(keys, string(raw))
		}
	}
	return fresh, keys, nil
}

// touches holds if a transaction changes what the batch changes or compares, or
// compares what it changes.
func (b *batchOf) touches(tx *builder) bool {
	for _, op := range tx.ops {
		key := string(op.KeyBytes())
		_, written := b.written[key]
		_, compared := b.points[key]
		if written || compared || slices.ContainsFunc(b.ranges, func(s span) bool { return s.has(key) }) {
			return true
		}
	}
	for _, c := range tx.compares {
		s, many := spanOf(c)
		if _, written := b.written[s.from]; written {
			return true
		}
		for key := range b.written {
			if many && s.has(key) {
				return true
			}
		}
	}
	return false
}

// spanOf returns what a compare compares, and whether that is more than one key.
func spanOf(c clientv3.Cmp) (s span, many bool) {
	m := c.GetCompare()
	return span{string(m.GetKey()), string(m.GetRangeEnd())}, len(m.GetRangeEnd()) > 0
}

func (s span) has(key string) bool { return s.from <= key && key < s.end }
