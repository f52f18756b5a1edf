package quota_test

import (
	"errors"
	"testing"

	"github.com/dialback/dialback/services/frontdoor/internal/quota"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func claimOf(account string, limit uint32) *route.Claim {
	return &route.Claim{Account: route.AccountOf(account), MaxConnections: limit}
}

// enter has n visitors come, of whom want may enter.
func enter(t *testing.T, q *quota.Quota, c *route.Claim, n, want int) (leave []func()) {
	t.Helper()
	for range n {
		done, err := q.Enter(c)
		if err == nil {
			leave = append(leave, done)
		} else if !errors.Is(err, quota.ErrExceeded) {
			t.Error(err)
		}
	}
	if len(leave) != want {
		t.Errorf("%d of %d entered, want %d", len(leave), n, want)
	}
	return leave
}

func TestAnAccountHasAsManyVisitorsAsItsShare(t *testing.T) {
	t.Parallel()
	frontdoors := 0 // the registry has not been heard yet
	q := quota.New(func() int { return frontdoors })
	in := enter(t, q, claimOf("a", 5), 9, 5)
	enter(t, q, claimOf("b", 5), 3, 3) // others have their own
	enter(t, q, claimOf("c", 0), 100, 100)
	in[0]()
	in[1]()
	enter(t, q, claimOf("a", 5), 9, 2)
	for _, leave := range in[2:] {
		leave()
	}
	frontdoors = 2 // two of them have left by now, and two are in
	enter(t, q, claimOf("a", 5), 9, 1)
	enter(t, q, claimOf("a", 1), 9, 0)
	enter(t, q, claimOf("d", 1), 9, 1)
}
