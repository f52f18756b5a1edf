package route_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const host = "app.example.com"

// clock is a time that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newTable(woken *[]string) (*route.Table, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	return route.NewTable(c.now, func(_, now *route.Route) {
		if woken != nil && now != nil && len(now.Attachments()) > 0 {
			*woken = append(*woken, now.Claim.Agent.ID)
		}
	}), c
}

func claim(generation uint64) route.Claim {
	return route.Claim{
		Hostname: host, Generation: generation, TunnelID: "t",
		Agent: route.Agent{ID: "a", Instance: route.Instance{1}}, Protocol: route.ProtocolHTTP,
	}
}

func at(connector string, generation uint64) route.Attachment {
	return route.Attachment{Hostname: host, Generation: generation, ConnectorID: connector, SessionID: "s-" + connector}
}

func node(id string, registration int64, synced bool) route.Connector {
	return route.Connector{ID: id, Registration: registration, Synced: synced}
}

// ways are the connectors of the route, in order; "none" if the endpoint is
// known without, "unknown" if it is not.
func ways(t *route.Table) string {
	r := t.Lookup(host)
	switch {
	case r == nil:
		return "unknown"
	case len(r.Attachments()) == 0:
		return "none"
	}
	out := ""
	for _, a := range r.Attachments() {
		out += a.ConnectorID
	}
	return out
}

func TestWhatCountsAsAWay(t *testing.T) {
	t.Parallel()
	base := func(t *route.Table) {
		t.PutConnector(node("A", 1, true))
		t.PutConnector(node("B", 1, true))
		t.PutClaim(claim(1))
		t.PutAttachment(at("A", 1))
	}
	for name, c := range map[string]struct {
		do   func(t *route.Table, c *clock)
		want string
	}{
		"as it is":                  {func(*route.Table, *clock) {}, "A"},
		"a second attachment":       {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 1)) }, "AB"},
		"put twice":                 {func(t *route.Table, _ *clock) { t.PutAttachment(at("A", 1)) }, "A"},
		"ended":                     {func(t *route.Table, _ *clock) { t.EndAttachment(at("A", 1)) }, "none"},
		"the end of another one":    {func(t *route.Table, _ *clock) { t.EndAttachment(at("A", 2)) }, "A"},
		"claim removed":             {func(t *route.Table, _ *clock) { t.RemoveClaim(host) }, "unknown"},
		"another generation's":      {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 2)) }, "A"},
		"taken over":                {func(t *route.Table, _ *clock) { t.PutClaim(claim(2)) }, "none"},
		"taken over and attached":   {func(t *route.Table, _ *clock) { t.PutClaim(claim(2)); t.PutAttachment(at("B", 2)) }, "B"},
		"attached, then taken over": {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 2)); t.PutClaim(claim(2)) }, "B"},
		"parked":                    {func(t *route.Table, _ *clock) { c := claim(1); c.Parked = true; t.PutClaim(c) }, "none"},
		"lease ran out":             {func(t *route.Table, _ *clock) { t.VanishAttachment(at("A", 1)) }, "A"},
		"a sure one is better":      {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 1)); t.VanishAttachment(at("A", 1)) }, "BA"},
		"no link is worse":          {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 1)); t.Link("A", false) }, "BA"},
		"linked again":              {func(t *route.Table, _ *clock) { t.PutAttachment(at("B", 1)); t.Link("A", false); t.Link("A", true) }, "AB"},
		"connector gone":            {func(t *route.Table, _ *clock) { t.RemoveConnector("A") }, "A"},
		"suspect for long": {func(t *route.Table, c *clock) {
			t.VanishAttachment(at("A", 1))
			c.Time = c.Add(11 * time.Minute)
			t.Expire()
		}, "none"},
		"suspect for a while": {func(t *route.Table, c *clock) {
			t.VanishAttachment(at("A", 1))
			c.Time = c.Add(9 * time.Minute)
			t.Expire()
		}, "A"},
		"sure for long":               {func(t *route.Table, c *clock) { c.Time = c.Add(time.Hour); t.Expire() }, "A"},
		"suspect and taken over":      {func(t *route.Table, _ *clock) { t.VanishAttachment(at("A", 1)); t.PutClaim(claim(2)) }, "none"},
		"session ended":               {func(t *route.Table, _ *clock) { t.EndSession("A", "s-A", "") }, "none"},
		"another session ended":       {func(t *route.Table, _ *clock) { t.EndSession("A", "s-B", ""); t.EndSession("B", "s-A", "") }, "A"},
		"this tunnel ended":           {func(t *route.Table, _ *clock) { t.EndSession("A", "s-A", "t") }, "none"},
		"another tunnel ended":        {func(t *route.Table, _ *clock) { t.EndSession("A", "s-A", "other") }, "A"},
		"omitted by newer sync":       {func(t *route.Table, _ *clock) { t.VanishAttachment(at("A", 1)); t.PutConnector(node("A", 2, true)) }, "none"},
		"vanished behind newer sync":  {func(t *route.Table, _ *clock) { t.PutConnector(node("A", 2, true)); t.VanishAttachment(at("A", 1)) }, "none"},
		"newer registration, no sync": {func(t *route.Table, _ *clock) { t.VanishAttachment(at("A", 1)); t.PutConnector(node("A", 2, false)) }, "A"},
		"asserted again": {func(t *route.Table, _ *clock) {
			t.VanishAttachment(at("A", 1))
			t.PutConnector(node("A", 2, false))
			t.PutAttachment(at("A", 1))
			t.PutConnector(node("A", 2, true))
		}, "A"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, clock := newTable(nil)
			base(table)
			c.do(table, clock)
			if got := ways(table); got != c.want {
				t.Errorf("ways %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheEndOfOneOfTwoSessionsIsKnownAsThat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(*route.Table)
		tunnel string
		want   bool
	}{
		"the only one":           {func(*route.Table) {}, "", false},
		"one of two":             {func(t *route.Table) { t.PutAttachment(at("B", 1)) }, "", true},
		"its tunnel":             {func(t *route.Table) { t.PutAttachment(at("B", 1)) }, "t", true},
		"another tunnel":         {func(t *route.Table) { t.PutAttachment(at("B", 1)) }, "other", false},
		"the other one is taken": {func(t *route.Table) { t.PutClaim(claim(2)); t.PutAttachment(at("B", 2)) }, "", false},
		"closed":                 {func(t *route.Table) { t.PutAttachment(at("B", 1)); t.RemoveClaim(host) }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, _ := newTable(nil)
			table.PutClaim(claim(1))
			table.PutAttachment(at("A", 1))
			c.before(table)
			if got := table.EndSession("A", "s-A", c.tunnel); got != c.want {
				t.Errorf("reachable in another way: %v", got)
			}
		})
	}
}

// The snapshot behind an outage names nothing: nobody could renew a lease.
func TestASnapshotRemovesOnlyWhatSomebodyStandsFor(t *testing.T) {
	t.Parallel()
	all := route.Snapshot{
		Claims:      []route.Claim{claim(1)},
		Attachments: []route.Attachment{at("A", 1)},
		Connectors:  []route.Connector{node("A", 1, true)},
	}
	for name, c := range map[string]struct {
		then route.Snapshot
		want string
	}{
		"the same":                       {all, "A"},
		"nothing at all":                 {route.Snapshot{}, "A"},
		"the claim alone":                {route.Snapshot{Claims: all.Claims}, "A"},
		"the connector is back, empty":   {route.Snapshot{Claims: all.Claims, Connectors: []route.Connector{node("A", 2, false)}}, "A"},
		"it has said all":                {route.Snapshot{Claims: all.Claims, Connectors: []route.Connector{node("A", 2, true)}}, "none"},
		"it has said all, claim gone":    {route.Snapshot{Connectors: []route.Connector{node("A", 2, true)}}, "unknown"},
		"it was never away":              {route.Snapshot{Claims: all.Claims, Connectors: all.Connectors}, "none"},
		"another connector has said all": {route.Snapshot{Claims: all.Claims, Connectors: []route.Connector{node("B", 1, true)}}, "A"},
		"taken over meanwhile": {route.Snapshot{
			Claims: []route.Claim{claim(2)}, Attachments: []route.Attachment{at("B", 2)}, Connectors: []route.Connector{node("B", 1, true)},
		}, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, clock := newTable(nil)
			if !table.Replace(all, route.Position{Epoch: 1, Revision: 10}) {
				t.Fatal("refused")
			}
			if !table.Replace(c.then, route.Position{Epoch: 1, Revision: 20}) {
				t.Fatal("refused")
			}
			if got := ways(table); got != c.want {
				t.Errorf("ways %q, want %q", got, c.want)
			}
			clock.Time = clock.Add(time.Hour)
			table.Expire()
			if name == "nothing at all" && ways(table) != "unknown" {
				t.Errorf("for ever: %s", ways(table))
			}
		})
	}
}

// A replica that lags must not bring deleted routes back.
func TestTimeDoesNotRunBackwards(t *testing.T) {
	t.Parallel()
	table, _ := newTable(nil)
	table.Replace(route.Snapshot{}, route.Position{Epoch: 1, Revision: 20})
	old := route.Snapshot{Claims: []route.Claim{claim(1)}}
	if table.Replace(old, route.Position{Epoch: 1, Revision: 19}) || ways(table) != "unknown" {
		t.Error("an older snapshot was taken")
	}
	if table.Merge(claim(1), nil, route.Position{Epoch: 1, Revision: 20}) {
		t.Error("an answer that the table has overtaken was taken")
	}
	if !table.Merge(claim(1), []route.Attachment{at("A", 1)}, route.Position{Epoch: 1, Revision: 21}) || ways(table) != "A" {
		t.Error("a newer answer was not taken")
	}
	if !table.Replace(route.Snapshot{}, route.Position{Epoch: 2, Revision: 1}) {
		t.Error("another epoch does not compare")
	}
}

func TestLossIsTimedFromTheLastAttachment(t *testing.T) {
	t.Parallel()
	var woken []string
	table, clock := newTable(&woken)
	table.PutClaim(claim(1))
	if lost := table.Lookup(host).LostAt(); !lost.Equal(clock.Time) {
		t.Errorf("lost at %v", lost)
	}
	table.PutAttachment(at("A", 1))
	if lost := table.Lookup(host).LostAt(); !lost.IsZero() || !slices.Equal(woken, []string{"a"}) {
		t.Errorf("lost at %v, woken %v", lost, woken)
	}
	clock.Time = clock.Add(time.Minute)
	table.EndAttachment(at("A", 1))
	clock.Time = clock.Add(time.Minute)
	table.PutClaim(claim(1))
	if lost := table.Lookup(host).LostAt(); clock.Sub(lost) != time.Minute {
		t.Errorf("lost at %v", lost)
	}
}

// An agent whose token was revoked will not be back: its visitors are not held.
// The connector may have told of the session's end before the registry did.
func TestAnEndForGoodIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*route.Table){
		"":                        func(*route.Table) {},
		"after the session's end": func(table *route.Table) { table.EndSession("A", at("A", 1).SessionID, "") },
	} {
		table, clock := newTable(nil)
		table.PutClaim(claim(1))
		table.PutAttachment(at("A", 1))
		before(table)
		table.EndForGood(at("A", 1))
		if lost := table.Lookup(host).LostAt(); clock.Sub(lost) < time.Hour {
			t.Errorf("%s: waited for, lost at %v", name, lost)
		}
		table.PutAttachment(at("B", 1))
		if r := table.Lookup(host); !r.LostAt().IsZero() || len(r.Attachments()) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
		table.EndForGood(at("A", 1))
		if r := table.Lookup(host); !r.LostAt().IsZero() {
			t.Errorf("%s: the end of one that is gone takes the endpoint down: %+v", name, r)
		}
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	table, _ := newTable(nil)
	table.PutClaim(claim(1))
	table.PutAttachment(at("A", 1))
	if n := testing.AllocsPerRun(100, func() { table.Lookup(host) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyAgentsReadAndWrite(t *testing.T) {
	t.Parallel()
	table, _ := newTable(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			c := claim(uint64(i + 1))
			c.Hostname = fmt.Sprintf("h%d.example.com", i%50)
			table.PutClaim(c)
			a := at("A", uint64(i+1))
			a.Hostname = c.Hostname
			table.PutAttachment(a)
			if i%7 == 0 {
				table.EndSession("A", "s-A", "")
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			if r := table.Lookup("h1.example.com"); r != nil {
				for _, a := range r.Attachments() {
					if a.Generation != r.Claim.Generation {
						t.Error("a route of two generations")
					}
				}
			}
		}
	}
}
