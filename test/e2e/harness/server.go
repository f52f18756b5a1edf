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
	*Deployment
	proc *Proc
	args []string
	env  []string

	// Admin is the address for dialbackctl, API that of REST, Domain the
	// deployment's domain.
	Admin, API, Domain string
}

// StartServer starts dialbackd on free ports.
func StartServer(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	s := &Server{Deployment: &Deployment{test: t, home: t.TempDir()}, args: args, env: env}
	s.HTTP, s.TLS, s.Admin, s.API = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	s.logs = func() string { return s.proc.Log() }
	s.admin = func(args ...string) (int, string) {
		return Run(t, s.Env(), Bin("dialbackctl"), append([]string{"--server", s.Admin}, args...)...)
	}
	s.Restart()
	return s
}

// Standalone starts dialbackd with a certificate for visitors.
func Standalone(t testing.TB, args ...string) *Server {
	t.Helper()
	cert := NewCertificate(t, hostnames(namesEach)...)
	s := StartServer(t, nil, append([]string{"--tls-cert", cert.Cert, "--tls-key", cert.Key}, args...)...)
	s.CA = cert.CA
	return s
}

// Restart starts dialbackd again with the same data and the same addresses.
func (s *Server) Restart() {
	s.test.Helper()
	args := append([]string{"serve", "--data", filepath.Join(s.home, "data"), "--log-format", "json", "--log-level", "debug",
		"--http", s.HTTP, "--tls", s.TLS, "--admin", s.Admin, "--api", s.API}, s.args...)
	s.proc = Start(s.test, append(s.Env(), s.env...), Bin("dialbackd"), args...)
	line := s.proc.WaitLog(`(?m)^(\{.*"msg":"ready".*\})$`)
	var ready struct{ HTTP, TLS, Admin, API, Domain string }
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		s.test.Fatalf("ready line %s: %v", line, err)
	}
	s.HTTP, s.TLS, s.Admin, s.API, s.Domain = ready.HTTP, ready.TLS, ready.Admin, ready.API, ready.Domain
}

// Stop ends dialbackd with SIGTERM and returns its exit code.
func (s *Server) Stop() int { return s.proc.Stop() }

// PID returns dialbackd's process id.
func (s *Server) PID() int { return s.proc.PID() }

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
