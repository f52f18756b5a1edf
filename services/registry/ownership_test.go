package registry_test

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

var (
	ownershipOperations = flag.Int("ownership.operations", 3_000, "how many operations the ownership test does")
	ownershipSeed       = flag.Uint64("ownership.seed", 0, "its seed; 0: a random one")
)

const (
	clientsEach  = 3    // processes of one agent that do not know of each other
	rivals       = 8    // agents, each of an account of its own
	namesAtOnce  = 4    // names that are fought for at a time
	roundLength  = 2000 // operations until they are others
	callLimit    = 5 * time.Second
	checkLimit   = time.Minute
	leaderMoves  = time.Second
	memberStops  = 5 // after so many moves of the leader a member stops for one
	replicaCount = 3
)

// Many agents, each twice, bind, release, crash and return, through replicas of
// which one stops, on an etcd whose leader moves and whose members stop. What they
// were told must be what one registry, one call after the other, could have said.
func TestOneOwnerAtATimeWhateverHappens(t *testing.T) {
	t.Parallel()
	seed := *ownershipSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ownership.seed=%d -ownership.operations=%d", seed, *ownershipOperations)
	etcd := etcdkit.EtcdCluster(t, 3)
	f := newFight(deployOn(t, etcd.Client()), seed, (*ownershipOperations/roundLength+1)*namesAtOnce)

	ctx, calm := context.WithCancel(t.Context())
	var trouble sync.WaitGroup
	trouble.Go(func() { makeTrouble(ctx, etcd) })
	f.run(*ownershipOperations)
	calm()
	trouble.Wait()

	t.Logf("%d operations, %d without an answer, %d refused, %d granted", len(f.history), f.unknown.Load(), f.refused.Load(), f.granted.Load())
	if f.refused.Load() == 0 || f.granted.Load() == 0 || f.unknown.Load() > int64(*ownershipOperations/4) {
		t.Error("nobody was refused, nobody had a name, or hardly anybody was answered: there was no fight")
	}
	result := porcupine.CheckOperationsTimeout(ownershipModel.ToModel(), f.history, checkLimit)
	if result != porcupine.Ok {
		t.Errorf("the history is not that of one owner at a time: %v", result)
	}
	f.wantConsistentStore()
}

// makeTrouble moves the leader, and now and then stops a member meanwhile.
func makeTrouble(ctx context.Context, etcd *etcdkit.Cluster) {
	tick := time.NewTicker(leaderMoves)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%memberStops == 0 {
			etcd.StopMember(n / memberStops % 3)
			<-tick.C
			etcd.RestartMember(n / memberStops % 3)
			continue
		}
		_ = etcd.MoveLeader(ctx) // there may be none this moment
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

	mu      sync.Mutex
	history []porcupine.Operation
}

func newFight(d *deployment, seed uint64, names int) *fight {
	f := &fight{d: d, seed: seed, clock: time.Now()}
	for range replicaCount {
		f.replicas = append(f.replicas, d.start(func(c *registry.Config) {
			c.LeaseTTL, c.Grace = 30*time.Second, time.Hour // nothing ends by itself
		}))
	}
	f.serving.Store(replicaCount)
	for r := range rivals {
		a := newAgent(fmt.Sprintf("account-%d", r))
		tunnels := map[string]string{}
		for n := range names {
			tunnels[nameOf(n)] = newTunnel()
		}
		for c := range clientsEach {
			f.clients = append(f.clients, newClient(f, a.restarted(), tunnels, r*clientsEach+c))
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
	for half := int64(operations / 2); f.next.Load() < half; {
		<-time.After(10 * time.Millisecond)
	}
	f.serving.Store(replicaCount - 1)
	f.replicas[replicaCount-1].stop()
	clients.Wait()
}

func nameOf(n int) string { return fmt.Sprintf("name-%d.%s", n, domain) }

// client is one process of an agent.
type client struct {
	*fight
	agent      agent
	tunnels    map[string]string
	id         int
	random     *rand.Rand
	session    string
	has        string  // a name that it was given
	connectors []*node // the same one, through each replica
	frontdoors []*node
}

func newClient(f *fight, a agent, tunnels map[string]string, id int) *client {
	c := &client{
		fight: f, agent: a, tunnels: tunnels, id: id,
		random: rand.New(rand.NewPCG(f.seed, uint64(id))), session: randomHex(8), // #nosec G404 G115 -- no secret
	}
	own := f.replicas[0].connector(fmt.Sprintf("c%d", id))
	for _, replica := range f.replicas {
		c.connectors = append(c.connectors, own.through(replica, tlsconf.RoleConnector))
		c.frontdoors = append(c.frontdoors, replica.node(tlsconf.RoleFrontdoor, fmt.Sprintf("f%d", id)))
	}
	c.connectors[0].keepBeating()
	return c
}

func (c *client) run(operations int) {
	for {
		n := int(c.next.Add(1)) - 1
		if n >= operations {
			return
		}
		name := nameOf(n/roundLength*namesAtOnce + c.random.IntN(namesAtOnce))
		replica := c.random.IntN(int(c.serving.Load()))
		switch draw := c.random.IntN(100); {
		case c.has != "" && draw < 60:
			c.do(call{deed: releaseName, name: c.has}, replica, c.release)
			c.has = ""
		case draw < 65:
			c.do(call{deed: bindName, name: name}, replica, c.bind)
		case draw < 75:
			c.do(call{deed: releaseName, name: name}, replica, c.release)
		case draw < 95:
			c.do(call{deed: lookUpName, name: name}, replica, c.lookup)
		default:
			c.crash(replica)
		}
	}
}

// crash begins a new process. The old one's session ends, or nobody says so.
func (c *client) crash(replica int) {
	if c.random.IntN(2) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		n := c.connectors[replica]
		_, _ = n.directory.EndSession(ctx, &registryv1.EndSessionRequest{NodeId: n.id, SessionId: c.session})
	}
	c.agent, c.session, c.has = c.agent.restarted(), randomHex(8), ""
}

// do does one operation and writes down what came of it.
func (c *client) do(what call, replica int, f func(context.Context, string, int) (answer, error)) {
	what.agent, what.instance = c.agent.id, hex.EncodeToString(c.agent.instance)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	o := porcupine.Operation{ClientId: c.id, Input: what, Call: time.Since(c.clock).Nanoseconds()}
	a, err := f(ctx, what.name, replica)
	o.Return = time.Since(c.clock).Nanoseconds()
	if err != nil {
		if !retryable(err) {
			c.d.t.Errorf("%+v: %v", what, err)
		}
		c.unknown.Add(1)
		if what.deed == lookUpName {
			return // it has neither told nor changed anything
		}
		a, o.Return = answer{unknown: true}, math.MaxInt64
	}
	o.Output = a
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, o)
}

// retryable holds for what an agent would ask again after.
func retryable(err error) bool {
	e, ours := errs.From(err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || ours && e.Kind() == errs.Unavailable
}

func (c *client) bind(ctx context.Context, name string, replica int) (answer, error) {
	n := c.connectors[replica]
	resp, err := n.directory.Bind(ctx, n.request(c.agent, c.session, c.tunnels[name], name))
	switch {
	case errors.Is(err, errTaken):
		c.refused.Add(1)
		return answer{refused: true}, nil
	case err == nil:
		c.granted.Add(1)
		c.has = name
	}
	return answer{generation: resp.GetGeneration()}, err
}

func (c *client) release(ctx context.Context, name string, replica int) (answer, error) {
	n := c.connectors[replica]
	_, err := n.directory.Release(ctx, &registryv1.ReleaseRequest{
		Assertion: c.d.assertion(c.agent, n.name), TunnelId: c.tunnels[name], Reason: agentv1.CloseReason_CLOSE_REASON_CLOSED, NodeId: n.id,
	})
	return answer{}, err
}

func (c *client) lookup(ctx context.Context, name string, replica int) (answer, error) {
	resp, err := c.frontdoors[replica].directory.Lookup(ctx, &registryv1.LookupRequest{Hostname: name})
	if errors.Is(err, errNotFound) {
		return answer{}, nil
	}
	claim := resp.GetClaim()
	return answer{generation: claim.GetGeneration(), agent: claim.GetAgentId(), instance: hex.EncodeToString(claim.GetInstance())}, err
}

// wantConsistentStore compares what the store has of claims and of ways to them.
func (f *fight) wantConsistentStore() {
	f.d.t.Helper()
	owned := map[string]uint64{} // by name, its claim's generation
	for name, claim := range read(f.d, etcdstore.ClaimPrefix, &storagev1.Claim{}) {
		owned[name] = claim.GetClaim().GetGeneration()
		key := etcdstore.Prefix + "index/tunnel/" + claim.GetClaim().GetAccountId() + "/" + claim.GetClaim().GetAgentId() + "/" + claim.GetClaim().GetTunnelId()
		if entry := read(f.d, key, &storagev1.TunnelEntry{})[""]; entry.GetHostname() != claim.GetClaim().GetHostname() {
			f.d.t.Errorf("%s is for a tunnel whose entry says %q", claim.GetClaim().GetHostname(), entry.GetHostname())
		}
	}
	if entries := read(f.d, etcdstore.Prefix+"index/tunnel/", &storagev1.TunnelEntry{}); len(entries) != len(owned) {
		f.d.t.Errorf("%d tunnels have a name, %d names have a tunnel", len(entries), len(owned))
	}
	for key, a := range read(f.d, etcdstore.AttachPrefix, &storagev1.Attachment{}) {
		name, _, _ := strings.Cut(key, "//")
		if generation, ok := owned[name]; !ok || a.GetAttachment().GetGeneration() != generation {
			f.d.t.Errorf("attached is %v, the claim's generation is %d", a.GetAttachment(), generation)
		}
	}
}

// read returns the records below a prefix, by the rest of their keys.
func read[M proto.Message](d *deployment, prefix string, kind M) map[string]M {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	resp, err := d.etcd.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		d.t.Fatal(err)
	}
	records := map[string]M{}
	for _, kv := range resp.Kvs {
		m := kind.ProtoReflect().New().Interface().(M)
		if err := proto.Unmarshal(kv.Value, m); err != nil {
			d.t.Fatalf("%s: %v", kv.Key, err)
		}
		records[strings.TrimPrefix(string(kv.Key), prefix)] = m
	}
	return records
}
