package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dialback/dialback/test/e2e/cluster"
)

// bin is where Build has put the binaries, root the repository.
var bin, root string

// tools are the programs that the tests use. One that is missing fails the run:
// a test that is skipped has seen nothing.
var tools = []string{"nginx", "curl", "openssl", "nc", "h2load", "wrk"}

// Build builds the binaries under test, with the race detector, into dir.
func Build(dir string) error {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the tests need %s: run `make test`, which installs it: %w", tool, err)
		}
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dialback/dialback").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	bin, root = dir, strings.TrimSpace(string(out))
	for _, tool := range []string{"etcd", "etcdctl"} {
		if _, err := os.Stat(filepath.Join(root, ".bin", tool)); err != nil {
			return fmt.Errorf("the tests need %s: run `make test`, which builds it: %w", tool, err)
		}
	}
	packages := map[string]string{"dialback": "./cmd/agent", "dialbackd": "./cmd/standalone", "dialbackctl": "./cmd/dialbackctl"}
	for _, service := range []string{cluster.Auth, cluster.Registry, cluster.Connector, cluster.Frontdoor} {
		packages[service] = "./services/" + service + "/cmd/" + service
	}
	for name, pkg := range packages {
		cmd := exec.Command("go", "build", "-race", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = root
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return nil
}

// Bin returns the path of a binary under test.
func Bin(name string) string { return filepath.Join(bin, name) }
