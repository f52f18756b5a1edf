package identity_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

// bubble is a replica's copy under a fake clock; use it inside synctest.Test.
type bubble struct {
	*identity.Revocations
	t      *testing.T
	store  *storetest.Memory
	tokens *identity.Tokens
	stop   func()
}

func newBubble(t *testing.T, store *storetest.Memory) *bubble {
	b := &bubble{t: t, store: store, tokens: identity.NewTokens(store, time.Now)}
	b.Revocations = identity.NewRevocations(store, time.Now, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = b.Run(ctx); close(done) }()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	<-b.Loaded()
	synctest.Wait()
	return b
}

func (b *bubble) token(validFor time.Duration) string {
	b.t.Helper()
	token, _, err := b.tokens.Create(b.t.Context(), admin, identity.NewToken{ValidFor: validFor})
	if err != nil {
		b.t.Fatal(err)
	}
	return token.ID
}

func (b *bubble) revoke(id string) {
	b.t.Helper()
	if _, err := b.tokens.Revoke(b.t.Context(), admin, id); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bubble) watch(revision int64) *identity.Watch {
	b.t.Helper()
	w, err := b.Watch(b.t.Context(), revision)
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

func next(t *testing.T, w *identity.Watch) identity.Step {
	t.Helper()
	step, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return step
}

// nextEnded returns the first step that names tokens.
func nextEnded(t *testing.T, w *identity.Watch) identity.Step {
	t.Helper()
	for {
		if step := next(t, w); len(step.TokenIDs) > 0 {
			return step
		}
	}
}

func TestARevocationReachesAWatchAndCanBeResumedBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		one, two := b.token(0), b.token(0)
		synctest.Wait()
		w := b.watch(0)
		if first := next(t, w); len(first.TokenIDs) != 0 || first.Revision == 0 {
			t.Errorf("the first step is %+v", first)
		}
		b.revoke(one)
		step := nextEnded(t, w)
		if !slices.Equal(step.TokenIDs, []string{one}) {
			t.Errorf("announced %v, want %s", step.TokenIDs, one)
		}
		b.revoke(two)
		synctest.Wait()
		if got := nextEnded(t, b.watch(step.Revision)); !slices.Equal(got.TokenIDs, []string{two}) {
			t.Errorf("behind %d comes %v, want %s", step.Revision, got.TokenIDs, two)
		}
		if got := next(t, b.watch(0)); len(got.TokenIDs) != 0 {
			t.Errorf("from now on comes %v", got.TokenIDs)
		}
	})
}

func TestAnotherReplicaResumesTheSameOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		b := newBubble(t, store)
		ids := []string{b.token(0), b.token(0), b.token(0)}
		start := next(t, b.watch(0)).Revision
		for _, id := range ids {
			b.revoke(id)
		}
		b.stop()
		if got := nextEnded(t, newBubble(t, store).watch(start)); !slices.Equal(got.TokenIDs, ids) {
			t.Errorf("a replica that starts later tells %v, want %v", got.TokenIDs, ids)
		}
	})
}

func TestAnExpiryIsAnnouncedOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		b := newBubble(t, store)
		other := newBubble(t, store) // a replica that marks the same tokens
		w := b.watch(0)
		start := time.Now()
		later, sooner, revoked := b.token(2*time.Hour), b.token(time.Hour), b.token(90*time.Minute)
		b.token(0)
		b.revoke(revoked)
		for _, want := range []struct {
			id string
			at time.Duration
		}{{revoked, 0}, {sooner, time.Hour}, {later, 2 * time.Hour}} {
			step := nextEnded(t, w)
			if !slices.Equal(step.TokenIDs, []string{want.id}) || time.Since(start) != want.at {
				t.Errorf("after %v: %v; want %s after %v", time.Since(start), step.TokenIDs, want.id, want.at)
			}
		}
		synctest.Wait()
		if got := nextEnded(t, other.watch(1)); !slices.Equal(got.TokenIDs, []string{revoked, sooner, later}) {
			t.Errorf("the other replica tells %v", got.TokenIDs)
		}
	})
}

// A token that expired while no replica ran is announced by the first that starts.
func TestAnExpiryDuringAnOutageIsAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		b := newBubble(t, store)
		id := b.token(time.Hour)
		revision := next(t, b.watch(0)).Revision
		b.stop()
		time.Sleep(24 * time.Hour) //nolint:forbidigo // moves synctest's clock
		if got := nextEnded(t, newBubble(t, store).watch(revision)); !slices.Equal(got.TokenIDs, []string{id}) {
			t.Errorf("announced %v, want %s", got.TokenIDs, id)
		}
	})
}

func TestTheCopySurvivesAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		id, expiring := b.token(0), b.token(time.Minute)
		w := b.watch(0)
		next(t, w)
		b.store.Fail(identity.ErrUnavailable)
		time.Sleep(time.Hour) //nolint:forbidigo // moves synctest's clock
		if _, err := b.Watch(t.Context(), 1); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("a watch that cannot be checked: %v", err)
		}
		b.store.Fail(nil)
		if got := nextEnded(t, w); !slices.Equal(got.TokenIDs, []string{expiring}) {
			t.Errorf("announced %v, want %s", got.TokenIDs, expiring)
		}
		b.revoke(id)
		if got := nextEnded(t, w); !slices.Equal(got.TokenIDs, []string{id}) {
			t.Errorf("announced %v, want %s", got.TokenIDs, id)
		}
	})
}

// Between a copy and the one that replaces it something may have happened that
// neither shows, so those who watched must judge everything anew.
func TestAGapInTheFeedEndsTheWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		id := b.token(0)
		synctest.Wait()
		w := b.watch(0)
		old := next(t, w).Revision
		b.store.Fail(identity.ErrUnavailable)
		synctest.Wait()
		b.store.Fail(nil)
		b.revoke(id)
		b.token(0)
		b.store.Compact()
		if _, err := w.Next(t.Context()); !errors.Is(err, identity.ErrCompacted) {
			t.Errorf("the watch goes on: %v", err)
		}
		for _, revision := range []int64{old, 1 << 40} {
			if _, err := b.Watch(t.Context(), revision); !errors.Is(err, identity.ErrCompacted) {
				t.Errorf("from %d: %v", revision, err)
			}
		}
		second := b.token(0)
		w = b.watch(0)
		b.revoke(second)
		if got := nextEnded(t, w); !slices.Equal(got.TokenIDs, []string{second}) {
			t.Errorf("announced %v, want %s", got.TokenIDs, second)
		}
	})
}

// A watch that nobody reads holds up nobody, and misses nothing.
func TestASlowWatchCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		slow, quick := b.watch(0), b.watch(0)
		next(t, slow)
		var ids, got []string
		for range 2500 {
			id := b.token(0)
			b.revoke(id)
			ids = append(ids, id)
		}
		for len(got) < len(ids) {
			got = append(got, nextEnded(t, quick).TokenIDs...)
		}
		if !slices.Equal(got, ids) {
			t.Error("the quick watch has another order")
		}
		got = nil
		for steps := 1; len(got) < len(ids); steps++ {
			step := nextEnded(t, slow)
			if len(step.TokenIDs) > 1000 {
				t.Errorf("a step of %d tokens", len(step.TokenIDs))
			}
			got = append(got, step.TokenIDs...)
			slow = b.watch(step.Revision) // resumed at every cut
		}
		if !slices.Equal(got, ids) {
			t.Error("the slow watch has missed something")
		}
	})
}

func TestAStopEndsWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		w := b.watch(0)
		next(t, w)
		done := make(chan error, 1)
		go func() { _, err := w.Next(t.Context()); done <- err }()
		synctest.Wait()
		b.Stop()
		if err := <-done; !errors.Is(err, identity.ErrStopping) {
			t.Errorf("Next() = %v", err)
		}
		if _, err := b.watch(0).Next(t.Context()); !errors.Is(err, identity.ErrStopping) {
			t.Errorf("a watch after the stop: %v", err)
		}
	})
}

func TestNothingIsWatchedBeforeTheFirstSnapshot(t *testing.T) {
	t.Parallel()
	r := identity.NewRevocations(storetest.NewMemory(), time.Now, slog.New(slog.DiscardHandler))
	if _, err := r.Watch(t.Context(), 0); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("Watch() = %v", err)
	}
	if _, err := r.Watch(t.Context(), -1); err == nil {
		t.Error("a negative revision is taken")
	}
}
