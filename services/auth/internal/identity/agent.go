package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	// forgetAgent is how long an agent is remembered that nobody has seen.
	forgetAgent = 60 * 24 * time.Hour
	// seenEvery is how often at most it is written that an agent was seen.
	seenEvery = 24 * time.Hour
	// sweepFirst leaves agents the time to be seen before the first sweep.
	sweepFirst = time.Hour
	sweepEvery = 6 * time.Hour

	// liveFor is how long an agent counts against a quota behind its last
	// validation. It is validated again in less than half of that.
	liveFor = 2 * time.Minute
)

// Agent is one agent: who it belongs to, for ever, and the hash of what proves
// that it is the same.
type Agent struct {
	ID         string
	AccountID  string
	ResumeHash [sha256.Size]byte
	Created    time.Time
	// Seen is when it was validated last, to the day; zero in records from before
	// that was written.
	Seen time.Time
}

// Live are the agents of an account that has a quota of them, by id.
type Live map[string]LiveAgent

// LiveAgent says since when an agent lives, and when it was validated last by
// each connector that holds a session of it.
type LiveAgent struct {
	Since time.Time
	Seen  map[string]time.Time
}

// enter counts an agent in, unless that makes more than limit. Who was there
// first stays: a limit that was lowered ends the latest.
func (l Live) enter(agent, connector string, limit int, now time.Time) error {
	l.expire(now)
	own, ok := l[agent]
	if !ok {
		own = LiveAgent{Since: l.later(now), Seen: map[string]time.Time{}}
	}
	own.Seen[connector] = now
	l[agent] = own
	if l.rank(agent) >= limit {
		delete(l, agent)
		return ErrAgentQuota
	}
	return nil
}

// later returns a time behind all agents that are there, whatever the clocks of
// replicas say: a newcomer never displaces one of them.
func (l Live) later(now time.Time) time.Time {
	for _, a := range l {
		if !now.After(a.Since) {
			now = a.Since.Add(1)
		}
	}
	return now
}

// rank returns how many agents were there before one.
func (l Live) rank(agent string) int {
	ids := make([]string, 0, len(l))
	for id := range l {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(l[a].Since.Compare(l[b].Since), cmp.Compare(a, b))
	})
	return slices.Index(ids, agent)
}

// expire drops agents whose connectors have not spoken of them for too long.
func (l Live) expire(now time.Time) {
	for id, a := range l {
		for connector, seen := range a.Seen {
			if now.Sub(seen) >= liveFor {
				delete(a.Seen, connector)
			}
		}
		if len(a.Seen) == 0 {
			delete(l, id)
		}
	}
}

// leave counts an agent out whose last session with a connector has ended.
func (l Live) leave(agent, connector string) {
	if a, ok := l[agent]; ok {
		if delete(a.Seen, connector); len(a.Seen) == 0 {
			delete(l, agent)
		}
	}
}

// Sweeper forgets agents that nobody has seen for long.
type Sweeper struct {
	store AgentStore
	now   func() time.Time
	log   *slog.Logger
}

// NewSweeper returns one that works while it is run.
func NewSweeper(store AgentStore, now func() time.Time, log *slog.Logger) *Sweeper {
	return &Sweeper{store: store, now: now, log: log}
}

// Run sweeps now and then until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	for wait := sweepFirst; ; wait = sweepEvery {
		if pause(ctx, wait); ctx.Err() != nil {
			return ctx.Err()
		}
		forgotten, err := s.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "agents could not be swept; later again", "error", err)
		}
		if forgotten > 0 {
			s.log.InfoContext(ctx, "agents forgotten that nobody has seen for 60 days", "count", forgotten)
		}
	}
}

// Sweep forgets the agents that were not seen for 60 days and returns how many.
// Of one of whom nothing is written, these begin now.
func (s *Sweeper) Sweep(ctx context.Context) (int, error) {
	const page = 500
	now, forgotten := s.now().UTC(), 0
	for after := ""; ; {
		agents, err := s.store.Agents(ctx, after, page)
		if err != nil || len(agents) == 0 {
			return forgotten, err
		}
		for _, a := range agents {
			after = a.ID
			switch {
			case a.Seen.IsZero():
				err = s.store.SeeAgent(ctx, a.ID, now)
			case now.Sub(a.Seen) >= forgetAgent:
				forgotten++
				err = s.store.ForgetAgent(ctx, a)
			}
			if err != nil {
				return forgotten, fmt.Errorf("sweep agent %s: %w", a.ID, err)
			}
		}
	}
}
