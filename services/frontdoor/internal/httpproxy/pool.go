package httpproxy

import (
	"context"
	"slices"
	"sync"
	"time"
)

// watchAfter is how long a connection may be idle without anybody looking at it.
const watchAfter = 20 * time.Millisecond

// pool holds the private connections that are between two requests, and those
// who wait for one.
type pool struct {
	idleFor time.Duration
	perKey  int

	mu       sync.Mutex
	closed   bool
	idle     map[key][]*private // the one used last is the last
	waiting  map[key][]*waiter
	sweeping bool // a sweep is due
}

func newPool(idleFor time.Duration, perKey int) *pool {
	return &pool{idleFor: idleFor, perKey: perKey, idle: map[key][]*private{}, waiting: map[key][]*waiter{}}
}

// waiter is a request without a connection yet.
type waiter struct {
	result chan got // holds one
	stop   context.CancelFunc
	served bool // has its result, or wants none
}

type got struct {
	p   *private
	err error
}

// get returns an idle connection, or what comes.
func (l *pool) get(ctx context.Context, k key, dial dialFunc) (*private, error) {
	if p := l.take(k); p != nil {
		return p, nil
	}
	return l.await(ctx, k, dial)
}

// dialFunc makes a connection. Its context ends when the connection is not wanted
// any more; one that is returned all the same is kept.
type dialFunc func(context.Context) (*private, error)

// await returns the first connection that comes: the one that dial makes, or one
// that another visitor is done with.
func (l *pool) await(ctx context.Context, k key, dial dialFunc) (*private, error) {
	dialCtx, stop := context.WithCancel(ctx)
	w := &waiter{result: make(chan got, 1), stop: stop}
	l.mu.Lock()
	l.waiting[k] = append(l.waiting[k], w)
	l.mu.Unlock()
	go func() {
		defer stop()
		p, err := dial(dialCtx)
		l.settle(k, w, got{p, err})
	}()
	select {
	case r := <-w.result:
		return r.p, r.err
	case <-ctx.Done():
		l.abandon(k, w)
		return nil, context.Cause(ctx)
	}
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
	for list := l.waiting[p.key]; len(list) > 0; list = l.waiting[p.key] {
		w := list[0]
		l.unwait(p.key, w)
		if !w.served {
			l.give(w, got{p: p})
			l.mu.Unlock()
			return
		}
	}
	keep := !l.closed && len(l.idle[p.key]) < l.perKey
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

// settle brings a dial's result to who asked for it, or keeps it.
func (l *pool) settle(k key, w *waiter, r got) {
	l.mu.Lock()
	l.unwait(k, w)
	if !w.served {
		l.give(w, r)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if r.p != nil {
		l.put(r.p)
	}
}

func (l *pool) give(w *waiter, r got) {
	w.served = true
	w.result <- r
	w.stop()
}

func (l *pool) abandon(k key, w *waiter) {
	l.mu.Lock()
	l.unwait(k, w)
	w.served = true
	var p *private
	select {
	case r := <-w.result:
		p = r.p
	default:
	}
	l.mu.Unlock()
	w.stop()
	if p != nil {
		l.put(p)
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

// forget ends the idle connections that were one visitor's alone.
func (l *pool) forget(v *Visitor) {
	l.closeIf(func(k key) bool { return k.visitor == v })
}

// close ends idle connections, and keeps none from now on.
func (l *pool) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.closeIf(func(key) bool { return true })
}

func (l *pool) closeIf(match func(key) bool) {
	var list []*private
	l.mu.Lock()
	for k, idle := range l.idle {
		if match(k) {
			list = append(list, idle...)
			delete(l.idle, k)
		}
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

func (l *pool) unwait(k key, w *waiter) {
	list := l.waiting[k]
	for i, other := range list {
		if other == w {
			if list = append(list[:i:i], list[i+1:]...); len(list) == 0 {
				delete(l.waiting, k)
			} else {
				l.waiting[k] = list
			}
			return
		}
	}
}
