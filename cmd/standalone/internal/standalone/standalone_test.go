package standalone_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/cmd/standalone/internal/standalone"
	"github.com/dialback/dialback/internal/agentconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(data string) standalone.Config {
	return standalone.Config{
		Data: data, Domain: standalone.LocalDomain,
		HTTP: "127.0.0.1:0", TLS: "127.0.0.1:0", Admin: "127.0.0.1:0", API: "127.0.0.1:0",
		Hold: 1, IdleTimeout: 1e9, UpstreamTimeout: 1e9,
	}
}

// serving runs a server until the test is done with it.
func serving(t *testing.T, c standalone.Config) (g standalone.Greeting, stop func()) {
	t.Helper()
	server, err := standalone.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan standalone.Greeting, 1), make(chan error, 1)
	go func() {
		err := server.Run(ctx, func(g standalone.Greeting) { ready <- g })
		server.Close()
		ended <- err
	}()
	select {
	case g = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return g, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// agentOf is the agent configuration of the test's user.
func agentOf(t *testing.T) *agentconfig.Config {
	t.Helper()
	path, err := agentconfig.DefaultPath()
	if err != nil {
		t.Fatal(err)
	}
	c, err := agentconfig.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// At its first start a server makes itself known to its user's agent; later ones,
// and servers with other authorities, leave what is there alone.
func TestTheUsersAgentIsIntroducedOnce(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	c := config(filepath.Join(t.TempDir(), "data"))
	g, stop := serving(t, c)
	first := agentOf(t).Servers[g.Agents]
	if len(first.Pins) != 1 || first.Pins[0] != g.Pin || !strings.HasPrefix(first.Authtoken.Reveal(), "dbt_") {
		t.Errorf("%s: pins %v, want %s", g.Agents, first.Pins, g.Pin)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "nobody.localhost"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if code := res.Header.Get("Dialback-Error"); code != "ENDPOINT_NOT_FOUND" {
		t.Errorf("a visitor of nothing: %s %s", res.Status, code)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()

	c.TLS = g.TLS
	again, stop := serving(t, c)
	if again.Pin != g.Pin {
		t.Errorf("the authority has changed: %s, was %s", again.Pin, g.Pin)
	}
	if now := agentOf(t).Servers[g.Agents]; now.Authtoken != first.Authtoken {
		t.Error("a second start has replaced the authtoken")
	}
	stop()

	c.Data = filepath.Join(t.TempDir(), "other")
	other, stop := serving(t, c)
	defer stop()
	if now := agentOf(t).Servers[g.Agents]; now.Authtoken != first.Authtoken || now.Pins[0] != g.Pin {
		t.Error("another server's entry was overwritten")
	}
	if !strings.Contains(other.Note, "left alone") {
		t.Errorf("the user is not told: %q", other.Note)
	}
}

func TestADataDirectoryHasOneServer(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	c := config(filepath.Join(t.TempDir(), "data"))
	_, stop := serving(t, c)
	defer stop()
	_, err := standalone.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a second server on the same data: %v", err)
	}
	for _, secret := range []string{"service-ca.key", "proxy-ca.key", "admin/admin.key"} {
		info, err := os.Stat(filepath.Join(c.Data, secret))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", secret, info, err)
		}
	}
}

func TestBadConfigurationsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*standalone.Config){
		"--domain":          func(c *standalone.Config) { c.Domain = "not a name" },
		"--http":            func(c *standalone.Config) { c.HTTP = "8080" },
		"--tls-key":         func(c *standalone.Config) { c.TLSCert = []string{"a.crt"} },
		"--tls-":            func(c *standalone.Config) { c.TLSCert, c.TLSKey = []string{"none.crt"}, []string{"none.key"} },
		"--trusted-proxies": func(c *standalone.Config) { c.TrustedProxies = []string{"everybody"} },
	} {
		c := config(filepath.Join(t.TempDir(), "data"))
		change(&c)
		if _, err := standalone.Open(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
