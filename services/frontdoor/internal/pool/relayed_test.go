package pool

import (
	"testing"
	"time"
)

// A relayed connection is a direct one's stand-in, whichever came or served last.
func TestADirectConnectionGoesBeforeARelayedOne(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		for _, via := range []string{"f1", "", "f2", ""} {
			r.arriveAs(Arrival{Agent: ann, Via: via})
			pass(time.Millisecond)
		}
		var got []string
		var taken []*Conn
		for range 4 {
			c := r.warm(ann)
			got, taken = append(got, c.Via), append(taken, c)
		}
		if got[0] != "" || got[1] != "" || got[2] != "f2" || got[3] != "f1" {
			t.Errorf("in the order %q", got)
		}
		if !taken[1].proven.Before(taken[0].proven) {
			t.Error("of two that are direct the older one went first")
		}
		for _, c := range taken { // a relayed one comes back last
			r.visit(c)
			r.Put(c)
			settle()
		}
		if c := r.warm(ann); c.Via != "" {
			t.Errorf("one via %q went first", c.Via)
		}
	})
}

// When a frontdoor that relays is about to stop, what comes through it and is idle
// ends at once, what is busy ends with its request, and all else stays.
func TestRelayedConnectionsLeaveAFrontdoorThatStops(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		release := r.hold()
		r.arriveAs(Arrival{Agent: ann, Via: "f1"})
		busy := r.warm(ann)
		e := r.start(busy)
		r.arriveAs(Arrival{Agent: ann, Via: "f1"})
		r.arriveAs(Arrival{Agent: ann, Via: "f2"})
		r.arriveAs(Arrival{Agent: bob})
		r.RetireRelayed(func(id string) bool { return id == "f1" })
		settle()
		if s := r.Stats(); s.Live != 3 || s.Idle != 2 || s.Ended[RelayStops] != 1 {
			t.Errorf("after the idle one has left: %+v", s)
		}
		release()
		<-e.End()
		r.Put(busy)
		settle()
		if s := r.Stats(); s.Live != 2 || s.Ended[RelayStops] != 2 {
			t.Errorf("after the busy one has, too: %+v", s)
		}
		if c := r.warm(ann); c.Via != "f2" {
			t.Errorf("what is left comes via %q", c.Via)
		}
		r.warm(bob)
	})
}
