package session

import (
	"context"
	"sync"
)

// Lanes runs jobs: those of one key in order and one at a time, a bounded number
// at once over all keys, and a bounded number waiting. Goroutines exist only
// while there is work.
type Lanes struct {
	atOnce, waiting int

	mu      sync.Mutex
	running int
	queued  int
	jobs    map[string][]func() // of keys that have a job running or waiting
	ready   []string            // keys whose next job may begin
	idle    chan struct{}       // closed when nothing runs or waits; nil: idle
}

// NewLanes returns lanes for atOnce running jobs and waiting further ones, 1 at
// least.
func NewLanes(atOnce, waiting int) *Lanes {
	return &Lanes{atOnce: atOnce, waiting: waiting}
}

// Do has job run; false: as many wait as may.
func (l *Lanes) Do(key string, job func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queued >= l.waiting {
		return false
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
		l.jobs = make(map[string][]func())
	}
	queue, busy := l.jobs[key]
	l.jobs[key] = append(queue, job)
	l.queued++
	if !busy {
		l.ready = append(l.ready, key)
	}
	if l.running < l.atOnce && len(l.ready) > 0 {
		l.running++
		go l.work()
	}
	return true
}

// work runs jobs until none is ready.
func (l *Lanes) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) > 0 {
		key := l.ready[0]
		l.ready = l.ready[1:]
		job := l.jobs[key][0]
		l.queued--
		l.mu.Unlock()
		job()
		l.mu.Lock()
		if rest := l.jobs[key][1:]; len(rest) > 0 {
			l.jobs[key] = rest
			l.ready = append(l.ready, key)
		} else {
			delete(l.jobs, key)
		}
	}
	l.running--
	if l.running == 0 && len(l.jobs) == 0 {
		close(l.idle)
		l.idle, l.jobs, l.ready = nil, nil, nil
	}
}

// Wait returns when nothing runs or waits, or with ctx's error.
func (l *Lanes) Wait(ctx context.Context) error {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
