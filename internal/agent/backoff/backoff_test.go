package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/internal/agent/backoff"
)

func TestCeilingDoublesUpToTheLimit(t *testing.T) {
	t.Parallel()
	const base, limit = 250 * time.Millisecond, 15 * time.Second
	longest := make([]time.Duration, 70)
	for range 200 {
		b := backoff.New(base, limit)
		for i := range longest {
			longest[i] = max(longest[i], b.Next(0))
		}
	}
	for i, got := range longest {
		ceiling := limit
		if i < 6 {
			ceiling = base << i
		}
		if got >= ceiling || got < ceiling/2 {
			t.Errorf("try %d waits up to %v, want up to %v", i, got, ceiling)
		}
	}
}

func TestNextHonoursWhatWasAsked(t *testing.T) {
	t.Parallel()
	b := backoff.New(time.Millisecond, time.Millisecond)
	for range 100 {
		if d := b.Next(time.Minute); d < time.Minute || d > time.Minute+time.Millisecond {
			t.Fatalf("waits %v", d)
		}
	}
}

func TestResetBeginsAnew(t *testing.T) {
	t.Parallel()
	for range 100 {
		b := backoff.New(time.Millisecond, time.Hour)
		for range 30 {
			b.Next(0)
		}
		b.Reset()
		if d := b.Next(0); d >= time.Millisecond {
			t.Fatalf("waits %v after a success", d)
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := backoff.Sleep(t.Context(), time.Hour); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("slept %v, %v", time.Since(begin), err)
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		begin = time.Now()
		if err := backoff.Sleep(ctx, time.Hour); !errors.Is(err, cause) || time.Since(begin) != time.Second {
			t.Errorf("slept %v, %v", time.Since(begin), err)
		}
	})
}
