package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// buildLimit is how long a build from an empty cache may take.
const buildLimit = 8 * time.Minute

// Machine is as good as a machine of its own: it has a network with nothing but
// loopback, all ports of it, an /etc and a /usr/local/bin that are the test's.
type Machine struct {
	t      testing.TB
	dir    string
	holder *Proc
	env    []string
}

// setUp runs inside the machine; $1 is its folder. What was in /usr/local/bin,
// perhaps go itself, stays within reach beside its neighbours.
const setUp = `set -e
ip link set lo up
mount --rbind /usr/local "$1/local"
mount --bind "$1/bin" /usr/local/bin
mount --bind "$1/etc" /etc
echo standing
exec sleep 1200`

// StartMachine starts a machine on which names have the address 127.0.0.1. It
// takes root.
func StartMachine(t testing.TB, names ...string) *Machine {
	t.Helper()
	m := &Machine{t: t, dir: t.TempDir()}
	for _, sub := range []string{"bin", "etc", "local"} {
		if err := os.Mkdir(filepath.Join(m.dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := Run(t, nil, "cp", "-a", "/etc/.", filepath.Join(m.dir, "etc")); code != 0 {
		t.Fatalf("copy /etc: %s", out)
	}
	m.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost "+strings.Join(names, " ")+"\n"))
	m.env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin:" + filepath.Join(m.dir, "local", "bin"), "GOPROXY=off"}
	m.env = append(m.env, goEnv(t, "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOTOOLCHAIN")...)
	m.holder = Start(t, m.env, "unshare", "--mount", "--net", "sh", "-c", setUp, "sh", m.dir)
	m.holder.WaitLog("standing")
	return m
}

// goEnv returns settings of the go that runs the test: a machine without a network
// needs its caches.
func goEnv(t testing.TB, names ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output() // #nosec G204 -- names of settings
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	env := strings.Split(string(out), "\n")[:len(names)]
	for i, name := range names {
		env[i] = name + "=" + env[i]
	}
	return env
}

// WriteFile writes a file below the machine's /etc.
func (m *Machine) WriteFile(path string, data []byte) {
	m.t.Helper()
	if !strings.HasPrefix(path, "/etc/") {
		m.t.Fatalf("%s is not below /etc: the machine shares it with others", path)
	}
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// User is somebody who types commands on a machine.
type User struct {
	machine *Machine
	Home    string
}

// NewUser returns a user whose home is empty and whose environment says nothing
// about Dialback.
func (m *Machine) NewUser() *User { return &User{machine: m, Home: m.t.TempDir()} }

// Start types a command line that goes on until it is ended.
func (u *User) Start(line string) *Proc {
	u.machine.t.Helper()
	return u.shell("exec " + line)
}

// Run types a command line, waits for its end and returns what it has printed.
// The test fails unless it exits 0.
func (u *User) Run(line string) string {
	t := u.machine.t
	t.Helper()
	p := u.shell(line)
	select {
	case <-p.done:
	case <-time.After(buildLimit):
		t.Fatalf("%s: does not end", line)
	}
	if code := p.Wait(); code != 0 {
		t.Fatalf("%s: exit %d\n%s", line, code, p.Log())
	}
	return p.Log()
}

func (u *User) shell(line string) *Proc {
	m := u.machine
	args := []string{"--target", strconv.Itoa(m.holder.PID()), "--mount", "--net", "env", "--ignore-environment", "HOME=" + u.Home}
	args = append(append(args, m.env...), "sh", "-c", `cd "$HOME" && `+line)
	return Start(m.t, nil, "nsenter", args...)
}

// Processes returns the command lines of what runs on the machine.
func (m *Machine) Processes() []string {
	m.t.Helper()
	namespace := func(pid string) string {
		link, _ := os.Readlink("/proc/" + pid + "/ns/net") // it may have ended
		return link
	}
	holder := strconv.Itoa(m.holder.PID())
	mine := namespace(holder)
	if mine == "" {
		m.t.Fatal("the machine is gone")
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		m.t.Fatal(err)
	}
	var lines []string
	for _, entry := range entries {
		if pid := entry.Name(); pid != holder && namespace(pid) == mine {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline") // as above
			lines = append(lines, fmt.Sprintf("%s %s", pid, strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return lines
}
