package e2e

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/test/e2e/harness"
)

// answer is a local service that says its own name.
func answer(t *testing.T, text string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// get asks for a page of the endpoint and returns status, body and the
// Dialback-Error header.
func get(t *testing.T, d *harness.Deployment, url string) (int, string, string) {
	t.Helper()
	out := harness.Curl(t, "-w", "\n%{http_code} %header{dialback-error}", "-H", "Host: "+strings.TrimPrefix(url, "http://"), "http://"+d.HTTP+"/")
	body, last, _ := cutLast(out, "\n")
	code, reason, _ := strings.Cut(last, " ")
	return atoi(t, code), body, reason
}

func TestARivalIsRefusedAndTheOwnerComesBack(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		name := d.Name()
		local := answer(t, "owner")
		owner := d.Agent(local, "--subdomain", name)
		url := owner.URL()

		rival := d.User("rival")
		code, out := harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--subdomain", name)
		if code != 4 || !strings.Contains(out, name+".localhost") {
			t.Errorf("the rival: exit %d, want 4 and a message that names it:\n%s", code, out)
		}

		owner.Signal(syscall.SIGKILL)
		owner.Wait()
		code, out = harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--subdomain", name)
		if code != 4 {
			t.Errorf("the rival, right behind the owner's death: exit %d, want 4:\n%s", code, out)
		}
		restarted := time.Now()
		owner = d.Agent(local, "--subdomain", name)
		if got := owner.URL(); got != url {
			t.Errorf("the owner got %s, want %s", got, url)
		}
		harness.Eventually(t, "the owner's page does not come back", func() bool {
			status, body, _ := get(t, d, url)
			return status == http.StatusOK && body == "owner"
		})
		t.Logf("the name was back after %v", time.Since(restarted))
	})
}

func TestTwoAgentsOfOneUserRunSideBySide(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		urls := map[string]string{}
		agents := map[string]*harness.Agent{}
		for _, name := range []string{"one", "two"} {
			agents[name] = d.Agent(answer(t, name))
			urls[name] = agents[name].URL()
		}
		if urls["one"] == urls["two"] {
			t.Fatalf("both have %s", urls["one"])
		}
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && !t.Failed(); {
			for name, url := range urls {
				if status, body, reason := get(t, d, url); status != http.StatusOK || body != name {
					t.Errorf("%s: %d %s %q", name, status, reason, body)
				}
			}
			pause(t, time.Second)
		}
		for name, agent := range agents {
			if log := agent.Log(); strings.Contains(log, "taken over") || strings.Contains(log, "reconnect") {
				t.Errorf("%s lost its session", name)
			}
		}
	})
}

// A random name stays with its agent, tunnel by tunnel, over the agent's
// restarts, whatever their order.
func TestARandomNameStays(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		app, admin := answer(t, "app"), answer(t, "admin")
		first, second := d.Agent(app), d.Agent(admin)
		appURL, adminURL := first.URL(), second.URL()
		for _, agent := range []*harness.Agent{first, second} {
			if code := agent.Terminate(); code != 0 {
				t.Errorf("Ctrl-C: exit %d", code)
			}
		}
		harness.Eventually(t, "a name whose agent has ended is served", func() bool {
			status, _, reason := get(t, d, appURL)
			return status == http.StatusNotFound && reason == "ENDPOINT_NOT_FOUND"
		})
		second, first = d.Agent(admin), d.Agent(app)
		if got := second.URL(); got != adminURL {
			t.Errorf("admin: %s, want %s", got, adminURL)
		}
		if got := first.URL(); got != appURL {
			t.Errorf("app: %s, want %s", got, appURL)
		}
	})
}

// And over the restart of dialbackd.
func TestRandomNamesOutliveTheServer(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	urls := map[string]string{}
	for _, name := range []string{"app", "admin"} {
		urls[name] = server.Agent(answer(t, name)).URL()
	}
	server.Stop()
	server.Restart()
	var wg sync.WaitGroup
	for want, url := range urls {
		wg.Go(func() {
			harness.Eventually(t, want+" does not come back with the server", func() bool {
				_, body, _ := get(t, server.Deployment, url)
				return body == want
			})
		})
	}
	wg.Wait()
}
