package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/dialback/dialback/services/auth/internal/identity"
)

func snapshotAndFollow(t *testing.T, s identity.Store) {
	create(t, s, token(1), token(2), token(3))
	if _, err := s.RevokeToken(bounded(t), token(1).ID, now); err != nil {
		t.Fatal(err)
	}
	standing := map[string]identity.Change{}
	revision, err := s.Snapshot(bounded(t), func(c identity.Change) { standing[c.TokenID] = c })
	if err != nil {
		t.Fatal(err)
	}
	if len(standing) != 3 || !standing[token(1).ID].Ended || standing[token(2).ID].Ended || !standing[token(2).ID].Expires.Equal(token(2).Expires) {
		t.Errorf("the snapshot has %v", standing)
	}
	for id, c := range standing {
		if c.Revision <= 0 || c.Revision > revision {
			t.Errorf("%s changed at %d, beyond the snapshot's %d", id, c.Revision, revision)
		}
	}
	if _, err := s.RevokeToken(bounded(t), token(2).ID, now); err != nil {
		t.Fatal(err)
	}
	create(t, s, token(4))

	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	var changes []identity.Change
	err = s.Follow(ctx, revision, func(p identity.Progress) {
		changes = append(changes, p.Changes...)
		if len(changes) == 2 {
			cancel()
		}
		if n := len(p.Changes); n > 0 && p.Changes[n-1].Revision > p.Revision {
			t.Errorf("progress to %d is behind its own changes: %v", p.Revision, p.Changes)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Follow() = %v", err)
	}
	if len(changes) != 2 || changes[0].TokenID != token(2).ID || !changes[0].Ended || changes[1].TokenID != token(4).ID || changes[1].Ended {
		t.Errorf("what follows the snapshot is %v", changes)
	}
	if len(changes) == 2 && (changes[0].Revision <= revision || changes[1].Revision <= changes[0].Revision) {
		t.Errorf("revisions do not rise from %d: %v", revision, changes)
	}
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
