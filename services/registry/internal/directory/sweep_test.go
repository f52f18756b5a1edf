package directory_test

import (
	"testing"
	"time"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

const grace = 10 * time.Second

// overview says what the test has it say; a copy may be behind.
type overview struct {
	detached map[string]directory.Detached
	parked   []string
}

func (o *overview) Detached() map[string]directory.Detached { return o.detached }

func (o *overview) ParkedUntil(time.Time) []string { return o.parked }

type sweeping struct {
	*fixture
	*overview
	*directory.Sweeper
}

// sweep has one claim, bound and lost at revision 5 of the overview.
func sweep(t *testing.T) (*sweeping, *directory.Claim) {
	f := setUp(t)
	claim := f.bind(agentOf("a"), "s1", "t1", host)
	if err := f.store.EndSession(t.Context(), "c1-abcd", "s1", directory.Lost); err != nil {
		t.Fatal(err)
	}
	o := &overview{detached: map[string]directory.Detached{host: {Generation: claim.Generation, Since: 5}}}
	return &sweeping{f, o, directory.NewSweeper(f.Directory, o, grace)}, claim
}

func (s *sweeping) tick(elapsed time.Duration, want int) {
	s.t.Helper()
	ended, err := s.Tick(s.t.Context(), elapsed)
	if err != nil || ended != want {
		s.t.Errorf("a tick of %v ends %d claims, %v; want %d", elapsed, ended, err, want)
	}
}

func TestGraceIsCountedInTicks(t *testing.T) {
	t.Parallel()
	s, _ := sweep(t)
	s.tick(time.Hour, 0) // seen for the first time: what was before does not count
	s.tick(grace/2, 0)
	s.tick(grace/2-1, 0)
	s.tick(1, 1)
	if e := s.endpoint(host); e.Claim != nil {
		t.Errorf("the claim is %v", e.Claim)
	}
	if got := s.keys("index/"); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestANewRegistryBeginsAnew(t *testing.T) {
	t.Parallel()
	s, _ := sweep(t)
	s.tick(0, 0)
	s.tick(grace-1, 0)
	s.Sweeper = directory.NewSweeper(s.Directory, s.overview, grace)
	s.tick(grace, 0)
	s.tick(grace-1, 0)
	s.tick(1, 1)
}

// The agent was back between two ticks and is lost again: a new grace.
func TestEachLossHasItsGrace(t *testing.T) {
	t.Parallel()
	s, claim := sweep(t)
	s.tick(0, 0)
	s.tick(grace-1, 0)
	s.detached = map[string]directory.Detached{host: {Generation: claim.Generation, Since: 9}}
	s.tick(1, 0)
	s.tick(grace-1, 0)
	s.tick(1, 1)
}

// The copy is behind: the agent is back already.
func TestTheStoreDecides(t *testing.T) {
	t.Parallel()
	s, claim := sweep(t)
	s.tick(0, 0)
	s.bind(agentOf("a"), "s2", "t1", host)
	s.tick(grace, 0)
	if e := s.endpoint(host); e.Claim == nil || e.Claim.Generation != claim.Generation || sessions(e) != "s2" {
		t.Errorf("the claim is %v", e.Claim)
	}
}

// The agent comes back between the sweeper's read and its commit.
func TestTheAgentComesBackAtTheLastMoment(t *testing.T) {
	t.Parallel()
	s, claim := sweep(t)
	s.tick(0, 0)
	s.store.meanwhile = func() { s.bind(agentOf("a"), "s2", "t1", host) }
	s.tick(grace, 0)
	if e := s.endpoint(host); e.Claim == nil || e.Claim.Generation != claim.Generation || sessions(e) != "s2" {
		t.Errorf("the claim is %v with the sessions %q", e.Claim, sessions(e))
	}
}

// Somebody else has the name, under a generation that the copy does not know yet.
func TestAnotherGenerationIsNotEnded(t *testing.T) {
	t.Parallel()
	s, _ := sweep(t)
	s.tick(0, 0)
	if err := s.Release(t.Context(), agentOf("a"), "t1", directory.Closed, directory.Source{}); err != nil {
		t.Fatal(err)
	}
	s.bind(agentOf("b"), "s2", "t2", host)
	if err := s.store.EndSession(t.Context(), "c1-abcd", "s2", directory.Lost); err != nil {
		t.Fatal(err)
	}
	s.tick(grace, 0)
	if e := s.endpoint(host); e.Claim == nil || e.Claim.Agent != "b" {
		t.Errorf("the claim is %v", e.Claim)
	}
}

func TestParkedClaimsKeepTheirTime(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	claim := f.bind(p, "s1", "t1", "")
	if err := f.Release(t.Context(), p, "t1", directory.Closed, directory.Source{}); err != nil {
		t.Fatal(err)
	}
	// The copy says that its time is over; the store has another hour.
	s := &sweeping{f, &overview{parked: []string{claim.Hostname}}, nil}
	s.Sweeper = directory.NewSweeper(f.Directory, s.overview, grace)
	s.tick(grace, 0)
	if e := s.endpoint(claim.Hostname); e.Claim == nil || !e.Claim.Parked {
		t.Errorf("the claim is %v", e.Claim)
	}
}
