package lifecycle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/internal/lifecycle"
)

func TestPauseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		whole := lifecycle.Pause(t.Context(), time.Minute)
		if took := time.Since(begin); !whole || took < 30*time.Second || took > 90*time.Second {
			t.Errorf("a pause of a minute took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if begin = time.Now(); lifecycle.Pause(ctx, time.Minute) || time.Since(begin) != time.Second {
			t.Errorf("a pause outlives its context by %v", time.Since(begin)-time.Second)
		}
	})
}
