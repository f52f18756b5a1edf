// Package backoff says how long to wait before the next try.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is exponential backoff with full jitter: a wait is drawn evenly from
// zero to a ceiling that doubles, so that many agents that lost their server in
// the same moment do not return in the same moment.
type Backoff struct {
	base, limit time.Duration
	failures    int
}

// New returns a Backoff whose first ceiling is base and whose last one is limit.
func New(base, limit time.Duration) *Backoff {
	return &Backoff{base: base, limit: limit}
}

// Next counts a failure and returns the wait before the next try. A wait that
// the other side asked for comes on top of nothing: it is the least, and the
// jitter is added, so that those who were told the same do not come together.
func (b *Backoff) Next(asked time.Duration) time.Duration {
	ceiling := b.limit
	if shift := b.failures; shift < 32 && b.base<<shift < b.limit {
		ceiling = b.base << shift
	}
	b.failures++
	return max(asked, 0) + rand.N(ceiling) //nolint:gosec // jitter, no secret
}

// Reset forgets the failures, after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Sleep waits for d or the end of ctx, whose error it returns.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
