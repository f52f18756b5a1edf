package frontdoor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor"
)

// A visitor who sends requests only to abort them costs more on our side than on
// his: his connection is closed.
func TestAVisitorWhoOnlyAbortsIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	arrived := make(chan struct{}, 1000)
	w.tunnel(app, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	client := w.client("h2")
	transport := client.Transport.(*http.Transport)
	dial, dialled := transport.DialContext, 0
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled++
		return dial(ctx, network, addr)
	}
	for range 250 {
		ctx, cancel := context.WithCancel(t.Context())
		q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+app+"/", nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := client.Do(q); err == nil {
				_ = res.Body.Close()
			}
		}()
		select {
		case <-arrived:
		case <-done:
		case <-time.After(limit):
			t.Fatal("neither served nor closed")
		}
		cancel()
		<-done
	}
	if dialled < 2 || dialled > 4 {
		t.Errorf("250 aborted requests took %d connections, want one for every hundred or so", dialled)
	}
}

// Visitors' bodies never meet, whatever else goes wrong around them: aborted
// uploads, early ends, many at the same time on shared private connections.
func TestBodiesNeverMeet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.tunnel(app, upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/early"):
			rw.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(rw, r.URL.Path)
		default:
			body, err := io.ReadAll(r.Body)
			if err == nil {
				_, _ = rw.Write(append([]byte(r.URL.Path+" "), body...))
			}
		}
	}))
	var visitors sync.WaitGroup
	for v := range 8 {
		visitors.Go(func() {
			client := w.client([]string{"http/1.1", "h2"}[v%2])
			for i := range 30 {
				meet(t, client, v, i)
			}
		})
	}
	visitors.Wait()
}

func meet(t *testing.T, client *http.Client, v, i int) {
	id := strings.Repeat(string(rune('a'+v))+string(rune('A'+i)), 500+i*100)
	path, body := "/echo-"+id[:2], io.Reader(strings.NewReader(id))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch i % 3 {
	case 1:
		path = "/early-" + id[:2]
	case 2: // half a body, then gone
		body = io.MultiReader(strings.NewReader(id), abort{cancel})
	}
	q, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+app+path, body)
	res, err := client.Do(q)
	if err != nil {
		if i%3 == 0 {
			t.Errorf("%s: %v", path, err)
		}
		return
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	want := path
	if i%3 == 0 {
		want += " " + id
	}
	if err == nil && i%3 != 2 && string(got) != want && res.Header.Get("Dialback-Error") == "" {
		t.Errorf("%s got %.60q", path, got)
	}
	if i%3 == 0 && res.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, res.Status)
	}
}

// abort is a body that ends with its visitor's leaving.
type abort struct{ leave context.CancelFunc }

func (a abort) Read([]byte) (int, error) {
	a.leave()
	return 0, errors.New("gone")
}

// Right behind the answer that made an endpoint, before the watch has brought
// it, its first visitor is served; and names that nobody has are not asked for
// again and again.
func TestAMissIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.Hold = time.Second }})
	w.tunnel("first."+domain, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	get(t, w.client(), "http://first."+domain+"/")
	w.registry.mu.Lock()
	w.registry.silent = true
	w.registry.mu.Unlock()
	w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	if res, _ := get(t, w.client(), "http://"+app+"/"); res.StatusCode != http.StatusOK {
		t.Errorf("right behind its making: %s", res.Status)
	}
	w.registry.mu.Lock()
	before := w.registry.lookups
	w.registry.mu.Unlock()
	var crowd sync.WaitGroup
	for range 50 {
		crowd.Go(func() {
			if res, _ := get(t, w.client(), "http://nobody."+domain+"/"); res.StatusCode != http.StatusNotFound {
				t.Errorf("nobody: %s", res.Status)
			}
		})
	}
	crowd.Wait()
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	if n := w.registry.lookups - before; n > 5 {
		t.Errorf("50 visitors were %d lookups", n)
	}
}
