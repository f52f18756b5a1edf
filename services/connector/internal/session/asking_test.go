package session

import "testing"

func TestVerdictsReachTheirAsker(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	s := testSession()
	if err := table.Add(s); err != nil {
		t.Fatal(err)
	}
	first, _ := s.Ask([]Dial{dial("a"), dial("b")})
	second, _ := s.Ask([]Dial{dial("c")})
	s.ProxyFailed("b", 3)
	s.ProxyFailed("b", 3) // once is enough
	if v := <-first.Later(); v.Ticket != "b" || v.Outcome != Failed || v.Fail != 3 {
		t.Errorf("verdict %+v", v)
	}
	table.End(s, Lost, nil)
	if v := <-first.Later(); v.Ticket != "a" || v.Outcome != SessionEnded {
		t.Errorf("verdict %+v", v)
	}
	if v := <-second.Later(); v.Ticket != "c" || v.Outcome != SessionEnded {
		t.Errorf("verdict %+v", v)
	}
	first.Release()
	second.Release()
	if a, _ := s.Ask(dials(1)); a != nil {
		t.Error("an ended session was asked")
	}
}

func TestATicketIsAskedOnce(t *testing.T) {
	t.Parallel()
	s := testSession()
	first, _ := s.Ask([]Dial{dial("a")})
	again, verdicts := s.Ask([]Dial{dial("a")})
	if verdicts[0].Outcome != Overloaded || again.Pending() != 0 {
		t.Errorf("asked twice: %+v", verdicts)
	}
	again.Release() // must not take the other's ticket
	s.ProxyFailed("a", 1)
	if v := <-first.Later(); v.Outcome != Failed {
		t.Errorf("verdict %+v", v)
	}
}

func TestOpenTicketsAreBoundedAndFreed(t *testing.T) {
	t.Parallel()
	s := testSession()
	var askings []*Asking
	asked := 0
	for _, d := range dials(maxAsked + 100) {
		a, verdicts := s.Ask([]Dial{d})
		if verdicts[0].Outcome == Asked {
			asked++
		}
		askings = append(askings, a)
		for _, ok := s.Next(); ok; _, ok = s.Next() { // all is sent at once
			continue
		}
	}
	if asked != maxAsked || s.Asked() != maxAsked {
		t.Errorf("%d asked, %d open", asked, s.Asked())
	}
	for _, a := range askings {
		a.Release()
	}
	if s.Asked() != 0 || s.asked != nil {
		t.Errorf("%d tickets are kept", s.Asked())
	}
}
