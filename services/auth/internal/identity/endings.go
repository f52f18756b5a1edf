package identity

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// endings is the copy that Revocations keeps: which tokens have ended, in the
// order in which they did, and which are still to expire.
type endings struct {
	revision int64    // everything up to here is in
	ended    []ending // ascending by revision
	expiries expiryHeap
	live     map[string]time.Time // the expiries that still count
}

type ending struct {
	revision int64
	tokenID  string
}

// add takes a change in, in any order; complete makes the copy readable.
func (e *endings) add(c Change) {
	if e.live == nil {
		e.live = make(map[string]time.Time)
	}
	delete(e.live, c.TokenID)
	switch {
	case c.Ended:
		e.ended = append(e.ended, ending{revision: c.Revision, tokenID: c.TokenID})
	case !c.Expires.IsZero():
		e.live[c.TokenID] = c.Expires
		heap.Push(&e.expiries, expiry{at: c.Expires, tokenID: c.TokenID})
	}
}

func (e *endings) complete(revision int64) {
	slices.SortFunc(e.ended, func(a, b ending) int { return cmp.Compare(a.revision, b.revision) })
	e.revision = revision
}

// advance takes in what a feed tells, which is in order.
func (e *endings) advance(p Progress) {
	for _, c := range p.Changes {
		e.add(c)
	}
	e.revision = max(e.revision, p.Revision)
}

// after returns at most limit tokens that ended after a revision, and the
// revision up to which that is all. A revision is never cut in two, even beyond
// limit: who resumes behind half of it would lose the other half.
func (e *endings) after(revision int64, limit int) ([]string, int64) {
	first, _ := slices.BinarySearchFunc(e.ended, revision+1, func(x ending, r int64) int { return cmp.Compare(x.revision, r) })
	rest := e.ended[first:]
	upTo := max(revision, e.revision)
	if len(rest) > limit {
		upTo = rest[limit-1].revision
	}
	var ids []string
	for _, x := range rest {
		if x.revision > upTo {
			break
		}
		ids = append(ids, x.tokenID)
	}
	return ids, upTo
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
