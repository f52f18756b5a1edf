package e2e

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// The five commands of docs/GETTING-STARTED.md, as they stand there, lead from
// an empty machine to a page at a public https URL. The machine has no network
// but its own: the repository's address leads to this checkout.
func TestGettingStarted(t *testing.T) {
	t.Parallel()
	guide := readGuide(t)
	domain := guide.value(t, 2, "--domain")
	machine := harness.StartMachine(t, domain)
	cert := harness.NewCertificate(t, domain, "*."+domain)
	machine.WriteFile(guide.value(t, 2, "--tls-cert"), harness.ReadFile(t, cert.Cert))
	machine.WriteFile(guide.value(t, 2, "--tls-key"), harness.ReadFile(t, cert.Key))
	operator, owner := machine.NewUser(), machine.NewUser()
	cloneFromHere(t, operator)

	operator.Run(guide.command(1))
	server := operator.Start(guide.command(2))
	server.WaitLog(`Dialback is up`)
	addServer := lineLike(t, operator.Run(guide.command(3)), guide.command(4))
	owner.Run(addServer)

	page := "what the service behind the tunnel says\n"
	if err := os.WriteFile(filepath.Join(owner.Home, "index.html"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	service := owner.Start("python3 -u -m http.server 8080")
	service.WaitLog("Serving HTTP")
	agent := owner.Start(guide.command(5))
	public, err := url.Parse(agent.WaitLog(`(https://[a-z0-9.:-]+)`))
	if err != nil {
		t.Fatal(err)
	}
	if name, below := strings.CutSuffix(public.Host, "."+domain); !below || name == "" {
		t.Errorf("%s is not below %s, with no port", public, domain)
	}
	// The DNS has a wildcard; a hosts file cannot.
	visit := "curl -sS --max-time 60 --cacert " + cert.CA + " --resolve " + public.Host + ":443:127.0.0.1 " + public.String()
	if got := operator.Run(visit); got != page {
		t.Errorf("%s shows %q, want %q", public, got, page)
	}
	endAll(t, machine, agent, server, service)
}

// endAll ends the agent with Ctrl-C, as its user does, and the server with
// SIGTERM, as systemd does; nothing is left of them.
func endAll(t *testing.T, machine *harness.Machine, agent, server, service *harness.Proc) {
	t.Helper()
	agent.Signal(syscall.SIGINT)
	if code := agent.Wait(); code != 0 {
		t.Errorf("Ctrl-C ends the agent with %d", code)
	}
	if code := server.Stop(); code != 0 {
		t.Errorf("SIGTERM ends the server with %d", code)
	}
	service.Stop()
	if left := machine.Processes(); len(left) != 0 {
		t.Errorf("still there: %q", left)
	}
}

// cloneFromHere makes a user's git take the repository from this checkout.
func cloneFromHere(t *testing.T, u *harness.User) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	config := "[url \"" + root + "\"]\n\tinsteadOf = https://github.com/dialback/dialback\n[safe]\n\tdirectory = *\n"
	if err := os.WriteFile(filepath.Join(u.Home, ".gitconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lineLike returns the line of text that is like the pattern, in which "..."
// stands for a word's end.
func lineLike(t *testing.T, text, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(`(?m)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\.\.\.`, `\S+`) + `$`)
	line := re.FindString(text)
	if line == "" {
		t.Fatalf("the document says that a line like\n%s\nis printed; what is printed:\n%s", pattern, text)
	}
	return line
}

// guide is the document's numbered commands.
type guide []string

// numbered is a block of the document that begins with `<!-- command N -->`.
var numbered = regexp.MustCompile("(?s)<!-- command ([0-9]+) -->\n```sh\n(.*?)\n```")

func readGuide(t *testing.T) guide {
	t.Helper()
	var g guide
	for i, m := range numbered.FindAllSubmatch(harness.ReadFile(t, "../../docs/GETTING-STARTED.md"), -1) {
		if string(m[1]) != strconv.Itoa(i+1) {
			t.Fatalf("command %s stands at place %d", m[1], i+1)
		}
		g = append(g, string(m[2]))
	}
	if len(g) != 5 {
		t.Fatalf("the document promises five commands and marks %d", len(g))
	}
	return g
}

// command returns the n-th command, from 1 on.
func (g guide) command(n int) string { return g[n-1] }

// value returns what the n-th command gives a flag.
func (g guide) value(t *testing.T, n int, flag string) string {
	t.Helper()
	words := strings.Fields(g.command(n))
	for i, word := range words[:len(words)-1] {
		if word == flag {
			return words[i+1]
		}
	}
	t.Fatalf("command %d gives no %s", n, flag)
	return ""
}
