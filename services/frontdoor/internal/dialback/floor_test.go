package dialback

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// newDialer returns a dialer whose connectors are all away.
func newDialer(t *testing.T, cfg pool.Config) *Dialer {
	t.Helper()
	var d *Dialer
	table := route.NewTable(time.Now, func(old, now *route.Route) { d.Changed(old, now) })
	d = New(Config{Timeout: 10 * time.Second, MaxTickets: 100_000, FloorRate: 100, Waited: func(time.Duration) {}}, Deps{
		Table: table, Log: testkit.Logger(t),
		Pool: pool.New(cfg, pool.Deps{
			Named: func(string) bool { return true }, Certificate: func() string { return "" },
		}),
		Connector: func(string, string) (grpc.ClientConnInterface, error) { return nil, errors.New("away") },
	})
	return d
}

// A frontdoor that comes gets a snapshot of every agent there is, and all bind
// again behind an outage. Neither may have them all asked at once.
func TestASnapshotIsNoReasonToAskEveryAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, pool.Config{Max: 100_000, Keep: time.Minute, Floor: 1})
		defer d.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = d.RunFloor(ctx) }()
		const agents = 5000
		var all route.Snapshot
		for i := range agents {
			host := fmt.Sprintf("h%d.example.com", i)
			all.Claims = append(all.Claims, route.Claim{Hostname: host, Generation: 1, Agent: route.Agent{ID: host}})
			all.Attachments = append(all.Attachments, route.Attachment{Hostname: host, Generation: 1, ConnectorID: "c", SessionID: host})
		}
		asked := func() int { return int(d.pool.Stats().Asked[pool.Floor]) } // #nosec G115 -- few
		d.table.Replace(all, route.Position{Epoch: 1, Revision: 1})
		synctest.Wait()
		if n := asked(); n != 0 {
			t.Errorf("the snapshot had %d agents asked", n)
		}
		before := 0
		for second := range 20 {
			<-time.After(time.Second)
			synctest.Wait()
			if n := asked() - before; n > 111 {
				t.Errorf("%d agents were asked in second %d", n, second)
			}
			before = asked()
			if second == 10 { // they all come back by other sessions
				for _, a := range all.Attachments {
					a.SessionID += "-2"
					d.table.PutAttachment(a)
				}
				synctest.Wait()
				if n := asked() - before; n != 0 {
					t.Errorf("their binds had %d agents asked", n)
				}
			}
		}
		if before < 1500 {
			t.Errorf("only %d agents were asked in 20 s", before)
		}
	})
}
