package harness

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Deployment is a Dialback as one test uses it: dialbackd, or a cluster that
// others use at the same time. The test has an account and names of its own.
type Deployment struct {
	test testing.TB
	home string
	// account is of the tokens that the test makes; empty: dialbackctl's default.
	account string
	// first is the number of the test's first name.
	first, names int

	admin func(args ...string) (code int, out string)
	logs  func() string

	// HTTP and TLS are where visitors connect; agents use TLS.
	HTTP, TLS string
	// CA is a file with the authority of the visitors' certificate.
	CA string
}

// namesEach is how many names a test may have.
const namesEach = 4

// Name returns another name that only this test has, and for which the
// visitors' certificate is good.
func (d *Deployment) Name() string {
	d.test.Helper()
	if d.names++; d.names > namesEach {
		d.test.Fatalf("a test may have %d names", namesEach)
	}
	return name(d.first + d.names - 1)
}

func name(n int) string { return fmt.Sprintf("n%d", n) }

// hostnames are what the first n names stand for.
func hostnames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = name(i) + ".localhost"
	}
	return list
}

// Env returns the environment of the test's own user: his agent configuration,
// state and credentials are in a directory of the test.
func (d *Deployment) Env() []string { return Home(d.home) }

// Home returns the environment of a user whose home is dir.
func Home(dir string) []string {
	return []string{"HOME=" + dir, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_DATA_HOME=",
		"DIALBACK_DATA=" + filepath.Join(dir, "data"), "DIALBACK_SERVER=", "DIALBACK_AUTHTOKEN=", "DIALBACK_CA_PIN=",
		"GORACE=halt_on_error=0 atexit_sleep_ms=0"}
}

// AgentAddr returns the address that agents connect to.
func (d *Deployment) AgentAddr() string { return "localhost:" + Port(d.TLS) }

// Ctl runs dialbackctl as the administrator and returns its output.
func (d *Deployment) Ctl(args ...string) string {
	d.test.Helper()
	code, out := d.admin(args...)
	if code != 0 {
		d.test.Fatalf("dialbackctl %v: exit %d\n%s", args, code, out)
	}
	return out
}

// Token makes an authtoken of the test's account and returns its id, its secret
// and the pin.
func (d *Deployment) Token() (id, token, pin string) {
	d.test.Helper()
	return d.tokenOf(d.account)
}

func (d *Deployment) tokenOf(account string) (id, token, pin string) {
	d.test.Helper()
	args := []string{"token", "create"}
	if account != "" {
		args = append(args, "--account", account)
	}
	out := d.Ctl(args...)
	for _, word := range strings.Fields(out) {
		switch {
		case strings.HasPrefix(word, "dbt_"):
			token = word
		case strings.HasPrefix(word, "sha256:"):
			pin = word
		}
	}
	if token == "" || pin == "" {
		d.test.Fatalf("dialbackctl token create printed no token or no pin:\n%s", out)
	}
	return strings.Split(token, "_")[1], token, pin
}

// User makes the environment of another user, in an account of his own.
func (d *Deployment) User(account string) []string {
	d.test.Helper()
	env := Home(d.test.TempDir())
	d.addServer(env, d.account+account)
	return env
}

func (d *Deployment) addServer(env []string, account string) {
	d.test.Helper()
	_, token, pin := d.tokenOf(account)
	code, out := Run(d.test, env, Bin("dialback"), "config", "add-server", d.AgentAddr(), "--pin", pin, "--authtoken", token)
	if code != 0 {
		d.test.Fatalf("add-server: exit %d\n%s", code, out)
	}
}

// Agent starts `dialback http` as the test's own user.
func (d *Deployment) Agent(args ...string) *Agent {
	d.test.Helper()
	return StartAgent(d.test, d.Env(), append([]string{"http", "--server", d.AgentAddr()}, args...)...)
}

// Logs returns what all of Dialback's own processes have printed so far.
func (d *Deployment) Logs() string { return d.logs() }

// WaitLogs waits for a line in the logs that has all of the words.
func (d *Deployment) WaitLogs(words ...string) {
	d.test.Helper()
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = regexp.QuoteMeta(word)
	}
	line := regexp.MustCompile(`(?m)^.*` + strings.Join(quoted, ".*") + `.*$`)
	Eventually(d.test, fmt.Sprintf("no line with %q in the logs", words), func() bool { return line.MatchString(d.logs()) })
}
