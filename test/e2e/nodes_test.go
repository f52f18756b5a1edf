package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dialback/dialback/test/e2e/cluster"
	"github.com/dialback/dialback/test/e2e/harness"
)

func TestEveryFrontdoorReachesEveryAgent(t *testing.T) {
	t.Parallel()
	d := harness.OnCluster(t)
	for _, name := range []string{"one", "two"} {
		host := strings.TrimPrefix(d.Agent(answer(t, name)).URL(), "http://")
		for _, frontdoor := range harness.Shared().Frontdoors() {
			if got := harness.Curl(t, "-H", "Host: "+host, "http://"+frontdoor+"/"); got != name {
				t.Errorf("%s at %s: %q", name, frontdoor, got)
			}
		}
	}
}

// One open port is enough, in front of which nobody reads anything: agents get to
// every connector and frontdoor through whichever frontdoor they come to. The trace
// names the one that hands over, everybody has his own address, and what is lost
// with such a frontdoor comes back by another.
func TestOnePublicPort(t *testing.T) {
	t.Parallel()
	collector := harness.StartCollector(t)
	c, d := harness.StartCluster(t, cluster.Config{
		OnePort: true, Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector.Addr(), "OTEL_BSP_SCHEDULE_DELAY=100"},
	})
	s := publish(t, d, serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "for ", r.Header.Get("X-Forwarded-For"))
	}))
	const client, want = "127.0.0.9", "for 127.0.0.9"

	relay, n := "", 0
	for range harness.Attempts(t, func() string { return "no request came by a relay" }) {
		n++
		id := fmt.Sprintf("%032x", n)
		if got := s.curl(t, "--interface", client, "-H", "traceparent: 00-"+id+"-"+strings.Repeat("cd", 8)+"-01", s.https+"/"); got != want {
			t.Fatalf("the service saw %q, want %q", got, want)
		}
		if relay = collector.Trace(t, id, "GET").Find(t, "GET", "dialback-frontdoor", "server").Attribute("dialback.relay"); relay != "" {
			break
		}
	}
	t.Logf("request %d was relayed by %s", n, relay)
	d.WaitLogs("session opened", "address=127.0.0.1:", "relay=frontdoor-")
	part := c.FrontdoorOf(relay)
	if part == nil {
		t.Fatalf("%s is no frontdoor", relay)
	}
	part.Kill()
	for range 20 {
		harness.Eventually(t, "visitors are not served without "+part.Name, func() bool {
			_, out := harness.Run(t, nil, "curl", append([]string{"-s", "-m", "20", s.https + "/"}, s.args...)...)
			return strings.HasPrefix(out, "for ")
		})
	}
}
