package httpproxy

import (
	"sync"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

var errOverloaded = errs.New(errs.Unavailable, errs.ReasonOverloaded,
	"too many requests at the same time").WithRetry(time.Second)

// limits bounds the requests under way, of one endpoint and in all.
type limits struct {
	perEndpoint, all int

	mu     sync.Mutex
	total  int
	active map[string]int
}

func newLimits(perEndpoint, all int) *limits {
	return &limits{perEndpoint: perEndpoint, all: all, active: map[string]int{}}
}

func (l *limits) enter(hostname string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.total >= l.all:
		return errOverloaded.WithMessage("this server has too many requests at the same time")
	case l.active[hostname] >= l.perEndpoint:
		return errOverloaded.WithMessage("this endpoint has too many requests at the same time")
	}
	l.total++
	l.active[hostname]++
	return nil
}

func (l *limits) leave(hostname string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.active[hostname]--; l.active[hostname] == 0 {
		delete(l.active, hostname)
	}
}
