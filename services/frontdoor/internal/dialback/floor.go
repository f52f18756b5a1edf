package dialback

import (
	"context"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// walkEvery is how long it takes to notice that an agent lacks its floor; longer
	// where there are so many routes that looking costs more than a fiftieth of a CPU.
	walkEvery = time.Second
	walkShare = 50
	// maxLacking bounds what one walk finds.
	maxLacking = 1024
)

// RunFloor keeps the floor until ctx ends. It does so at its own pace, whatever has
// happened: an agent that has bound again, a snapshot of all routes or a frontdoor
// that has come are no reason to ask anybody at once.
func (d *Dialer) RunFloor(ctx context.Context) error {
	if d.cfg.FloorRate <= 0 {
		<-ctx.Done()
		return nil
	}
	bucket := pool.NewBucket(d.cfg.FloorRate)
	for wait := walkEvery; pause(ctx, wait); {
		began := time.Now()
		lacking := d.lacking()
		wait = max(walkEvery, walkShare*time.Since(began))
		for _, r := range lacking {
			for delay := bucket.Take(time.Now()); delay > 0; delay = bucket.Take(time.Now()) {
				if !pause(ctx, delay) {
					return nil
				}
			}
			if d.pool.BookFloor(r.Claim.Agent) {
				d.asks.want(d.life, r, pool.Floor, 1)
			}
		}
	}
	return nil
}

// lacking returns a route to each agent whose floor is to be filled, but not more
// than take a while to be asked.
func (d *Dialer) lacking() []*route.Route {
	var list []*route.Route
	seen := map[route.Agent]bool{}
	d.table.Each(func(r *route.Route) bool {
		id := r.Claim.Agent
		if !r.Claim.Pooled && r.Reachable() && !seen[id] && d.pool.LacksFloor(id) {
			seen[id] = true
			list = append(list, r)
		}
		return len(list) < maxLacking
	})
	return list
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
