package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// Two agents of one account serve a name together. One of them is killed under
// load, and nobody notices.
func TestAgentsPoolAName(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		name := d.Name()
		first := harness.StartAgent(t, d.User("acme"), "http", answer(t, "first"), "--subdomain", name, "--pooling")
		url := first.URL()
		second := harness.StartAgent(t, d.User("acme"), "http", answer(t, "second"), "--subdomain", name, "--pooling")
		if got := second.URL(); got != url {
			t.Fatalf("the second member has %s, want %s", got, url)
		}
		alone := harness.StartAgent(t, d.User("acme"), "http", answer(t, "alone"), "--subdomain", name)
		alone.WaitLog("--pooling")
		code, out := harness.Run(t, d.User("rival"), harness.Bin("dialback"), "http", answer(t, "rival"), "--subdomain", name, "--pooling")
		if code != 4 {
			t.Errorf("a stranger: exit %d\n%s", code, out)
		}

		visits := func(n int) map[string]int {
			answers := map[string]int{}
			for range n {
				status, body, reason := get(t, d, url)
				if status != http.StatusOK {
					t.Errorf("%d %s %s", status, reason, body)
				}
				answers[body]++
			}
			return answers
		}
		if got := visits(30); got["first"] == 0 || got["second"] == 0 {
			t.Errorf("answered by %v", got)
		}
		load := make(chan map[string]int)
		go func() { load <- visits(60) }()
		first.Signal(syscall.SIGKILL)
		if got := <-load; got["second"] == 0 {
			t.Errorf("answered by %v", got)
		}
		if code := second.Terminate(); code != 0 {
			t.Errorf("exit %d", code)
		}
		if log := second.Log(); strings.Contains(log, "level=ERROR") {
			t.Error("a member that was well has errors in its log")
		}
	})
}
