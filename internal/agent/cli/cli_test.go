package cli_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/cli"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/testkit"
)

// asDialback turns the test binary into the program itself.
const asDialback = "DIALBACK_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asDialback) != "" {
		ctx, stop := lifecycle.Signals(context.Background())
		code := cli.Run(ctx, os.Args[1:], cli.OS())
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const token = "dbt_id_s3cret"

// user is somebody with a home of his own.
type user struct {
	t    *testing.T
	home string
	env  []string
}

func newUser(t *testing.T, env ...string) *user {
	t.Helper()
	return &user{t: t, home: t.TempDir(), env: env}
}

// known is a user whose environment has all about a server.
func known(t *testing.T, server *agenttest.Server) *user {
	t.Helper()
	return newUser(t, "DIALBACK_SERVER="+server.Address(), "DIALBACK_AUTHTOKEN="+token, "DIALBACK_CA_PIN="+server.CA.Pin().String())
}

func (u *user) configFile() string {
	return filepath.Join(u.home, ".config", "dialback", "config.yaml")
}

// process is a running dialback.
type process struct {
	t   *testing.T
	cmd *exec.Cmd

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (u *user) start(args ...string) *process {
	u.t.Helper()
	p := &process{t: u.t, cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append([]string{asDialback + "=1", "HOME=" + u.home, "PATH=" + os.Getenv("PATH")}, u.env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *process) wait() int {
	p.t.Helper()
	timer := time.AfterFunc(2*agenttest.Limit, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) says(text string) {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			p.t.Log(p.text())
		}
	}()
	testkit.Eventually(p.t, agenttest.Limit, func() bool { return strings.Contains(p.text(), text) }, "it says "+text)
}

func (u *user) run(args ...string) (int, string) {
	u.t.Helper()
	p := u.start(args...)
	return p.wait(), p.text()
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"nothing configured":   {nil, []string{"http", "8080"}, "dialback config add-server"},
		"no token":             {[]string{"DIALBACK_SERVER=a.example"}, []string{"http", "8080"}, "authtoken"},
		"an IP without domain": {[]string{"DIALBACK_AUTHTOKEN=" + token}, []string{"http", "8080", "--server", "127.0.0.1:1"}, "--domain"},
		"a bad pin":            {[]string{"DIALBACK_AUTHTOKEN=" + token, "DIALBACK_CA_PIN=x"}, []string{"http", "8080", "--server", "a.example"}, "pin"},
		"no such command":      {nil, []string{"https", "8080"}, "--help"},
		"no service":           {nil, []string{"http"}, "service"},
		"a bad service":        {[]string{"DIALBACK_AUTHTOKEN=" + token}, []string{"http", "ftp://x", "--server", "a.example"}, "local service"},
		"two names":            {nil, []string{"http", "8080", "--subdomain", "a", "--hostname", "b.example"}, "together"},
		"basic auth":           {[]string{"DIALBACK_AUTHTOKEN=" + token}, []string{"http", "8080", "--server", "a.example", "--basic-auth", "secretword"}, "user:password"},
		"a bad level":          {[]string{"DIALBACK_LOG_LEVEL=loud"}, []string{"version"}, "loud"},
		"no command":           {nil, nil, "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out := newUser(t, c.env...).run(c.args...)
			if code != 2 || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, want 2 and %q:\n%s", code, c.want, out)
			}
			if strings.Contains(out, "s3cret") || strings.Contains(out, "secretword") {
				t.Errorf("prints a secret:\n%s", out)
			}
		})
	}
}

func TestAConfigurationWithAnUnknownKey(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	path := filepath.Join(u.home, "c.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nserver: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.env = []string{"DIALBACK_CONFIG=" + path}
	if code, out := u.run("http", "8080"); code != 2 || !strings.Contains(out, path+`: line 2: unknown key "server"`) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	refuse := func(reason errs.Reason) func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return func(*agentv1.Auth) (*agentv1.AuthResp, error) {
			return nil, errs.New(errs.Unauthenticated, reason, "the server's own words")
		}
	}
	for name, c := range map[string]struct {
		auth func(*agentv1.Auth) (*agentv1.AuthResp, error)
		bind func(*agenttest.Session, *agentv1.ReqTunnel) []*agentv1.NewTunnel
		code int
		want string
	}{
		"a refused token": {auth: refuse(errs.ReasonTokenRevoked), code: 3, want: "dialback config add-server localhost:"},
		"an old release":  {auth: refuse(errs.ReasonVersionUnsupported), code: 6, want: "newer release"},
		"a name of others": {bind: func(*agenttest.Session, *agentv1.ReqTunnel) []*agentv1.NewTunnel {
			return agenttest.Refuse("NAME_TAKEN", "the server's own words", 0)
		}, code: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := agenttest.New(t)
			server.Auth, server.Bind = c.auth, c.bind
			server.Start()
			code, out := known(t, server).run("http", "8080")
			if code != c.code || !strings.Contains(out, c.want) || !strings.Contains(out, "the server's own words") {
				t.Errorf("exit %d, want %d and %q:\n%s", code, c.code, c.want, out)
			}
			if strings.Contains(out, "s3cret") {
				t.Errorf("prints the token:\n%s", out)
			}
		})
	}
}

func TestAServerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()()
	u := known(t, server)
	if code, out := u.run("http", "8080", "--exit-on-failure"); code != 5 || !strings.Contains(out, "refused") {
		t.Errorf("exit %d, want 5:\n%s", code, out)
	}
	p := u.start("http", "8080")
	p.says("no connection")
	server.Start()
	p.says("tunnel online")
}

func TestAWrongPin(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	other := testkit.CA(t).Pin().String()
	u := newUser(t, "DIALBACK_SERVER="+server.Address(), "DIALBACK_AUTHTOKEN="+token, "DIALBACK_CA_PIN="+other)
	code, out := u.run("http", "8080")
	if code != 2 || !strings.Contains(out, other) || !strings.Contains(out, server.CA.Pin().String()) {
		t.Errorf("exit %d, want 2 and both pins:\n%s", code, out)
	}
}

func TestServeAndCtrlC(t *testing.T) {
	t.Parallel()
	local := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(local.Close)
	address := local.Listener.Addr().String()
	server := agenttest.New(t)
	server.Start()
	p := known(t, server).start("http", address, "--subdomain", "app")
	p.says("url=http://app.localhost:7080 forwards_to=" + address)
	session := server.Session(1)
	if status, _ := server.Visit(session, session.Tunnel(), "/"); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	agenttest.Await[*agentv1.ConnectRequest_CloseTunnel](session)
	if strings.ContainsFunc(p.text(), func(r rune) bool { return r < ' ' && r != '\n' }) || strings.Contains(p.text(), "s3cret") {
		t.Errorf("control characters or secrets in the log:\n%q", p.text())
	}
}

func TestASecondCtrlCEndsItAtOnce(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.KeepTunnels = true
	server.Start()
	p := known(t, server).start("http", "8080")
	p.says("tunnel online")
	_ = p.cmd.Process.Signal(os.Interrupt)
	p.says("stopping")
	_ = p.cmd.Process.Signal(os.Interrupt)
	p.wait()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && !status.Signaled() {
		t.Errorf("it ended in order, with exit %d", p.cmd.ProcessState.ExitCode())
	}
}

func TestAddServerSavesWhatWorks(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(auth *agentv1.Auth) (*agentv1.AuthResp, error) {
		if auth.GetAuthtoken() != token {
			return nil, errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid, "no such token")
		}
		return &agentv1.AuthResp{}, nil
	}
	server.Start()
	pin := server.CA.Pin().String()
	u := newUser(t)
	for name, c := range map[string]struct {
		pin, token string
		code       int
	}{
		"a wrong token": {pin, "dbt_id_wrong", 3},
		"a wrong pin":   {testkit.CA(t).Pin().String(), token, 2},
		"a cut token":   {pin, "dbt_id", 2},
	} {
		if code, out := u.run("config", "add-server", server.Address(), "--pin", c.pin, "--authtoken", c.token); code != c.code {
			t.Errorf("%s: exit %d, want %d:\n%s", name, code, c.code, out)
		}
		if _, err := os.Stat(u.configFile()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there is a configuration file: %v", name, err)
		}
	}
	if code, out := u.run("config", "add-server", server.Address(), "--pin", pin, "--authtoken", token); code != 0 || strings.Contains(out, "s3cret") {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	config, err := agentconfig.Load(u.configFile())
	if err != nil || config.Default != server.Address() || config.Servers[server.Address()].Authtoken.Reveal() != token {
		t.Errorf("saved %+v, %v", config, err)
	}
	if code, out := u.run("config", "show"); code != 0 || !strings.Contains(out, "***") || !strings.Contains(out, pin) || strings.Contains(out, "s3cret") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if code, out := u.run("config", "path"); code != 0 || strings.TrimSpace(out) != u.configFile() {
		t.Errorf("exit %d: %s", code, out)
	}
	p := u.start("http", "8080")
	p.says("tunnel online")
	if before, now := server.Session(1), server.Session(2); now.Auth.GetAgentId() != before.Welcome.GetAgentId() {
		t.Errorf("the first tunnel's agent is %q, was made as %q", now.Auth.GetAgentId(), before.Welcome.GetAgentId())
	}
}

func TestAServerThatIsAwayIsNotSaved(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	if code, out := u.run("config", "add-server", "localhost:"+port, "--authtoken", token); code != 5 {
		t.Errorf("exit %d, want 5:\n%s", code, out)
	}
	if _, err := os.Stat(u.configFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a configuration file: %v", err)
	}
}

// The environment's token belongs to the environment's server.
func TestATokenIsNotSentToAnotherServer(t *testing.T) {
	t.Parallel()
	one, two := agenttest.New(t), agenttest.New(t)
	one.Start()
	two.Start()
	u := known(t, one)
	if code, out := u.run("http", "8080", "--server", two.Address()); code != 2 || !strings.Contains(out, "no authtoken for "+two.Address()) {
		t.Errorf("exit %d:\n%s", code, out)
	}
	u.env = append(u.env, "DIALBACK_AUTHTOKEN=", "DIALBACK_CA_PIN=")
	if code, out := u.run("config", "add-server", two.Address(), "--pin", two.CA.Pin().String(), "--authtoken", "dbt_id_two"); code != 0 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	u.env = append(u.env, "DIALBACK_AUTHTOKEN="+token, "DIALBACK_CA_PIN="+one.CA.Pin().String())
	u.start("http", "8080", "--server", two.Address()).says("tunnel online")
	u.start("http", "8081").says("tunnel online")
	if got := two.Session(2).Auth.GetAuthtoken(); got != "dbt_id_two" {
		t.Error("the second server got a token that is not its own")
	}
	if got := one.Session(1).Auth.GetAuthtoken(); got != token {
		t.Error("the environment's server did not get the environment's token")
	}
}

// Two command lines of one user: two agents, and each finds itself again.
func TestTwoAgentsOfOneUser(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	u := known(t, server)
	first := u.start("http", "3000")
	first.says("tunnel online")
	second := u.start("http", "8080")
	second.says("tunnel online")
	a, b := server.Session(1), server.Session(2)
	if b.Auth.GetAgentId() != "" || a.Welcome.GetAgentId() == b.Welcome.GetAgentId() {
		t.Fatalf("the second came as %q", b.Auth.GetAgentId())
	}
	_ = second.cmd.Process.Kill()
	second.wait()
	u.start("http", "8080").says("tunnel online")
	if again := server.Session(3); again.Auth.GetAgentId() != b.Welcome.GetAgentId() || again.Tunnel() != b.Tunnel() {
		t.Errorf("came back as %q, was %q", again.Auth.GetAgentId(), b.Welcome.GetAgentId())
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if code, out := newUser(t).run("version"); code != 0 || !strings.HasPrefix(out, "dialback ") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out := newUser(t).run("--help"); code != 0 || !strings.Contains(out, "config add-server") {
		t.Errorf("exit %d: %s", code, out)
	}
}
