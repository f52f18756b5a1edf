package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/lifecycle"
)

// The one added last ends first, and is over before the next one is told.
func TestPartsEndInTurn(t *testing.T) {
	t.Parallel()
	g := lifecycle.New(slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	var seen []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s)
	}
	var up sync.WaitGroup
	for _, name := range []string{"store", "service", "port"} {
		up.Add(1)
		g.GoInTurn(name, func(ctx context.Context) error {
			up.Done()
			<-ctx.Done()
			note(name + " ends")
			note(name + " is over")
			return nil
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		up.Wait()
		stop()
	}()
	if err := g.Run(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	want := []string{"port ends", "port is over", "service ends", "service is over", "store ends", "store is over"}
	if !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}

// One that fails ends the others, in turn, and its cause is told.
func TestAPartThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	g := lifecycle.New(slog.New(slog.DiscardHandler))
	broken, ended := errors.New("broken"), false
	g.GoInTurn("sound", func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return nil
	})
	g.GoInTurn("broken", func(context.Context) error { return broken })
	if err := g.Run(context.Background(), time.Minute); !errors.Is(err, broken) || !ended {
		t.Errorf("%v, the other ended: %v", err, ended)
	}
}
