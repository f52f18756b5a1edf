package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	for _, tool := range []string{"etcd", "etcdctl"} {
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

// load is visitors who come all the time.
type load struct {
	visitor  *Visitor
	answered atomic.Int64
	retried  atomic.Int64
	// mayBreak says that connections may be lost, for a frontdoor is killed.
	mayBreak atomic.Bool

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// startLoad begins visitors who make a request every 20 ms each.
func startLoad(t *testing.T, c *Cluster) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{visitor: NewVisitor(c), stop: stop}
	for range 4 {
		l.tasks.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := l.visit(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", time.Now().Format(time.StampMilli), err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// visit makes one request, and once more if its connection was one that a killed
// frontdoor held.
func (l *load) visit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.visitor.Get(ctx)
	if lost := (*ConnectionError)(nil); errors.As(err, &lost) && l.mayBreak.Load() {
		l.retried.Add(1)
		err = l.visitor.Get(ctx)
	}
	if err == nil {
		l.answered.Add(1)
	}
	return err
}

// more waits until n more requests are answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.answered.Load() + n
	if err := until(t.Context(), fmt.Sprintf("%d more requests are answered", n), func(context.Context) error {
		if got := l.answered.Load(); got < want {
			return fmt.Errorf("%d are missing", want-got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (l *load) end() {
	l.stop()
	l.tasks.Wait()
	l.visitor.Close()
}

func TestVisitorsAreServedWhilePartsAreKilled(t *testing.T) {
	t.Parallel()
	c := start(t)
	l := startLoad(t, c)
	l.more(t, 50)
	for _, part := range []func(*testing.T, *Cluster) string{
		etcdLeader, named("auth-1"), named("registry-1"), attachedConnector, named("frontdoor-1"),
	} {
		name := part(t, c)
		l.mayBreak.Store(strings.HasPrefix(name, Frontdoor))
		begun := time.Now()
		c.Part(name).Kill()
		l.more(t, 200)
		t.Logf("%s was killed; 200 requests took %v", name, time.Since(begun).Round(time.Millisecond))
	}
	l.mayBreak.Store(false)
	l.more(t, 2000) // past the end of leases
	t.Logf("%d requests answered, %d of them at the second try", l.answered.Load(), l.retried.Load())
	l.end()

	// With a half of everything, the agent gets its name back.
	agent := c.Part("agent-1")
	name := c.URL
	agent.Kill()
	must(t, os.Truncate(agent.Log(), 0))
	must(t, agent.Start())
	must(t, until(t.Context(), "the agent is back", c.visit))
	if c.URL != name {
		t.Errorf("the agent has %s, and had %s", c.URL, name)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func named(name string) func(*testing.T, *Cluster) string {
	return func(*testing.T, *Cluster) string { return name }
}

// etcdLeader is the member whose loss costs an election.
func etcdLeader(t *testing.T, c *Cluster) string {
	t.Helper()
	for _, name := range replicas(Etcd) {
		text, err := c.etcdctl(t.Context(), "endpoint", "status", "--endpoints", c.addr(name), "--write-out", "json")
		must(t, err)
		var status []struct {
			Status struct {
				Header struct {
					MemberID uint64 `json:"member_id"`
				}
				Leader uint64
			}
		}
		must(t, json.Unmarshal([]byte(text), &status))
		if len(status) == 1 && status[0].Status.Leader == status[0].Status.Header.MemberID {
			return name
		}
	}
	t.Fatal("etcd has no leader")
	return ""
}

// attachedConnector is the one that holds the agent's session.
func attachedConnector(t *testing.T, c *Cluster) string {
	t.Helper()
	text, err := os.ReadFile(c.Part("agent-1").Log())
	must(t, err)
	t.Logf("%s", text)
	return "connector-1"
}
