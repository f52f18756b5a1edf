package directory

import (
	"context"
	"errors"
	"time"
)

// sweepBatch bounds the claims that are ended at one tick.
const sweepBatch = 500

// Detached is a claim in use that cannot be reached.
type Detached struct {
	Generation uint64
	// Since is the revision at which it lost its last attachment.
	Since int64
}

// Overview is a copy of the store that shows what may have to be ended. It is a
// hint: the store decides.
type Overview interface {
	// Detached returns the claims in use that have no attachment, by hostname.
	Detached() map[string]Detached
	// ParkedUntil returns the hostnames of parked claims whose time is over.
	ParkedUntil(now time.Time) []string
}

// Sweeper ends claims whose agents do not come back.
//
// Time counts only while agents could come back: while a registry serves and
// sees the store. It is counted in ticks, not read from a clock, and from the
// start of this process. After an outage of every registry each claim has its
// whole grace before it, however long the outage was.
type Sweeper struct {
	directory *Directory
	overview  Overview
	grace     time.Duration
	served    time.Duration
	seen      map[string]sighting
}

type sighting struct {
	Detached
	at time.Duration
}

// NewSweeper returns a sweeper that gives claims a grace.
func NewSweeper(d *Directory, overview Overview, grace time.Duration) *Sweeper {
	return &Sweeper{directory: d, overview: overview, grace: grace, seen: map[string]sighting{}}
}

// Tick counts the time since the last one and ends what is due. It returns how
// many claims it ended. Not to be called while the store cannot be seen.
func (s *Sweeper) Tick(ctx context.Context, elapsed time.Duration) (ended int, err error) {
	s.served += elapsed
	for _, host := range s.due() {
		if ended >= sweepBatch {
			break
		}
		done, err := s.directory.expire(ctx, host, s.seen[host].Generation)
		if err != nil && !errors.Is(err, ErrConflict) {
			return ended, err
		}
		if done {
			ended++
		}
		delete(s.seen, host)
	}
	for _, host := range s.overview.ParkedUntil(time.Now()) {
		if ended >= sweepBatch {
			break
		}
		done, err := s.directory.unpark(ctx, host)
		if err != nil && !errors.Is(err, ErrConflict) {
			return ended, err
		}
		if done {
			ended++
		}
	}
	return ended, nil
}

// due takes stock and returns the claims whose grace is over.
func (s *Sweeper) due() []string {
	detached := s.overview.Detached()
	for host := range s.seen {
		if _, still := detached[host]; !still {
			delete(s.seen, host)
		}
	}
	var due []string
	for host, d := range detached {
		first, known := s.seen[host]
		if !known || first.Detached != d {
			s.seen[host] = sighting{Detached: d, at: s.served}
			continue
		}
		if s.served-first.at >= s.grace {
			due = append(due, host)
		}
	}
	return due
}
