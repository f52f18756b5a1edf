package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrEarlyEnd is why a group ends when a task returns nil before the stop.
var ErrEarlyEnd = errors.New("ended although nobody asked it to stop")

// PanicError is why a group ends when a task or a drain step panics.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack)
}

// runTask runs a task to its end and decides whether that end is a failure.
func (g *Group) runTask(ctx, stopping context.Context, t step) {
	err := guard(ctx, t)
	defer g.ended(t)
	if err == nil && stopping.Err() == nil {
		err = fmt.Errorf("task %s: %w", t.name, ErrEarlyEnd)
	}
	var crash *PanicError
	switch {
	case err == nil:
	case errors.As(err, &crash), stopping.Err() == nil:
		g.fail(err)
	case !errors.Is(err, context.Canceled):
		g.log.Warn("task ended with an error during the stop", "task", t.name, "error", err)
	}
}

func (g *Group) ended(t step) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running[t.name]--; g.running[t.name] == 0 {
		delete(g.running, t.name)
	}
}

// await waits for the tasks, whose context has ended.
func (g *Group) await(all *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(abandonAfter):
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	names := strings.Join(slices.Sorted(maps.Keys(g.running)), ", ")
	return fmt.Errorf("tasks abandoned, they ignored the stop for %v: %s", abandonAfter, names)
}

// guard runs a step and turns its panic into an error.
func guard(ctx context.Context, s step) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: %w", s.name, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}
