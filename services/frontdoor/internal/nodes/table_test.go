package nodes_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
)

// clock is moved by hand.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTable() (*nodes.Table, *clock) {
	c := &clock{at: time.Unix(1_000_000, 0)}
	return nodes.NewTable(c.now), c
}

func front(id string, s nodes.State) nodes.Node {
	return nodes.Node{Kind: nodes.Frontdoor, ID: id, State: s, RelayAddress: id + ":1"}
}

func connector(id string, s nodes.State) nodes.Node {
	return nodes.Node{Kind: nodes.Connector, ID: id, State: s, RelayAddress: id + ":1"}
}

func ready(t *testing.T, table *nodes.Table, want ...string) {
	t.Helper()
	if got := table.ReadyFrontdoors(); !slices.Equal(got, want) {
		t.Errorf("ready frontdoors: %v, want %v", got, want)
	}
}

func TestNodesOfDifferentKindsMayShareAnID(t *testing.T) {
	t.Parallel()
	table, _ := newTable()
	table.Replace([]nodes.Node{front("x", nodes.Ready), connector("x", nodes.Draining)})
	table.Vanish(nodes.Connector, "x")
	if c := table.Connector("x"); c == nil || c.VanishedAt.IsZero() {
		t.Errorf("connector %+v", c)
	}
	if f := table.Frontdoor("x"); f == nil || !f.VanishedAt.IsZero() || f.State != nodes.Ready {
		t.Errorf("frontdoor %+v", f)
	}
	if table.Connector("y") != nil || table.Frontdoor("") != nil {
		t.Error("a node that nobody has entered is known")
	}
}

// A draining frontdoor is no place for new pools, but dial-backs for the visitors
// that it still has go on reaching it.
func TestADrainingFrontdoorIsStillReached(t *testing.T) {
	t.Parallel()
	table, _ := newTable()
	table.Replace([]nodes.Node{front("b", nodes.Ready), front("a", nodes.Ready)})
	ready(t, table, "a", "b")
	table.Put(front("b", nodes.Draining))
	ready(t, table, "a")
	if n := table.Frontdoor("b"); n == nil || n.RelayAddress != "b:1" {
		t.Errorf("draining: %+v", n)
	}
	table.Vanish(nodes.Frontdoor, "b")
	ready(t, table, "a")
}

// Behind an outage of the registry the first snapshot is empty, for all leases
// have run out. Nothing is lost by it, and pools do not move for a moment's sake.
func TestAnEmptySnapshotForgetsNobody(t *testing.T) {
	t.Parallel()
	table, clock := newTable()
	table.Replace([]nodes.Node{front("a", nodes.Ready), front("b", nodes.Ready), connector("c", nodes.Ready)})
	table.Replace(nil)
	ready(t, table, "a", "b")
	if table.Connector("c") == nil || table.Frontdoor("b") == nil || len(table.Frontdoors()) != 2 {
		t.Error("forgotten because a snapshot is empty")
	}
	table.Put(front("a", nodes.Ready))
	clock.at = clock.at.Add(time.Minute)
	table.Expire()
	ready(t, table, "a")
	if table.Frontdoor("b") == nil {
		t.Error("forgotten after a minute")
	}
	clock.at = clock.at.Add(10 * time.Minute)
	table.Expire()
	if table.Frontdoor("b") != nil || table.Connector("c") != nil || table.Frontdoor("a") == nil {
		t.Error("what vanished long ago stays, or what is named goes")
	}
}

// One that the registry names may be unreachable for a moment; one that it does
// not name and that does not answer is gone.
func TestANodeThatVanishedIsUsedWhileItAnswers(t *testing.T) {
	t.Parallel()
	table, _ := newTable()
	table.Put(front("a", nodes.Ready))
	table.Unreachable(table.Frontdoor("a"))
	if table.Frontdoor("a") == nil {
		t.Fatal("a node that the registry names is forgotten")
	}
	table.Vanish(nodes.Frontdoor, "a")
	n := table.Frontdoor("a")
	if n == nil {
		t.Fatal("forgotten at once")
	}
	table.Unreachable(n)
	if table.Frontdoor("a") != nil {
		t.Error("neither named nor answering, and still known")
	}
}

func TestWhichConnectorsTakeSessions(t *testing.T) {
	t.Parallel()
	table, _ := newTable()
	table.Replace([]nodes.Node{connector("d", nodes.Draining), connector("r", nodes.Ready), connector("e", nodes.Draining)})
	if ready, others := table.Connectors(); len(ready) != 1 || ready[0].ID != "r" || len(others) != 2 {
		t.Errorf("ready %v, others %v", ready, others)
	}
}

func TestEveryChangeIsHeard(t *testing.T) {
	t.Parallel()
	table, _ := newTable()
	var writers sync.WaitGroup
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			changed := table.Changed()
			if len(table.ReadyFrontdoors()) == 64 {
				return
			}
			<-changed
		}
	}()
	for i := range 64 {
		writers.Go(func() { table.Put(front(fmt.Sprintf("f%02d", i), nodes.Ready)) })
	}
	writers.Wait()
	<-heard
}
