package directory

import (
	"context"
	"sync"
)

// turns lets those who want the same thing in one after the other. It prevents
// no conflict, which other replicas may cause as well; it spares the ones that
// would be certain.
type turns struct {
	mu      sync.Mutex
	waiting map[string]*turn
}

type turn struct {
	free chan struct{} // of one
	want int
}

func newTurns() *turns { return &turns{waiting: map[string]*turn{}} }

// take waits for key's turn; done gives it to the next one. An error is ctx's.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	t.mu.Lock()
	own := t.waiting[key]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.waiting[key] = own
	}
	own.want++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.want--; own.want == 0 {
			delete(t.waiting, key)
		}
	}
	select {
	case <-own.free:
		return func() { own.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
