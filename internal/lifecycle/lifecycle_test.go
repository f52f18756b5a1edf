package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// untilEnd is a task that does what it should.
func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// journal keeps the order of events.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) add(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) want(t *testing.T, events ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.events, events) {
		t.Errorf("events %q, want %q", j.events, events)
	}
}

func TestStopOrder(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New(quiet())
	ctx, cancel := context.WithCancel(t.Context())
	g.Go("task", func(ctx context.Context) error {
		g.OnDrain("added by a task", func(context.Context) error { j.add("task's step"); return nil })
		g.Go("child", func(ctx context.Context) error {
			cancel()
			return untilEnd(ctx)
		})
		<-ctx.Done()
		j.add("task ended")
		return nil
	})
	for _, name := range []string{"first", "second"} {
		g.OnDrain(name, func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
				t.Errorf("%s: a step's context has no deadline, or has ended", name)
			}
			j.add(name)
			return nil
		})
	}
	if err := g.Run(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	j.want(t, "task's step", "second", "first", "task ended")
}

func TestAnEarlyEndEndsTheGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task func(context.Context) error
		want error
	}{
		"error":     {func(context.Context) error { return errBoom }, errBoom},
		"nil":       {func(context.Context) error { return nil }, lifecycle.ErrEarlyEnd},
		"cancelled": {func(context.Context) error { return context.Canceled }, context.Canceled},
		"panic":     {func(context.Context) error { panic("boom") }, nil},
		"range":     {func(context.Context) error { return errors.New(strings.Fields("a b")[2]) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j journal
			g := lifecycle.New(quiet())
			g.Go("other", func(ctx context.Context) error {
				<-ctx.Done()
				j.add("other ended")
				return nil
			})
			g.Go("culprit", c.task)
			g.OnDrain("step", func(context.Context) error { j.add("drained"); return nil })
			err := g.Run(t.Context(), time.Minute)
			var crash *lifecycle.PanicError
			if c.want == nil && (!errors.As(err, &crash) || !bytes.Contains(crash.Stack, []byte("lifecycle_test.go"))) {
				t.Errorf("Run returned %v, want a panic with its stack", err)
			}
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), "culprit") {
				t.Errorf("Run returned %v, want %v and the task's name", err, c.want)
			}
			j.want(t, "drained", "other ended")
		})
	}
}

func TestAPanicDuringTheStopIsAFailure(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(*lifecycle.Group){
		"task": func(g *lifecycle.Group) {
			g.Go("culprit", func(ctx context.Context) error { <-ctx.Done(); panic("late") })
		},
		"step": func(g *lifecycle.Group) {
			g.OnDrain("culprit", func(context.Context) error { panic("late") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := lifecycle.New(quiet())
			add(g)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var crash *lifecycle.PanicError
			if err := g.Run(ctx, time.Minute); !errors.As(err, &crash) {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}

func TestOneDeadlineForAllSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var log bytes.Buffer
		g := lifecycle.New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		g.OnDrain("closes", func(ctx context.Context) error {
			if ctx.Err() == nil {
				t.Error("the second step got a deadline of its own")
			}
			j.add("closed")
			return nil
		})
		g.OnDrain("slow", untilEnd)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := g.Run(ctx, 10*time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Second {
			t.Errorf("Run returned %v after %v", err, time.Since(begin))
		}
		j.want(t, "closed")
		for _, want := range []string{"step=slow took=10s", "step=closes took=0s"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, log.String())
			}
		}
	})
}

func TestOnlyAStepThatTakesLongIsWorthALine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := lifecycle.New(slog.New(slog.NewTextHandler(&log, nil)))
		g.OnDrain("quick", func(context.Context) error { return nil })
		g.OnDrain("long", func(context.Context) error {
			<-time.After(2 * time.Second)
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Run(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
		if text := log.String(); strings.Contains(text, "quick") || !strings.Contains(text, "step=long took=2s") {
			t.Errorf("the log says:\n%s", text)
		}
	})
}

func TestWhatIgnoresTheStopIsAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		deaf := func(context.Context) error { <-release; return nil }
		g := lifecycle.New(quiet())
		g.Go("deaf-task", deaf)
		g.Go("good-task", untilEnd)
		g.OnDrain("deaf-step", deaf)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := g.Run(ctx, 10*time.Second)
		if err == nil || !strings.Contains(err.Error(), "deaf-task") || !strings.Contains(err.Error(), "deaf-step") {
			t.Fatalf("Run returned %v", err)
		}
		if strings.Contains(err.Error(), "good-task") {
			t.Errorf("Run blames a task that ended: %v", err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("Run took %v, want the deadline and twice 5 s", took)
		}
	})
}

func TestARequestInFlightOutlivesTheStop(t *testing.T) {
	t.Parallel()
	entered, answer := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-answer
		_, _ = io.WriteString(w, "done")
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := lifecycle.New(quiet())
	g.Go("http", func(context.Context) error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	backend := make(chan struct{}) // ends with the tasks' context: the request needs it to the last
	g.Go("backend", func(ctx context.Context) error { defer close(backend); return untilEnd(ctx) })
	g.OnDrain("http", server.Shutdown)
	g.OnDrain("let the request see the drain", func(context.Context) error { close(answer); return nil })

	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx, 30*time.Second) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	go func() { <-entered; cancel() }()
	resp, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err != nil || cerr != nil || string(body) != "done" {
		t.Errorf("body %q, %v, %v", body, err, cerr)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	<-backend
}
