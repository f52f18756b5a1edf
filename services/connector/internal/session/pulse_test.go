package session

import (
	"slices"
	"testing"
	"time"
)

var pings = Pings{Interval: 10 * time.Second, Timeout: 15 * time.Second}

// beat lets time pass in steps; each ping is answered after delay, if ever.
func beat(s *Session, from time.Time, steps int, answer func(now time.Time, id uint64)) (alive bool, now time.Time) {
	now = from
	for range steps {
		now = now.Add(time.Second)
		if !s.Alive(now, pings) {
			return false, now
		}
		for m, ok := s.Next(); ok; m, ok = s.Next() {
			if p, isPing := m.(Ping); isPing {
				answer(now, p.ID)
			}
		}
	}
	return true, now
}

func TestAnAgentThatAnswersLives(t *testing.T) {
	t.Parallel()
	s := testSession()
	answered := 0
	alive, _ := beat(s, s.Opened, 600, func(now time.Time, id uint64) {
		answered++
		s.Heard(now)
		s.Pong(id, time.Now())
	})
	if !alive || answered < 59 || answered > 61 {
		t.Errorf("alive %v, after %d pings in 10 minutes", alive, answered)
	}
	if s.RTT() <= 0 || s.RTT() > time.Second {
		t.Errorf("round trip %v", s.RTT())
	}
}

// Both sides ping. Were each to wake the other at moments of its own, thousands of
// silent sessions would cost twice as much.
func TestOurPingGoesWithTheAnswerToTheirs(t *testing.T) {
	t.Parallel()
	s := testSession()
	s.Alive(s.Opened, pings) // plans the first one
	now := s.Opened.Add(pings.Interval)
	s.Alive(now, pings)
	sent := func() (list []Message) {
		for m, ok := s.Next(); ok; m, ok = s.Next() {
			list = append(list, m)
		}
		return list
	}
	if list := sent(); !slices.Equal(list, []Message{Ping{ID: 1}}) {
		t.Fatalf("at first: %v", list)
	}
	for id := uint64(1); id < 10; id++ {
		s.Pong(id, now)
		s.AnswerPing(id, now.Add(pings.Interval/3), pings)
		if list := sent(); !slices.Equal(list, []Message{Pong{ID: id}}) {
			t.Fatalf("too early for ours: %v", list)
		}
		now = now.Add(pings.Interval - time.Second)
		s.AnswerPing(id, now, pings)
		if list := sent(); !slices.Equal(list, []Message{Pong{ID: id}, Ping{ID: id + 1}}) {
			t.Fatalf("ours is due soon: %v", list)
		}
		s.Alive(now.Add(time.Second), pings)
		if list := sent(); len(list) > 0 {
			t.Fatalf("again: %v", list)
		}
	}
}

func TestSilenceIsDeath(t *testing.T) {
	t.Parallel()
	s := testSession()
	alive, now := beat(s, s.Opened, 60, func(time.Time, uint64) {})
	if silent := now.Sub(s.Opened); alive || silent < pings.Timeout || silent > pings.Timeout+2*time.Second {
		t.Errorf("alive %v after %v of silence", alive, silent)
	}
}

func TestTalkWithoutPongsIsDeath(t *testing.T) {
	t.Parallel()
	s := testSession()
	now := s.Opened
	for range 60 {
		now = now.Add(time.Second)
		s.Heard(now)
		if !s.Alive(now, pings) {
			if d := now.Sub(s.Opened); d < pings.Timeout {
				t.Errorf("dead after %v", d)
			}
			return
		}
	}
	t.Error("it lives")
}

func TestPongsToPingsThatWereNotSentAreNothing(t *testing.T) {
	t.Parallel()
	s := testSession()
	s.Pong(0, time.Now())
	s.Pong(1, time.Now())
	s.Alive(s.Opened, pings)
	s.Alive(s.Opened.Add(pings.Interval), pings) // queued, and not taken yet
	s.Pong(1, time.Now())
	if s.RTT() != 0 {
		t.Errorf("round trip %v", s.RTT())
	}
}

func TestSessionsOfOneMomentArePingedSpread(t *testing.T) {
	t.Parallel()
	first := map[time.Duration]int{}
	for range 200 {
		s := testSession()
		for now := s.Opened; ; now = now.Add(time.Second) {
			s.Alive(now, pings)
			if _, ok := s.Next(); ok {
				first[now.Sub(s.Opened)]++
				break
			}
		}
	}
	if len(first) < 5 {
		t.Errorf("first pings at %v", first)
	}
}
