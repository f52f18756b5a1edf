package httpproxy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/testkit"
)

const testLimit = 20 * time.Second

// manual is a dial that the test ends.
type manual struct {
	began  chan context.Context
	result chan got
}

func newManual() *manual { return &manual{make(chan context.Context, 1), make(chan got, 1)} }

func (m *manual) dial(ctx context.Context) (*private, error) {
	m.began <- ctx
	select {
	case r := <-m.result:
		return r.p, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// awaiting is a call of await that is under way.
func awaiting(ctx context.Context, t *testing.T, l *pool, k key, m *manual) <-chan got {
	t.Helper()
	waiters := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.waiting[k])
	}
	before, done := waiters(), make(chan got, 1)
	go func() {
		p, err := l.await(ctx, k, m.dial)
		done <- got{p, err}
	}()
	testkit.Eventually(t, testLimit, func() bool { return waiters() > before }, "somebody waits")
	return done
}

func TestADialOutlastsTheWaitItWasBegunFor(t *testing.T) {
	t.Parallel()
	l, k := newPool(time.Minute, 8), key{hostname: "h"}
	ctx, over := context.WithCancel(t.Context())
	first, second := newManual(), newManual()
	done := awaiting(ctx, t, l, k, first)
	dialCtx := <-first.began
	returned, dialled := &private{key: k}, &private{key: k}
	l.put(returned)
	if r := <-done; r.p != returned {
		t.Fatalf("the first visitor got %v", r)
	}
	over() // its request is answered
	done = awaiting(t.Context(), t, l, k, second)
	if dialCtx.Err() != nil {
		t.Error("the dial ended with the request that it was begun for")
	}
	first.result <- got{p: dialled}
	if r := <-done; r.p != dialled {
		t.Errorf("the second visitor got %v", r)
	}
	if len(second.began) > 0 {
		t.Error("there was a second dial, though one was spare")
	}
}

func TestAnAdoptedDialThatIsNoGood(t *testing.T) {
	t.Parallel()
	k, elsewhere := key{hostname: "h"}, key{hostname: "h", tunnelID: "other"}
	for name, bad := range map[string]got{
		"failed": {err: errors.New("no")}, "elsewhere": {p: &private{key: elsewhere}},
	} {
		l := newPool(time.Minute, 8)
		first, second := newManual(), newManual()
		done := awaiting(t.Context(), t, l, k, first)
		<-first.began
		l.put(&private{key: k})
		<-done
		third := awaiting(t.Context(), t, l, elsewhere, newManual())
		done = awaiting(t.Context(), t, l, k, second)
		first.result <- bad
		<-second.began
		want := &private{key: k}
		second.result <- got{p: want}
		if r := <-done; r.p != want {
			t.Errorf("%s: the second visitor got %v", name, r)
		}
		if bad.p != nil && (<-third).p != bad.p {
			t.Error("the connection to elsewhere is not used there")
		}
	}
}

func TestAVisitorWhoLeavesEndsHisDial(t *testing.T) {
	t.Parallel()
	l, k := newPool(time.Minute, 8), key{hostname: "h"}
	ctx, leave := context.WithCancel(t.Context())
	m := newManual()
	done := awaiting(ctx, t, l, k, m)
	dialCtx := <-m.began
	leave()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("await: %v", r)
	}
	select {
	case <-dialCtx.Done():
	case <-time.After(testLimit):
		t.Error("the dial goes on")
	}
}

func TestCloseEndsSpareDials(t *testing.T) {
	t.Parallel()
	l, k := newPool(time.Minute, 8), key{hostname: "h"}
	m := newManual()
	done := awaiting(t.Context(), t, l, k, m)
	dialCtx := <-m.began
	l.put(&private{key: k})
	<-done
	l.close()
	select {
	case <-dialCtx.Done():
	case <-time.After(testLimit):
		t.Error("the dial goes on")
	}
}

// The end of a public connection must not cost more where there are more
// endpoints; it ends what is its visitor's alone and nothing else.
func TestAVisitorsEndConcernsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	e := NewStandard(Config{IdlePrivate: time.Minute}, nil)
	v, shared := &Visitor{}, key{hostname: "h"}
	own := v.tie(shared)
	var ended []key
	for _, k := range []key{own, shared} {
		e.pool.spare[k] = []*dialing{{stop: func() { ended = append(ended, k) }}}
	}
	e.ForgetVisitor(&Visitor{})
	e.ForgetVisitor(v)
	if len(ended) != 1 || ended[0] != own {
		t.Errorf("ended %v, want %v", ended, own)
	}
}
