package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// worthALine is how long a step of the drain takes before everybody wants to know.
const worthALine = time.Second

// drain runs the steps, those added while it runs too.
func (g *Group) drain(ctx context.Context, deadline time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var failures []error
	for {
		s, ok := g.popDrain()
		if !ok {
			return errors.Join(failures...)
		}
		begin := time.Now()
		err := runDrain(ctx, s)
		took := time.Since(begin).Round(time.Millisecond)
		if err != nil {
			failures = append(failures, fmt.Errorf("drain %w", err))
			g.log.Warn("drain step failed", "step", s.name, "took", took, "error", err)
			continue
		}
		level := slog.LevelDebug
		if took > worthALine {
			level = slog.LevelInfo
		}
		g.log.Log(ctx, level, "drained", "step", s.name, "took", took)
	}
}

func (g *Group) popDrain() (step, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.drains) - 1
	if last < 0 {
		return step{}, false
	}
	s := g.drains[last]
	g.drains = g.drains[:last]
	return s, true
}

// runDrain waits for one step, a while longer than its context lives.
func runDrain(ctx context.Context, s step) error {
	done := make(chan error, 1)
	go func() { done <- guard(ctx, s) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(abandonAfter):
		return fmt.Errorf("%s: abandoned, it ignored the deadline for %v", s.name, abandonAfter)
	}
}
