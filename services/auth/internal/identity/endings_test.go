package identity

import (
	"slices"
	"testing"
)

// One transaction may end several tokens: whoever resumes behind half of its
// revision would never hear of the other half.
func TestARevisionIsNeverCutInTwo(t *testing.T) {
	t.Parallel()
	var e endings
	for _, c := range []Change{
		{TokenID: "d", Revision: 9}, {TokenID: "a", Revision: 5}, {TokenID: "b", Revision: 7}, {TokenID: "c", Revision: 7},
	} {
		c.Ended = true
		e.add(c)
	}
	e.complete(12)
	for _, test := range []struct {
		after int64
		limit int
		ids   []string
		upTo  int64
	}{
		{0, 10, []string{"a", "b", "c", "d"}, 12},
		{0, 1, []string{"a"}, 5},
		{0, 2, []string{"a", "b", "c"}, 7},
		{5, 1, []string{"b", "c"}, 7},
		{6, 2, []string{"b", "c"}, 7},
		{7, 1, []string{"d"}, 12},
		{9, 1, nil, 12},
		{20, 1, nil, 20}, // another replica was ahead of this one
	} {
		changes, upTo := e.after(test.after, test.limit)
		ids := stepOf(changes, upTo).TokenIDs
		if !slices.Equal(ids, test.ids) && len(ids)+len(test.ids) > 0 || upTo != test.upTo {
			t.Errorf("after(%d, %d) = %v, %d; want %v, %d", test.after, test.limit, ids, upTo, test.ids, test.upTo)
		}
	}
}

// Who has missed several changes of a token needs the last one, in its place.
func TestOnlyTheLastChangeOfASubjectIsTold(t *testing.T) {
	t.Parallel()
	var e endings
	e.complete(1)
	revision := int64(1)
	for range 5000 {
		for _, c := range []Change{{TokenID: "a"}, {AccountID: "a"}, {TokenID: "b"}} {
			revision++
			c.Revision = revision
			e.advance(Progress{Changes: []Change{c}, Revision: revision})
		}
	}
	e.advance(Progress{Changes: []Change{{TokenID: "a", Ended: true, Revision: revision + 1}, {AccountID: "b", Ended: true, Revision: revision + 1}}, Revision: revision + 1})
	changes, upTo := e.after(1, 10)
	step := stepOf(changes, upTo)
	if !slices.Equal(step.TokenIDs, []string{"a"}) || !slices.Equal(step.ChangedTokens, []string{"b"}) ||
		!slices.Equal(step.ChangedAccounts, []string{"a"}) || !slices.Equal(step.EndedAccounts, []string{"b"}) || upTo != revision+1 {
		t.Errorf("what is told is %+v", step)
	}
	if len(e.changes) > 2000 {
		t.Errorf("%d changes are kept of 4 subjects", len(e.changes))
	}
	if changes, _ := e.after(revision-1, 10); len(changes) != 3 {
		t.Errorf("behind the last but one there are %v", changes)
	}
}
