package etcdstore

import (
	"context"
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

// readGate holds the answers of shared reads.
type readGate struct {
	gate chan struct{}

	mu   sync.Mutex
	sent int
}

func (f *fixture) holdReads() *readGate {
	g := &readGate{gate: make(chan struct{})}
	f.store.reads.txn = func(ctx context.Context, compares []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
		resp, err := f.store.txn(ctx, compares, then, otherwise)
		g.mu.Lock()
		g.sent++
		g.mu.Unlock()
		<-g.gate
		return resp, err
	}
	return g
}

func (g *readGate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sent
}

// load reads what a bind of the fixture's plans reads.
func (f *fixture) load(account, name string) directory.View {
	view, err := f.store.Load(f.t.Context(), directory.Want{
		Tunnel: f.plan(account, name, 0).Tunnel.Key, Name: name, Above: []string{"*.example.com"},
	})
	if err != nil {
		f.t.Error(err)
	}
	return view
}

// takeLanes has reads under way on both lanes until the gate is open.
func (f *fixture) takeLanes(g *readGate, all *sync.WaitGroup) {
	for i := range lanes {
		all.Go(func() { f.load("lane", fmt.Sprintf("lane%d.example.com", i)) })
		f.wait(func() bool { return g.count() == i+1 })
	}
}

func TestBindsThatComeAtOnceReadTogetherAndEachGetsItsOwn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.prove()
	g := f.holdReads()
	var all sync.WaitGroup
	f.takeLanes(g, &all)
	names := []string{"first.example.com", "free.example.com"}
	for i := range 10 {
		names = append(names, fmt.Sprintf("acme%d.example.com", i))
	}
	views := make([]directory.View, len(names))
	for i, name := range names {
		all.Go(func() { views[i] = f.load("first", name) })
	}
	f.wait(func() bool { return waits(f.store.reads.traffic) == len(names) })
	close(g.gate)
	all.Wait()
	if shared := g.count() - lanes; shared != 1 {
		t.Errorf("%d readers needed %d transactions", len(names), shared)
	}
	for i, v := range views {
		if v.Endpoint.Hostname != names[i] || v.Tunnel.Key.Tunnel != "tunnel-"+names[i] || len(v.Levels) != 2 {
			t.Errorf("%s was asked for, and this is the answer: %+v", names[i], v)
		}
		if has := v.Endpoint.Claim != nil && v.Tunnel.Hostname == names[i] && len(v.Endpoint.Attachments) == 1; has != (i == 0) {
			t.Errorf("%s is bound: %v", names[i], has)
		}
	}
}

// Whoever has been told that a bind is done must find it.
func TestAReaderSharesNoTransactionThatWasSentBeforeItCame(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	g := f.holdReads()
	var all sync.WaitGroup
	f.takeLanes(g, &all)
	f.prove()
	var view directory.View
	all.Go(func() { view = f.load("first", "first.example.com") })
	f.wait(func() bool { return waits(f.store.reads.traffic) == 1 })
	close(g.gate)
	all.Wait()
	if view.Endpoint.Claim == nil {
		t.Error("a name that was bound before is free")
	}
}

func TestAReaderThatDoesNotWaitAnyMoreHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	g := f.holdReads()
	var all sync.WaitGroup
	f.takeLanes(g, &all)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.store.Load(ctx, directory.Want{Name: "a.example.com"}); err == nil {
		t.Error("a read whose caller has gone is answered")
	}
	if n := waits(f.store.reads.traffic); n != 0 {
		t.Errorf("%d still wait", n)
	}
	close(g.gate)
	all.Wait()
}

func TestABatchOfReadsIsNoLongerThanEtcdTakes(t *testing.T) {
	t.Parallel()
	b := &readBatch{places: map[span]int{}}
	wanting := func(from, n int) *reader {
		r := &reader{}
		for i := range n {
			r.ops = append(r.ops, clientv3.OpGet(fmt.Sprint(from+i)))
		}
		return r
	}
	for i, want := range []struct {
		r   *reader
		add bool
	}{{wanting(0, 100), true}, {wanting(50, 70), true}, {wanting(120, 9), false}, {wanting(0, 128), true}, {wanting(128, 1), false}} {
		if got := b.add(want.r); got != want.add {
			t.Errorf("reader %d: %v, with %d reads", i, got, len(b.ops))
		}
	}
}
