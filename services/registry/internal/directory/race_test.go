package directory_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

// The owner releases while its second session binds: the bind was decided on a
// claim that is gone, and must not leave an attachment without one.
func TestAReleaseBetweenReadAndCommit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	first := f.bind(p, "s1", "t1", host)
	f.store.meanwhile = func() {
		if err := f.Release(t.Context(), p, "t1", directory.Closed, directory.Source{}); err != nil {
			t.Error(err)
		}
	}
	second := f.bind(p, "s2", "t1", host)
	if second.Generation <= first.Generation {
		t.Error("a claim that was released is written again")
	}
	if e := f.endpoint(host); e.Claim == nil || sessions(e) != "s2" {
		t.Errorf("the claim is %v with the sessions %q", e.Claim, sessions(e))
	}
}

// A rival takes the free name between read and commit.
func TestARivalBetweenReadAndCommit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	rival := agentOf("b")
	rival.Account = "other"
	f.store.meanwhile = func() { f.bind(rival, "s2", "t2", host) }
	if _, err := f.Bind(t.Context(), f.request(agentOf("a"), "s1", "t1", host)); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("bind: %v", err)
	}
	if e := f.endpoint(host); e.Claim.Account != "other" || sessions(e) != "s2" {
		t.Errorf("the claim is %v with the sessions %q", e.Claim, sessions(e))
	}
}

// The rival has come and its session is lost again: there is no attachment that
// would tell, but there is a claim.
func TestALostRivalBetweenReadAndCommit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	rival := agentOf("b")
	rival.Account = "other"
	f.store.meanwhile = func() {
		f.bind(rival, "s2", "t2", host)
		if err := f.store.EndSession(t.Context(), "c1-abcd", "s2", directory.Lost); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Bind(t.Context(), f.request(agentOf("a"), "s1", "t1", host)); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("bind: %v", err)
	}
	if e := f.endpoint(host); e.Claim == nil || e.Claim.Account != "other" {
		t.Errorf("the claim is %v", e.Claim)
	}
}

// The older instance attaches once more while the new one takes over: every
// attachment of the older is ended, that one too.
func TestAnAttachmentBetweenReadAndTakeOver(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	f.bind(p, "s1", "t1", host)
	next := p
	next.Instance = "another"
	f.store.meanwhile = func() { f.bind(p, "s2", "t1", host) }
	f.bind(next, "s3", "t1", host)
	if e := f.endpoint(host); sessions(e) != "s3" {
		t.Errorf("attached are %q", sessions(e))
	}
}

// The tunnel gets another name while it asks for this one: one name in the end.
func TestATunnelAsksForTwoNamesAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	f.store.meanwhile = func() { f.bind(p, "s2", "t1", "other.example.com") }
	f.bind(p, "s1", "t1", host)
	if got := f.keys("state/claim/"); len(got) != 1 || got[0] != "state/claim/com/example/app" {
		t.Errorf("the tunnel has %v", got)
	}
}

// The name changes hands between the two reads of a release.
func TestAReleaseOfWhatHasBecomeAnothers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	f.bind(p, "s1", "t1", host)
	f.store.between = func() {
		if err := f.Release(t.Context(), p, "t1", directory.Closed, directory.Source{}); err != nil {
			t.Error(err)
		}
		other := p
		other.Account, other.Agent = "other", "b"
		f.bind(other, "s2", "t2", host)
	}
	if err := f.Release(t.Context(), p, "t1", directory.Closed, directory.Source{}); err != nil {
		t.Error(err)
	}
	if e := f.endpoint(host); e.Claim == nil || e.Claim.Account != "other" || sessions(e) != "s2" {
		t.Errorf("the claim is %v with the sessions %q", e.Claim, sessions(e))
	}
}

// restless is a store in which what was read has always changed.
type restless struct {
	directory.Store
	commits int
}

func (s *restless) Commit(context.Context, directory.Plan) (int64, error) {
	s.commits++
	return 0, directory.ErrConflict
}

// A name that everybody changes all the time is given up, with a retry.
func TestEndlessConflicts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	store := &restless{Store: f.store.Store}
	d := directory.New(f.config, store, f.holders)
	if _, err := d.Bind(t.Context(), f.request(agentOf("a"), "s1", "t1", host)); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("bind: %v", err)
	}
	if store.commits < 2 || store.commits > 50 {
		t.Errorf("%d attempts", store.commits)
	}
}
