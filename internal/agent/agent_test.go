package agent_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a local web service that says its name and the path.
func service(t *testing.T, name string) forward.Upstream {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(name + r.URL.Path))
	}))
	t.Cleanup(server.Close)
	return upstream(t, server.URL)
}

func upstream(t *testing.T, text string) forward.Upstream {
	t.Helper()
	up, err := forward.ParseUpstream(text, forward.TLSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func config(t *testing.T, server *agenttest.Server, tunnels ...agent.Tunnel) agent.Config {
	t.Helper()
	return agent.Config{
		Address: server.Address(), Authtoken: "dbt_id_secret", Pins: []tlsconf.Pin{server.CA.Pin()},
		Tunnels: tunnels, StateDir: t.TempDir(), Version: "test",
	}
}

// running is an agent under test.
type running struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error

	mu     sync.Mutex
	events []agent.Event
}

func start(t *testing.T, c agent.Config) *running {
	t.Helper()
	r := &running{t: t, done: make(chan struct{})}
	a, err := agent.New(c, agent.Deps{Log: testkit.Logger(t), Events: r.add})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.err = a.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

func (r *running) add(e agent.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// stop ends the agent in order and returns Run's error.
func (r *running) stop() error {
	r.cancel()
	return r.wait()
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(agenttest.Limit + 5*time.Second):
		r.t.Fatal("the agent does not end")
		return nil
	}
}

// all returns the events of a kind.
func all[T agent.Event](r *running) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []T
	for _, e := range r.events {
		if t, ok := e.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// await waits for the n-th event of a kind, from 1.
func await[T agent.Event](r *running, n int) T {
	r.t.Helper()
	var zero T
	testkit.Eventually(r.t, agenttest.Limit, func() bool { return len(all[T](r)) >= n }, "an event")
	if found := all[T](r); len(found) >= n {
		return found[n-1]
	}
	return zero
}
