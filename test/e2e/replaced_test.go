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
	t.Parallel()
	server := harness.StartServer(t, nil)
	first := harness.StartAgent(t, user(t, server, "acme"), "http", answer(t, "first"), "--subdomain", "shop")
	url := first.URL()
	waiting := harness.StartAgent(t, user(t, server, "acme"), "http", answer(t, "second"), "--subdomain", "shop")
	waiting.WaitLog("in use by another agent of your account")
	if status, body, _ := get(t, server, url); status != http.StatusOK || body != "first" {
		t.Errorf("while the first is there: %d %q", status, body)
	}
	serves := func(name string) {
		t.Helper()
		harness.Eventually(t, "the page of the "+name+" does not come", func() bool {
			status, body, _ := get(t, server, url)
			return status == http.StatusOK && body == name
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
}
