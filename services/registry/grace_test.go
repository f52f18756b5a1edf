package registry_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

func graceOf(d time.Duration) func(*registry.Config) {
	return func(c *registry.Config) { c.Grace = d }
}

func TestAClaimEndsWithItsGrace(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r, _ := d.start(graceOf(500*time.Millisecond)), d.start(graceOf(500*time.Millisecond))
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	defer c.keepBeating()()
	a, tunnel := newAgent("acme"), newTunnel()
	left := c.bind(newAgent("acme"), "s1", newTunnel(), "left.example.com")
	random := c.bind(a, "s1", tunnel, "")
	stays := c.bind(newAgent("acme"), "s2", newTunnel(), "stays.example.com")
	w := f.watch(nil)
	w.snapshot()
	if err := c.endSession("s1"); err != nil {
		t.Fatal(err)
	}
	lost := w.until(func(ch *registryv1.Change) bool { return ch.GetAttachmentEnded() != nil })
	if lost.GetAttachmentEnded().GetReason() != 0 {
		t.Errorf("a lost session's attachments ended with %v", lost)
	}
	seen := map[string]bool{}
	w.until(func(ch *registryv1.Change) bool {
		if host := ch.GetClaimRemoved(); host != "" {
			seen[host] = true
		}
		if ch.GetClaim().GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED {
			seen[ch.GetClaim().GetHostname()] = true
		}
		return len(seen) == 2
	})
	if !seen[left.resp.GetHostname()] || !seen[random.resp.GetHostname()] {
		t.Errorf("ended: %v", seen)
	}
	if _, err := c.tryBind(newAgent("rival"), "s3", newTunnel(), "left.example.com"); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	if again := c.bind(a, "s4", tunnel, ""); again.resp.GetHostname() != random.resp.GetHostname() {
		t.Errorf("the random name was %q and is %q", random.resp.GetHostname(), again.resp.GetHostname())
	}
	wantAttachments(t, f, "stays.example.com", stays.attachment(c))
}

func TestParkedNamesAreRemovedAfterTheirTime(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(graceOf(time.Second), func(c *registry.Config) { c.Park = 100 * time.Millisecond })
	c := r.connector("c1")
	w := r.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	w.snapshot()
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "")
	if err := c.release(b); err != nil {
		t.Fatal(err)
	}
	w.until(func(ch *registryv1.Change) bool { return ch.GetClaimRemoved() == b.resp.GetHostname() })
	resp, err := c.d.etcd.Get(c.ctx(), "/dialback/registry/index/", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 0 {
		t.Errorf("left behind: %v, %v", resp.Kvs, err)
	}
}

// All registries are away for three lease times, which is longer than the grace. A
// rival asks all the time, before, while and after; when they are back, the owner's
// connector says what it has, and the rival has not had the name for a moment.
func TestAnOutageOfAllRegistriesFreesNothing(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	d := deploy(t)
	r := d.start(shortLease, graceOf(grace))
	c := r.connector("c1")
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")

	var rival atomic.Pointer[node]
	rival.Store(r.connector("c2"))
	var refused, away atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() {
		for a := newAgent("rival"); ctx.Err() == nil; {
			call, done := context.WithTimeout(ctx, time.Second)
			n := rival.Load()
			_, err := n.directory.Bind(call, n.request(a, "s2", newTunnel(), "app.example.com"))
			done()
			switch {
			case errors.Is(err, errTaken):
				refused.Add(1)
			case err != nil:
				away.Add(1) // nobody is there
				<-time.After(20 * time.Millisecond)
			default:
				t.Error("the rival has the name")
			}
		}
	})
	testkit.Eventually(t, limit, func() bool { return refused.Load() > 0 }, "nobody asks")
	r.stop()
	<-time.After(3 * shortTTL)
	resp, err := d.etcd.Get(c.ctx(), "/dialback/registry/state/attach/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count != 0 {
		t.Errorf("the lease does not run out: %d attachments, %v", resp.Count, err)
	}
	if away.Load() == 0 {
		t.Error("the rival did not ask meanwhile")
	}

	r = d.start(shortLease, graceOf(grace))
	rival.Store(r.connector("c2"))
	before := refused.Load()
	<-time.After(grace / 3) // nobody is there yet
	testkit.Eventually(t, limit, func() bool { return refused.Load() > before }, "the rival does not ask again")
	back := c.through(r, tlsconf.RoleConnector)
	if err := back.beat(ready); !errors.Is(err, errNoNode) {
		t.Errorf("the lease has come back: %v", err)
	}
	back.register()
	if got := back.reattach(true, b.attachment(back)); len(got) != 0 {
		t.Errorf("superseded: %v", got)
	}
	cancel()
	asking.Wait()
	wantAttachments(t, r.node(tlsconf.RoleFrontdoor, "f1"), "app.example.com", b.attachment(back))
}

// The store is restored from before a take-over. The next one must not get the
// generation of the one that is forgotten: its connector still has that.
func TestARestoreGivesNoGenerationAgain(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	c.bind(a, "s1", tunnel, "app.example.com")
	key := "/dialback/registry/state/claim/com/example/app"
	backup, err := d.etcd.Get(c.ctx(), key)
	if err != nil {
		t.Fatal(err)
	}
	forgotten := c.bind(a.restarted(), "s2", tunnel, "app.example.com")
	if _, err := d.etcd.Put(c.ctx(), key, string(backup.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	now := c.bind(a.restarted(), "s3", tunnel, "app.example.com")
	if now.resp.GetGeneration() <= forgotten.resp.GetGeneration() {
		t.Errorf("generation %d is given again behind %d", now.resp.GetGeneration(), forgotten.resp.GetGeneration())
	}
	if got := c.reattach(false, forgotten.attachment(c)); len(got) != 1 {
		t.Error("an attachment from before the restore is taken for one of now")
	}
	wantAttachments(t, f, "app.example.com", now.attachment(c))
}
