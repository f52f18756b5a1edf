package session

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func add(t *testing.T, table *Table, who Identity) *Session {
	t.Helper()
	s := New(who, "192.0.2.1:1", Assertion{}, func(Reason) {})
	if err := table.Add(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func bound(t *testing.T, table *Table, s *Session, tunnel Tunnel) {
	t.Helper()
	if _, err := table.Reserve(s, tunnel.ID, 0); err != nil {
		t.Fatal(err)
	}
	if !table.Attach(s, tunnel) {
		t.Fatal("not attached")
	}
}

// Frontdoors must know before anybody else can react: the agent, the registry,
// or whoever waits for a verdict.
func TestAnEndReachesFrontdoorsFirst(t *testing.T) {
	t.Parallel()
	var order []string
	var watcher *Watcher
	heard := func(who string) {
		if ends, _ := watcher.Take(); len(ends) == 1 {
			order = append(order, "frontdoors")
		}
		order = append(order, who)
	}
	table := NewTable(10, func(*Session, Reason) { heard("registry") })
	s := New(Identity{Agent: "a", Token: "tok"}, "", Assertion{}, func(Reason) { heard("agent") })
	watcher = table.Feed().Watch()
	defer watcher.Close()
	if err := table.Add(s); err != nil {
		t.Fatal(err)
	}
	table.Revoke("tok")
	table.End(s, Lost, nil) // the first end stands
	if got := fmt.Sprint(order); got != "[frontdoors registry agent]" {
		t.Errorf("told in the order %s", got)
	}
	if reason, cause := s.End(); reason != Revoked || !errors.Is(cause, ErrRevoked) {
		t.Errorf("ended %v, %v", reason, cause)
	}
}

// A token that is revoked between its validation and the session's entry.
func TestARevocationThatOvertakesASession(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	table.Revoke("tok")
	if err := table.Add(testSession()); !errors.Is(err, ErrRevoked) {
		t.Errorf("got %v", err)
	}
}

func TestRevokedTokensAreForgottenOldestFirst(t *testing.T) {
	t.Parallel()
	r := recent[string]{limit: 2}
	for _, key := range []string{"a", "b", "b", "c"} {
		r.add(key)
	}
	if r.has("a") || !r.has("b") || !r.has("c") || len(r.set) != 2 {
		t.Errorf("kept %v", r.set)
	}
}

func TestATableHasABoundAndEmptiesWhole(t *testing.T) {
	t.Parallel()
	table := NewTable(2, func(*Session, Reason) {})
	a := add(t, table, Identity{Agent: "a", Token: "1"})
	b := add(t, table, Identity{Agent: "b", Token: "2"})
	if err := table.Add(testSession()); !errors.Is(err, ErrFull) {
		t.Errorf("a third: %v", err)
	}
	bound(t, table, a, Tunnel{ID: "t", Hostname: "x", Generation: 1})
	bound(t, table, b, Tunnel{ID: "t", Hostname: "x", Generation: 1})
	empty := table.Drain()
	if err := table.Admit(); !errors.Is(err, ErrDraining) {
		t.Errorf("while draining: %v", err)
	}
	table.End(a, Lost, nil)
	table.End(b, Lost, nil)
	<-empty
	if len(table.sessions)+len(table.tokens)+len(table.hosts)+len(table.processes) != 0 {
		t.Error("something is left")
	}
}

func TestANewerGenerationEndsOlderTunnelsOnly(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	watcher := table.Feed().Watch()
	defer watcher.Close()
	older := add(t, table, Identity{Agent: "a", Instance: Instance{1}, Token: "1"})
	newer := add(t, table, Identity{Agent: "a", Instance: Instance{2}, Token: "1"})
	bound(t, table, older, Tunnel{ID: "t", Hostname: "x", Generation: 7})
	bound(t, table, newer, Tunnel{ID: "t", Hostname: "x", Generation: 8})
	table.Supersede(Claim{Hostname: "x", Generation: 8, Agent: "a", Instance: Instance{2}})
	if m, ok := older.Next(); !ok || m.(TunnelClosed).Reason != TakenOver {
		t.Errorf("the older one hears %v", m)
	}
	if m, ok := newer.Next(); ok {
		t.Errorf("the newer one hears %v", m)
	}
	if ends, _ := watcher.Take(); len(ends) != 1 || ends[0].Session != older.ID || ends[0].Tunnel != "t" || ends[0].Reason != TakenOver {
		t.Errorf("frontdoors hear %+v", ends)
	}
	if all := table.Attachments(); len(all) != 1 || all[0].Session != newer {
		t.Errorf("left: %+v", all)
	}
}

// A process that was suspended while another one took its names must not take
// them back when it wakes.
func TestASupersededProcessStaysOut(t *testing.T) {
	t.Parallel()
	older, newer := Identity{Agent: "a", Instance: Instance{1}, Token: "1"}, Identity{Agent: "a", Instance: Instance{2}, Token: "1"}
	back := func(table *Table) error {
		return table.Add(New(older, "", Assertion{}, func(Reason) {}))
	}
	for name, takeOver := range map[string]func(*Table, *Session){
		"while its session stood": func(table *Table, _ *Session) {
			bound(t, table, add(t, table, newer), Tunnel{ID: "t", Hostname: "x", Generation: 8})
		},
		"after its session": func(table *Table, s *Session) {
			table.End(s, Unresponsive, nil)
			bound(t, table, add(t, table, newer), Tunnel{ID: "t", Hostname: "x", Generation: 8})
		},
		"on another connector": func(table *Table, _ *Session) {
			table.Supersede(Claim{Hostname: "x", Generation: 8, Agent: "a", Instance: newer.Instance})
		},
	} {
		table := NewTable(10, func(*Session, Reason) {})
		s := add(t, table, older)
		bound(t, table, s, Tunnel{ID: "t", Hostname: "x", Generation: 7})
		add(t, table, older) // a second attachment is no take-over
		takeOver(table, s)
		if err := back(table); !errors.Is(err, ErrTakenOver) {
			t.Errorf("%s: %v", name, err)
		}
		add(t, table, newer)
	}
	// A clone that serves other names supersedes nobody.
	clones := NewTable(10, func(*Session, Reason) {})
	bound(t, clones, add(t, clones, older), Tunnel{ID: "t", Hostname: "x", Generation: 1})
	bound(t, clones, add(t, clones, newer), Tunnel{ID: "u", Hostname: "y", Generation: 2})
	add(t, clones, older)
	// The registry's answers can arrive in the other order.
	table := NewTable(10, func(*Session, Reason) {})
	first, second := add(t, table, older), add(t, table, newer)
	bound(t, table, second, Tunnel{ID: "t", Hostname: "x", Generation: 8})
	bound(t, table, first, Tunnel{ID: "t", Hostname: "x", Generation: 7})
	add(t, table, newer)
}

// News of an older binding must not end the one that has replaced it.
func TestATunnelThatWasBoundAnewStays(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	s := add(t, table, Identity{Agent: "a", Token: "1"})
	old := Tunnel{ID: "t", Hostname: "x", Generation: 1}
	bound(t, table, s, old)
	bound(t, table, s, Tunnel{ID: "t", Hostname: "x", Generation: 2})
	if table.CloseTunnel(s, old, TakenOver) || table.Tunnels(s) != 1 {
		t.Error("the new tunnel is gone")
	}
	bound(t, table, s, Tunnel{ID: "t", Hostname: "y", Generation: 1})
	if len(table.hosts["x"]) != 0 || len(table.hosts["y"]) != 1 {
		t.Error("the index has the old name")
	}
}

func TestNothingIsAttachedToAnEndedSession(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	s := add(t, table, Identity{Agent: "a", Token: "1"})
	if _, err := table.Reserve(s, "t", 0); err != nil {
		t.Fatal(err)
	}
	table.End(s, Lost, nil)
	if table.Attach(s, Tunnel{ID: "t", Hostname: "x"}) || table.Serves("x") {
		t.Error("attached")
	}
	if _, err := table.Reserve(s, "u", 0); !errors.Is(err, ErrEnded) {
		t.Errorf("reserved: %v", err)
	}
}

func TestASessionThatReadsNoAnswersIsEnded(t *testing.T) {
	t.Parallel()
	table := NewTable(10, func(*Session, Reason) {})
	s := add(t, table, Identity{Agent: "a", Token: "1"})
	for range maxAnswers + 1 {
		table.Tell(s, TunnelClosed{})
	}
	if reason, _ := s.End(); table.Len() != 0 || reason != Unresponsive {
		t.Errorf("%d sessions, ended %v", table.Len(), reason)
	}
}

// A watcher that is too far behind is cut off rather than given a gap.
func TestAFeedNeverWaitsAndNeverSkips(t *testing.T) {
	t.Parallel()
	var f Feed
	slow, quick := f.watch(2), f.watch(100)
	defer slow.Close()
	for i := range 3 {
		f.publish(Ended{Session: fmt.Sprint(i)})
	}
	<-slow.Wake()
	if ends, complete := slow.Take(); complete || len(ends) != 0 {
		t.Errorf("the slow one got %v, complete %v", ends, complete)
	}
	if ends, complete := quick.Take(); !complete || len(ends) != 3 || ends[2].Session != "2" {
		t.Errorf("the quick one got %v, complete %v", ends, complete)
	}
	quick.Close()
	f.publish(Ended{})
	if ends, _ := quick.Take(); len(ends) != 0 {
		t.Error("told after Close")
	}
}

// Ends, asks and tunnels from all sides at once; the race detector judges.
func TestSessionsComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	table := NewTable(1000, func(*Session, Reason) {})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 100 {
				token := fmt.Sprint(j % 5)
				s := New(Identity{Agent: fmt.Sprint(i), Token: token}, "", Assertion{}, func(Reason) {})
				if table.Add(s) != nil {
					continue
				}
				if _, err := table.Reserve(s, "t", 0); err == nil {
					table.Attach(s, Tunnel{ID: "t", Hostname: token, Generation: uint64(j)})
				}
				if a, _ := s.Ask(dials(3)); a != nil {
					s.ProxyFailed("ticket-000001", 1)
					a.Release()
				}
				table.Supersede(Claim{Hostname: token, Generation: uint64(j) + 1})
				table.End(s, Closed, nil)
			}
		})
	}
	group.Go(func() { table.Revoke("3") })
	group.Wait()
	if table.Len() != 0 || len(table.hosts) != 0 {
		t.Errorf("%d sessions and %d hosts are left", table.Len(), len(table.hosts))
	}
}
