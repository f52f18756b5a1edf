package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// A machine was replaced, and its state with it: for us it is another agent.
func TestAHolderThatDoesNotAnswerLosesItsName(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	before := f.bind(agentOf("old"), "s1", "t1", host)
	f.holders.there = false
	after := f.bind(agentOf("new"), "s2", "t2", host)
	if after.Generation <= before.Generation || after.Agent != "new" || f.holders.asked.Load() != 1 {
		t.Errorf("claim %+v, asked %d times", after, f.holders.asked.Load())
	}
	if got := sessions(f.endpoint(host)); got != "s2" {
		t.Errorf("reachable by %s", got)
	}
	if got := strings.Join(f.keys("index/"), " "); got != "index/session/c1-abcd/s2/com/example/app index/tunnel/acme/new/t2" {
		t.Errorf("indexed: %s", got)
	}
	// Its ghost comes back, and is told of the one that is there now.
	f.holders.there = true
	if _, err := f.Bind(t.Context(), f.request(agentOf("old"), "s1", "t1", host)); !errors.Is(err, directory.ErrNameInUse) {
		t.Errorf("the old agent is told %v", err)
	}
	if err := f.Release(t.Context(), agentOf("old"), "t1", directory.Closed, directory.Source{}); err != nil {
		t.Fatal(err)
	}
	if got := f.endpoint(host); got.Claim == nil || got.Claim.Agent != "new" {
		t.Errorf("the old agent's release leaves %v", got.Claim)
	}
}

func TestAHolderThatAnswersKeepsItsName(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.bind(agentOf("a"), "s1", "t1", host)
	_, err := f.Bind(t.Context(), f.request(agentOf("b"), "s2", "t2", host))
	if e, ok := errs.From(err); !ok || !errors.Is(err, directory.ErrNameInUse) || e.RetryAfter() <= 0 {
		t.Errorf("refused with %v", err)
	}
	if got := f.endpoint(host); got.Claim.Agent != "a" || sessions(got) != "s1" {
		t.Errorf("%v by %s", got.Claim, sessions(got))
	}
}

// Neither another account nor one who asks for a parked name has anybody woken.
func TestOnlyTheAccountsOwnHoldersAreChallenged(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.bind(agentOf("a"), "s1", "t1", host)
	stranger := agentOf("b")
	stranger.Account = "other"
	f.holders.there = false
	if _, err := f.Bind(t.Context(), f.request(stranger, "s2", "t2", host)); !errors.Is(err, directory.ErrNameTaken) {
		t.Errorf("another account: %v", err)
	}
	random := f.bind(agentOf("a"), "s1", "t3", "").Hostname
	if err := f.Release(t.Context(), agentOf("a"), "t3", directory.Closed, directory.Source{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bind(t.Context(), f.request(agentOf("b"), "s2", "t2", random)); !errors.Is(err, directory.ErrNameInUse) {
		t.Errorf("a parked name: %v", err)
	}
	if f.holders.asked.Load() > 0 {
		t.Errorf("asked %d times", f.holders.asked.Load())
	}
}

// The holder gives no answer, and is back before its name is gone.
func TestAHolderThatReturnsInTimeKeepsItsName(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]directory.Principal{
		"attached anew": agentOf("a"),
		"restarted":     {Account: "acme", Agent: "a", Instance: "the next"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.bind(agentOf("a"), "s1", "t1", host)
			f.holders.there = false
			f.holders.meanwhile = func() { f.bind(back, "s3", "t1", host) }
			if _, err := f.Bind(t.Context(), f.request(agentOf("b"), "s2", "t2", host)); !errors.Is(err, directory.ErrNameInUse) {
				t.Errorf("the rival is told %v", err)
			}
			if got := f.endpoint(host); got.Claim.Agent != "a" || !strings.Contains(sessions(got), "s3") {
				t.Errorf("%v by %s", got.Claim, sessions(got))
			}
		})
	}
}
