package session

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLanesKeepOrderWithinAKeyAndABoundOverAll(t *testing.T) {
	t.Parallel()
	const keys, jobs, atOnce = 10, 50, 3
	l := NewLanes(atOnce, keys*jobs)
	var mu sync.Mutex
	got := map[string][]int{}
	var running, most atomic.Int32
	for i := range jobs {
		for k := range keys {
			key := string(rune('a' + k))
			if !l.Do(key, func() {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				got[key] = append(got[key], i)
			}) {
				t.Fatal("refused")
			}
		}
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, order := range got {
		for i, n := range order {
			if i != n {
				t.Fatalf("%s ran as %v", key, order)
			}
		}
	}
	if len(got) != keys || most.Load() > atOnce {
		t.Errorf("%d keys, %d at once", len(got), most.Load())
	}
}

func TestLanesRefuseWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	l := NewLanes(1, 2)
	started, release := make(chan struct{}), make(chan struct{})
	l.Do("a", func() { close(started); <-release })
	<-started
	if !l.Do("a", func() {}) || !l.Do("b", func() {}) {
		t.Error("two may wait")
	}
	if l.Do("c", func() {}) {
		t.Error("a third one waits")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l.Wait(ctx) == nil {
		t.Error("Wait did not wait")
	}
	close(release)
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if !l.Do("c", func() {}) {
		t.Error("there is room again")
	}
	_ = l.Wait(t.Context())
}
