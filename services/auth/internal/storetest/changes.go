package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

// describe is a change of a token.
func describe(text string) func(*identity.Token) (*identity.Event, error) {
	return func(x *identity.Token) (*identity.Event, error) {
		x.Description = text
		e := event(identity.Updated, x.ID)
		return &e, nil
	}
}

func changeHasEvent(t *testing.T, s identity.Store) {
	create(t, s, token(1))
	before, err := s.Token(bounded(t), token(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	want := token(1)
	want.Description = "changed"
	changed, err := s.ChangeToken(bounded(t), want.ID, describe("changed"))
	if err != nil || !same(changed, want) || changed.Revision <= before.Revision {
		t.Errorf("changed to %+v, %v", changed, err)
	}
	if kept, err := s.Token(bounded(t), want.ID); err != nil || !same(kept, want) || kept.Revision != changed.Revision {
		t.Errorf("kept %+v, %v; want %+v", kept, err, changed)
	}
	unwrittenWithoutEvent(t, s, changed)
	events, _, err := s.Events(bounded(t), before.Revision, 10)
	if err != nil || len(events) != 1 || events[0].Revision != changed.Revision {
		t.Fatalf("the history has %+v, %v; want one event of revision %d", events, err, changed.Revision)
	}
	got, wanted := events[0], event(identity.Updated, want.ID)
	if got.Time.Before(happened) {
		t.Errorf("it was at %v", got.Time)
	}
	wanted.Revision, wanted.Time = got.Revision, got.Time
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", wanted) {
		t.Errorf("the event is %+v, want %+v", got, wanted)
	}
}

func unwrittenWithoutEvent(t *testing.T, s identity.Store, want identity.Token) {
	t.Helper()
	refusal := errors.New("no")
	for _, answer := range []error{nil, refusal} {
		_, err := s.ChangeToken(bounded(t), want.ID, func(x *identity.Token) (*identity.Event, error) {
			x.Description = "not meant"
			return nil, answer
		})
		if kept, _ := s.Token(bounded(t), want.ID); !errors.Is(err, answer) || kept.Revision != want.Revision || !same(kept, want) {
			t.Errorf("without an event it was written: %+v, %v", kept, err)
		}
	}
	if _, err := s.ChangeToken(bounded(t), token(2).ID, describe("x")); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

func emptiedIsEmpty(t *testing.T, s identity.Store) {
	full := token(1)
	full.Previous, full.PreviousUntil = [32]byte{9}, now
	create(t, s, full)
	want := token(1)
	want.Description, want.Grants, want.Expires = "", nil, time.Time{}
	_, err := s.ChangeToken(bounded(t), want.ID, func(x *identity.Token) (*identity.Event, error) {
		*x = want
		e := event(identity.Updated, x.ID)
		return &e, nil
	})
	if kept, readErr := s.Token(bounded(t), want.ID); err != nil || readErr != nil || !same(kept, want) {
		t.Errorf("kept %+v, %v, %v", kept, err, readErr)
	}
}

func changesAllCount(t *testing.T, s identity.Store) {
	create(t, s, token(1))
	const racers = 8
	var all sync.WaitGroup
	for range racers {
		all.Go(func() {
			_, err := s.ChangeToken(bounded(t), token(1).ID, func(x *identity.Token) (*identity.Event, error) {
				x.Grants = append(slices.Clone(x.Grants), "bind:b.example.com")
				e := event(identity.Updated, x.ID)
				return &e, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := s.Token(bounded(t), token(1).ID); err != nil || len(got.Grants) != len(token(1).Grants)+racers {
		t.Errorf("%d grants, %v; want %d", len(got.Grants), err, len(token(1).Grants)+racers)
	}
}

func deletedIsGone(t *testing.T, s identity.Store) {
	create(t, s, token(1))
	if err := s.UseTokens(bounded(t), map[string]time.Time{token(1).ID: now}); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	if err := s.DeleteToken(bounded(t), token(1).ID, func(identity.Token) (identity.Event, error) { return identity.Event{}, refusal }); !errors.Is(err, refusal) {
		t.Errorf("refused with %v", err)
	}
	if _, err := s.Token(bounded(t), token(1).ID); err != nil {
		t.Errorf("a refused deletion: %v", err)
	}
	agree := func(x identity.Token) (identity.Event, error) { return event(identity.Deleted, x.ID), nil }
	if err := s.DeleteToken(bounded(t), token(1).ID, agree); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(bounded(t), token(1).ID); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("a deleted token: %v", err)
	}
	if err := s.DeleteToken(bounded(t), token(1).ID, agree); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	if uses, err := s.LastUses(bounded(t), "", "zzz"); err != nil || len(uses) != 0 {
		t.Errorf("its use is kept: %v, %v", uses, err)
	}
}

func usesAreKept(t *testing.T, s identity.Store) {
	uses := map[string]time.Time{"never-made": now}
	for n := range 150 {
		create(t, s, token(n))
		uses[token(n).ID] = now.Truncate(time.Second)
	}
	if err := s.UseTokens(bounded(t), uses); err != nil {
		t.Fatal(err)
	}
	got, err := s.LastUses(bounded(t), token(10).ID, token(29).ID)
	if err != nil || len(got) != 20 || !got[token(10).ID].Equal(now.Truncate(time.Second)) {
		t.Errorf("%d uses, %v; want 20", len(got), err)
	}
	if got, err := s.LastUses(bounded(t), "never-made", "never-made"); err != nil || len(got) != 0 {
		t.Errorf("what was never made was used: %v, %v", got, err)
	}
}

func historyInPieces(t *testing.T, s identity.Store) {
	create(t, s, token(0)) // with the event of its account, in one revision or two
	_, from, err := s.Bounds(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	const changes = 25
	for n := range changes {
		if _, err := s.ChangeToken(bounded(t), token(0).ID, describe(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for after := from; ; {
		events, upTo, err := s.Events(bounded(t), after, 4)
		if err != nil || len(events) > 4 {
			t.Fatalf("after %d: %d events, %v", after, len(events), err)
		}
		for _, e := range events {
			if e.Revision <= after || e.Revision > upTo {
				t.Errorf("between %d and %d there is %d", after, upTo, e.Revision)
			}
			after = e.Revision
			seen++
		}
		if after = upTo; len(events) == 0 {
			break
		}
	}
	if seen != changes {
		t.Errorf("%d events were told of %d", seen, changes)
	}
}

func trimmedIsMissed(t *testing.T, s identity.Store) {
	if _, _, err := s.CreateAccount(bounded(t), account("team-a"), event(identity.Created, "team-a")); err != nil {
		t.Fatal(err)
	}
	create(t, s, token(1), token(2), token(3))
	all, upTo, err := s.Events(bounded(t), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.TrimEvents(bounded(t), happened.Add(-time.Hour), 100); n != 0 || err != nil {
		t.Errorf("young ones were trimmed: %d, %v", n, err)
	}
	if n, err := s.TrimEvents(bounded(t), happened.Add(-time.Hour), 2); n != len(all)-2 || err != nil {
		t.Errorf("%d of %d were trimmed, %v; want all but 2", n, len(all), err)
	}
	oldest, present, err := s.Bounds(bounded(t))
	if err != nil || oldest <= 0 || present < upTo {
		t.Errorf("the bounds are %d and %d, %v", oldest, present, err)
	}
	trimmedBelow(t, s, oldest, present)
}

func trimmedBelow(t *testing.T, s identity.Store, oldest, present int64) {
	t.Helper()
	if _, _, err := s.Events(bounded(t), oldest-1, 100); !errors.Is(err, identity.ErrCompacted) {
		t.Errorf("below the bound: %v", err)
	}
	if left, _, err := s.Events(bounded(t), oldest, 100); err != nil || len(left) != 2 {
		t.Errorf("%d are left, %v", len(left), err)
	}
	if n, err := s.TrimEvents(bounded(t), happened.Add(time.Hour), 100); n != 2 || err != nil {
		t.Errorf("of old ones %d were trimmed, %v", n, err)
	}
	if _, _, err := s.Events(bounded(t), present+1_000_000, 100); !errors.Is(err, identity.ErrCompacted) {
		t.Errorf("a revision that is still to come: %v", err)
	}
}
