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
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		dev := d.Name() + ".localhost"
		d.Agent(answer(t, "all"), "--hostname", "*."+dev)
		serves := func(host, want string) {
			t.Helper()
			testkit.Eventually(t, 20*time.Second, func() bool {
				_, body, reason := get(t, d, "http://"+host)
				return body == want || want == "" && reason == "ENDPOINT_NOT_FOUND"
			}, host+" is not served by "+want)
		}
		serves("a."+dev, "all")
		serves("a.b."+dev, "all")
		serves(dev, "")
		serves("x"+dev, "")

		own := d.Agent(answer(t, "own"), "--hostname", "own."+dev)
		serves("own."+dev, "own")
		serves("a."+dev, "all")
		own.Signal(syscall.SIGINT)
		own.Wait()
		serves("own."+dev, "all")

		rival := d.User("rival")
		code, out := harness.Run(t, rival, harness.Bin("dialback"), "http", answer(t, "rival"), "--hostname", "x."+dev)
		if code != 4 || !strings.Contains(out, "*."+dev) {
			t.Errorf("the rival: exit %d, want 4 and a message that names the wildcard:\n%s", code, out)
		}
	})
}
