package pool

import (
	"testing"
	"time"
)

func TestIdleConnectionsAreAskedWhetherTheyLive(t *testing.T) {
	inBubble(t, Config{Keep: time.Hour}, func(r *rig) {
		r.arriveMute(ann)
		r.arrive(ann, Visitor)
		r.warm(ann)
		r.arrive(bob, Visitor)
		before := r.warm(bob)
		r.Put(before)
		pass(14 * time.Second) // the mute one is fine as far as anybody knows
		if s := r.Stats(); s.Live != 3 {
			t.Fatalf("%+v", s)
		}
		pass(pingEvery*5/4 + pongWithin)
		if s := r.Stats(); s.Live != 2 || s.Ended[NoPong] != 1 {
			t.Errorf("%+v", s)
		}
		if c := r.warm(bob); c != before || !c.proven.After(c.useful) {
			t.Errorf("proven at %v, came at %v", c.proven, c.useful)
		}
	})
}

// An agent whose network has changed comes with a new session; its old
// connections may lead nowhere.
func TestANewSessionHasIdleConnectionsProven(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arriveMute(ann)
		r.arrive(ann, Visitor)
		bound := &fakeUse{}
		r.arrive(ann, Visitor)
		r.warm(ann).Serve("t", bound)
		r.Session(ann, "s2")
		w := r.missing(ann) // not before it is proven
		got := <-w.Got()
		if got.Conn == nil || got.Conn.Stale() || !bound.ended {
			t.Errorf("got %+v, bound one ended: %v", got, bound.ended)
		}
		pass(pongWithin)
		if s := r.Stats(); s.Live != 2 || s.Ended[NoPong] != 1 {
			t.Errorf("%+v", s)
		}
		r.Put(got.Conn)
		again := &fakeUse{}
		r.warm(ann).Serve("t", again)
		if r.Session(ann, "s2"); again.ended {
			t.Error("another tunnel's word of the same session was a new one")
		}
	})
}

// Where one connection was dead, those that were proven before it are no better.
func TestAMissingAckPutsTheOthersInDoubt(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arriveMute(ann)
		r.arriveMute(ann)
		r.arriveMute(ann)
		pass(2 * time.Second)
		c := r.warm(ann)
		if !c.Stale() {
			t.Error("it was idle for long")
		}
		<-r.start(c).End()
		settle()
		w := r.missing(ann)
		pass(pongWithin)
		if s := r.Stats(); s.Live != 0 || s.Ended[NoAck] != 1 || s.Ended[NoPong] != 2 {
			t.Errorf("%+v", s)
		}
		w.Leave()
	})
}

// unheard is a watcher that is late.
type unheard struct{}

func (unheard) Retired()    {}
func (unheard) Ended(error) {}

// A visitor's end may give a connection back before the pool is told why it has
// ended.
func TestWhyAConnectionEndedCountsThoughItIsGivenBackFirst(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arriveMute(ann)
		c := r.warm(ann)
		c.Watch(unheard{})
		<-r.start(c).End()
		r.Put(c)
		if s := r.Stats(); s.Live != 0 || s.Ended[NoAck] != 1 || s.Ended[Broken] != 0 {
			t.Errorf("%+v", s)
		}
	})
}
