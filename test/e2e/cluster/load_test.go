package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is visitors who come all the time.
type load struct {
	visitor  *Visitor
	answered atomic.Int64
	lost     atomic.Int64
	// dying says that a frontdoor is being ended, dead when the last one had
	// ended, in Unix nanoseconds: until then it may have accepted connections.
	dying atomic.Bool
	dead  atomic.Int64

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// startLoad begins visitors who make a request every 20 ms each.
func startLoad(t *testing.T, c *Cluster) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{visitor: NewVisitor(c), stop: stop}
	for range 4 {
		l.tasks.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := l.visit(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", time.Now().Format(time.StampMilli), err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(l.close)
	return l
}

// visit makes one request, and makes it again as long as its connection was one
// that a frontdoor held which has ended.
func (l *load) visit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		begun := time.Now().UnixNano()
		err := l.visitor.Get(ctx)
		if err == nil {
			l.answered.Add(1)
			return nil
		}
		if broken := (*ConnectionError)(nil); !errors.As(err, &broken) || !l.dying.Load() && begun > l.dead.Load() {
			return err
		}
		l.lost.Add(1)
	}
}

// end ends a part of the cluster.
func (l *load) end(p *Part, how func()) {
	if p.Kind != Frontdoor {
		how()
		return
	}
	l.dying.Store(true)
	how()
	l.dead.Store(time.Now().UnixNano())
	l.dying.Store(false)
}

// more waits until n more requests are answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.answered.Load() + n
	if err := until(t.Context(), fmt.Sprintf("%d more requests are answered", n), func(context.Context) error {
		if got := l.answered.Load(); got < want {
			return fmt.Errorf("%d are missing", want-got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (l *load) close() {
	l.stop()
	l.tasks.Wait()
	l.visitor.Close()
}
