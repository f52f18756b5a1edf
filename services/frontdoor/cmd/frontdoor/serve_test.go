package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/daemon/daemontest"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// required names an auth and a registry that are away.
func required(t *testing.T) []string {
	identity := daemontest.Identity(t, testkit.CA(t), tlsconf.RoleFrontdoor)
	proxy := daemontest.Identity(t, testkit.CA(t), tlsconf.RoleFrontdoor)
	return append(identity, "--domain", "example.com", "--proxy-cert", proxy[1], "--proxy-key", proxy[3],
		"--auth", "dns:///127.0.0.1:1", "--registry", "dns:///127.0.0.1:1", "--drain-delay", "0s")
}

func TestTheCommandListensWhileTheOthersAreAway(t *testing.T) {
	t.Parallel()
	daemontest.Start(t, run, "--tls-listen", required(t)...)
}

func TestTheCommandServesItsMetrics(t *testing.T) {
	t.Parallel()
	debug := daemontest.Start(t, run, "--debug", append(required(t), "--tls-listen", "127.0.0.1:0")...)
	testkit.Eventually(t, time.Minute, func() bool {
		res, err := http.Get("http://" + debug + "/metrics")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(body), "dialback_frontdoor_") && strings.Contains(string(body), "process_open_fds")
	}, "the frontdoor's metrics are served")
	http.DefaultClient.CloseIdleConnections()
}

func TestTheCommandSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	daemontest.Refuses(t, run, append(required(t), "--tls-listen", "127.0.0.1:0"), map[string][]string{
		"service certificate /nowhere/": {"--cert", "/nowhere/tls.crt"},
		"proxy certificate /nowhere/":   {"--proxy-cert", "/nowhere/tls.crt"},
		"/nowhere/ca.crt":               {"--ca", "/nowhere/ca.crt"},
		"want one of role frontdoor":    daemontest.Identity(t, testkit.CA(t), tlsconf.RoleConnector),
		"give one key for each":         {"--public-cert", "/nowhere/tls.crt"},
		"--trusted-proxy":               {"--trusted-proxy", "everybody"},
		"domain":                        {"--domain", "No Domain"},
	})
}
