package registry_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/registry"
)

var (
	ownershipOperations = flag.Int("ownership.operations", 2_500, "how many operations the ownership test does")
	ownershipSeed       = flag.Uint64("ownership.seed", 0, "its seed; 0: a random one")
)

const (
	clientsEach  = 3    // processes of one agent that do not know of each other
	rivals       = 8    // agents, each of an account of its own
	namesAtOnce  = 6    // names that are fought for at a time
	roundLength  = 1200 // operations until they are others
	leaderMoves  = 300  // operations from one move of etcd's leader to the next
	memberStops  = 5    // after so many moves a member stops for one
	callLimit    = 20 * time.Second
	checkLimit   = 5 * time.Minute // it takes a second; beyond it nothing is known
	replicaCount = 3
)

// Many agents, each three times, bind, release, lose sessions, crash and return,
// through replicas of which one stops, on an etcd that is slow now and then, whose
// leader moves and whose members stop. What they were told must be what one
// registry, one call after the other, could have said; and what etcd had at each of
// its revisions must be right in itself.
func TestOneOwnerAtATimeWhateverHappens(t *testing.T) {
	t.Parallel()
	seed := *ownershipSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ownership.seed=%d -ownership.operations=%d", seed, *ownershipOperations)
	etcd := etcdkit.EtcdCluster(t, 3)
	client := etcd.Client()
	client.KV = hesitant{client.KV}
	f := newFight(deployOn(t, client), seed, (*ownershipOperations/roundLength+1)*namesAtOnce)

	var trouble sync.WaitGroup
	trouble.Go(func() { f.makeTrouble(etcd, *ownershipOperations) })
	f.run(*ownershipOperations)
	trouble.Wait()

	t.Logf("%d operations, %d without an answer, %d refused, %d granted, %d attached again", len(f.history), f.unknown.Load(), f.refused.Load(), f.granted.Load(), f.reattached.Load())
	if f.reattached.Load() == 0 || f.refused.Load() == 0 || f.granted.Load() == 0 || f.unknown.Load() > int64(*ownershipOperations/4) {
		t.Error("nobody was refused, nobody had a name, or hardly anybody was answered: there was no fight")
	}
	replay(f.d)
	result := porcupine.CheckOperationsTimeout(ownershipModel.ToModel(), f.history, checkLimit)
	if result != porcupine.Ok {
		t.Errorf("the history is not that of one owner at a time: %v", result)
	}
}

// fight is a deployment whose names many want.
type fight struct {
	d        *deployment
	seed     uint64
	replicas []*instance
	clients  []*client
	clock    time.Time

	next, serving             atomic.Int64 // operations begun, replicas that serve
	unknown, refused, granted atomic.Int64
	reattached                atomic.Int64

	mu      sync.Mutex
	history []porcupine.Operation
}

func newFight(d *deployment, seed uint64, names int) *fight {
	f := &fight{d: d, seed: seed, clock: time.Now()}
	for range replicaCount {
		f.replicas = append(f.replicas, d.start(func(c *registry.Config) {
			c.LeaseTTL, c.Grace = time.Hour, time.Hour // nothing ends by itself
		}))
	}
	f.serving.Store(replicaCount)
	for r := range rivals {
		account := fmt.Sprintf("account-%d", r)
		team := &team{agent: newAgent(account), tunnels: map[string]string{}, rover: newAgent(account), roaming: newTunnel()}
		if r%2 == 0 {
			team.quota = plenty
		}
		for n := range names {
			team.tunnels[nameOf(n)] = newTunnel()
		}
		for c := range clientsEach {
			f.clients = append(f.clients, newClient(f, team, r*clientsEach+c))
		}
	}
	return f
}

// run has the clients do so many operations. A replica stops when half are done.
func (f *fight) run(operations int) {
	var clients sync.WaitGroup
	for _, c := range f.clients {
		clients.Go(func() { c.run(operations) })
	}
	f.wait(operations / 2)
	f.serving.Store(replicaCount - 1)
	f.replicas[replicaCount-1].stop()
	clients.Wait()
}

// wait waits until so many operations have begun.
func (f *fight) wait(operations int) {
	for f.next.Load() < int64(operations) {
		<-time.After(5 * time.Millisecond)
	}
}

// makeTrouble moves the leader again and again, and now and then stops a member
// meanwhile. It counts operations, not time: how much trouble there is to each of
// them does not depend on the machine.
func (f *fight) makeTrouble(etcd *etcdkit.Cluster, operations int) {
	more := func(n int) bool {
		f.wait(min(int(f.next.Load())+n, operations))
		return f.next.Load() < int64(operations)
	}
	for n := 1; more(leaderMoves); n++ {
		if n%memberStops == 0 {
			etcd.StopMember(n / memberStops % 3)
			more(leaderMoves / 2)
			etcd.RestartMember(n / memberStops % 3)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		_ = etcd.MoveLeader(ctx) // there may be none this moment
		cancel()
	}
}

func nameOf(n int) string { return fmt.Sprintf("name-%d.%s", n, domain) }
