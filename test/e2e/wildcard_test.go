package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/test/e2e/harness"
)

// An endpoint *.dev serves the names below dev that nobody else has, and others of
// its account may have some of them; other accounts may not.
func TestAWildcardServesTheNamesBelow(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	server.Agent(answer(t, "all"), "--hostname", "*.dev.localhost")
	serves := func(host, want string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() bool {
			_, body, reason := get(t, server, "http://"+host)
			return body == want || want == "" && reason == "ENDPOINT_NOT_FOUND"
		}, host+" is not served by "+want)
	}
	serves("a.dev.localhost", "all")
	serves("a.b.dev.localhost", "all")
	serves("dev.localhost", "")
	serves("xdev.localhost", "")

	own := server.Agent(answer(t, "own"), "--hostname", "own.dev.localhost")
	serves("own.dev.localhost", "own")
	serves("a.dev.localhost", "all")
	own.Signal(syscall.SIGINT)
	own.Wait()
	serves("own.dev.localhost", "all")

	rival := user(t, server, "rival")
	code, out := harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--hostname", "x.dev.localhost")
	if code != 4 || !strings.Contains(out, "*.dev.localhost") {
		t.Errorf("the rival: exit %d, want 4 and a message that names the wildcard:\n%s", code, out)
	}
}
