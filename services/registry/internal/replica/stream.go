package replica

import (
	"context"
	"time"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

// handOut is about how many changes a stream takes from the history at once.
const handOut = 4096

// askAgain is how long etcd may take to say how far the watch is. It says
// nothing at all while the watch catches up.
const askAgain = 100 * time.Millisecond

var (
	errSlow = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this watch is too slow for the changes; begin it again").WithRetry(100 * time.Millisecond)
	errRestored = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"the registry's store was restored; begin the watch again").WithRetry(100 * time.Millisecond)
	errStopping = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this replica stops; go on at another one").WithRetry(100 * time.Millisecond)
	errBehind = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"this replica does not have that revision yet; try another one").WithRetry(100 * time.Millisecond)
)

// subscriber is one stream.
type subscriber struct {
	// handed: the revisions up to it have been handed to the stream.
	handed int64
	// ended gets the reason why the stream is cut off.
	ended chan error
}

func (s *subscriber) cut(reason error) {
	select {
	case s.ended <- reason:
	default: // it is cut off already
	}
}

// Watch sends what follows a position, after nil everything that is. It returns
// when ctx ends, when send fails, or when the stream is cut off; send may then
// still be waiting for its peer, and must end with ctx.
func (r *Replica) Watch(ctx context.Context, after *registryv1.Position, send func(*registryv1.WatchResponse) error) error {
	select {
	case <-r.ready:
	default:
		return directory.ErrUnavailable
	}
	resumable, err := r.admit(ctx, after)
	if err != nil {
		return err
	}
	sub, snapshot, at := r.subscribe(after, resumable)
	defer r.unsubscribe(sub)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	// Not this goroutine: a peer that does not read would hold it in send, and
	// only the handler's return ends such a send.
	go func() {
		if snapshot != nil {
			if err := sendSnapshot(snapshot, at, send); err != nil {
				sent <- err
				return
			}
		}
		sent <- r.feed(ctx, sub, send)
	}()
	select {
	case err := <-sent:
		return err
	case err := <-sub.ended:
		return err
	}
}

// admit waits a moment for a position that is not here yet, and reports whether
// it can be resumed after, as far as positions tell.
func (r *Replica) admit(ctx context.Context, after *registryv1.Position) (bool, error) {
	if after == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold)
	defer cancel()
	for {
		here, changed := r.here()
		if !before(here, after) {
			return here.GetEpoch() == after.GetEpoch(), nil
		}
		r.ask()
		select {
		case <-changed:
		case <-time.After(askAgain):
		case <-ctx.Done():
			return false, r.wentBack(context.WithoutCancel(ctx), after)
		}
	}
}

// wentBack is nil if the store itself does not have the position: it was
// restored from before, and waiting would never end.
func (r *Replica) wentBack(ctx context.Context, after *registryv1.Position) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.Hold)
	defer cancel()
	resp, err := r.etcd.Get(ctx, etcdstore.EpochKey)
	if err != nil {
		return errBehind.WithCause(err)
	}
	store := &registryv1.Position{Revision: resp.Header.Revision}
	if len(resp.Kvs) > 0 {
		if store.Epoch, err = etcdstore.DecodeEpoch(resp.Kvs[0].Value); err != nil {
			return errBehind.WithCause(err)
		}
	}
	if before(store, after) {
		return nil
	}
	return errBehind
}

// before reports whether a is an earlier position than b.
func before(a, b *registryv1.Position) bool {
	if a.GetEpoch() != b.GetEpoch() {
		return a.GetEpoch() < b.GetEpoch()
	}
	return a.GetRevision() < b.GetRevision()
}

func (c *Copy) here() (*registryv1.Position, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position(), c.changed
}

// subscribe begins a stream after a position, or with a snapshot: of one moment
// with the beginning of the changes, so that nothing falls in between.
func (c *Copy) subscribe(after *registryv1.Position, resumable bool) (*subscriber, *changeSet, *registryv1.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sub := &subscriber{handed: after.GetRevision(), ended: make(chan error, 1)}
	c.subscribers[sub] = struct{}{}
	if c.stopping {
		sub.cut(errStopping)
	}
	if resumable && after.GetEpoch() == c.epoch && after.GetRevision() >= c.history.floor && after.GetRevision() <= c.revision {
		return sub, nil, nil
	}
	sub.handed = c.revision
	return sub, c.everything(), c.position()
}

// EndStreams ends the streams that are and those that come.
func (c *Copy) EndStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	for s := range c.subscribers {
		s.cut(errStopping)
	}
}

func (c *Copy) unsubscribe(sub *subscriber) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subscribers, sub)
}

// everything gathers the records; under the lock no more than that.
func (c *Copy) everything() *changeSet {
	set := &changeSet{}
	for _, m := range c.claims {
		set.claims = append(set.claims, &registryv1.Change{Change: &registryv1.Change_Claim{Claim: m}})
	}
	for _, m := range c.attachments {
		set.attachments = append(set.attachments, &registryv1.Change{Change: &registryv1.Change_Attachment{Attachment: m}})
	}
	for _, m := range c.nodes {
		set.nodes = append(set.nodes, &registryv1.Change{Change: &registryv1.Change_Node{Node: m}})
	}
	return set
}

func sendSnapshot(set *changeSet, at *registryv1.Position, send func(*registryv1.WatchResponse) error) error {
	list := messages(set.ordered(), at)
	list[0].Snapshot = true
	return sendAll(list, send)
}

// feed sends changes as they come, and now and then how far the copy is.
func (r *Replica) feed(ctx context.Context, sub *subscriber, send func(*registryv1.WatchResponse) error) error {
	alive := time.NewTicker(r.config.KeepAlive)
	defer alive.Stop()
	for {
		entries, position, changed, err := r.next(sub)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := sendAll(e.messages, send); err != nil {
				return err
			}
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-alive.C:
			if err := send(&registryv1.WatchResponse{Position: position}); err != nil {
				return err
			}
			// For the next time: without changes only etcd can tell.
			r.ask()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sendAll(list []*registryv1.WatchResponse, send func(*registryv1.WatchResponse) error) error {
	for _, m := range list {
		if err := send(m); err != nil {
			return err
		}
	}
	return nil
}

// next hands out what a stream has not had; with nothing to hand out, where the
// copy is and what tells of a change.
func (c *Copy) next(sub *subscriber) ([]entry, *registryv1.Position, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, ok := c.history.after(sub.handed, handOut)
	if !ok {
		return nil, nil, nil, errSlow
	}
	if len(entries) > 0 {
		sub.handed = entries[len(entries)-1].revision
	} else {
		sub.handed = c.revision
	}
	return entries, c.position(), c.changed, nil
}
