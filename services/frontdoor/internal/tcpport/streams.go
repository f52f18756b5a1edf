package tcpport

import (
	"maps"
	"slices"
	"sync"

	"github.com/dialback/dialback/internal/proxyconn"
)

// streams are the connections under way.
type streams struct {
	mu      sync.Mutex
	count   int
	list    map[*stream]struct{}
	aborted bool // no more of them
}

// enter counts a connection in, unless there are as many as may be.
func (l *streams) enter(limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= limit {
		return false
	}
	l.count++
	return true
}

func (l *streams) leave() {
	l.mu.Lock()
	l.count--
	l.mu.Unlock()
}

// add lists one that has reached its service.
func (l *streams) add(s *stream) {
	l.mu.Lock()
	if l.list == nil {
		l.list = map[*stream]struct{}{}
	}
	l.list[s] = struct{}{}
	aborted := l.aborted
	l.mu.Unlock()
	if aborted {
		s.abort()
	}
}

func (l *streams) remove(s *stream) {
	l.mu.Lock()
	delete(l.list, s)
	l.count--
	l.mu.Unlock()
}

func (l *streams) all() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.list))
}

// sweep cuts off visitors whose proxy connection has been lost, or ended because
// their agent has no right to it any more. One that does not read keeps its stream
// from noticing.
func (l *streams) sweep() {
	for _, s := range l.all() {
		select {
		case <-s.ex.End():
			if s.ex.Outcome().Kind != proxyconn.Clean {
				reset(s.conn)
			}
		default:
		}
	}
}

// abort cuts all visitors off, and those that come.
func (l *streams) abort() {
	l.mu.Lock()
	l.aborted = true
	l.mu.Unlock()
	for _, s := range l.all() {
		s.abort()
	}
}
