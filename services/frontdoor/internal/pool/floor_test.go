package pool

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func TestUnwantedConnectionsEndAboveTheFloor(t *testing.T) {
	inBubble(t, Config{Floor: 1, Keep: time.Minute}, func(r *rig) {
		for range 3 {
			r.arrive(ann, Visitor)
		}
		r.arrive(bob, Visitor)
		r.Put(r.warm(ann)) // ann was visited; bob's visitor had gone
		pass(50 * time.Second)
		if s := r.Stats(); s.Live != 4 {
			t.Errorf("before their time: %+v", s)
		}
		pass(15 * time.Second)
		if s := r.Stats(); s.Idle != 1 || s.Ended[Expired] != 3 {
			t.Errorf("behind it: %+v", s)
		}
		pass(recently)
		if s := r.Stats(); s.Live != 0 {
			t.Errorf("long behind the last visitor: %+v", s)
		}
	})
}

func TestWhoKeepsAFloor(t *testing.T) {
	inBubble(t, Config{Floor: 1}, func(r *rig) {
		if r.LacksFloor(ann) {
			t.Error("for an agent of other frontdoors")
		}
		r.named.Store(true)
		if !r.LacksFloor(ann) || !r.BookFloor(ann) || r.LacksFloor(ann) || r.BookFloor(ann) {
			t.Error("not once for an agent of its own")
		}
		r.arrive(ann, Floor)
		pass(2 * time.Minute)
		if r.LacksFloor(ann) || r.Stats().Idle != 1 {
			t.Error("it did not stay")
		}
		r.named.Store(false)
		pass(2 * time.Second)
		if s := r.Stats(); s.Idle != 0 || s.Ended[Expired] != 1 {
			t.Errorf("it has moved, and %+v is left", s)
		}
		r.missing(ann).Leave()
		r.Failed(ann, 1, errors.New("no"))
		if !r.LacksFloor(ann) {
			t.Error("not where a visitor has just been")
		}
		r.Drain()
		if r.LacksFloor(ann) || r.BookFloor(ann) {
			t.Error("though the frontdoor is leaving")
		}
		r.arrive(ann, Floor)
		pass(3 * time.Minute)
		if s := r.Stats(); s.Live != 0 {
			t.Errorf("it keeps %+v though it is leaving", s)
		}
	})
}

// Agents are asked for the floor as long as there is much room, and no longer.
func TestTheFloorTakesAShareOfTheCap(t *testing.T) {
	inBubble(t, Config{Max: 10, Floor: 1}, func(r *rig) {
		r.named.Store(true)
		booked := 0
		for i := range 20 {
			if r.BookFloor(route.Agent{ID: fmt.Sprint(i)}) {
				booked++
			}
		}
		if booked != 8 {
			t.Errorf("%d of 10 were booked for the floor", booked)
		}
	})
}

// Were an evicted connection dialled back at once the next would be evicted for
// it, for ever.
func TestAnEvictedAgentHasNoFloorUntilItsNextVisitor(t *testing.T) {
	inBubble(t, Config{Max: 2, Floor: 1}, func(r *rig) {
		r.named.Store(true)
		r.arrive(ann, Floor)
		for range 2 {
			r.arrive(bob, Visitor)
		}
		settle()
		if s := r.Stats(); s.Ended[Evicted] != 1 || s.Live != 2 {
			t.Fatalf("%+v", s)
		}
		r.Cut(bob, "", true) // there is room again
		pass(time.Hour)
		if r.LacksFloor(ann) {
			t.Error("ann's floor is back without a visitor")
		}
		w := r.missing(ann)
		r.Failed(ann, 1, errors.New("no"))
		<-w.Got()
		if !r.LacksFloor(ann) {
			t.Error("a visitor has not brought it back")
		}
	})
}

func TestTheLeastUsefulIsGivenUpFirst(t *testing.T) {
	inBubble(t, Config{Max: 3, Floor: 1}, func(r *rig) {
		carl := route.Agent{ID: "carl"}
		r.arrive(ann, Visitor)
		pass(time.Second)
		r.arrive(bob, Visitor)
		pass(time.Second)
		r.arrive(carl, Floor)
		c := r.warm(ann)
		r.visit(c)
		r.Put(c) // ann's is the most useful one now, the floor's the youngest
		for _, gone := range []route.Agent{carl, bob} {
			r.arrive(route.Agent{ID: "dora"}, Visitor)
			settle()
			if len(r.of(gone, "")) != 0 {
				t.Errorf("%s has its connection", gone.ID)
			}
		}
		if len(r.of(ann, "")) != 1 {
			t.Error("ann has none")
		}
		if s := r.Stats(); s.Ended[Evicted] != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// Where all connections are bound the one that is idle for longest is freed.
func TestABoundConnectionGivesWay(t *testing.T) {
	inBubble(t, Config{Max: 2}, func(r *rig) {
		serving, idle := &fakeUse{}, &fakeUse{since: time.Now()}
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		r.warm(ann).Serve("t", serving)
		r.warm(ann).Serve("t", idle)
		r.missing(bob).Leave()
		if serving.ended || !idle.ended {
			t.Errorf("serving one ended %v, idle one %v", serving.ended, idle.ended)
		}
	})
}

// An agent at its limit gives what another endpoint has bound to the visitor.
func TestAnAgentAtItsLimitYields(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		serving, idle := &fakeUse{}, &fakeUse{since: time.Now()}
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		r.warm(ann).Serve("t", serving)
		if r.Yield(ann) {
			t.Error("one that serves has yielded")
		}
		r.warm(ann).Serve("t", idle)
		if !r.Yield(ann) || serving.ended || !idle.ended {
			t.Errorf("serving one ended %v, idle one %v", serving.ended, idle.ended)
		}
	})
}

func TestARefusalIsNotRepeatedSoon(t *testing.T) {
	inBubble(t, Config{Floor: 1}, func(r *rig) {
		r.named.Store(true)
		wait := time.Duration(0)
		for range 12 {
			if !r.BookFloor(ann) {
				t.Fatal("not booked")
			}
			r.Refused(ann, 1, errors.New("no"))
			began := time.Now()
			for !r.LacksFloor(ann) {
				pass(time.Second / 2)
			}
			if waited := time.Since(began); waited < wait {
				t.Errorf("%v behind %v", waited, wait)
			} else {
				wait = waited
			}
		}
		if wait < backoffLast || wait > backoffLast+time.Second {
			t.Errorf("at last %v", wait)
		}
	})
}

func TestTwoFrontdoorsKeepAnAgentsFloor(t *testing.T) {
	t.Parallel()
	all := []string{"fd-a", "fd-b", "fd-c", "fd-d", "fd-e"}
	const agents = 10_000
	share := map[string]int{}
	moved := 0
	for i := range agents {
		id := fmt.Sprintf("agent-%d", i)
		n := 0
		for j, self := range all {
			if !Named(self, all, id) {
				continue
			}
			n++
			share[self]++
			if j < 4 && !Named(self, all[:4], id) {
				t.Fatal("one frontdoor less has taken an agent from another")
			}
		}
		for _, self := range all[:4] {
			if Named(self, all[:4], id) && !Named(self, all, id) {
				moved++
			}
		}
		if n != keepers {
			t.Fatalf("%s has %d frontdoors", id, n)
		}
	}
	for self, n := range share {
		if n < agents*2/5*9/10 || n > agents*2/5*11/10 {
			t.Errorf("%s has %d of %d agents", self, n, agents)
		}
	}
	if moved > agents*2/5*11/10 {
		t.Errorf("a fifth frontdoor has moved %d agents", moved)
	}
	if !Named("fd-a", nil, "x") || !Named("fd-a", []string{"fd-b"}, "x") {
		t.Error("who is alone, or one of two, keeps every floor")
	}
}
