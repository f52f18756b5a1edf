package httpproxy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// watchAfter is how long a connection may be idle without anybody looking at it.
const watchAfter = 20 * time.Millisecond

// pool holds the private connections that are between two requests, those who
// wait for one, and the dials that bring more.
type pool struct {
	idleFor time.Duration
	perKey  int

	mu       sync.Mutex
	closed   bool
	idle     map[key][]*private // the one used last is the last
	waiting  map[key][]*waiter
	spare    map[key][]*dialing // dials whose waiters were served otherwise
	sweeping bool               // a sweep is due
}

func newPool(idleFor time.Duration, perKey int) *pool {
	return &pool{
		idleFor: idleFor, perKey: perKey,
		idle: map[key][]*private{}, waiting: map[key][]*waiter{}, spare: map[key][]*dialing{},
	}
}

// get returns an idle connection, or what comes.
func (l *pool) get(ctx context.Context, k key, dial dialFunc) (*private, error) {
	if p := l.take(k); p != nil {
		return p, nil
	}
	return l.await(ctx, k, dial)
}

// take returns an idle connection that lives, the one used last first: it is
// the most likely to live.
func (l *pool) take(k key) *private {
	for {
		l.mu.Lock()
		list := l.idle[k]
		if len(list) == 0 {
			l.mu.Unlock()
			return nil
		}
		p := list[len(list)-1]
		l.cutLocked(p.key, list, len(list)-1)
		l.mu.Unlock()
		if p.wake() {
			return p
		}
		p.release()
	}
}

// put takes a connection that is between two requests: for the one who has
// waited longest, or to keep.
func (l *pool) put(p *private) {
	l.mu.Lock()
	if list := l.waiting[p.key]; len(list) > 0 && !p.retiring() {
		l.releaseDialLocked(list[0])
		l.serveLocked(list[0], got{p: p})
		l.mu.Unlock()
		return
	}
	keep := !l.closed && len(l.idle[p.key]) < l.perKey && !p.retiring()
	if keep {
		p.idleSince = time.Now()
		l.idle[p.key] = append(l.idle[p.key], p)
		l.sweepLaterLocked()
	}
	l.mu.Unlock()
	if !keep {
		p.release()
	}
}

// expire ends a connection that has been idle for long, or has died.
func (l *pool) expire(p *private) {
	l.mu.Lock()
	listed := l.unlist(p)
	l.mu.Unlock()
	if listed {
		p.wake()
		p.release()
	}
}

// close ends idle connections, and keeps none from now on.
func (l *pool) close() {
	l.mu.Lock()
	l.closed = true
	keys := slices.AppendSeq(slices.Collect(maps.Keys(l.idle)), maps.Keys(l.spare))
	l.mu.Unlock()
	l.forget(keys)
}

// forget ends the idle connections of some keys, and the dials that nobody waits
// for any more.
func (l *pool) forget(keys []key) {
	var list []*private
	l.mu.Lock()
	for _, k := range keys {
		for _, d := range l.spare[k] {
			d.stop()
		}
		list = append(list, l.idle[k]...)
		delete(l.idle, k)
	}
	l.mu.Unlock()
	for _, p := range list {
		p.wake()
		p.release()
	}
}

func (l *pool) unlist(p *private) bool {
	list := l.idle[p.key]
	i := slices.Index(list, p)
	if i < 0 {
		return false
	}
	l.cutLocked(p.key, list, i)
	return true
}

func (l *pool) cutLocked(k key, list []*private, i int) {
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(l.idle, k)
	} else {
		l.idle[k] = list
	}
}

// sweepLaterLocked makes sure that what has been idle for a moment is watched. A
// connection that is wanted again at once, as most are under load, does not get
// that far.
func (l *pool) sweepLaterLocked() {
	if !l.sweeping {
		l.sweeping = true
		time.AfterFunc(watchAfter, l.sweep)
	}
}

func (l *pool) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweeping = false
	ripe, more := time.Now().Add(-watchAfter), false
	for _, list := range l.idle {
		for i := len(list) - 1; i >= 0 && !list[i].watched(); i-- {
			if p := list[i]; p.idleSince.After(ripe) {
				more = true
			} else {
				p.watch(l.idleFor, func() { l.expire(p) })
			}
		}
	}
	if more {
		l.sweepLaterLocked()
	}
}
