package http1

import (
	"sync"
	"time"
)

// watchAfter is how long a request is under way before anybody listens for its
// visitor's leaving, and at most twice as long. Most are over by then.
const watchAfter = 10 * time.Millisecond

// watch sees to it that visitors who leave while their answer is being made are
// noticed, at the price of a look at a list for requests that are answered at once.
type watch struct {
	mu       sync.Mutex
	first    *watched // the oldest
	last     *watched
	round    uint64 // of sweeps
	sweeping bool   // one is due
}

// watched is a request under way.
type watched struct {
	source *source
	gone   func()
	// body is the request's; nil: it has none. While there is more of it the handler
	// reads the connection, and would hear of its end itself.
	body *body

	round      uint64 // in which it came
	listed     bool
	prev, next *watched
}

// enter begins to watch a request.
func (w *watch) enter(r *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.round, r.listed = w.round, true
	r.prev = w.last
	if w.last == nil {
		w.first = r
	} else {
		w.last.next = r
	}
	w.last = r
	w.sweepLaterLocked()
}

// leave ends the watching. The connection can be read from when it returns.
func (w *watch) leave(r *watched) {
	w.mu.Lock()
	w.unlistLocked(r)
	w.mu.Unlock()
	r.source.quiet()
}

func (w *watch) unlistLocked(r *watched) {
	if !r.listed {
		return
	}
	r.listed = false
	if r.prev == nil {
		w.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		w.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, nil
}

func (w *watch) sweepLaterLocked() {
	if !w.sweeping {
		w.sweeping = true
		time.AfterFunc(watchAfter, w.sweep)
	}
}

func (w *watch) sweep() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweeping = false
	w.round++
	for r := w.first; r != nil && r.round+1 < w.round; {
		next := r.next
		if r.body == nil || r.body.ended.Load() {
			w.unlistLocked(r)
			r.source.listen(r.gone)
		}
		r = next
	}
	if w.first != nil {
		w.sweepLaterLocked()
	}
}
