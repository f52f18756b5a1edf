package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }

// fixture is a store on etcd whose shared transactions wait at a gate.
type fixture struct {
	t     *testing.T
	store *Store
	lease int64
	gate  chan struct{}

	mu   sync.Mutex
	sent int // shared transactions
}

func setUp(t *testing.T) *fixture {
	etcd := etcdkit.Etcd(t)
	prefix := testkit.Prefix(t)
	etcd.KV, etcd.Lease = namespace.NewKV(etcd.KV, prefix), namespace.NewLease(etcd.Lease, prefix)
	f := &fixture{t: t, store: New(etcd), gate: make(chan struct{})}
	f.store.groups.txn = func(ctx context.Context, compares []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
		f.mu.Lock()
		f.sent++
		f.mu.Unlock()
		<-f.gate
		return f.store.txn(ctx, compares, then, otherwise)
	}
	lease, err := f.store.RegisterNode(t.Context(), directory.Node{Kind: directory.Connector, ID: "c1-abcd"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.lease = lease
	f.store.groups.proven = newRecent[int64](time.Hour) // however slow the machine is
	return f
}

// plan binds a name that is free, or was at a version.
func (f *fixture) plan(account, name string, version directory.Version) directory.Plan {
	key := directory.TunnelKey{Account: account, Agent: "agent-" + name, Tunnel: "tunnel-" + name}
	claim := &directory.Claim{Hostname: name, Generation: 1 << 40, Account: account, Agent: key.Agent, Tunnel: key.Tunnel, Connectors: []string{"c1-abcd"}}
	return directory.Plan{
		Tunnel: &directory.TunnelEntry{Key: key}, Registration: f.lease,
		Attach:      &directory.Attachment{Hostname: name, Generation: claim.Generation, Connector: "c1-abcd", Session: "s1"},
		Transitions: []directory.Transition{{Before: directory.Endpoint{Hostname: name, Version: version, Revision: 1 << 40}, Claim: claim}},
		Levels:      []directory.Level{{Name: name}, {Name: "*.example.com"}},
		Usage:       &directory.Usage{Account: account, Live: map[string]int{}},
		Events:      []directory.Event{{Kind: "tunnel", Name: name, Account: account}},
	}
}

func (f *fixture) takes(plan directory.Plan) bool {
	f.t.Helper()
	b, err := f.store.build(f.t.Context(), plan)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.store.groups.takes(plan, b)
}

// prove commits one plan, alone: whatever would be shared waits at the gate.
func (f *fixture) prove() {
	f.t.Helper()
	first := f.plan("first", "first.example.com", 0)
	_, err := f.store.commitAlone(f.t.Context(), first, must(f.t, f, first))
	if err != nil {
		f.t.Fatal(err)
	}
	f.store.groups.note(first, nil)
}

// commitAll commits plans while both lanes are taken, and returns what became of
// each, and how many transactions they shared.
func (f *fixture) commitAll(plans ...directory.Plan) (revisions []int64, errs []error, shared int) {
	f.t.Helper()
	revisions, errs = make([]int64, len(plans)), make([]error, len(plans))
	var all sync.WaitGroup
	for i := range lanes {
		all.Go(func() {
			if _, err := f.store.Commit(f.t.Context(), f.plan("lane", fmt.Sprintf("lane%d.example.com", i), 0)); err != nil {
				f.t.Errorf("lane %d: %v", i, err)
			}
		})
		f.wait(func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.sent == i+1 })
	}
	for i, p := range plans {
		all.Go(func() { revisions[i], errs[i] = f.store.Commit(f.t.Context(), p) })
	}
	f.wait(func() bool {
		return waits(f.store.groups.traffic) == len(plans)
	})
	close(f.gate)
	all.Wait()
	return revisions, errs, f.sent - lanes
}

func (f *fixture) wait(done func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			f.t.Fatal("what is waited for does not come")
		}
		<-time.After(time.Millisecond)
	}
}

func waits[M waiter](t *traffic[M]) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.waiting.rows {
		n += len(row)
	}
	return n
}

func (f *fixture) has(name string) bool {
	f.t.Helper()
	e, err := f.store.Endpoint(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return e.Claim != nil && len(e.Attachments) == 1
}

func (f *fixture) many(account string, n int) (plans []directory.Plan) {
	for i := range n {
		plans = append(plans, f.plan(account, fmt.Sprintf("%s%d.example.com", account, i), 0))
	}
	return plans
}

func TestBindsThatComeAtOnceShareATransaction(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.prove()
	plans := f.many("acme", 20)
	revisions, errs, shared := f.commitAll(plans...)
	if err := errors.Join(errs...); err != nil || shared != 1 {
		t.Fatalf("%d transactions, %v", shared, err)
	}
	for i, p := range plans {
		if revisions[i] != revisions[0] || !f.has(p.Attach.Hostname) {
			t.Errorf("%s is not bound in revision %d", p.Attach.Hostname, revisions[0])
		}
	}
	past, err := f.store.HistoryAfter(t.Context(), revisions[0]-1)
	if err != nil || len(past.Entries) != 1 || len(past.Entries[0].Events) != 20 {
		t.Errorf("written down: %v, %v", past.Entries, err)
	}
}

func TestABadBindFailsNobodyElsesAndGoesAloneFromThenOn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.prove()
	bad := f.plan("rival", "taken.example.com", 7)
	plans := append(f.many("acme", 10), bad)
	_, errs, shared := f.commitAll(plans...)
	if shared != 1 {
		t.Errorf("%d transactions were shared", shared)
	}
	if err := errors.Join(errs[:10]...); err != nil || !errors.Is(errs[10], directory.ErrConflict) {
		t.Errorf("the others': %v, the bad one's: %v", err, errs[10])
	}
	if f.takes(bad) {
		t.Error("what failed a moment ago is grouped with others")
	}
	if next := f.plan("acme", "next.example.com", 0); !f.takes(next) {
		t.Error("what has not failed is not grouped")
	}
}

func TestOnlyARegistrationThatWasJustAliveIsGrouped(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	next := f.plan("acme", "next.example.com", 0)
	if f.takes(next) {
		t.Fatal("a registration that nothing is known of is grouped")
	}
	f.prove()
	if !f.takes(next) {
		t.Fatal("one that was alive is not")
	}
	if _, err := f.store.etcd.Revoke(t.Context(), clientv3.LeaseID(f.lease)); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.commitAlone(t.Context(), next, must(t, f, next))
	f.store.groups.note(next, err)
	if !errors.Is(err, directory.ErrNodeUnknown) || f.takes(next) {
		t.Errorf("one that has ended (%v) is grouped", err)
	}
}

func must(t *testing.T, f *fixture, plan directory.Plan) *builder {
	t.Helper()
	b, err := f.store.build(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEachAccountHasItsShareOfABatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var l line[*member]
	for _, p := range append(f.many("crowd", 500), f.plan("acme", "late.example.com", 0)) {
		l.push(&member{plan: p, tx: must(t, f, p)})
	}
	first := newBatch()
	l.next(first.add)
	if !slices.ContainsFunc(first.members, func(m *member) bool { return m.account() == "acme" }) {
		t.Errorf("the one bind of an account is not among the first %d, behind 500 of another's", len(first.members))
	}
	if n := len(first.ops); n > maxBatchOps || len(first.compares) > maxBatchOps || len(first.members) < 20 {
		t.Errorf("%d members with %d changes and %d compares", len(first.members), n, len(first.compares))
	}
}

func TestPlansThatTouchEachOtherAreNotOneBatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	counted := func(name string) directory.Plan {
		p := f.plan("acme", name, 0)
		p.Usage.Version, p.Usage.Counted = 5, true
		p.Usage.Live[p.Tunnel.Key.Agent] = 0
		return p
	}
	for name, pair := range map[string][2]directory.Plan{
		"of one name":    {f.plan("acme", "a.example.com", 0), f.plan("rival", "a.example.com", 0)},
		"of one count":   {counted("a.example.com"), counted("b.example.com")},
		"name, wildcard": {f.plan("acme", "*.example.com", 0), f.plan("rival", "a.example.com", 0)},
	} {
		b := newBatch()
		if !b.add(&member{plan: pair[0], tx: must(t, f, pair[0])}) || b.add(&member{plan: pair[1], tx: must(t, f, pair[1])}) {
			t.Errorf("%s: in one batch", name)
		}
	}
}
