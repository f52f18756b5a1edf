package httpproxy

import (
	"context"
	"slices"
)

// dialFunc makes a connection. Its context ends when the connection is not wanted
// any more; one that is returned all the same is kept.
type dialFunc func(context.Context) (*private, error)

// waiter is a request without a connection yet.
type waiter struct {
	key     key
	begin   func()   // begins a dial of its own; called with mu held
	dialing *dialing // what it waits for, beside what others are done with; nil once it is served
	result  chan got // holds one
}

type got struct {
	p   *private
	err error
}

// dialing is a connection in the making. The request that it was begun for may be
// served by another one first. Then it goes on, for the next: were each shortage of
// a moment to begin and drop a dial of its own, a crowd would cost its agent a
// handshake a request and never get the connections that it needs.
type dialing struct {
	waiter  *waiter // nil: it is spare
	adopted bool    // it was begun for another
	stop    context.CancelFunc
}

// await returns the first connection that comes: a dial's, or one that another
// visitor is done with.
func (l *pool) await(ctx context.Context, k key, dial dialFunc) (*private, error) {
	w := &waiter{key: k, result: make(chan got, 1)}
	w.begin = func() { l.dialLocked(ctx, w, dial) }
	l.mu.Lock()
	l.waiting[k] = append(l.waiting[k], w)
	if list := l.spare[k]; len(list) > 0 {
		w.dialing = list[0]
		remove(l.spare, k, list[0])
		w.dialing.waiter, w.dialing.adopted = w, true
	} else {
		w.begin()
	}
	l.mu.Unlock()
	select {
	case r := <-w.result:
		return r.p, r.err
	case <-ctx.Done():
		l.abandon(w)
		return nil, context.Cause(ctx)
	}
}

// dialLocked begins a dial for w. It may outlast the request: it ends by what
// bounds dial-backs, or by abandon.
func (l *pool) dialLocked(ctx context.Context, w *waiter, dial dialFunc) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &dialing{waiter: w, stop: stop}
	w.dialing = d
	go func() {
		defer stop()
		p, err := dial(ctx)
		l.settle(w.key, d, got{p, err})
	}()
}

// settle brings a dial's result to who waits for it, or keeps it. What came of a
// dial that was begun for another is no answer if it is an error, or a connection
// to where the endpoint has moved: then the waiter has a dial of its own.
func (l *pool) settle(k key, d *dialing, r got) {
	l.mu.Lock()
	w := d.waiter
	switch {
	case w == nil:
		remove(l.spare, k, d)
	case d.adopted && (r.err != nil || r.p.key != k):
		w.begin()
	default:
		l.serveLocked(w, r)
		r.p = nil
	}
	l.mu.Unlock()
	if r.p != nil {
		l.put(r.p)
	}
}

// serveLocked ends a wait.
func (l *pool) serveLocked(w *waiter, r got) {
	remove(l.waiting, w.key, w)
	w.dialing = nil
	w.result <- r
}

// releaseDialLocked leaves the dial of a waiter who does not need it to the next.
func (l *pool) releaseDialLocked(w *waiter) {
	d := w.dialing
	d.waiter = nil
	l.spare[w.key] = append(l.spare[w.key], d)
	if l.closed {
		d.stop()
	}
}

// abandon ends a wait whose visitor has gone, and its dial.
func (l *pool) abandon(w *waiter) {
	l.mu.Lock()
	if d := w.dialing; d != nil {
		remove(l.waiting, w.key, w)
		w.dialing, d.waiter = nil, nil
		d.stop()
	}
	var p *private
	select {
	case r := <-w.result:
		p = r.p
	default:
	}
	l.mu.Unlock()
	if p != nil {
		l.put(p)
	}
}

// remove takes v out of the list of k.
func remove[T comparable](lists map[key][]T, k key, v T) {
	list := lists[k]
	i := slices.Index(list, v)
	if i < 0 {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(lists, k)
	} else {
		lists[k] = list
	}
}
