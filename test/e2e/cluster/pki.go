package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// issue makes authorities and certificates, as an operator does.
func (c *Cluster) issue(ctx context.Context) error {
	if _, err := c.ctl(ctx, "pki", "init", "--dir", c.pkiDir(), "--domain", Domain); err != nil {
		return err
	}
	for _, kind := range []string{Etcd, Auth, Registry, Connector, Frontdoor} {
		for _, name := range replicas(kind) {
			args := []string{"pki", "issue", "--dir", c.pkiDir(), kind, name}
			if kind == Etcd {
				args = append(args, "--host", "127.0.0.1")
			}
			if _, err := c.ctl(ctx, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) pkiDir() string { return filepath.Join(c.config.Dir, "pki") }

// credential is a file of a node.
func (c *Cluster) credential(kind, name, file string) string {
	return filepath.Join(c.pkiDir(), kind, name, file)
}

// pin is the pin that agents need.
func (c *Cluster) pin(ctx context.Context) (string, error) {
	return c.ctl(ctx, "pki", "pins", "--dir", c.pkiDir())
}

// ctl runs dialbackctl and returns what it prints.
func (c *Cluster) ctl(ctx context.Context, args ...string) (string, error) {
	return run(ctx, filepath.Join(c.config.Bin, "dialbackctl"), args...)
}

// run runs a program to its end and returns its first output.
func run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- the cluster's own programs
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, complaint.String())
	}
	return strings.TrimSpace(string(out)), nil
}
