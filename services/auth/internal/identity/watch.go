package identity

import (
	"context"
	"fmt"
)

// maxStep is about how many tokens one step of a watch names.
const maxStep = 1000

// Watch is a place in the order of revocations. It is for one goroutine.
type Watch struct {
	from     *Revocations
	history  int
	revision int64
	begun    bool
}

// Step is what happened: the tokens that ended, and the revision to resume
// behind. There may be no tokens.
type Step struct {
	TokenIDs []string
	Revision int64
}

// Watch returns what comes after a revision; 0: after now. ErrCompacted if that
// cannot be told completely any more.
func (r *Revocations) Watch(ctx context.Context, revision int64) (*Watch, error) {
	if revision < 0 {
		return nil, invalid("revision", "use the revision of the last message, or 0")
	}
	if !r.isLoaded() {
		return nil, ErrUnavailable.WithMessage("auth is still reading its store; try again")
	}
	r.mu.Lock()
	w := &Watch{from: r, history: r.history, revision: r.state.revision}
	r.mu.Unlock()
	if revision == 0 {
		return w, nil
	}
	w.revision = revision
	if err := r.feed.Kept(ctx, revision); err != nil {
		return nil, fmt.Errorf("watch from revision %d: %w", revision, err)
	}
	return w, nil
}

// Next waits for the next step. The first one comes at once; later ones, too, may
// bring a higher revision only, so that a quiet watch can still be resumed when
// old revisions are compacted.
func (w *Watch) Next(ctx context.Context) (Step, error) {
	for {
		step, changed, err := w.take()
		if err != nil || changed == nil {
			return step, err
		}
		select {
		case <-ctx.Done():
			return Step{}, ctx.Err()
		case <-changed:
		}
	}
}

// take returns a step, or what to wait for.
func (w *Watch) take() (Step, <-chan struct{}, error) {
	r := w.from
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopping:
		return Step{}, nil, ErrStopping
	case w.history != r.history:
		return Step{}, nil, ErrCompacted
	}
	ids, upTo := r.state.after(w.revision, maxStep)
	if w.begun && len(ids) == 0 && upTo == w.revision {
		return Step{}, r.changed, nil
	}
	w.begun, w.revision = true, upTo
	return Step{TokenIDs: ids, Revision: upTo}, nil, nil
}
