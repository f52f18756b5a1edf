package e2e

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// A machine stands still, and another one, without its state, is started in its
// place: it gets the name. The first one, when it goes on, waits for it.
func TestAReplacedAgentGetsItsName(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		name := d.Name()
		first := harness.StartAgent(t, d.User("acme"), "http", answer(t, "first"), "--subdomain", name)
		url := first.URL()
		waiting := harness.StartAgent(t, d.User("acme"), "http", answer(t, "second"), "--subdomain", name)
		waiting.WaitLog("in use by another agent of your account")
		if status, body, _ := get(t, d, url); status != http.StatusOK || body != "first" {
			t.Errorf("while the first is there: %d %q", status, body)
		}
		serves := func(who string) {
			t.Helper()
			harness.Eventually(t, "the page of the "+who+" does not come", func() bool {
				status, body, _ := get(t, d, url)
				return status == http.StatusOK && body == who
			})
		}
		first.Signal(syscall.SIGSTOP)
		if got := waiting.URL(); got != url {
			t.Errorf("the second got %s, want %s", got, url)
		}
		serves("second")
		first.Signal(syscall.SIGCONT)
		first.WaitLog("in use by another agent of your account")
		serves("second")
		waiting.Signal(syscall.SIGKILL)
		serves("first")
	})
}
