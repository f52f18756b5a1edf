package scenario

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSteadyWaitsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var begun [20]time.Duration
		if err := Steady(t.Context(), len(begun), 10, func(_ context.Context, i int) error {
			begun[i] = time.Since(began)
			time.Sleep(time.Second) //nolint:forbidigo // moves synctest's clock
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i, at := range begun {
			if want := time.Duration(i) * time.Second / 10; at != want {
				t.Errorf("%d began at %v, want %v", i, at, want)
			}
		}
	})
}

func TestTheFirstErrorEndsSteady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		var begun atomic.Int32
		err := Steady(t.Context(), 1000, 10, func(context.Context, int) error {
			if begun.Add(1) == 3 {
				return failed
			}
			return nil
		})
		if !errors.Is(err, failed) || begun.Load() > 4 {
			t.Errorf("%v after %d", err, begun.Load())
		}
	})
}
