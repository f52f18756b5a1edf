package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func snapshotAndFollow(t *testing.T, s identity.Store) {
	create(t, s, token(1), token(2), token(3)) // and team-a
	revoke(t, s, token(1).ID)
	standing, revision := snapshot(t, s)
	if len(standing) != 4 || !standing[token(1).ID].Ended || standing[token(2).ID].Ended ||
		!standing[token(2).ID].Expires.Equal(token(2).Expires) || standing["team-a"].AccountID != "team-a" || standing["team-a"].Ended {
		t.Errorf("the snapshot has %v", standing)
	}
	for id, c := range standing {
		if c.Revision <= 0 || c.Revision > revision {
			t.Errorf("%s changed at %d, beyond the snapshot's %d", id, c.Revision, revision)
		}
	}
	followOn(t, s, revision)
}

// followOn changes things and follows from the revision before that.
func followOn(t *testing.T, s identity.Store, revision int64) {
	t.Helper()
	revoke(t, s, token(2).ID)
	create(t, s, token(4))
	if _, err := s.ChangeToken(bounded(t), token(4).ID, describe("x")); err != nil {
		t.Fatal(err)
	}
	suspend(t, s, "team-a")
	if err := s.DeleteToken(bounded(t), token(4).ID, func(x identity.Token) (identity.Event, error) { return event(identity.Deleted, x.ID), nil }); err != nil {
		t.Fatal(err)
	}

	wants := []identity.Change{
		{TokenID: token(2).ID, Ended: true}, {TokenID: token(4).ID, Fresh: true}, {TokenID: token(4).ID},
		{AccountID: "team-a", Ended: true}, {TokenID: token(4).ID, Ended: true},
	}
	for i, got := range Follow(t, s, revision, len(wants)) {
		want := wants[i]
		if got.TokenID != want.TokenID || got.AccountID != want.AccountID || got.Ended != want.Ended || got.Fresh != want.Fresh || got.Revision <= revision {
			t.Errorf("change %d behind the snapshot is %+v, want %+v", i, got, want)
		}
		revision = got.Revision
	}
}

func suspend(t *testing.T, s identity.Store, id string) {
	t.Helper()
	_, err := s.ChangeAccount(bounded(t), id, func(a *identity.Account) (*identity.Event, error) {
		a.Disabled = true
		e := event(identity.Updated, id)
		return &e, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func revoke(t *testing.T, s identity.Store, id string) {
	t.Helper()
	_, err := s.ChangeToken(bounded(t), id, func(x *identity.Token) (*identity.Event, error) {
		x.Revoked = now
		e := event(identity.Revoked, id)
		return &e, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot returns what stands, by the id of the token or account.
func snapshot(t *testing.T, s identity.Store) (map[string]identity.Change, int64) {
	t.Helper()
	standing := map[string]identity.Change{}
	revision, err := s.Snapshot(bounded(t), func(c identity.Change) { standing[c.TokenID+c.AccountID] = c })
	if err != nil {
		t.Fatal(err)
	}
	return standing, revision
}

// Follow returns the first n changes after a revision, and holds the feed to its
// promise: nothing is missing up to the revision of a step.
func Follow(t *testing.T, s identity.Store, after int64, n int) []identity.Change {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	var changes []identity.Change
	err := s.Follow(ctx, after, func(p identity.Progress) {
		changes = append(changes, p.Changes...)
		for _, c := range p.Changes {
			if c.Revision <= after || c.Revision > p.Revision {
				t.Errorf("the step from %d to %d has a change of %d", after, p.Revision, c.Revision)
			}
		}
		after = p.Revision
		if len(changes) >= n {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(changes) != n {
		t.Fatalf("Follow() = %v behind %v, want %d changes", err, changes, n)
	}
	return changes
}

func unknownRevisions(t *testing.T, s identity.Store) {
	create(t, s, token(1))
	revision, err := s.Snapshot(bounded(t), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kept(bounded(t), revision); err != nil {
		t.Errorf("the present revision: %v", err)
	}
	if err := s.Kept(bounded(t), revision+1_000_000); !errors.Is(err, identity.ErrCompacted) {
		t.Errorf("a revision that is still to come: %v", err)
	}
}

func followEnds(t *testing.T, s identity.Store) {
	revision, err := s.Snapshot(bounded(t), func(identity.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error, 1)
	go func() { done <- s.Follow(ctx, revision, func(identity.Progress) {}) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow() = %v", err)
	}
}
