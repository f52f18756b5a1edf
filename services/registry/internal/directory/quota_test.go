package directory_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

func limited(agent string, endpoints, agents int) directory.Principal {
	p := agentOf(agent)
	p.Limits = directory.Limits{Endpoints: endpoints, Agents: agents}
	return p
}

func (f *fixture) try(p directory.Principal, tunnel, name string) error {
	_, err := f.Bind(f.t.Context(), f.request(p, "s-"+p.Agent, tunnel, name))
	return err
}

// usage is what the account's record says, and what the claims say.
func (f *fixture) usage() (said, are [2]int) {
	f.t.Helper()
	resp, err := f.etcd.Get(f.t.Context(), etcdstore.Prefix+"index/quota/acme")
	if err != nil || len(resp.Kvs) != 1 {
		f.t.Errorf("the account is not counted: %v", err)
		return said, are
	}
	stored := &storagev1.Usage{}
	if err := proto.Unmarshal(resp.Kvs[0].Value, stored); err != nil || !stored.GetCounted() {
		f.t.Errorf("the usage is %v, %v", stored, err)
	}
	claims, err := f.etcd.Get(f.t.Context(), etcdstore.ClaimPrefix, clientv3.WithPrefix())
	if err != nil {
		f.t.Error(err)
		return said, are
	}
	agents := map[string]bool{}
	for _, kv := range claims.Kvs {
		c, _, err := etcdstore.DecodeClaim(kv.Value)
		if err != nil {
			f.t.Error(err)
			continue
		}
		if !c.Parked && c.Account == "acme" {
			are[0]++
			agents[c.Agent] = true
		}
	}
	are[1] = len(agents)
	return [2]int{int(stored.GetEndpoints()), int(stored.GetAgents())}, are
}

func (f *fixture) checkUsage(want ...int) {
	f.t.Helper()
	said, are := f.usage()
	if said != are || len(want) == 2 && are != [2]int(want) {
		f.t.Errorf("the record says %v, the claims %v, want %v", said, are, want)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	// What the account has from when it had no limit counts as well.
	f.bind(agentOf("a"), "s1", "t1", "a1.example.com")
	f.bind(agentOf("a"), "s1", "t2", "")
	a, b, c := limited("a", 4, 2), limited("b", 4, 2), limited("c", 4, 2)
	for _, step := range []struct {
		p            directory.Principal
		tunnel, name string
		want         error
	}{
		{a, "t3", "a3.example.com", nil},
		{a, "t3", "a3.example.com", nil},  // a repeat is no second one
		{a, "t3", "a3b.example.com", nil}, // nor is another name for it
		{b, "t1", "b1.example.com", nil},
		{c, "t1", "c1.example.com", directory.ErrQuota},
		{b, "t2", "b2.example.com", directory.ErrQuota},
	} {
		if err := f.try(step.p, step.tunnel, step.name); !errors.Is(err, step.want) || step.want == nil && err != nil {
			t.Errorf("%s binds %s: %v, want %v", step.p.Agent, step.name, err, step.want)
		}
	}
	f.checkUsage(4, 2)
	f.close(a, "t2") // parked, which does not count
	f.checkUsage(3, 2)
	if err := f.try(c, "t1", "c1.example.com"); !errors.Is(err, directory.ErrQuota) {
		t.Errorf("a third agent: %v", err)
	}
	f.close(b, "t1")
	if err := f.try(c, "t1", "c1.example.com"); err != nil {
		t.Errorf("an agent in the place of another: %v", err)
	}
	if err := f.try(a, "t2", ""); err != nil {
		t.Errorf("a parked name comes back: %v", err)
	}
	// The same agents after a restart, beside their half-open sessions.
	a.Instance = "another"
	if err := f.try(a, "t1", "a1.example.com"); err != nil {
		t.Errorf("a take-over: %v", err)
	}
	f.checkUsage(4, 2)
	// A limit that was lowered ends nothing, and lets nothing in.
	a.Limits.Endpoints = 1
	if err := f.try(a, "t1", "a1.example.com"); err != nil {
		t.Errorf("what there is: %v", err)
	}
	if err := f.try(a, "t9", "a9.example.com"); !errors.Is(err, directory.ErrQuota) {
		t.Errorf("more than a lowered limit: %v", err)
	}
	// Without any limit the account stands in no line.
	a.Limits = directory.Limits{}
	if err := f.try(a, "t9", "a9.example.com"); err != nil {
		t.Error(err)
	}
	if got := f.keys("index/quota/"); len(got) != 0 {
		t.Errorf("still counted: %v", got)
	}
}

// Two replicas, many agents, all at once: never one more than the account may
// have, and the record is what the claims are.
func TestQuotasHoldWhoeverRaces(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const endpoints, agents, clients, steps = 6, 3, 8, 25
	replicas := []*directory.Directory{f.Directory, directory.New(f.config, etcdstore.New(f.etcd), f.holders)}
	if err := f.try(limited("agent0", endpoints, agents), "t0", ""); err != nil { // from here on there is a record
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for client := range clients {
		random := rand.New(rand.NewPCG(uint64(client), 1))
		p := limited(fmt.Sprintf("agent%d", client%5), endpoints, agents)
		all.Go(func() {
			for range steps {
				d, tunnel := replicas[random.IntN(2)], fmt.Sprintf("t%d", random.IntN(4))
				var err error
				if random.IntN(3) == 0 {
					err = d.Release(t.Context(), p, tunnel, directory.Closed, directory.Source{})
				} else {
					name := ""
					if random.IntN(2) == 0 {
						name = fmt.Sprintf("n%d-%s-%s.example.com", random.IntN(2), tunnel, p.Agent)
					}
					_, err = d.Bind(t.Context(), f.request(p, "s-"+p.Agent, tunnel, name))
				}
				if err != nil && !errors.Is(err, directory.ErrQuota) && !errors.Is(err, directory.ErrUnavailable) {
					t.Error(err)
				}
				if _, are := f.usage(); are[0] > endpoints || are[1] > agents {
					t.Errorf("the account has %d endpoints of %d agents", are[0], are[1])
				}
			}
		})
	}
	all.Wait()
	f.checkUsage()
}

func TestAWrongCountIsRepaired(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := limited("a", 3, 0)
	for _, tunnel := range []string{"t1", "t2"} {
		if err := f.try(a, tunnel, tunnel+".example.com"); err != nil {
			t.Fatal(err)
		}
	}
	wrong, err := proto.Marshal(&storagev1.Usage{Counted: true, Endpoints: 40, Agents: 7})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.etcd.Put(t.Context(), etcdstore.Prefix+"index/quota/acme", string(wrong)); err != nil {
		t.Fatal(err)
	}
	store := etcdstore.New(f.etcd)
	if n, err := store.RepairUsage(t.Context()); n != 1 || err != nil {
		t.Errorf("repaired %d, %v", n, err)
	}
	if err := f.try(a, "t3", "t3.example.com"); err != nil {
		t.Error(err)
	}
	f.checkUsage(3, 1)
	if n, err := store.RepairUsage(t.Context()); n != 0 || err != nil {
		t.Errorf("repaired %d more, %v", n, err)
	}
	if err := f.try(a, "t4", strings.Repeat("x", 9)+".example.com"); !errors.Is(err, directory.ErrQuota) {
		t.Errorf("one more: %v", err)
	}
}
