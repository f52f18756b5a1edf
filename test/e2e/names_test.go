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
func get(t *testing.T, server *harness.Server, url string) (int, string, string) {
	t.Helper()
	out := harness.Curl(t, "-w", "\n%{http_code} %header{dialback-error}", "-H", "Host: "+strings.TrimPrefix(url, "http://"), "http://"+server.HTTP+"/")
	body, last, _ := cutLast(out, "\n")
	code, reason, _ := strings.Cut(last, " ")
	return atoi(t, code), body, reason
}

// user makes the environment of another user of the server, in an account of
// his own.
func user(t *testing.T, server *harness.Server, account string) []string {
	t.Helper()
	_, token, pin := server.Token("--account", account)
	env := harness.Home(t.TempDir())
	code, out := harness.Run(t, env, harness.Bin("dialback"), "config", "add-server", server.AgentAddr(), "--pin", pin, "--authtoken", token)
	if code != 0 {
		t.Fatalf("add-server: exit %d\n%s", code, out)
	}
	return env
}

func TestARivalIsRefusedAndTheOwnerComesBack(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	local := answer(t, "owner")
	owner := server.Agent(local, "--subdomain", "shop")
	url := owner.URL()

	rival := user(t, server, "rival")
	code, out := harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--subdomain", "shop")
	if code != 4 || !strings.Contains(out, "shop.localhost") {
		t.Errorf("the rival: exit %d, want 4 and a message that names it:\n%s", code, out)
	}

	owner.Signal(syscall.SIGKILL)
	owner.Wait()
	code, out = harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--subdomain", "shop")
	if code != 4 {
		t.Errorf("the rival, right behind the owner's death: exit %d, want 4:\n%s", code, out)
	}
	restarted := time.Now()
	owner = server.Agent(local, "--subdomain", "shop")
	if got := owner.URL(); got != url {
		t.Errorf("the owner got %s, want %s", got, url)
	}
	harness.Eventually(t, "the owner's page does not come back", func() bool {
		status, body, _ := get(t, server, url)
		return status == http.StatusOK && body == "owner"
	})
	t.Logf("the name was back after %v", time.Since(restarted))
}

func TestTwoAgentsOfOneUserRunSideBySide(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	urls := map[string]string{}
	agents := map[string]*harness.Agent{}
	for _, name := range []string{"one", "two"} {
		agents[name] = server.Agent(answer(t, name))
		urls[name] = agents[name].URL()
	}
	if urls["one"] == urls["two"] {
		t.Fatalf("both have %s", urls["one"])
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && !t.Failed(); {
		for name, url := range urls {
			if status, body, reason := get(t, server, url); status != http.StatusOK || body != name {
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
}

// A random name stays with its agent, tunnel by tunnel: over the agent's
// restarts, whatever their order, and over the server's.
func TestARandomNameStays(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	app, admin := answer(t, "app"), answer(t, "admin")
	first, second := server.Agent(app), server.Agent(admin)
	appURL, adminURL := first.URL(), second.URL()
	for _, agent := range []*harness.Agent{first, second} {
		if code := agent.Terminate(); code != 0 {
			t.Errorf("Ctrl-C: exit %d", code)
		}
	}
	if status, _, reason := get(t, server, appURL); status != http.StatusNotFound || reason != "ENDPOINT_NOT_FOUND" {
		t.Errorf("after its end: %d %s", status, reason)
	}
	second, first = server.Agent(admin), server.Agent(app)
	if got := second.URL(); got != adminURL {
		t.Errorf("admin: %s, want %s", got, adminURL)
	}
	if got := first.URL(); got != appURL {
		t.Errorf("app: %s, want %s", got, appURL)
	}

	server.Stop()
	server.Restart()
	var wg sync.WaitGroup
	for want, url := range map[string]string{"app": appURL, "admin": adminURL} {
		wg.Go(func() {
			harness.Eventually(t, want+" does not come back with the server", func() bool {
				_, body, _ := get(t, server, url)
				return body == want
			})
		})
	}
	wg.Wait()
}
