package session

import "sync"

// feedQueue is how many ends a watcher may be behind before it is cut off: it
// then takes a fresh start, which is safe, instead of a gap, which is not.
const feedQueue = 65536

// Ended is the end of a session, or of one tunnel of it.
type Ended struct {
	Agent    string
	Instance Instance
	Session  string
	Reason   Reason
	// Tunnel is empty when the whole session has ended.
	Tunnel string
}

// Feed tells watchers of ends, in order. Publishing never waits.
type Feed struct {
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
}

// Watcher hears of every end from Watch on.
type Watcher struct {
	feed   *Feed
	limit  int
	wake   chan struct{}
	mu     sync.Mutex
	queue  []Ended
	behind bool
}

// Watch begins to listen; Close ends it.
func (f *Feed) Watch() *Watcher { return f.watch(feedQueue) }

func (f *Feed) watch(limit int) *Watcher {
	w := &Watcher{feed: f, limit: limit, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = make(map[*Watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	return w
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.watchers, w)
}

func (f *Feed) publish(e Ended) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.push(e)
	}
}

func (w *Watcher) push(e Ended) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.behind || len(w.queue) >= w.limit {
		w.behind, w.queue = true, nil
	} else {
		w.queue = append(w.queue, e)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Wake is sent to when Take has something.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take returns what has come; false: the watcher was too far behind and has
// missed some.
func (w *Watcher) Take() ([]Ended, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ends := w.queue
	w.queue = nil
	return ends, !w.behind
}
