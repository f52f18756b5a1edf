// Package harness runs Dialback's real processes, and real clients and services
// beside them, for the end-to-end tests.
package harness

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Limit is how long a test waits for a condition before it gives up. It says
// nothing about how long a thing takes.
const Limit = 60 * time.Second

// Proc is a process of the test. Its output is kept and shown if the test fails.
type Proc struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// Start starts a program. It is ended with the test, and the test fails if the
// race detector has found anything in it.
func Start(t testing.TB, env []string, name string, args ...string) *Proc {
	t.Helper()
	p := &Proc{t: t, name: name, out: newOutput(), done: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that keeps the pipe open must not keep Wait.
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.cleanup)
	return p
}

func (p *Proc) cleanup() {
	if p.Running() {
		p.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(Limit):
			p.t.Errorf("%s did not end %v after SIGTERM", p.name, Limit)
			p.Kill()
		}
	}
	log := p.Log()
	if strings.Contains(log, "WARNING: DATA RACE") || strings.Contains(log, "panic:") {
		p.t.Errorf("%s: a race or a panic", p.name)
	}
	if p.t.Failed() {
		p.t.Logf("--- output of %s %v\n%s", p.name, p.cmd.Args[1:], tail(log, 4<<10))
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "... " + s[len(s)-n:]
	}
	return s
}

// Running reports whether the process has not ended.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID returns the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Proc) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s: %v", p.name, err)
	}
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Wait waits for the end and returns the exit code.
func (p *Proc) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Limit):
		p.t.Fatalf("%s does not end", p.name)
		return -1
	}
}

// Stop ends the process with SIGTERM and returns its exit code.
func (p *Proc) Stop() int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// Log returns what the process has printed so far.
func (p *Proc) Log() string { return p.out.String() }

// WaitLog waits until the output matches the expression and returns the first
// match's last group.
func (p *Proc) WaitLog(expression string) string {
	p.t.Helper()
	re := regexp.MustCompile(expression)
	deadline := time.After(Limit)
	for {
		changed := p.out.changed()
		if m := re.FindStringSubmatch(p.Log()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-changed:
		case <-p.done:
			if m := re.FindStringSubmatch(p.Log()); m != nil {
				return m[len(m)-1]
			}
			p.t.Fatalf("%s ended with %d and never printed %q", p.name, p.cmd.ProcessState.ExitCode(), expression)
		case <-deadline:
			p.t.Fatalf("%s does not print %q", p.name, expression)
		}
	}
}

// output collects what a process prints and wakes who waits for more.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	wake chan struct{}
}

func newOutput() *output { return &output{wake: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	close(o.wake)
	o.wake = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wake
}
