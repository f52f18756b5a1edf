package route_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// hold lets n visitors wait, one after the other, and tells who is let go.
func hold(ctx context.Context, t *testing.T, room *route.Room, table *route.Table, n int) (let chan int, started []func()) {
	t.Helper()
	let = make(chan int, n)
	started = make([]func(), n)
	seen := table.Lookup(host)
	for i := range n {
		go func() {
			done, err := room.Wait(ctx, "a", host, seen)
			if err != nil {
				let <- -1
				return
			}
			started[i] = done
			let <- i
		}()
		synctest.Wait()
	}
	return let, started
}

func newRoom(limit int) (*route.Room, *route.Table) {
	var room *route.Room
	table := route.NewTable(time.Now, func(_, now *route.Route) { room.Changed(now) })
	room = route.NewRoom(limit, table.Lookup)
	table.PutClaim(claim(1))
	return room, table
}

func TestVisitorsAreLetGoInOrderAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room, table := newRoom(100)
		let, started := hold(t.Context(), t, room, table, 10)
		if len(let) != 0 || !room.Crowded("a") {
			t.Fatal("let go without a route")
		}
		table.PutAttachment(at("A", 1))
		synctest.Wait()
		next := 0
		for range 10 {
			if len(let) != min(4, 10-next) {
				t.Fatalf("%d let go at once behind %d", len(let), next)
			}
			batch := len(let)
			first := next
			seen := map[int]bool{}
			for range batch {
				seen[<-let] = true
			}
			for i := range batch {
				if !seen[first+i] {
					t.Fatalf("out of order: %v behind %d", seen, first)
				}
			}
			for i := range batch {
				started[first+i]()
				started[first+i]() // idempotent
			}
			if next += batch; next == 10 {
				break
			}
			synctest.Wait()
		}
		if room.Crowded("a") {
			t.Error("somebody waits still")
		}
	})
}

func TestVisitorsWhoHaveGoneAreSkipped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room, table := newRoom(100)
		ctx, cancel := context.WithCancel(t.Context())
		gone, _ := hold(ctx, t, room, table, 6)
		let, started := hold(t.Context(), t, room, table, 2)
		cancel()
		synctest.Wait()
		if len(gone) != 6 {
			t.Fatal("they have not gone")
		}
		table.PutAttachment(at("A", 1))
		synctest.Wait()
		if len(let) != 2 {
			t.Errorf("%d of 2 let go", len(let))
		}
		for _, done := range started {
			done()
		}
	})
}

func TestARoomIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room, table := newRoom(3)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, route.ErrOffline)
		defer cancel()
		let, _ := hold(ctx, t, room, table, 3)
		if _, err := room.Wait(ctx, "a", host, table.Lookup(host)); !errors.Is(err, route.ErrFull) {
			t.Errorf("a fourth: %v", err)
		}
		if _, err := room.Wait(ctx, "a", "other.example.com", nil); !errors.Is(err, route.ErrOffline) {
			t.Errorf("at the end of the hold: %v", err)
		}
		synctest.Wait()
		if len(let) != 3 {
			t.Error("somebody waits still")
		}
	})
}
