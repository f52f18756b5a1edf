package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func account(id string) identity.Account {
	return identity.Account{
		ID: id, DisplayName: "Team Ä", Created: now,
		Quotas: identity.Quotas{MaxAgents: 1, MaxEndpoints: 2, MaxConnections: 3},
	}
}

func alike(a, b identity.Account) bool {
	return a.ID == b.ID && a.DisplayName == b.DisplayName && a.Disabled == b.Disabled && a.Deleting == b.Deleting &&
		a.Quotas == b.Quotas && a.Created.Equal(b.Created)
}

func accountBegins(t *testing.T, s identity.Store) {
	x := token(1)
	if _, _, err := s.CreateToken(bounded(t), x, identity.NewTokenIn{Event: event(identity.Created, x.ID)}); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("a token of no account: %v", err)
	}
	create(t, s, x, token(2))
	if a, err := s.Account(bounded(t), x.AccountID); err != nil || a.ID != x.AccountID || !a.Created.Equal(now) || a.Stopped() {
		t.Errorf("the account is %+v, %v", a, err)
	}
	events, _, err := s.Events(bounded(t), 0, 100)
	names := map[string]int{}
	for _, e := range events {
		names[e.Name]++
	}
	if err != nil || len(names) != 3 || names[x.AccountID] != 1 {
		t.Errorf("the history has %v, %v", names, err)
	}
}

func accountIsMadeOnce(t *testing.T, s identity.Store) {
	want := account("team-b")
	made, created, err := s.CreateAccount(bounded(t), want, event(identity.Created, want.ID))
	if err != nil || !created || !alike(made, want) || made.Revision == 0 {
		t.Fatalf("made %+v, %v, %v", made, created, err)
	}
	other := want
	other.DisplayName = "Others"
	if stands, created, err := s.CreateAccount(bounded(t), other, event(identity.Created, want.ID)); err != nil || created || !alike(stands, want) {
		t.Errorf("again: %+v, %v, %v", stands, created, err)
	}
	want.DisplayName, want.Disabled, want.Quotas = "", true, identity.Quotas{}
	changed, err := s.ChangeAccount(bounded(t), want.ID, func(a *identity.Account) (*identity.Event, error) {
		*a = want
		e := event(identity.Updated, want.ID)
		return &e, nil
	})
	if err != nil || !alike(changed, want) || changed.Revision <= made.Revision {
		t.Errorf("changed to %+v, %v", changed, err)
	}
	if kept, err := s.Account(bounded(t), want.ID); err != nil || !alike(kept, want) || kept.Revision != changed.Revision {
		t.Errorf("kept %+v, %v", kept, err)
	}
	accountIsDeleted(t, s, want)
}

func accountIsDeleted(t *testing.T, s identity.Store, want identity.Account) {
	t.Helper()
	if err := s.DeleteAccount(bounded(t), want.ID, event(identity.Deleted, want.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Account(bounded(t), want.ID); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if err := s.DeleteAccount(bounded(t), want.ID, event(identity.Deleted, want.ID)); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("deleted again: %v", err)
	}
}

func deletingIsShut(t *testing.T, s identity.Store) {
	a := account(token(1).AccountID)
	a.Deleting = true
	if _, _, err := s.CreateAccount(bounded(t), a, event(identity.Created, a.ID)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateToken(bounded(t), token(1), coming(token(1))); !errors.Is(err, identity.ErrAccountDisabled) {
		t.Errorf("a new token: %v", err)
	}
}

func accountsArePaged(t *testing.T, s identity.Store) {
	for _, id := range []string{"d", "a", "c", "b", "a-b"} {
		if _, _, err := s.CreateAccount(bounded(t), account(id), event(identity.Created, id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 10, []string{"a", "a-b", "b", "c", "d"}}, {"", 2, []string{"a", "a-b"}}, {"a", 2, []string{"a-b", "b"}}, {"d", 2, nil},
	} {
		got, err := s.Accounts(bounded(t), test.after, test.limit)
		if err != nil || !slices.EqualFunc(got, test.want, func(a identity.Account, id string) bool { return alike(a, account(id)) }) {
			t.Errorf("Accounts(%q, %d) = %v, %v; want %v", test.after, test.limit, got, err, test.want)
		}
	}
}

func seenAreNotForgotten(t *testing.T, s identity.Store) {
	a := identity.Agent{ID: "00112233445566778899aabbccddeeff", AccountID: "team-a", ResumeHash: [32]byte{7}, Created: now}
	if _, err := s.CreateAgent(bounded(t), a); err != nil {
		t.Fatal(err)
	}
	if err := s.SeeAgent(bounded(t), a.ID, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.ForgetAgent(bounded(t), a); err != nil {
		t.Fatal(err)
	}
	got, found, err := s.Agent(bounded(t), a.ID)
	if err != nil || !found || !got.Seen.Equal(now.Add(time.Hour)) || got.ResumeHash != a.ResumeHash {
		t.Errorf("one that was seen meanwhile: %+v, %v, %v", got, found, err)
	}
	if err := s.ForgetAgent(bounded(t), got); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Agent(bounded(t), a.ID); found || err != nil {
		t.Errorf("one that was not: %v, %v", found, err)
	}
	if err := errors.Join(s.SeeAgent(bounded(t), a.ID, now), s.ForgetAgent(bounded(t), a)); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if list, err := s.Agents(bounded(t), "", 10); err != nil || len(list) != 0 {
		t.Errorf("there are %v, %v", list, err)
	}
}

func liveIsBounded(t *testing.T, s identity.Store) {
	const limit = 3
	var entered atomic.Int32
	var racers sync.WaitGroup
	full := errors.New("full")
	for n := range 10 {
		racers.Go(func() {
			err := s.ChangeLive(bounded(t), "team-a", func(live identity.Live) error {
				if len(live) >= limit {
					return full
				}
				live[fmt.Sprint(n)] = identity.LiveAgent{Since: now, Seen: map[string]time.Time{"c1": now}}
				return nil
			})
			switch {
			case err == nil:
				entered.Add(1)
			case !errors.Is(err, full):
				t.Error(err)
			}
		})
	}
	racers.Wait()
	if n := entered.Load(); n != limit {
		t.Errorf("%d entered, want %d", n, limit)
	}
	err := s.ChangeLive(bounded(t), "team-a", func(live identity.Live) error {
		for id, a := range live {
			if !a.Since.Equal(now) || !a.Seen["c1"].Equal(now) {
				t.Errorf("kept %+v", a)
			}
			delete(live, id)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
