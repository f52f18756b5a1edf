package proxyconn

import (
	"sync"
	"time"
)

// watchdog looks after writes to a private connection that take long. While
// one is blocked nobody reads the proxy connection, so the frontdoor's abort
// stands unread behind data; but a frontdoor whose abort is not answered closes
// the connection, and that the kernel knows.
type watchdog struct {
	c *Client

	mu      sync.Mutex
	timer   *time.Timer
	writing bool
}

func newWatchdog(c *Client) *watchdog { return &watchdog{c: c} }

// begin is called before a write.
func (w *watchdog) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = true
	if w.timer == nil {
		w.timer = time.AfterFunc(writeCheckPeriod, w.check)
	}
}

// end is called behind it. The timer runs on, once, so that a stream of short
// writes does not move it each time.
func (w *watchdog) end() {
	w.mu.Lock()
	w.writing = false
	w.mu.Unlock()
}

func (w *watchdog) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if !w.writing {
		return
	}
	if gone(w.c.conn) {
		_ = w.c.fail(&LostError{Err: ErrPeerGone})
		return
	}
	w.timer = time.AfterFunc(writeCheckPeriod, w.check)
}

// stop is called when nothing is written any more.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if w.timer != nil {
		w.timer.Stop()
	}
}
