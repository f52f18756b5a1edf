package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pause waits for about d, between a half of it and one and a half, so that those
// who failed at one instant do not come back at one. False: ctx has ended.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d)) // #nosec G404 -- a spread, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
