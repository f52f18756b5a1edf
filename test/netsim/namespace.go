//go:build linux

package netsim

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	namespaceDir    = "/run/netns" // where iproute2 keeps their names
	namespacePrefix = "netsim-"
)

// owner identifies this process: its id, and its start for the case that the id is
// used again.
func owner() (string, error) {
	pid := os.Getpid()
	start, err := startOf(pid)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d-%s", pid, start), nil
}

// startOf returns when a process was started, in the kernel's clock ticks.
func startOf(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses and may hold blanks; the start is
	// the 22nd field of all.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const start = 22 - 3
	if len(fields) <= start {
		return "", fmt.Errorf("netsim: /proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[start], nil
}

// namespaces returns two names that no other network has.
func namespaces() (a, b string, err error) {
	owner, err := owner()
	if err != nil {
		return "", "", err
	}
	name := fmt.Sprintf("%s%s-%s", namespacePrefix, owner, rand.Text()[:8])
	return name + "a", name + "b", nil
}

// removeStale deletes the namespaces of processes that died before they could.
func removeStale(ctx context.Context) error {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !stale(entry.Name()) {
			continue
		}
		// Another process may be faster: what counts is that it is gone.
		if err := deleteNamespace(ctx, entry.Name()); err != nil && exists(entry.Name()) {
			return err
		}
	}
	return nil
}

// stale is true for a namespace of ours whose process no longer runs.
func stale(name string) bool {
	rest, ours := strings.CutPrefix(name, namespacePrefix)
	parts := strings.Split(rest, "-")
	if !ours || len(parts) != 3 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	start, err := startOf(pid)
	return errors.Is(err, os.ErrNotExist) || err == nil && start != parts[1]
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(namespaceDir, name))
	return err == nil
}

func addNamespace(ctx context.Context, name string) error {
	return ip(ctx, "", "netns", "add", name)
}

func deleteNamespace(ctx context.Context, name string) error {
	return ip(ctx, "", "netns", "delete", name)
}

// ip runs iproute2's tool; input is what it reads as commands with -batch.
func ip(ctx context.Context, input string, args ...string) error {
	tool, err := ipTool()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool, args...) //nolint:gosec // the arguments are this package's
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("netsim: ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// ipTool finds iproute2's tool, in the folders too that only root has in its PATH.
func ipTool() (string, error) {
	for _, name := range []string{"ip", "/usr/sbin/ip", "/sbin/ip"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("netsim: there is no program ip: install iproute2")
}
