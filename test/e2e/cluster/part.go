package cluster

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Part is one process of the cluster.
type Part struct {
	Name, Kind string

	program string
	args    []string
	env     []string
	log     string // file

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts the process, again with the same data and addresses if it has
// ended.
func (p *Part) Start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()                         // the process has its own
	cmd := exec.Command(p.program, p.args...) // #nosec G204 -- the cluster's own programs
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = alone()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.ended = cmd, ended
	return nil
}

// PID is the id of the latest process; 0: it was never started.
func (p *Part) PID() int {
	cmd, _ := p.process()
	if cmd == nil {
		return 0
	}
	return cmd.Process.Pid
}

// Ended is closed when the latest process has ended; nil: it was never started.
func (p *Part) Ended() <-chan struct{} {
	_, ended := p.process()
	return ended
}

// Log is the file that takes what the process prints.
func (p *Part) Log() string { return p.log }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Part) Kill() {
	if cmd, ended := p.process(); cmd != nil {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
}

// signal sends the process a signal, such as SIGSTOP.
func (p *Part) signal(s syscall.Signal) error {
	cmd, _ := p.process()
	return cmd.Process.Signal(s)
}

// end ends the process in order, or with SIGKILL behind the limit.
func (p *Part) end(limit time.Duration) {
	cmd, ended := p.process()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-ended:
	case <-time.After(limit):
		p.Kill()
	}
}

func (p *Part) process() (*exec.Cmd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.ended
}
