package scenario

import (
	"context"
	"sync"
	"time"
)

// Steady begins do for 0, 1, 2 to n-1, so many a second, whatever becomes of those
// before. It returns when all have ended, with the first error; that ends the rest.
func Steady(ctx context.Context, n, perSecond int, do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	began := time.Now()
	for i := range n {
		select {
		case <-time.After(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))):
		case <-ctx.Done():
			all.Wait()
			return context.Cause(ctx)
		}
		all.Go(func() {
			if err := do(ctx, i); err != nil {
				fail(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
