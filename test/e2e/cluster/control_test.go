package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/secret"
)

// While parts of the control plane are lost, names go on being bound, each has the
// one owner who was told so, REST answers, and visitors notice nothing. In the end
// the store is lost, and a backup put in its place.
func TestTheControlPlaneLosesNoName(t *testing.T) {
	c := start(t) // not in parallel: it fills the machine
	l := startLoad(t, c)
	r := startREST(t, c)
	rivals := []*binder{startBinder(t, c, "shop"), startBinder(t, c, "store")}
	served := func(t *testing.T) { goOn(t, l, r, rivals) }
	served(t)
	lose := func(what, name string) {
		t.Run(what, func(t *testing.T) {
			c.Part(name).Kill()
			served(t)
			must(t, c.Part(name).Start())
			must(t, until(t.Context(), name+" is back", func(ctx context.Context) error { return isBack(ctx, c, name) }))
			served(t)
		})
	}
	lose("etcd's leader", etcdLeader(t, c))
	leader := etcdLeader(t, c)
	lose("a follower", replicas(Etcd)[slices.IndexFunc(replicas(Etcd), func(name string) bool { return name != leader })])
	lose("a registry", "registry-1")
	lose("an auth", "auth-1")
	t.Run("a watch that is too late", func(t *testing.T) {
		loseWatch(t, c, "registry-2")
		c.Part("registry-1").Kill() // now everybody depends on the other one
		served(t)
		must(t, c.Part("registry-1").Start())
		served(t)
	})
	t.Run("the quorum", func(t *testing.T) {
		loseQuorum(t, c, l, rivals)
		served(t)
	})
	for _, b := range rivals {
		b.end()
	}
	wantOwners(t, r, rivals)
	t.Run("the store", func(t *testing.T) { restore(t, c, l, r) })
}

// goOn waits until everybody is served.
func goOn(t *testing.T, l *load, r *asker, rivals []*binder) {
	t.Helper()
	l.more(t, 20)
	r.more(t, 5)
	for _, b := range rivals {
		b.more(t, 3)
	}
}

// loseWatch stops a registry while etcd forgets what it has not seen: all members
// are restarted, so that no watch of it stands, and the past is compacted.
func loseWatch(t *testing.T, c *Cluster, name string) {
	t.Helper()
	must(t, c.Part(name).signal(syscall.SIGSTOP))
	defer func() { must(t, c.Part(name).signal(syscall.SIGCONT)) }()
	for _, member := range replicas(Etcd) {
		c.Part(member).Kill()
		must(t, c.Part(member).Start())
		must(t, until(t.Context(), member+" is back", func(ctx context.Context) error { return isBack(ctx, c, member) }))
	}
	must(t, until(t.Context(), "etcd compacts", func(ctx context.Context) error {
		revision, err := c.revision(ctx)
		if err != nil {
			return err
		}
		_, err = c.etcdctl(ctx, "compact", fmt.Sprint(revision))
		return err
	}))
}

// loseQuorum kills two members of three. Nothing can be bound, what was bound is
// served, and who asks is told to come again.
func loseQuorum(t *testing.T, c *Cluster, l *load, rivals []*binder) {
	t.Helper()
	dead := replicas(Etcd)[:2]
	for _, name := range dead {
		c.Part(name).Kill()
	}
	for _, b := range rivals {
		_, before := b.counts()
		must(t, until(t.Context(), b.account+" is told to come again", func(context.Context) error {
			if _, now := b.counts(); now == before {
				return errors.New("it was not")
			}
			return nil
		}))
	}
	l.more(t, 50)
	for _, name := range dead {
		must(t, c.Part(name).Start())
	}
}

// wantOwners compares what REST says with what was told to those who asked.
func wantOwners(t *testing.T, r *asker, rivals []*binder) {
	t.Helper()
	owned := 0
	for _, b := range rivals {
		for name, mine := range b.owns {
			other := rivals[0]
			if other == b {
				other = rivals[1]
			}
			if mine && other.owns[name] {
				t.Errorf("%s has two owners", name)
			}
			if !mine {
				continue
			}
			owned++
			if tunnel, err := r.tunnel(t.Context(), name); err != nil || tunnel.GetAgentId() != b.auth.GetAgentId() {
				t.Errorf("%s is %s's, and REST says %v, %v", name, b.auth.GetAgentId(), tunnel, err)
			}
		}
	}
	t.Logf("%d names have their owner", owned)
}

// asker asks REST all the time, one frontdoor after the other.
type asker struct {
	clients  []*restclient.Client
	name     string
	answered atomic.Int64
}

// startREST asks for the agent's tunnel. What is no answer must be something to retry.
func startREST(t *testing.T, c *Cluster) *asker {
	t.Helper()
	key := newToken(t, c, "--api-role", "admin").APIKey
	a := &asker{name: hostOf(c.URL)}
	for _, name := range replicas(Frontdoor) {
		client, err := restclient.New(restclient.Config{Server: "http://" + c.addr(name+rest), Key: secret.String(key)})
		must(t, err)
		a.clients = append(a.clients, client)
	}
	t.Setenv("DIALBACK_CTL_SERVER", "http://"+c.addr("frontdoor-1"+rest))
	t.Setenv("DIALBACK_CTL_KEY", key)
	ctx, stop := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			_, err := a.tunnel(ctx, a.name)
			e, ours := errs.From(err)
			switch {
			case err == nil:
				a.answered.Add(1)
			case ctx.Err() == nil && (!ours || e.Kind() != errs.Unavailable && e.Kind() != errs.DeadlineExceeded):
				t.Errorf("REST: %v", err)
			}
			pause(ctx, 50*time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		asking.Wait()
		for _, client := range a.clients {
			client.Close()
		}
	})
	return a
}

// tunnel asks until a frontdoor has an answer, or nobody has one.
func (a *asker) tunnel(ctx context.Context, name string) (*registryv1.Tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	for _, client := range a.clients {
		tunnel := &registryv1.Tunnel{}
		if err = client.Call(ctx, restclient.Request{Method: http.MethodGet, Path: "/v1/tunnels/" + name}, nil, tunnel); err == nil {
			return tunnel, nil
		}
	}
	return nil, err
}

func (a *asker) more(t *testing.T, n int64) {
	t.Helper()
	want := a.answered.Load() + n
	must(t, until(t.Context(), "REST answers", func(context.Context) error {
		if got := a.answered.Load(); got < want {
			return fmt.Errorf("%d answers are missing", want-got)
		}
		return nil
	}))
}
