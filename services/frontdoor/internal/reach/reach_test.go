package reach_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	host = "app.example.com"
	hold = time.Hour // longer than any test
)

// finder knows one endpoint, whose only attachment was lost a while ago.
func finder(lostFor time.Duration) (*reach.Finder, *route.Table) {
	at := time.Now().Add(-lostFor)
	var room *route.Room
	table := route.NewTable(func() time.Time { return at }, func(_, now *route.Route) { room.Changed(now) })
	room = route.NewRoom(10, table.Lookup)
	attachment := route.Attachment{Hostname: host, Generation: 1, ConnectorID: "c", SessionID: "s"}
	table.PutClaim(route.Claim{Hostname: host, Generation: 1, Agent: route.Agent{ID: "a"}, Protocol: route.ProtocolHTTP})
	table.PutAttachment(attachment)
	table.EndAttachment(attachment)
	return &reach.Finder{Config: reach.Config{Hold: hold}, Deps: reach.Deps{Table: table, Room: room}}, table
}

// The hold counts from the loss: who comes later is told at once, or each
// visitor of a service that is gone would wait.
func TestVisitorsBehindTheHoldAreToldAtOnce(t *testing.T) {
	t.Parallel()
	f, _ := finder(hold + time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := f.Begin(ctx, host); !errors.Is(err, route.ErrOffline) {
		t.Errorf("a visitor behind the hold: %v", err)
	}
}

func TestVisitorsWithinTheHoldWait(t *testing.T) {
	t.Parallel()
	f, table := finder(hold / 2)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	back := route.Attachment{Hostname: host, Generation: 1, ConnectorID: "c2", SessionID: "s2"}
	table.PutConnector(route.Connector{ID: "c2", Registration: 1})
	timer := time.AfterFunc(50*time.Millisecond, func() { table.PutAttachment(back) })
	defer timer.Stop()
	trip, err := f.Begin(ctx, host)
	if err != nil || trip.Source != reach.Hold || len(trip.Route.Attachments()) != 1 {
		t.Fatalf("%+v, %v", trip, err)
	}
	trip.Started()
}
