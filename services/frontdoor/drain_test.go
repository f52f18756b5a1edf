package frontdoor_test

import (
	"io"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// A stop announces itself, goes on listening, tells visitors to leave, lets the
// request in flight finish, gets dial-backs until then, and leaves last.
func TestTheOrderOfLeaving(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
				c.DrainDelay, c.DrainTimeout = 2*time.Second, limit
			}})
			finish := make(chan struct{})
			w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(rw, "begin ")
				_ = http.NewResponseController(rw).Flush()
				if r.URL.Path == "/slow" {
					<-finish
				}
				_, _ = io.WriteString(rw, "end")
			}))
			slow, err := w.client(proto).Get("https://" + app + "/slow")
			fatal(t, err)
			defer slow.Body.Close()
			other := w.client(proto)
			get(t, other, "https://"+app+"/")
			stopped := make(chan error, 1)
			go func() { stopped <- w.stop() }()
			testkit.Eventually(t, limit, func() bool {
				w.registry.mu.Lock()
				defer w.registry.mu.Unlock()
				return slices.Contains(w.registry.states, registryv1.NodeState_NODE_STATE_DRAINING)
			}, "the node table says draining")
			if w.front.Ready() {
				t.Error("ready though it leaves")
			}
			// Still served: on the kept connection, and on a new one, which needs a dial-back.
			for _, c := range []*http.Client{other, w.client(proto)} {
				res, body := get(t, c, "https://"+app+"/")
				if body != "begin end" || proto == "http/1.1" && !res.Close {
					t.Errorf("while draining: %q, close %v", body, res.Close)
				}
			}
			select {
			case err := <-stopped:
				t.Fatalf("stopped with a request in flight: %v", err)
			default:
			}
			close(finish)
			if rest, err := io.ReadAll(slow.Body); string(rest) != "begin end" || err != nil {
				t.Errorf("in flight: %q, %v", rest, err)
			}
			if err := <-stopped; err != nil {
				t.Errorf("stop: %v", err)
			}
			if !slices.Equal(w.registry.gone, []string{w.front.NodeID()}) {
				t.Errorf("left the node table: %v", w.registry.gone)
			}
		})
	}
}

// After a load nothing is left of it.
func TestNothingIsLeftOfALoad(t *testing.T) { // alone: it counts goroutines
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.IdleTimeout = 200 * time.Millisecond }})
	a := w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(rw, r.Body)
	}))
	load := func(n int) {
		var visitors sync.WaitGroup
		for range 8 {
			visitors.Go(func() {
				c := w.client()
				for range n / 8 {
					res, err := c.Get("http://" + app + "/")
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				c.CloseIdleConnections()
			})
		}
		visitors.Wait()
		testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "proxy connections end")
	}
	load(100)
	before := runtime.NumGoroutine()
	load(2000)
	testkit.Eventually(t, limit, func() bool { return runtime.NumGoroutine() <= before+2 }, "goroutines end")
}

// Requests above the bounds are told so.
func TestBoundsOfRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.MaxRequestsEndpoint, c.MaxRequests = 2, 3 }})
	finish := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(3)
	slow := upstream(t, func(http.ResponseWriter, *http.Request) { arrived.Done(); <-finish })
	w.tunnel("a."+domain, slow)
	w.tunnel("b."+domain, slow)
	var under sync.WaitGroup
	for _, host := range []string{"a", "a", "b"} {
		under.Go(func() { get(t, w.client(), "http://"+host+"."+domain+"/") })
	}
	arrived.Wait()
	for _, host := range []string{"a", "b"} {
		res, _ := get(t, w.client(), "http://"+host+"."+domain+"/")
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Dialback-Error") != "OVERLOADED" || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s %v", host, res.Status, res.Header)
		}
	}
	close(finish)
	under.Wait()
}
