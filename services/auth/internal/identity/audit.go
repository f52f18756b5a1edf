package identity

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dialback/dialback/internal/principal"
)

const (
	// eventPage is about how many events one step has.
	eventPage = 500
	// lookAgain is when the history is looked at though no feed has told of a
	// change: the feed may be broken.
	lookAgain = 10 * time.Second
	// trimEvery is how often the history is bounded.
	trimEvery = time.Minute
)

// Pulse tells when it is worth to look at the history again.
type Pulse interface {
	Changed() <-chan struct{}
	Stopping() bool
}

// Audit tells the history of changes.
type Audit struct {
	store EventStore
	pulse Pulse
}

// NewAudit returns the history in a store.
func NewAudit(store EventStore, pulse Pulse) *Audit { return &Audit{store: store, pulse: pulse} }

// AuditFilter says which events are told.
type AuditFilter struct {
	Kind, Account string // empty: all
}

func (f AuditFilter) wants(e Event) bool {
	return (f.Kind == "" || f.Kind == e.Kind) && (f.Account == "" || f.Account == e.Account)
}

// AuditWatch is a place in the history. It keeps no queue: however slow its
// reader, it costs the same. It is for one goroutine.
type AuditWatch struct {
	from     *Audit
	filter   AuditFilter
	revision int64
	begun    bool
}

// Watch returns what comes after a revision; 0: after now; -1: all that is kept.
// It tells only of accounts that the caller sees.
func (a *Audit) Watch(ctx context.Context, by principal.Principal, after int64, f AuditFilter) (*AuditWatch, error) {
	account, err := by.Scope(f.Account)
	if err != nil {
		return nil, err
	}
	f.Account = account
	w := &AuditWatch{from: a, filter: f, revision: after}
	if after > 0 {
		return w, nil
	}
	oldest, now, err := a.store.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	if w.revision = now; after < 0 {
		w.revision = oldest
	}
	return w, nil
}

// Next waits for the next step: events, which may be none, and the revision to
// resume behind. The first one comes at once. ErrCompacted, ErrStopping.
func (w *AuditWatch) Next(ctx context.Context) ([]Event, int64, error) {
	for {
		changed := w.from.pulse.Changed()
		if w.from.pulse.Stopping() {
			return nil, 0, ErrStopping
		}
		all, upTo, err := w.from.store.Events(ctx, w.revision, eventPage)
		if err != nil {
			return nil, 0, fmt.Errorf("read the history after revision %d: %w", w.revision, err)
		}
		told := make([]Event, 0, len(all))
		for _, e := range all {
			if w.filter.wants(e) {
				told = append(told, e)
			}
		}
		w.revision = upTo
		if len(told) > 0 || !w.begun {
			w.begun = true
			return told, upTo, nil
		}
		if len(all) == 0 {
			pauseUnless(ctx, lookAgain, changed)
		}
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
	}
}

// Retention bounds the history.
type Retention struct {
	Age   time.Duration
	Count int
}

// Trimmer keeps the history within its bounds.
type Trimmer struct {
	store EventStore
	keep  Retention
	now   func() time.Time
	log   *slog.Logger
}

// NewTrimmer returns one that works while it is run.
func NewTrimmer(store EventStore, keep Retention, now func() time.Time, log *slog.Logger) *Trimmer {
	return &Trimmer{store: store, keep: keep, now: now, log: log}
}

// Run trims now and then until ctx ends.
func (t *Trimmer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		removed, err := t.store.TrimEvents(ctx, t.now().Add(-t.keep.Age), t.keep.Count)
		if err != nil && ctx.Err() == nil {
			t.log.WarnContext(ctx, "the history could not be trimmed; later again", "error", err)
		}
		if removed == 0 || err != nil {
			pause(ctx, trimEvery)
		}
	}
	return ctx.Err()
}
