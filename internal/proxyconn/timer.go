package proxyconn

import (
	"os"
	"sync"
	"time"
)

var errTimeout = os.ErrDeadlineExceeded

// timer is a deadline that can be waited for and moved, as net.Pipe has it.
type timer struct{ *timerState }

type timerState struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{}
}

func newTimer() timer { return timer{&timerState{passed: make(chan struct{})}} }

func (t timer) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passed
}

// set moves the deadline; zero: there is none.
func (t timer) set(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil && !t.timer.Stop() {
		<-t.passed // it has fired, or is about to
	}
	t.timer = nil
	select {
	case <-t.passed:
		t.passed = make(chan struct{})
	default:
	}
	if at.IsZero() {
		return
	}
	passed := t.passed
	if left := time.Until(at); left > 0 {
		t.timer = time.AfterFunc(left, func() { close(passed) })
		return
	}
	close(passed)
}
