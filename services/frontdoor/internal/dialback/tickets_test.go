package dialback

import (
	"errors"
	"testing"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

var agent = route.Agent{ID: "a", Instance: route.Instance{1}}

func newWant() *want { return &want{agent: agent, redeemed: make(chan ticket, 1)} }

func TestATicketIsGoodOnce(t *testing.T) {
	t.Parallel()
	tickets := newTickets(10)
	redeemed := make(chan ticket, 1)
	w := &want{agent: agent, redeemed: redeemed}
	id, err := tickets.issue(w)
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
	if got := tickets.redeem(id[:]); got != w || got.agent != agent || <-redeemed != id {
		t.Errorf("redeemed %+v", got)
	}
	if tickets.redeem(id[:]) != nil {
		t.Error("it was good twice")
	}
	if n := len(tickets.open); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestAWithdrawnTicketIsWorthless(t *testing.T) {
	t.Parallel()
	tickets := newTickets(2)
	first, _ := tickets.issue(newWant())
	second, _ := tickets.issue(newWant())
	if _, err := tickets.issue(newWant()); !errors.Is(err, errTickets) {
		t.Errorf("a third of two: %v", err)
	}
	for _, id := range []ticket{first, second, second} {
		tickets.withdraw(id)
	}
	if tickets.redeem(first[:]) != nil || tickets.redeem(second[:]) != nil {
		t.Error("a withdrawn ticket was taken")
	}
	if _, err := tickets.issue(newWant()); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if e, ok := errs.From(errTickets); !ok || e.Reason() != errs.ReasonOverloaded || e.RetryAfter() == 0 {
		t.Errorf("%v", errTickets)
	}
}
