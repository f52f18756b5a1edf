package frontdoor_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// measured is a world whose metrics can be read.
type measured struct {
	*world
	registry *prometheus.Registry
}

func newMeasured(t *testing.T, config func(*frontdoor.Config)) *measured {
	t.Helper()
	m := &measured{registry: prometheus.NewRegistry()}
	m.world = newWorld(t, worldOptions{config: config, deps: func(d *frontdoor.Deps) { d.Metrics = m.registry }})
	return m
}

// metric is the value of a counter or gauge with this label, or the number of a
// histogram's observations.
func (m *measured) metric(name, label string) int {
	m.t.Helper()
	families, err := m.registry.Gather()
	fatal(m.t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() != "dialback_frontdoor_"+name || label != "" && metric.GetLabel()[0].GetValue() != label {
				continue
			}
			if h := metric.GetHistogram(); h != nil {
				return int(h.GetSampleCount()) // #nosec G115 -- few
			}
			return int(metric.GetCounter().GetValue() + metric.GetGauge().GetValue())
		}
	}
	m.t.Fatalf("no metric %s %s", name, label)
	return 0
}

// crowd has n requests made, by 8 visitors side by side.
func crowd(n int, request func()) {
	var visitors sync.WaitGroup
	for range 8 {
		visitors.Go(func() {
			for range n / 8 {
				request()
			}
		})
	}
	visitors.Wait()
}

// A service that is down, or that resets each connection, must not cost a
// handshake for every visitor: it would take the frontdoor down.
func TestAThousandFailuresCostAHandfulOfDialbacks(t *testing.T) {
	t.Parallel()
	for name, service := range map[string]func(*testing.T) string{
		"refused": func(*testing.T) string { return "" },
		"reset": func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_ = c.(*net.TCPConn).SetLinger(0)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newMeasured(t, nil)
			a := w.tunnel(app, service(t))
			client := w.client()
			crowd(1000, func() {
				res, err := client.Get("http://" + app + "/")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusBadGateway {
					t.Error(res.Status)
				}
			})
			if n := a.dialled(); n > 24 { // 8 at the same time
				t.Errorf("%d dial-backs for 1000 requests", n)
			}
			if n := w.metric("pool_recycled_total", ""); n < 950 {
				t.Errorf("%d were recycled", n)
			}
		})
	}
}

// Visitors who leave are cheap for themselves. They are for us too.
func TestAThousandAbortsCostAHandfulOfDialbacks(t *testing.T) {
	t.Parallel()
	w := newMeasured(t, nil)
	arrived := make(chan context.CancelFunc)
	a := w.tunnel(app, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		(<-arrived)()
		<-r.Context().Done()
	}))
	for range 1000 {
		ctx, leave := context.WithCancel(t.Context())
		q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+app+"/", nil)
		done := make(chan error, 1)
		go func() {
			_, err := w.client().Do(q)
			done <- err
		}()
		arrived <- leave
		if err := <-done; err == nil {
			t.Fatal("answered")
		}
	}
	// It takes some milliseconds until a visitor's leaving is noticed, and the next
	// ones come meanwhile: more of them where the machine is busy.
	if n := a.dialled(); n > 100 {
		t.Errorf("%d dial-backs for 1000 aborts", n)
	}
}

// Fifty visitors at once are not fifty calls, and the first does not wait for the
// others.
func TestABurstAsksInFewCalls(t *testing.T) {
	t.Parallel()
	w := newMeasured(t, nil)
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	a.slow = make(chan struct{})
	const burst = 50
	var visitors sync.WaitGroup
	for range burst {
		visitors.Go(func() {
			if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
				t.Error(res.Status)
			}
		})
	}
	c := w.connectors["c1"]
	asked := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.tickets
	}
	testkit.Eventually(t, limit, func() bool { return asked() >= burst }, "all are asked for")
	if n := c.requests(); n > burst/2 {
		t.Errorf("%d calls for %d visitors", n, burst)
	} else {
		t.Logf("%d calls for %d visitors", n, burst)
	}
	close(a.slow)
	visitors.Wait()
	if n := w.metric("pool_wait_seconds", ""); n != burst {
		t.Errorf("%d waits", n)
	}
}

func TestAFirstVisitorFindsAWarmConnection(t *testing.T) {
	t.Parallel()
	w := newMeasured(t, func(c *frontdoor.Config) { c.PoolFloor = 1 })
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	testkit.Eventually(t, limit, func() bool { return w.metric("proxy_connections", "idle") == 1 }, "the floor is filled")
	a.slow = make(chan struct{}) // nothing else comes
	defer close(a.slow)
	for range 2 {
		if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
			t.Error(res.Status)
		}
	}
	for name, want := range map[[2]string]int{
		{"pool_hits_total", "warm"}: 1, {"pool_hits_total", "bound"}: 1, {"pool_wait_seconds", ""}: 0,
		{"pool_dialbacks_total", "visitor"}: 0, {"proxy_connections", "busy"}: 1,
	} {
		if got := w.metric(name[0], name[1]); got != want {
			t.Errorf("%v is %d, want %d", name, got, want)
		}
	}
}

// What an agent that stops wants out is closed, bound or not.
func TestAConnectionThatTheAgentRetiresIsClosed(t *testing.T) {
	t.Parallel()
	w := newMeasured(t, nil)
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	get(t, w.client(), "http://"+app+"/")
	a.mu.Lock()
	for c := range a.clients {
		c.Retire()
	}
	a.mu.Unlock()
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "the frontdoor closes")
	if n := w.metric("pool_ended_total", "agent_retired"); n != 1 {
		t.Errorf("%d were retired by the agent", n)
	}
}

// An agent that takes no more connections serves a visitor of one endpoint by
// what another has no use for this moment.
func TestAnAgentAtItsLimitServesOnWhatIsIdle(t *testing.T) {
	t.Parallel()
	const other = "other." + domain
	w := newMeasured(t, nil)
	a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	w.world.registry.put(claimChange(a, other, nil), attachChange(other, "c1", "session-"+a.id))
	get(t, w.client(), "http://"+app+"/")
	a.mu.Lock()
	a.fail = agentv1.FailReason_FAIL_REASON_LIMIT
	a.mu.Unlock()
	testkit.Eventually(t, limit, func() bool {
		res, _ := get(t, w.client(), "http://"+other+"/")
		return res.StatusCode != http.StatusNotFound
	}, "the other endpoint is known")
	if res, _ := get(t, w.client(), "http://"+other+"/"); res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
	if n := a.dialled(); n != 1 {
		t.Errorf("%d dial-backs", n)
	}
}

// The connection of an exchange that ended in order serves the next visitor.
func TestACleanEndIsRecycled(t *testing.T) {
	t.Parallel()
	w := newMeasured(t, nil)
	a := w.tunnel(app, upstream(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close") // to the frontdoor: each request has its own private connection
	}))
	const requests = 20
	for i := range requests {
		get(t, w.client(), "http://"+app+"/")
		testkit.Eventually(t, limit, func() bool { return w.metric("pool_recycled_total", "") == i+1 }, "it is back")
	}
	if a.dialled() != 1 || w.metric("pool_hits_total", "warm") != requests-1 {
		t.Errorf("%d dial-backs, %d warm hits", a.dialled(), w.metric("pool_hits_total", "warm"))
	}
	a.crash()
	testkit.Eventually(t, limit, func() bool { return w.metric("pool_ended_total", "broken") == 1 }, "the loss is noticed")
	if n := w.metric("proxy_connections", "idle") + w.metric("proxy_connections", "busy"); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// What leads to an earlier run of an agent, or to what a tunnel was before it
// changed, ends at once: its idle connections may be dead, and its bound ones lead
// to another service.
func TestWhatHasChangedDropsItsConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *measured, a *fakeAgent) *registryv1.Change
		left   int    // connections
		ended  string // why others did
	}{
		"another run": {func(_ *measured, a *fakeAgent) *registryv1.Change {
			change := claimChange(a, app, nil)
			change.GetClaim().Generation, change.GetClaim().Instance = 2, make([]byte, 16)
			return change
		}, 0, "superseded"},
		"other options": {func(_ *measured, a *fakeAgent) *registryv1.Change {
			change := claimChange(a, app, nil)
			change.GetClaim().Revision = 2
			return change
		}, 1, ""},
		"another session": {func(w *measured, a *fakeAgent) *registryv1.Change {
			w.connector("c2")
			return attachChange(app, "c2", "another")
		}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newMeasured(t, nil)
			a := w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
			get(t, w.client(), "http://"+app+"/")
			if n := w.metric("proxy_connections", "busy"); n != 1 {
				t.Fatalf("%d are bound", n)
			}
			w.world.registry.put(c.change(w, a))
			testkit.Eventually(t, limit, func() bool {
				return w.metric("proxy_connections", "busy") == 0 && w.metric("proxy_connections", "idle") == c.left
			}, "the bound one is let go")
			if c.ended != "" && w.metric("pool_ended_total", c.ended) != 1 {
				t.Error("it has ended otherwise")
			}
		})
	}
}
