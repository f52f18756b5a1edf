package identity

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// endings is the copy that Revocations keeps: which tokens and accounts have
// ended or changed, in the order in which they did last, and which are still to
// expire.
type endings struct {
	revision int64 // everything up to here is in
	// changes are ascending by revision; of one subject only the last one counts,
	// which tells all that the ones before have told.
	changes  []ending
	latest   map[subject]int64
	expiries expiryHeap
	live     map[string]time.Time // the expiries that still count
}

// subject is a token or an account; the other one is empty.
type subject struct{ token, account string }

type ending struct {
	revision int64
	subject
	ended bool
}

// add takes a change in, in any order; complete makes the copy readable.
func (e *endings) add(c Change) {
	if e.live == nil {
		e.live, e.latest = make(map[string]time.Time), make(map[subject]int64)
	}
	s := subject{c.TokenID, c.AccountID}
	if c.Ended || !c.Fresh {
		e.changes = append(e.changes, ending{revision: c.Revision, subject: s, ended: c.Ended})
		e.latest[s] = c.Revision
	}
	delete(e.live, c.TokenID)
	if !c.Ended && !c.Expires.IsZero() {
		e.live[c.TokenID] = c.Expires
		heap.Push(&e.expiries, expiry{at: c.Expires, tokenID: c.TokenID})
	}
	if len(e.changes) > 1000+2*len(e.latest) {
		e.changes = slices.DeleteFunc(e.changes, e.stale)
	}
}

// stale holds for a change that a later one of the same subject has replaced.
func (e *endings) stale(x ending) bool { return e.latest[x.subject] != x.revision }

func (e *endings) complete(revision int64) {
	slices.SortFunc(e.changes, func(a, b ending) int { return cmp.Compare(a.revision, b.revision) })
	e.revision = revision
}

// advance takes in what a feed tells, which is in order.
func (e *endings) advance(p Progress) {
	for _, c := range p.Changes {
		e.add(c)
	}
	e.revision = max(e.revision, p.Revision)
}

// after returns at most limit changes after a revision, and the revision up to
// which that is all. A revision is never cut in two, even beyond limit: who
// resumes behind half of it would lose the other half.
func (e *endings) after(revision int64, limit int) ([]ending, int64) {
	first, _ := slices.BinarySearchFunc(e.changes, revision+1, func(x ending, r int64) int { return cmp.Compare(x.revision, r) })
	upTo := max(revision, e.revision)
	var list []ending
	for _, x := range e.changes[first:] {
		switch {
		case e.stale(x):
			continue
		case len(list) >= limit && x.revision > list[len(list)-1].revision:
			return list, list[len(list)-1].revision
		}
		list = append(list, x)
	}
	return list, upTo
}

// nextExpiry returns the token that expires next.
func (e *endings) nextExpiry() (id string, at time.Time, ok bool) {
	for len(e.expiries) > 0 {
		next := e.expiries[0]
		if at, ok := e.live[next.tokenID]; ok && at.Equal(next.at) {
			return next.tokenID, next.at, true
		}
		heap.Pop(&e.expiries)
	}
	return "", time.Time{}, false
}

func (e *endings) forgetExpiry(id string) { delete(e.live, id) }

type expiry struct {
	at      time.Time
	tokenID string
}

// expiryHeap has the earliest first. It may hold what does not count any more.
type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) } //nolint:forcetypeassert // heap.Push is called with nothing else
func (h *expiryHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
