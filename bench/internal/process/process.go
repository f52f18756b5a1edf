// Package process starts the programs that a measurement needs, and ends each by
// its own id.
package process

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// stopLimit is how long a program has to end after SIGTERM.
const stopLimit = 10 * time.Second

// Command makes a command, on this host or on a simulated one.
type Command func(ctx context.Context, name string, args ...string) *exec.Cmd

// Local is a Command on this host. The process gets SIGTERM when its parent dies.
func Local(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // running what the caller names is its purpose
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// Spec is a program to run.
type Spec struct {
	Name string // in errors
	Path string
	Args []string
	Env  []string // the whole environment; nil: this process's
	Dir  string
}

// Process is a running program.
type Process struct {
	name   string
	pid    int
	output *output
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid when done is closed
}

// Start starts the program. Stop ends it.
func Start(command Command, spec Spec) (*Process, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := command(ctx, spec.Path, spec.Args...)
	cmd.Env, cmd.Dir = spec.Env, spec.Dir
	p := &Process{name: spec.Name, output: newOutput(), cancel: cancel, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// WaitLine waits until the program has printed a line that match accepts, on
// either output. Lines that were printed before count too.
func (p *Process) WaitLine(ctx context.Context, match func(line string) bool) error {
	for seen := uint64(0); ; {
		lines, next, more := p.output.since(seen)
		for _, line := range lines {
			if match(line) {
				return nil
			}
		}
		seen = next
		select {
		case <-more:
		case <-p.done:
			return p.Alive()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, context.Cause(ctx), p.output.tail())
		}
	}
}

// Alive returns an error, with what it printed last, when the program has ended.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %w\n%s", p.name, errors.Join(p.err, errEnded), p.output.tail())
	default:
		return nil
	}
}

var errEnded = errors.New("it was to run on")

// Stop ends the program, and returns when it is gone. A nil Process is stopped.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	p.cancel()
	<-p.done
}

// Contains is a match for WaitLine.
func Contains(text string) func(string) bool {
	return func(line string) bool { return strings.Contains(line, text) }
}
