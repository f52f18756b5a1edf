// Package lifecycle starts the tasks of a process, notices when one ends, and
// stops all of them in an order that lets work in flight finish.
package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// abandonAfter is how long a drain step behind the deadline, and the tasks behind
// the drain, may take to notice that their context has ended. Then Run goes on
// without them: a process that hangs on its way out serves nobody.
const abandonAfter = 5 * time.Second

// Group is the tasks of one process and the steps of its drain. Go and OnDrain may
// be called before Run and, from tasks, while it runs.
type Group struct {
	log *slog.Logger

	mu      sync.Mutex
	waiting []step     // tasks added before Run
	start   func(step) // set by Run
	running map[string]int
	drains  []step
	failure error
	failed  chan struct{} // closed at the first failure
}

// step is a task, or a part of the drain.
type step struct {
	name string
	run  func(context.Context) error
}

// New returns an empty group.
func New(log *slog.Logger) *Group {
	return &Group{log: log, running: make(map[string]int), failed: make(chan struct{})}
}

// Go adds a task. Its context ends only when the drain is over, so that it serves
// what the drain waits for. A task that returns before the group stops, even nil,
// or that panics, ends the group, and Run returns its cause.
func (g *Group) Go(name string, f func(ctx context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.start == nil {
		g.waiting = append(g.waiting, step{name, f})
		return
	}
	g.start(step{name, f})
}

// OnDrain adds a step of the drain. Steps run one by one, the last added first, as
// deferred calls do: what was set up last is asked to leave first. A step runs even
// when the deadline has passed before it: it then closes what it holds at once.
func (g *Group) OnDrain(name string, f func(ctx context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drains = append(g.drains, step{name, f})
}

// Run starts the tasks and waits until ctx ends or a task does. Then it runs the
// drain, whose steps share one deadline, ends the tasks' context and waits for the
// tasks. It returns why a task or a step failed, nil for a clean stop. Call it once.
func (g *Group) Run(ctx context.Context, deadline time.Duration) error {
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	tasks, endTasks := context.WithCancel(context.WithoutCancel(ctx))
	defer endTasks()
	var all sync.WaitGroup
	g.begin(func(t step) {
		g.running[t.name]++
		all.Go(func() { g.runTask(tasks, stopping, t) })
	})

	select {
	case <-ctx.Done():
		g.log.Info("stopping", "cause", context.Cause(ctx), "deadline", deadline)
	case <-g.failed:
		g.log.Error("stopping", "cause", g.cause(), "deadline", deadline)
	}
	stop()
	drained := g.drain(context.WithoutCancel(ctx), deadline)
	endTasks()
	ended := g.await(&all)
	return errors.Join(g.cause(), drained, ended)
}

// begin starts the tasks that wait, and lets Go start later ones.
func (g *Group) begin(start func(step)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.start = start
	for _, t := range g.waiting {
		start(t)
	}
	g.waiting = nil
}

// fail keeps the first failure: those behind it are mostly its consequences.
func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure != nil {
		g.log.Error("another task failed", "error", err)
		return
	}
	g.failure = err
	close(g.failed)
}

func (g *Group) cause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}
