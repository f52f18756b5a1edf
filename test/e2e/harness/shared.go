package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dialback/dialback/test/e2e/cluster"
)

// shared is the cluster that the tests of a run have in common. It is started
// for the first that asks for it.
var shared struct {
	once  sync.Once
	dir   string
	c     *cluster.Cluster
	err   error
	tests atomic.Int64
}

// maxShared is how many tests may share the cluster.
const maxShared = 50

// OnCluster returns the shared cluster as this test uses it.
func OnCluster(t testing.TB) *Deployment {
	t.Helper()
	shared.once.Do(startShared)
	if shared.err != nil {
		t.Fatalf("the cluster: %v", shared.err)
	}
	n := int(shared.tests.Add(1)) - 1
	if n >= maxShared {
		t.Fatalf("more than %d tests share the cluster", maxShared)
	}
	d := deploymentOf(t, shared.c)
	d.first, d.account = n*namesEach, fmt.Sprintf("test-%d", n)
	d.addServer(d.Env(), d.account)
	return d
}

// StartCluster starts a cluster for one test.
func StartCluster(t testing.TB, config cluster.Config) (*cluster.Cluster, *Deployment) {
	t.Helper()
	config.Dir, config.Bin, config.Tools, config.Names = t.TempDir(), bin, filepath.Join(root, ".bin"), hostnames(namesEach)
	c, err := cluster.Start(t.Context(), config)
	t.Cleanup(func() {
		if err := end(c); err != nil {
			t.Error(err)
		}
	})
	d := deploymentOf(t, c)
	if err != nil {
		t.Fatalf("the cluster: %v", err)
	}
	d.addServer(d.Env(), d.account)
	return c, d
}

func deploymentOf(t testing.TB, c *cluster.Cluster) *Deployment {
	t.Helper()
	d := &Deployment{
		test: t, home: t.TempDir(), HTTP: c.HTTP, TLS: c.TLS, CA: c.PublicCert(), logs: func() string { return logsOf(c) },
		admin: func(args ...string) (int, string) {
			out, err := c.Ctl(t.Context(), args...)
			if err != nil {
				return 1, err.Error()
			}
			return 0, out
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range c.Parts() {
				text, _ := os.ReadFile(p.Log())
				t.Logf("--- log of %s\n%s", p.Name, tail(string(text), 2<<10))
			}
		}
	})
	return d
}

func logsOf(c *cluster.Cluster) string {
	var b strings.Builder
	for _, p := range c.Parts() {
		if p.Kind != cluster.Agent {
			text, _ := os.ReadFile(p.Log())
			b.Write(text)
		}
	}
	return b.String()
}

// Shared returns the cluster of OnCluster.
func Shared() *cluster.Cluster { return shared.c }

func startShared() {
	if shared.dir, shared.err = os.MkdirTemp("", "dialback-e2e-cluster"); shared.err != nil {
		return
	}
	shared.c, shared.err = cluster.Start(context.Background(), cluster.Config{
		Dir: shared.dir, Bin: bin, Tools: filepath.Join(root, ".bin"), Names: hostnames(maxShared * namesEach),
	})
}

// EndShared ends the shared cluster, if there is one. It returns an error if a
// race or a panic was found in any of its parts.
func EndShared() error {
	if shared.c == nil {
		return nil
	}
	return errors.Join(end(shared.c), os.RemoveAll(shared.dir))
}

func end(c *cluster.Cluster) error {
	err := c.Stop()
	for _, p := range c.Parts() {
		text, _ := os.ReadFile(p.Log())
		if i := strings.Index(string(text), "WARNING: DATA RACE"); i >= 0 {
			err = errors.Join(err, fmt.Errorf("%s: a race\n%.8000s", p.Name, text[i:]))
		}
		if i := strings.Index(string(text), "panic:"); i >= 0 {
			err = errors.Join(err, fmt.Errorf("%s: a panic\n%.8000s", p.Name, text[i:]))
		}
	}
	return err
}
