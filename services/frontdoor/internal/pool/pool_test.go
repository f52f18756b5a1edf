package pool

import (
	"errors"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

func TestTheOneProvenLastGoesFirst(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		pass(time.Second)
		r.arrive(ann, Visitor)
		second := r.warm(ann)
		first := r.warm(ann)
		if first == second || !first.proven.Before(second.proven) {
			t.Error("the older one went first")
		}
		r.Put(second)
		pass(time.Millisecond)
		r.visit(first)
		r.Put(first)
		if c := r.warm(ann); c != first {
			t.Error("the one that served last did not go first")
		}
		if s := r.Stats(); s.Warm != 3 || s.Recycled != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAConnectionServesItsAgentAlone(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.missing(bob).Leave()
		r.missing(route.Agent{ID: ann.ID, Instance: route.Instance{9}}).Leave()
		r.warm(ann)
	})
}

func TestWhoWaitsLongestIsServedFirst(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		first, second, third := r.missing(ann), r.missing(ann), r.missing(ann)
		second.Leave()
		r.arrive(ann, Visitor)
		c := (<-first.Got()).Conn
		r.visit(c)
		r.Put(c)
		if again := (<-third.Got()).Conn; again != c || again.Stale() {
			t.Errorf("the third visitor got %v", again)
		}
		select {
		case got := <-second.Got():
			t.Errorf("one who has left got %v", got)
		default:
		}
		r.arrive(ann, Visitor)
		if s := r.Stats(); s.Live != 2 || s.Idle != 1 || s.Fetching != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A connection that comes while its visitor goes is neither lost nor given twice.
func TestAConnectionIsNeverStranded(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	defer r.close()
	r.arrive(ann, Visitor)
	c := r.warm(ann)
	for range 1000 {
		w := r.missing(ann)
		left := make(chan struct{})
		go func() { defer close(left); w.Leave() }()
		r.Put(c)
		<-left
		if again := r.warm(ann); again != c {
			t.Fatal("it is lost")
		}
	}
}

func TestAVisitorFailsWhenNothingIsOnItsWay(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		failed := errors.New("no")
		first, second := r.missing(ann), r.missing(ann)
		r.arrive(ann, Visitor) // what was asked for for the second, say
		if got := <-first.Got(); got.Conn == nil {
			t.Fatal("the first visitor got none")
		}
		r.Failed(ann, 1, failed)
		if got := <-second.Got(); !errors.Is(got.Err, failed) {
			t.Errorf("the second visitor got %v", got)
		}
	})
}

// A connection that the agent wants out is never given to a visitor again.
func TestARetiredConnectionIsNotGivenOut(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		idle, used := r.arrive(ann, Visitor), r.arrive(ann, Visitor)
		c := r.warm(ann)
		idle.Retire()
		used.Retire()
		settle()
		r.missing(ann).Leave()
		r.Put(c)
		settle()
		if s := r.Stats(); s.Live != 0 || s.Ended[AgentRetired] != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// What is bound to a service is ended too, for requests would go on for ever.
func TestRetiringEndsWhatAConnectionIsBoundTo(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		release := r.hold()
		defer release()
		client := r.arrive(ann, Visitor)
		c, u := r.warm(ann), &fakeUse{}
		r.start(c)
		c.Serve("t", u)
		client.Retire()
		settle()
		if !u.ended || !c.Retiring() {
			t.Errorf("ended %v, retiring %v", u.ended, c.Retiring())
		}
		late := &fakeUse{}
		if c.Serve("t", late); !late.ended {
			t.Error("it was bound behind the end")
		}
	})
}

func TestRevokedMeansNow(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		r.arrive(bob, Visitor)
		c := r.warm(ann)
		c.Serve("t", &fakeUse{})
		r.Cut(ann, "other", true)
		settle()
		if s := r.Stats(); s.Live != 3 {
			t.Errorf("another tunnel's end took %d", 3-s.Live)
		}
		r.Cut(ann, "t", true)
		settle()
		if s := r.Stats(); s.Live != 2 || c.Err() == nil {
			t.Errorf("the tunnel's end left %+v", s)
		}
		r.Cut(ann, "", true)
		settle()
		if s := r.Stats(); s.Live != 1 || s.Ended[Revoked] != 2 {
			t.Errorf("the session's end left %+v", s)
		}
		r.warm(bob)
	})
}

func TestAnyOtherEndLetsWhatIsUnderWayFinish(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		c := r.warm(ann)
		e := r.start(c)
		r.Cut(ann, "", false)
		if <-e.End(); e.Outcome().Kind.String() != "refused" {
			t.Errorf("%+v", e.Outcome())
		}
		r.Put(c)
		settle()
		if s := r.Stats(); s.Live != 0 || s.Ended[Cut] != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// The old run's connections lead to a process that is gone, or to another service.
func TestANewRunDropsTheOldOnesConnections(t *testing.T) {
	inBubble(t, Config{Floor: 1}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		c, u := r.warm(ann), &fakeUse{}
		c.Serve("t", u)
		next := route.Agent{ID: ann.ID, Instance: route.Instance{7}}
		r.Supersede(ann, next)
		settle()
		if s := r.Stats(); s.Idle != 0 || !u.ended || !c.Retiring() {
			t.Errorf("%+v, bound one ended: %v", s, u.ended)
		}
		r.missing(ann).Leave()
		if !r.LacksFloor(next) {
			t.Error("the new run is not known to have been visited")
		}
	})
}

func TestAChangedTunnelGivesItsConnectionsBack(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		changed, other := &fakeUse{}, &fakeUse{}
		r.warm(ann).Serve("t", changed)
		r.warm(ann).Serve("u", other)
		r.Unbind(ann, "t")
		if !changed.ended || other.ended || r.Stats().Live != 2 {
			t.Errorf("changed ended %v, other %v", changed.ended, other.ended)
		}
	})
}
