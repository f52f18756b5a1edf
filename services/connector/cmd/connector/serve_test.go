package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/daemon/daemontest"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// required names an auth and a registry that are away.
func required(t *testing.T) []string {
	identity := daemontest.Identity(t, testkit.CA(t), tlsconf.RoleConnector)
	agents := daemontest.Identity(t, testkit.CA(t), tlsconf.RoleConnector)
	return append(identity, "--domain", "example.com", "--address", "c1:7403", "--agent-cert", agents[1], "--agent-key", agents[3],
		"--auth", "dns:///127.0.0.1:1", "--registry", "dns:///127.0.0.1:1", "--drain-timeout", "1s")
}

func TestTheCommandListensWhileTheOthersAreAway(t *testing.T) {
	t.Parallel()
	daemontest.Start(t, run, "--agent-listen", append(required(t), "--listen", "127.0.0.1:0")...)
}

func TestTheCommandSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	daemontest.Refuses(t, run, append(required(t), "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"), map[string][]string{
		"--proxy-ca-pin":                {"--proxy-ca-pin", "sha256:short"},
		"service certificate /nowhere/": {"--cert", "/nowhere/tls.crt"},
		"agents' certificate /nowhere/": {"--agent-cert", "/nowhere/tls.crt"},
		"/nowhere/ca.crt":               {"--ca", "/nowhere/ca.crt"},
		"want one of role connector":    daemontest.Identity(t, testkit.CA(t), tlsconf.RoleAuth),
		"max sessions":                  {"--max-sessions", "0"},
		"nonsense":                      {"--nonsense"},
	})
}
