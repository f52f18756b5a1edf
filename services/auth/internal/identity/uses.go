package identity

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// useEvery is how often at most a token's last use is written, useDelay how
	// long a use waits for others to be written with.
	useEvery = time.Minute
	useDelay = 5 * time.Second
	// maxUses is how many tokens are remembered and written at once; of what is
	// more, the use is written at a later one.
	maxUses = 1 << 16
)

// Uses notes when tokens were used. To note costs a caller nothing: what is
// written is written later, and may be lost.
type Uses struct {
	store TokenStore
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	written map[string]time.Time // within the last minute
	waiting map[string]time.Time
}

// NewUses returns a note of uses that Run writes.
func NewUses(store TokenStore, now func() time.Time, log *slog.Logger) *Uses {
	return &Uses{store: store, now: now, log: log, written: map[string]time.Time{}, waiting: map[string]time.Time{}}
}

// Note says that a token is being used.
func (u *Uses) Note(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now().UTC()
	if last, ok := u.written[id]; ok && now.Sub(last) < useEvery {
		return
	}
	if _, waits := u.waiting[id]; waits || len(u.waiting) < maxUses {
		u.waiting[id] = now
	}
}

// Run writes until ctx ends.
func (u *Uses) Run(ctx context.Context) error {
	for {
		if pause(ctx, useDelay); ctx.Err() != nil {
			return ctx.Err()
		}
		u.write(ctx)
	}
}

func (u *Uses) write(ctx context.Context) {
	uses := u.take()
	if len(uses) == 0 {
		return
	}
	if err := u.store.UseTokens(ctx, uses); err != nil && ctx.Err() == nil {
		u.log.WarnContext(ctx, "the last uses of tokens could not be written", "tokens", len(uses), "error", err)
	}
}

func (u *Uses) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	uses, now := u.waiting, u.now()
	u.waiting = map[string]time.Time{}
	maps.DeleteFunc(u.written, func(_ string, at time.Time) bool { return now.Sub(at) >= useEvery })
	maps.Copy(u.written, uses)
	return uses
}
