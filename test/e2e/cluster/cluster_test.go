package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// limit is how long the test waits for anything. It says nothing about how long
// a thing takes.
const limit = time.Minute

// bin is where TestMain has built the binaries.
var bin, root string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dialback-cluster-bin")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // else each end takes a second
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build builds the binaries under test with the race detector.
func build(dir string) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dialback/dialback").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	bin, root = dir, strings.TrimSpace(string(out))
	for _, tool := range []string{"etcd", "etcdctl", "etcdutl"} {
		if _, err := os.Stat(filepath.Join(root, ".bin", tool)); err != nil {
			return fmt.Errorf("the test needs %s: run `make test`, which builds it: %w", tool, err)
		}
	}
	args := []string{"build", "-race", "-o", dir + "/", "./cmd/dialbackctl"}
	for _, kind := range []string{Auth, Registry, Connector, Frontdoor} {
		args = append(args, "./services/"+kind+"/cmd/"+kind)
	}
	for _, args := range [][]string{args, {"build", "-race", "-o", filepath.Join(dir, "dialback"), "./cmd/agent"}} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	return nil
}

// start starts a cluster that ends with the test, and shows its logs if the test
// fails.
func start(t *testing.T) *Cluster {
	t.Helper()
	dir := t.TempDir()
	c, err := Start(t.Context(), Config{Dir: dir, Bin: bin, Tools: filepath.Join(root, ".bin")})
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		for _, p := range c.Parts() {
			text, _ := os.ReadFile(p.Log())
			if strings.Contains(string(text), "WARNING: DATA RACE") || strings.Contains(string(text), "panic:") {
				t.Errorf("%s: a race or a panic", p.Name)
			}
			if t.Failed() {
				t.Logf("--- log of %s\n%s", p.Name, text[max(0, len(text)-4<<10):])
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVisitorsAreServedWhilePartsAreKilled(t *testing.T) {
	c := start(t) // not in parallel: it fills the machine
	storeIsDivided(t, c)
	l := startLoad(t, c)
	l.more(t, 50)
	first := killOneOfEach(t, c, l)
	l.more(t, 2000) // past the end of leases
	for _, name := range first {
		must(t, c.Part(name).Start())
	}
	for _, name := range first {
		must(t, until(t.Context(), name+" is back", func(ctx context.Context) error { return isBack(ctx, c, name) }))
	}
	killOneOfEach(t, c, l, first...)
	l.more(t, 200)
	t.Logf("%d requests answered, %d connections lost with a frontdoor", l.answered.Load(), l.lost.Load())
	l.close()

	// With a half of everything, the agent gets its name back.
	agent, url := c.Part("agent-1"), c.URL
	agent.Kill()
	must(t, os.Truncate(agent.Log(), 0))
	must(t, agent.Start())
	must(t, until(t.Context(), "the agent is back", c.visit))
	if c.URL != url {
		t.Errorf("the agent has %s, and had %s", c.URL, url)
	}
}

// killOneOfEach kills one part of each kind, those first on which most depends:
// etcd's leader, the connector that holds the agent's session. Visitors are
// served all the time. Those who
// were killed before have come back and are needed. It returns the dead.
func killOneOfEach(t *testing.T, c *Cluster, l *load, before ...string) []string {
	t.Helper()
	other := func(kind string) string {
		names := replicas(kind)
		return names[slices.IndexFunc(names, func(name string) bool { return !slices.Contains(before, name) })]
	}
	var dead []string
	for _, part := range []func() string{
		func() string { return etcdLeader(t, c) },
		func() string { return other(Auth) },
		func() string { return other(Registry) },
		func() string { return attachedConnector(t, c) },
		func() string { return other(Frontdoor) },
	} {
		name := part()
		begun := time.Now()
		l.end(c.Part(name), c.Part(name).Kill)
		l.more(t, 200)
		t.Logf("%s was killed; 200 requests took %v", name, time.Since(begun).Round(time.Millisecond))
		dead = append(dead, name)
	}
	return dead
}

// isBack asks a part that was started again for what it is there for.
func isBack(ctx context.Context, c *Cluster, name string) error {
	switch c.Part(name).Kind {
	case Etcd:
		_, err := c.etcdctl(ctx, "endpoint", "health")
		return err
	case Auth:
		_, err := c.ctl(ctx, "--server", c.addr(name), "--credentials", c.credential("admin", "admin", ""), "token", "list")
		return err
	case Frontdoor:
		visitor := newVisitor(c.URL, c.addr(name+plain))
		defer visitor.Close()
		if err := visitor.Get(ctx); err != nil {
			return err
		}
		return balanced(c, name)
	default:
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr(name))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// balanced holds once the load balancer sends visitors to a frontdoor again.
func balanced(c *Cluster, name string) error {
	text, err := os.ReadFile(c.Part(haproxy).Log())
	if err != nil {
		return err
	}
	server := "Server visitors/" + name
	if log := string(text); strings.LastIndex(log, server+" is UP") < strings.LastIndex(log, server+" is DOWN") {
		return errors.New("the load balancer has it as down")
	}
	return nil
}

// storeIsDivided checks that each service sees its own part of etcd, and nobody
// else any.
func storeIsDivided(t *testing.T, c *Cluster) {
	t.Helper()
	for _, who := range []struct {
		kind    string
		allowed string
	}{{Auth, "/dialback/auth/"}, {Registry, "/dialback/registry/"}, {Connector, ""}} {
		for _, prefix := range []string{"/dialback/auth/", "/dialback/registry/", "/"} {
			file := func(file string) string { return c.credential(who.kind, who.kind+"-1", file) }
			_, err := run(t.Context(), filepath.Join(c.config.Tools, "etcdctl"), "--endpoints", c.addr("etcd-1"),
				"--cacert", c.credential("etcd-root", "root", "etcd-ca.crt"), "--cert", file("service.crt"), "--key", file("service.key"),
				"get", "--prefix", "--keys-only", prefix)
			if allowed := prefix == who.allowed; allowed != (err == nil) {
				t.Errorf("%s reads %s: %v", who.kind, prefix, err)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// etcdLeader is the member whose loss costs an election.
func etcdLeader(t *testing.T, c *Cluster) string {
	t.Helper()
	text, err := c.etcdctl(t.Context(), "endpoint", "status", "--write-out", "json")
	must(t, err)
	var members []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	must(t, json.Unmarshal([]byte(text), &members))
	for _, m := range members {
		if m.Status.Leader != m.Status.Header.MemberID {
			continue
		}
		for _, name := range replicas(Etcd) {
			if c.addr(name) == m.Endpoint {
				return name
			}
		}
	}
	t.Fatal("etcd has no leader")
	return ""
}

// sessions are the agent's, in its log, each with its connector's id.
var sessions = regexp.MustCompile(`"msg":"connected","connector":"(connector-\d+)-`)

// attachedConnector is the one that holds the agent's session.
func attachedConnector(t *testing.T, c *Cluster) string {
	t.Helper()
	text, err := os.ReadFile(c.Part("agent-1").Log())
	must(t, err)
	all := sessions.FindAllSubmatch(text, -1)
	if len(all) == 0 {
		t.Fatalf("the agent names no connector:\n%s", text)
	}
	return string(all[len(all)-1][1])
}
