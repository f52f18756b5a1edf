package dialback

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

var agent = route.Agent{ID: "a", Instance: route.Instance{1}}

func TestATicketIsGoodOnce(t *testing.T) {
	t.Parallel()
	tickets := newTickets(10)
	id, w, err := tickets.issue(agent, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other := id
	other[0]++
	for name, presented := range map[string][]byte{
		"another": other[:], "none": nil, "short": id[:15], "long": append(id[:], 0),
	} {
		if tickets.redeem(presented) != nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := tickets.redeem(id[:]); got != w || got.agent != agent {
		t.Errorf("redeemed %+v", got)
	}
	if tickets.redeem(id[:]) != nil {
		t.Error("it was good twice")
	}
	if n := tickets.count(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestATicketEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tickets := newTickets(2)
		late, _, _ := tickets.issue(agent, time.Second)
		withdrawn, _, _ := tickets.issue(agent, time.Hour)
		if _, _, err := tickets.issue(agent, time.Second); !errors.Is(err, errTickets) {
			t.Errorf("a third of two: %v", err)
		}
		tickets.withdraw(withdrawn)
		tickets.withdraw(withdrawn)
		<-time.After(time.Second)
		synctest.Wait()
		if tickets.redeem(late[:]) != nil || tickets.redeem(withdrawn[:]) != nil {
			t.Error("an ended ticket was taken")
		}
		if e, ok := errs.From(errTickets); !ok || e.Reason() != errs.ReasonOverloaded || e.RetryAfter() == 0 {
			t.Errorf("%v", errTickets)
		}
	})
}

// A connection whose visitor has gone serves another one of the same agent, and
// no agent's connection another agent's visitor.
func TestAConnectionIsOfferedToItsAgentsVisitors(t *testing.T) {
	t.Parallel()
	tickets := newTickets(10)
	other := route.Agent{ID: "a", Instance: route.Instance{2}}
	_, theirs, _ := tickets.issue(other, time.Minute)
	c := &Conn{Agent: agent}
	if tickets.offer(c) || len(theirs.arrived) != 0 {
		t.Fatal("another run of the agent got it")
	}
	id, ours, _ := tickets.issue(agent, time.Minute)
	if !tickets.offer(c) || <-ours.arrived != c {
		t.Fatal("its visitor did not get it")
	}
	if tickets.offer(c) {
		t.Error("it was given away twice")
	}
	if w := tickets.redeem(id[:]); w == nil || w.deliver(c) {
		t.Error("the ticket's own connection is not free for others")
	}
}

// Whoever comes first, a connection goes to the one who waits or is handed back.
func TestAConnectionIsNeverStranded(t *testing.T) {
	t.Parallel()
	for range 1000 {
		w := &want{arrived: make(chan *Conn, 1)}
		c := &Conn{}
		taken, left := make(chan bool, 1), make(chan *Conn, 1)
		go func() { taken <- w.deliver(c) }()
		go func() { left <- w.abandon() }()
		if delivered, back := <-taken, <-left; delivered != (back == c) {
			t.Fatalf("delivered %v, handed back %v", delivered, back)
		}
	}
}
