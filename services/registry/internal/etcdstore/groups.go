package etcdstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

const (
	// suspectFor is how long a plan whose compare failed marks those of its name,
	// agent and registration: they go alone.
	suspectFor = 10 * time.Second
	// provenFor is how long a registration counts as alive that a transaction has
	// just found alive; far less than any lease.
	provenFor = time.Second / 2
)

// groups lets binds share transactions: etcd writes each to the disk before it
// answers, and that is dear. A plan that fails would fail all that it is with, so
// what may fail goes alone, and no account has more than its share.
type groups struct {
	txn     txnFunc
	traffic *traffic[*member]

	mu       sync.Mutex
	suspects *recent[string]
	proven   *recent[int64]
}

// member is a plan that waits for its transaction.
type member struct {
	plan    directory.Plan
	tx      *builder
	outcome chan outcome // of one
}

func (m *member) account() string {
	if t := m.plan.Tunnel; t != nil {
		return t.Key.Account
	}
	return ""
}

type outcome struct {
	revision int64
	err      error
	alone    bool // the batch failed, this member may not: it is to be tried alone
}

func newGroups(txn txnFunc) *groups {
	g := &groups{txn: txn, suspects: newRecent[string](suspectFor), proven: newRecent[int64](provenFor)}
	g.traffic = &traffic[*member]{take: g.take}
	return g
}

// takes holds for plans that may share: plain binds under a registration that was
// alive a moment ago, of which nothing has failed lately. An expired lease or a
// compare that fails again and again would take all others of its batches along.
func (g *groups) takes(plan directory.Plan, tx *builder) bool {
	if plan.Attach == nil || plan.Reserve != nil || plan.Below != nil || plan.Members != nil || len(tx.ended) > 0 {
		return false
	}
	if max(len(tx.compares), len(tx.ops)) > maxBatchOps {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.proven.has(plan.Registration) {
		return false
	}
	for _, mark := range marks(plan) {
		if g.suspects.has(mark) {
			return false
		}
	}
	return true
}

// marks are what a failed plan is known by when it comes again.
func marks(plan directory.Plan) []string {
	list := []string{"name " + plan.Attach.Hostname}
	if t := plan.Tunnel; t != nil {
		list = append(list, "agent "+t.Key.Account+"/"+t.Key.Agent)
	}
	return list
}

// note learns from what became of a plan that went alone.
func (g *groups) note(plan directory.Plan, err error) {
	if plan.Attach == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.proven.add(plan.Registration)
	case errors.Is(err, directory.ErrNodeUnknown):
		g.proven.remove(plan.Registration)
	case errors.Is(err, directory.ErrConflict):
		for _, mark := range marks(plan) {
			g.suspects.add(mark)
		}
	}
}

// commit sends a plan with others; at once, if a lane is free. If it is not done
// the plan has changed nothing, and is to go alone. An error is ctx's, or the
// store's: what became of the plan is not known then.
func (g *groups) commit(ctx context.Context, plan directory.Plan, tx *builder) (revision int64, err error, done bool) { //nolint:revive // done goes last: it says whether to look at the others
	m := &member{plan: plan, tx: tx, outcome: make(chan outcome, 1)}
	g.traffic.enter(m)
	select {
	case o := <-m.outcome:
		return o.revision, o.err, !o.alone
	case <-ctx.Done():
		g.traffic.leave(m)
		return 0, ctx.Err(), true
	}
}

// take makes a batch of what waits, and returns how it is sent.
func (g *groups) take(l *line[*member]) func() {
	b := newBatch()
	l.next(b.add)
	return func() { g.settle(b, g.send(b)) }
}

// settle tells a batch's members what has become of it.
func (g *groups) settle(b *batchOf, o outcome) {
	if o.err == nil && !o.alone {
		g.mu.Lock()
		for _, m := range b.members {
			g.proven.add(m.plan.Registration)
		}
		g.mu.Unlock()
	}
	for _, m := range b.members {
		m.outcome <- o
	}
}

// send runs a batch's transaction. No member's context ends it: it is the others', too.
func (g *groups) send(b *batchOf) outcome {
	tx := &builder{ops: b.ops}
	tx.record(b.events)
	if tx.err != nil {
		return outcome{err: tx.err}
	}
	resp, err := g.txn(context.Background(), b.compares, tx.ops, nil)
	switch {
	case errors.Is(err, directory.ErrNodeUnknown):
		return outcome{alone: true}
	case err != nil:
		return outcome{err: err}
	case !resp.Succeeded:
		return outcome{alone: true}
	}
	return outcome{revision: resp.Header.Revision}
}
