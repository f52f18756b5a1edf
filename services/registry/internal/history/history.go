// Package history tells what has happened: it follows what the transactions of
// all replicas have written down, keeps the latest of it in memory for those who
// follow closely, and reads the rest from the store for those who come back.
package history

import (
	"context"
	"errors"
	"log/slog"
	"sort"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

const (
	// recent is how many revisions are kept in memory.
	recent = 4096
	// maxStreams bounds those who follow, maxReaders those who read the store at
	// once: the whole history may be their answer.
	maxStreams = 256
	maxReaders = 2
	// everything, as a revision, is before all that is kept.
	everything = -1
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

var (
	errSlow = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this reader is too slow for what happens; go on behind the last revision").WithRetry(100 * time.Millisecond)
	errRestored = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"the registry's store was restored; begin again").WithRetry(100 * time.Millisecond)
	errStopping = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this replica stops; go on at another one").WithRetry(100 * time.Millisecond)
)

// Config says how a trail is to be.
type Config struct {
	// KeepAlive is how often a stream to which nothing happens hears how far it is.
	KeepAlive time.Duration
	// Epoch returns the store's.
	Epoch func() uint64
}

// Trail is what has happened lately.
type Trail struct {
	config  Config
	etcd    *clientv3.Client
	store   *etcdstore.Store
	log     *slog.Logger
	streams chan struct{}
	readers chan struct{}

	mu sync.Mutex
	// entries follow floor without a gap, up to revision.
	entries  []etcdstore.HistoryEntry
	floor    int64
	revision int64
	stopping bool
	// changed is closed, and replaced, at each change.
	changed chan struct{}
}

// New returns a trail that Run fills.
func New(config Config, etcd *clientv3.Client, store *etcdstore.Store, log *slog.Logger) *Trail {
	return &Trail{
		config: config, etcd: etcd, store: store, log: log, changed: make(chan struct{}),
		streams: make(chan struct{}, maxStreams), readers: make(chan struct{}, maxReaders),
	}
}

// Run follows the store until ctx ends. Whatever fails is tried again.
func (t *Trail) Run(ctx context.Context) error {
	for backoff := minBackoff; ctx.Err() == nil; backoff = min(2*backoff, maxBackoff) {
		began := time.Now()
		err := t.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		t.log.WarnContext(ctx, "the watch of the history has ended and begins again", "error", err)
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		lifecycle.Pause(ctx, backoff)
	}
	return ctx.Err()
}

// follow begins where the store is. What happened while nobody followed is a gap,
// which those who stand before it read from the store.
func (t *Trail) follow(ctx context.Context) error {
	now, err := t.store.Now(ctx)
	if err != nil {
		return err
	}
	t.begin(now.Revision)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	watch := t.etcd.Watch(ctx, etcdstore.HistoryPrefix, clientv3.WithPrefix(), clientv3.WithRev(now.Revision+1), clientv3.WithFilterDelete())
	for resp := range watch {
		if err := resp.Err(); err != nil {
			return err
		}
		for _, e := range resp.Events {
			events, err := etcdstore.DecodeHistory(e.Kv.Value, e.Kv.ModRevision)
			if err != nil {
				t.log.ErrorContext(ctx, "a record cannot be read", "key", string(e.Kv.Key), "error", err)
				continue
			}
			t.add(etcdstore.HistoryEntry{Revision: e.Kv.ModRevision, Events: events})
		}
	}
	return errors.New("etcd has closed the watch")
}

func (t *Trail) begin(revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries, t.floor, t.revision = nil, revision, revision
	t.wake()
}

func (t *Trail) add(e etcdstore.HistoryEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, e)
	t.revision = e.Revision
	if surplus := len(t.entries) - recent; surplus > 0 {
		t.floor = t.entries[surplus-1].Revision
		clear(t.entries[:surplus])
		t.entries = t.entries[surplus:]
	}
	t.wake()
}

// EndStreams ends the streams that are and those that come.
func (t *Trail) EndStreams() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopping = true
	t.wake()
}

func (t *Trail) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// after returns what follows a revision, and how far that is; ok is false if not
// all of it is here.
func (t *Trail) after(revision int64) (list []etcdstore.HistoryEntry, at int64, changed <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if revision < t.floor {
		return nil, 0, t.changed, false
	}
	first := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].Revision > revision })
	return t.entries[first:len(t.entries):len(t.entries)], max(t.revision, revision), t.changed, true
}

func (t *Trail) ends() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopping
}

// Watch sends what happened behind a revision of an epoch, from now on with 0, all
// that is kept with -1, until ctx ends or send fails.
func (t *Trail) Watch(ctx context.Context, after int64, epoch uint64, send func(*registryv1.WatchTunnelsResponse) error) error {
	select {
	case t.streams <- struct{}{}:
		defer func() { <-t.streams }()
	default:
		return directory.ErrOverloaded.WithMessage("as many follow the history as may").WithRetry(time.Second)
	}
	now, err := t.store.Now(ctx)
	switch {
	case err != nil:
		return err
	case after == everything:
		after = now.Floor
	case epoch != 0 && epoch != now.Epoch || after > now.Revision || after != 0 && after < now.Floor:
		return directory.ErrCompacted
	case after == 0:
		after = now.Revision
	}
	s := &stream{Trail: t, at: after, epoch: now.Epoch, send: send}
	if err := s.say(etcdstore.HistoryEntry{Revision: after}); err != nil {
		return err
	}
	return s.run(ctx)
}

// stream is one that follows.
type stream struct {
	*Trail
	// at: all up to this revision has been sent.
	at    int64
	epoch uint64
	send  func(*registryv1.WatchTunnelsResponse) error
}

func (s *stream) run(ctx context.Context) error {
	alive := time.NewTicker(s.config.KeepAlive)
	defer alive.Stop()
	for {
		list, at, changed, ok := s.after(s.at)
		switch {
		case s.ends():
			return errStopping
		case s.config.Epoch() != s.epoch:
			return errRestored
		case !ok:
			if err := s.catchUp(ctx); err != nil {
				return err
			}
			continue
		}
		for _, e := range list {
			if err := s.say(e); err != nil {
				return err
			}
		}
		s.at = at
		if len(list) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-alive.C:
			if err := s.say(etcdstore.HistoryEntry{Revision: s.at}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// catchUp sends what only the store has. A reader that comes here again and again
// finds the store's end, or is told that it is too slow.
func (s *stream) catchUp(ctx context.Context) error {
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	past, err := s.store.HistoryAfter(ctx, s.at)
	switch {
	case err != nil:
		return err
	case s.at < past.Floor:
		return errSlow
	}
	for _, e := range past.Entries {
		if err := s.say(e); err != nil {
			return err
		}
	}
	s.at = past.Revision
	return nil
}

func (s *stream) say(e etcdstore.HistoryEntry) error {
	return s.send(&registryv1.WatchTunnelsResponse{Events: e.Events, Revision: e.Revision, Epoch: s.epoch})
}
