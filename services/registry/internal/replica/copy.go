// Package replica keeps a copy of the registry's state in memory: one etcd
// watch feeds it, and it feeds every stream of Watch. Nothing is refused on the
// word of a copy.
package replica

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

// Copy is the state at one revision, and the changes that led to it. Records
// are never changed once they are in it: streams send them without a lock.
type Copy struct {
	log *slog.Logger

	mu sync.Mutex
	// position: all changes up to it are here.
	epoch    uint64
	revision int64
	loaded   bool
	stopping bool
	// records by etcd key.
	versions    map[string]int64
	claims      map[string]*registryv1.Claim
	attachments map[string]*registryv1.Attachment
	nodes       map[string]*registryv1.Node
	// order has the keys of the claims.
	order *btree.BTreeG[string]
	// by hostname; reach has the keys of its attachments.
	reach    map[string][]string
	detached map[string]directory.Detached
	parked   map[string]time.Time

	history     history
	subscribers map[*subscriber]struct{}
	// changed is closed, and replaced, at each change.
	changed chan struct{}
}

// event is one key's part of a revision; value nil: deleted.
type event struct {
	key   string
	value []byte
	// version is the key's mod revision.
	version int64
}

func newCopy(log *slog.Logger, historyChanges int) *Copy {
	return &Copy{
		log: log, history: history{limit: historyChanges},
		versions: map[string]int64{}, claims: map[string]*registryv1.Claim{},
		attachments: map[string]*registryv1.Attachment{}, nodes: map[string]*registryv1.Node{},
		order: btree.NewOrderedG[string](32),
		reach: map[string][]string{}, detached: map[string]directory.Detached{}, parked: map[string]time.Time{},
		subscribers: map[*subscriber]struct{}{}, changed: make(chan struct{}),
	}
}

// apply makes the events of one revision a part of the copy.
func (c *Copy) apply(revision int64, events []event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision <= c.revision {
		return
	}
	c.applyLocked(revision, events)
}

func (c *Copy) applyLocked(revision int64, events []event) {
	set := newChangeSet(revision, events, c.log)
	for _, e := range events {
		c.applyEvent(e, set)
	}
	c.revision = revision
	if set.epoch != nil && *set.epoch != c.epoch {
		c.epoch = *set.epoch
		c.forget()
	}
	if changes := set.ordered(); len(changes) > 0 {
		c.history.add(revision, messages(changes, c.position()))
		c.cutSlow()
	}
	c.wake()
}

func (c *Copy) applyEvent(e event, set *changeSet) {
	if e.value == nil {
		delete(c.versions, e.key)
	} else {
		c.versions[e.key] = e.version
	}
	switch {
	case strings.HasPrefix(e.key, etcdstore.AttachPrefix):
		c.applyAttachment(e, set)
	case strings.HasPrefix(e.key, etcdstore.ClaimPrefix):
		c.applyClaim(e, set)
	case strings.HasPrefix(e.key, etcdstore.NodePrefix):
		c.applyNode(e, set)
	}
}

// progress says that there are no changes up to a revision but those applied.
func (c *Copy) progress(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision > c.revision {
		c.revision = revision
		c.wake()
	}
}

// replace turns the copy into what a listing says, by the difference between
// the two. What has gone has gone without a word: its reason was compacted.
func (c *Copy) replace(revision int64, listed []event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	incomparable := !c.loaded || revision < c.revision
	c.applyLocked(revision, c.difference(listed))
	c.loaded = true
	if incomparable {
		c.forget()
	}
}

func (c *Copy) difference(listed []event) []event {
	var events []event
	present := make(map[string]struct{}, len(listed))
	for _, e := range listed {
		present[e.key] = struct{}{}
		if e.key != etcdstore.EndedKey && c.versions[e.key] != e.version {
			events = append(events, e)
		}
	}
	for key := range c.versions {
		if _, ok := present[key]; !ok {
			events = append(events, event{key: key})
		}
	}
	return events
}

// forget ends every stream and the history before now: what they have does not
// compare with what comes.
func (c *Copy) forget() {
	c.history.reset(c.revision)
	for s := range c.subscribers {
		s.cut(errRestored)
	}
}

// cutSlow ends the streams that cannot be brought up to date any more.
func (c *Copy) cutSlow() {
	for s := range c.subscribers {
		if s.handed < c.history.floor {
			s.cut(errSlow)
		}
	}
}

func (c *Copy) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Copy) position() *registryv1.Position {
	return &registryv1.Position{Epoch: c.epoch, Revision: c.revision}
}
