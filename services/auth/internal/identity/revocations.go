package identity

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// feedPause is how long to wait before a broken feed is followed again.
const feedPause = 500 * time.Millisecond

// ErrStopping ends the watches of a replica that stops; another one goes on
// from the same revision.
var ErrStopping = ErrUnavailable.WithMessage("this replica of auth is stopping; watch on from the last revision at another one")

// Revocations is one replica's copy of which tokens and accounts have ended or
// changed, fed by one follower of the store, whatever the number of watches. It also makes tokens
// end whose time is over.
//
// A watch has no queue: it is a place in the copy. However slow its reader, it
// costs the same and holds up nobody; what it has missed it gets in one piece.
type Revocations struct {
	feed   RevocationStore
	now    func() time.Time
	log    *slog.Logger
	loaded chan struct{} // closed once the first snapshot is in

	mu       sync.Mutex
	state    endings
	history  int           // rises when changes may have been missed: watches from before end
	changed  chan struct{} // closed, and replaced, with every change of state
	stopping bool
}

// RevocationStore is what Revocations needs of a Store.
type RevocationStore interface {
	Feed
	ChangeToken(ctx context.Context, id string, change func(*Token) (*Event, error)) (Token, error)
}

// NewRevocations returns a copy that is empty until Run has filled it.
func NewRevocations(feed RevocationStore, now func() time.Time, log *slog.Logger) *Revocations {
	return &Revocations{feed: feed, now: now, log: log, loaded: make(chan struct{}), changed: make(chan struct{})}
}

// Run keeps the copy until ctx ends, through every failure of the store.
func (r *Revocations) Run(ctx context.Context) error {
	var lapsing sync.WaitGroup
	defer lapsing.Wait()
	lapsing.Go(func() { r.lapseDue(ctx) })

	reload := true
	for ctx.Err() == nil {
		err := r.followOnce(ctx, reload)
		reload = errors.Is(err, ErrCompacted) || !r.isLoaded()
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "the feed of revocations broke; following it again", "error", err, "reload", reload)
			pause(ctx, feedPause)
		}
	}
	return ctx.Err()
}

// Changed is closed with the next change of the store that the feed tells of.
func (r *Revocations) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Stopping reports whether watches are to end.
func (r *Revocations) Stopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping
}

// Loaded is closed once the copy can be watched.
func (r *Revocations) Loaded() <-chan struct{} { return r.loaded }

func (r *Revocations) isLoaded() bool {
	select {
	case <-r.loaded:
		return true
	default:
		return false
	}
}

// Stop ends all watches with ErrStopping, and those that come later.
func (r *Revocations) Stop() {
	r.update(func() { r.stopping = true })
}

func (r *Revocations) followOnce(ctx context.Context, reload bool) error {
	if reload {
		if err := r.load(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	after := r.state.revision
	r.mu.Unlock()
	return r.feed.Follow(ctx, after, func(p Progress) {
		r.update(func() { r.state.advance(p) })
	})
}

// load replaces the copy. All watches from before end: between the old copy and
// the new one something may have happened that neither shows.
func (r *Revocations) load(ctx context.Context) error {
	var fresh endings
	revision, err := r.feed.Snapshot(ctx, fresh.add)
	if err != nil {
		return err
	}
	fresh.complete(revision)
	r.update(func() {
		r.state = fresh
		r.history++
		if r.history == 1 {
			close(r.loaded)
		}
	})
	return nil
}

// update changes what mu guards and wakes all who wait for that.
func (r *Revocations) update(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// lapseDue marks tokens in the store as their time comes. The mark comes back
// through the feed, in order, to every replica: nothing is announced that a
// watch could not resume behind.
func (r *Revocations) lapseDue(ctx context.Context) {
	for ctx.Err() == nil {
		r.mu.Lock()
		id, expires, some := r.state.nextExpiry()
		changed := r.changed
		r.mu.Unlock()

		wait := expires.Sub(r.now())
		if some && wait <= 0 {
			r.lapse(ctx, id)
			continue
		}
		if !some {
			wait = time.Hour
		}
		pauseUnless(ctx, wait, changed)
	}
}

func (r *Revocations) lapse(ctx context.Context, id string) {
	_, err := r.feed.ChangeToken(ctx, id, lapse(r.now()))
	if err != nil && !errors.Is(err, ErrTokenNotFound) {
		r.log.WarnContext(ctx, "cannot mark a token as expired; trying again", "token", id, "error", err)
		pause(ctx, feedPause)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.forgetExpiry(id)
}

func pause(ctx context.Context, d time.Duration) { pauseUnless(ctx, d, nil) }

func pauseUnless(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}
