package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Server is a running dialbackd with a data directory and a user's home of its
// own.
type Server struct {
	*Proc
	t    testing.TB
	home string
	args []string
	env  []string

	// HTTP, TLS, Admin and API are the addresses that it listens on.
	HTTP, TLS, Admin, API string
	// Domain is the deployment's domain.
	Domain string
}

// StartServer starts dialbackd on free ports.
func StartServer(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, home: t.TempDir(), args: args, env: env}
	s.HTTP, s.TLS, s.Admin, s.API = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	s.Restart()
	return s
}

// Restart starts dialbackd again with the same data and the same addresses.
func (s *Server) Restart() {
	s.t.Helper()
	args := append([]string{"serve", "--data", filepath.Join(s.home, "data"), "--log-format", "json", "--log-level", "debug",
		"--http", s.HTTP, "--tls", s.TLS, "--admin", s.Admin, "--api", s.API}, s.args...)
	s.Proc = Start(s.t, append(s.Env(), s.env...), Bin("dialbackd"), args...)
	line := s.WaitLog(`(?m)^(\{.*"msg":"ready".*\})$`)
	var ready struct{ HTTP, TLS, Admin, API, Domain string }
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		s.t.Fatalf("ready line %s: %v", line, err)
	}
	s.HTTP, s.TLS, s.Admin, s.API, s.Domain = ready.HTTP, ready.TLS, ready.Admin, ready.API, ready.Domain
}

// Env returns the environment of a user of this server: its agent
// configuration, state and credentials are in a directory of the test.
func (s *Server) Env() []string { return Home(s.home) }

// Home returns the environment of a user whose home is dir.
func Home(dir string) []string {
	return []string{"HOME=" + dir, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_DATA_HOME=",
		"DIALBACK_DATA=" + filepath.Join(dir, "data"), "DIALBACK_SERVER=", "DIALBACK_AUTHTOKEN=", "DIALBACK_CA_PIN=",
		"GORACE=halt_on_error=0"}
}

// Ctl runs dialbackctl as this server's administrator and returns its output.
func (s *Server) Ctl(args ...string) string {
	s.t.Helper()
	code, out := Run(s.t, s.Env(), Bin("dialbackctl"), append([]string{"--server", s.Admin}, args...)...)
	if code != 0 {
		s.t.Fatalf("dialbackctl %v: exit %d\n%s", args, code, out)
	}
	return out
}

// Token makes an authtoken and returns its id, its secret and the pin.
func (s *Server) Token(args ...string) (id, token, pin string) {
	s.t.Helper()
	out := s.Ctl(append([]string{"token", "create"}, args...)...)
	for _, word := range strings.Fields(out) {
		switch {
		case strings.HasPrefix(word, "dbt_"):
			token = word
		case strings.HasPrefix(word, "sha256:"):
			pin = word
		}
	}
	if token == "" || pin == "" {
		s.t.Fatalf("dialbackctl token create printed no token or no pin:\n%s", out)
	}
	return strings.Split(token, "_")[1], token, pin
}

// Agent starts `dialback http` as this server's own user.
func (s *Server) Agent(args ...string) *Agent {
	s.t.Helper()
	return StartAgent(s.t, s.Env(), append([]string{"http", "--server", s.AgentAddr()}, args...)...)
}

// Agent is a running `dialback http`.
type Agent struct {
	*Proc
}

// StartAgent starts the agent with this command line.
func StartAgent(t testing.TB, env []string, args ...string) *Agent {
	t.Helper()
	return &Agent{Start(t, env, Bin("dialback"), args...)}
}

// URL waits until the agent says its first public URL.
func (a *Agent) URL() string {
	a.t.Helper()
	return a.WaitLog(`(http://[a-z0-9.-]+(?::\d+)?)\b`)
}

// Terminate ends the agent as Ctrl-C does and returns its exit code.
func (a *Agent) Terminate() int {
	a.t.Helper()
	a.Signal(syscall.SIGINT)
	return a.Wait()
}

// Run runs a program to its end and returns its exit code and all its output.
func Run(t testing.TB, env []string, name string, args ...string) (int, string) {
	t.Helper()
	p := Start(t, env, name, args...)
	code := p.Wait()
	return code, p.Log()
}

// WriteFile writes a file of the test and returns its path.
func WriteFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Port returns the port of an address.
func Port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// AgentAddr returns the address that agents connect to.
func (s *Server) AgentAddr() string { return "localhost:" + Port(s.TLS) }
