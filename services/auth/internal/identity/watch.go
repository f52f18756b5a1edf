package identity

import (
	"context"
	"fmt"
)

// maxStep is about how many tokens and accounts one step of a watch names.
const maxStep = 1000

// Watch is a place in the order of revocations. It is for one goroutine.
type Watch struct {
	from     *Revocations
	history  int
	revision int64
	begun    bool
}

// Step is what happened, and the revision to resume behind. It may be nothing.
type Step struct {
	TokenIDs        []string // ended
	ChangedTokens   []string
	EndedAccounts   []string
	ChangedAccounts []string
	Revision        int64
}

func stepOf(changes []ending, revision int64) Step {
	step := Step{Revision: revision}
	for _, c := range changes {
		switch {
		case c.token != "" && c.ended:
			step.TokenIDs = append(step.TokenIDs, c.token)
		case c.token != "":
			step.ChangedTokens = append(step.ChangedTokens, c.token)
		case c.ended:
			step.EndedAccounts = append(step.EndedAccounts, c.account)
		default:
			step.ChangedAccounts = append(step.ChangedAccounts, c.account)
		}
	}
	return step
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
	changes, upTo := r.state.after(w.revision, maxStep)
	if w.begun && len(changes) == 0 && upTo == w.revision {
		return Step{}, r.changed, nil
	}
	w.begun, w.revision = true, upTo
	return stepOf(changes, upTo), nil, nil
}
