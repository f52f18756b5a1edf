package reach

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func memberRoutes(names ...string) []*route.Route {
	var list []*route.Route
	for _, name := range names {
		list = append(list, &route.Route{Claim: route.Claim{Hostname: name}})
	}
	return list
}

func TestTheLessBusyOfTwoIsTaken(t *testing.T) {
	t.Parallel()
	p, both := &pools{}, memberRoutes("a", "b")
	for range 50 {
		p.enter(both)
	}
	if a, b := p.visitors(both[0]), p.visitors(both[1]); a != 25 || b != 25 {
		t.Errorf("%d and %d visitors", a, b)
	}
	for range 50 {
		p.leave("a")
	}
	for range 20 {
		if r := p.enter(both); r != both[0] {
			t.Fatalf("taken: %s, which has 25 visitors", r.Claim.Hostname)
		}
	}
}

func TestAMemberThatRefusesTwiceIsPassedOverForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, both, only := &pools{}, memberRoutes("a", "b"), memberRoutes("a")
		taken := func() bool {
			for range 100 {
				if p.choose(both) == both[0] {
					return true
				}
			}
			return false
		}
		p.judge("a", true)
		if !taken() {
			t.Error("passed over for one refusal")
		}
		for _, bench := range []int{1, 2, 4, 8, 10, 10} {
			p.judge("a", true)
			if taken() {
				t.Errorf("taken at once")
			}
			if p.choose(only) != only[0] {
				t.Error("passed over, and there is no other")
			}
			<-time.After(time.Duration(bench)*time.Second - 1)
			if taken() {
				t.Errorf("taken before %d s", bench)
			}
			<-time.After(1)
			if !taken() {
				t.Errorf("not taken after %d s", bench)
			}
		}
		p.judge("a", false)
		p.judge("a", true)
		if !taken() {
			t.Error("what it did before it worked counts")
		}
	})
}
