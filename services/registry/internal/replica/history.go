package replica

import (
	"sort"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

// history is the recent changes, by revision. It is every stream's queue: a
// stream that is slower than it is long is cut off, and holds up no other.
type history struct {
	// limit is how many changes are kept. The last revision is kept whole,
	// however many it has.
	limit   int
	changes int
	entries []entry
	// floor: of the revisions after it nothing is missing.
	floor int64
}

// entry is one revision's changes, as they are sent.
type entry struct {
	revision int64
	messages []*registryv1.WatchResponse
	changes  int
}

func (h *history) add(revision int64, list []*registryv1.WatchResponse) {
	e := entry{revision: revision, messages: list}
	for _, m := range list {
		e.changes += len(m.GetChanges())
	}
	h.entries = append(h.entries, e)
	h.changes += e.changes
	drop := 0
	for h.changes > h.limit && drop < len(h.entries)-1 {
		h.changes -= h.entries[drop].changes
		h.floor = h.entries[drop].revision
		h.entries[drop] = entry{}
		drop++
	}
	h.entries = h.entries[drop:]
}

// after returns entries that follow a revision, at least one if there is one,
// about maxChanges at most. ok is false if some of them are not kept any more.
func (h *history) after(revision int64, maxChanges int) (list []entry, ok bool) {
	if revision < h.floor {
		return nil, false
	}
	first := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].revision > revision })
	last, changes := first, 0
	for last < len(h.entries) && (last == first || changes < maxChanges) {
		changes += h.entries[last].changes
		last++
	}
	return h.entries[first:last:last], true
}

func (h *history) reset(floor int64) {
	*h = history{limit: h.limit, floor: floor}
}
