package session

import (
	"fmt"
	"testing"
	"time"
)

func testSession() *Session {
	return New(Identity{Agent: "a", Account: "acme", Token: "tok"}, "192.0.2.1:1", Assertion{}, func(Reason) {})
}

func dial(ticket string) Dial {
	return Dial{Ticket: ticket, Deadline: time.Now().Add(time.Minute)}
}

func dials(n int) []Dial {
	list := make([]Dial, n)
	for i := range list {
		list[i] = dial(fmt.Sprintf("ticket-%06d", i))
	}
	return list
}

// A ping behind a burst of dial-backs would be a false death.
func TestPingsAndAnswersGoFirst(t *testing.T) {
	t.Parallel()
	s := testSession()
	s.Ask(dials(40))
	s.Announce(Connectors{Others: []string{"c2"}})
	s.Announce(Connectors{Others: []string{"c3"}}) // in the place of the first
	s.Answer(TunnelClosed{TunnelID: "t"})
	s.Alive(s.Opened, Pings{Interval: 1, Timeout: time.Minute})
	s.Alive(s.Opened.Add(time.Second), Pings{Interval: 1, Timeout: time.Minute})
	s.AnswerPing(7, time.Now(), pings)
	var got string
	for m, ok := s.Next(); ok; m, ok = s.Next() {
		got += fmt.Sprintf("%T ", m)
	}
	if want := "session.Pong session.Ping session.TunnelClosed session.Connectors session.ReqProxy session.ReqProxy "; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

// Wanted dial-backs are state, not a queue: one too many is refused to whoever
// asks and costs the session nothing.
func TestWantsMergeUpToABound(t *testing.T) {
	t.Parallel()
	s := testSession()
	overloaded := 0
	for _, d := range dials(5000) {
		_, verdicts := s.Ask([]Dial{d})
		if verdicts[0].Outcome == Overloaded {
			overloaded++
		}
	}
	if overloaded != 5000-maxDials {
		t.Errorf("%d refused", overloaded)
	}
	sent := 0
	for m, ok := s.Next(); ok; m, ok = s.Next() {
		batch := m.(ReqProxy).Dials
		if len(batch) > dialsPerMessage {
			t.Fatalf("%d in one message", len(batch))
		}
		for _, d := range batch {
			if want := fmt.Sprintf("ticket-%06d", sent); d.Ticket != want {
				t.Fatalf("sent %s, want %s", d.Ticket, want)
			}
			sent++
		}
	}
	if sent != maxDials {
		t.Errorf("%d sent", sent)
	}
	if _, verdicts := s.Ask([]Dial{dial("later")}); verdicts[0].Outcome != Asked {
		t.Error("there is room again, and a dial is refused")
	}
}

func TestWhatNobodyWantsAnyMoreIsNotSent(t *testing.T) {
	t.Parallel()
	s := testSession()
	gone, _ := s.Ask(dials(3))
	expired := dial("expired")
	expired.Deadline = time.Now().Add(-time.Second)
	s.Ask([]Dial{expired})
	s.Ask([]Dial{dial("kept")})
	gone.Release()
	m, ok := s.Next()
	if batch, _ := m.(ReqProxy); !ok || len(batch.Dials) != 1 || batch.Dials[0].Ticket != "kept" {
		t.Errorf("sent %v", m)
	}
	if _, ok := s.Next(); ok {
		t.Error("more was sent")
	}
}

func TestExpiredWantsMakeRoom(t *testing.T) {
	t.Parallel()
	s := testSession()
	old := dials(maxDials)
	for i := range old {
		old[i].Deadline = time.Now().Add(-time.Second)
	}
	s.Ask(old)
	if _, verdicts := s.Ask([]Dial{dial("fresh")}); verdicts[0].Outcome != Asked {
		t.Error("dials that nobody waits for any more stand in the way")
	}
}

func TestUnreadAnswersAreBounded(t *testing.T) {
	t.Parallel()
	s := testSession()
	for i := range maxAnswers {
		if !s.Answer(TunnelClosed{}) {
			t.Fatalf("answer %d is refused", i)
		}
	}
	if s.Answer(TunnelClosed{}) {
		t.Error("no bound")
	}
	for i := range uint64(1000) {
		s.AnswerPing(i, time.Now(), pings)
	}
	if len(s.out.pongs) != maxPongs || s.out.pongs[maxPongs-1].ID != 999 {
		t.Errorf("%d pongs wait", len(s.out.pongs))
	}
}

func TestOneSignalStandsForAll(t *testing.T) {
	t.Parallel()
	s := testSession()
	s.Ask(dials(5))
	s.AnswerPing(1, time.Now(), pings)
	<-s.Wake()
	select {
	case <-s.Wake():
		t.Error("two signals")
	default:
	}
}
