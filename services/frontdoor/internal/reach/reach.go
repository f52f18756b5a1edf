// Package reach finds a way to an endpoint: its route, and a connection to its
// agent, over the moments in which there is none.
package reach

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Source says where a route came from.
type Source string

// The sources.
const (
	Memory Source = "memory"
	Lookup Source = "lookup"
	Hold   Source = "hold"
)

// Config says how patient to be.
type Config struct {
	// Hold is how long behind the loss of an endpoint's last attachment its
	// visitors wait; later ones are told at once, until the agent is back.
	Hold time.Duration
}

// Deps are what a way is made of.
type Deps struct {
	Table  *route.Table
	Room   *route.Room
	Miss   func(ctx context.Context, hostname string) *route.Route
	Dialer *dialback.Dialer
}

// Finder finds ways.
type Finder struct {
	Config
	Deps
	pools pools
}

// Trip is one visitor's way to an endpoint. All its waits together are one hold.
type Trip struct {
	f        *Finder
	hostname string
	until    time.Time

	// Route is the one that Begin found, Source how. Of a pool it is a member's.
	Route  *route.Route
	Source Source

	endpoint *route.Route // Route, or the pool's
	tried    []string     // names of members

	mu      sync.Mutex
	started func() // gives the turn to the next who waits; nil: not held
}

// Begin finds the endpoint's route: in memory, or by one lookup; if its agent is
// away for a moment, by waiting. ErrNotFound, ErrOffline, ErrFull or ctx's error.
func (f *Finder) Begin(ctx context.Context, hostname string) (*Trip, error) {
	t := &Trip{f: f, hostname: hostname, until: time.Now().Add(f.Hold)}
	if err := t.find(ctx); err != nil {
		return t, err
	}
	agent := t.Route.Claim.Agent.ID
	t.endpoint = t.Route
	seen := t.Route
	if t.Route.Reachable() {
		if !f.Room.Crowded(agent) {
			t.Another()
			return t, nil
		}
		seen = nil // others have waited longer
	}
	r, err := t.wait(ctx, seen)
	if err == nil {
		t.endpoint, t.Route, t.Source = r, r, Hold
		t.Another()
	}
	return t, err
}

// Started says that the visitor has its connection, or will not get one: the
// next who waits may start.
func (t *Trip) Started() {
	t.mu.Lock()
	started := t.started
	t.started = nil
	t.mu.Unlock()
	if started != nil {
		started()
	}
}

// Connect returns a connection to the agent, and the route that led to it. An
// agent that cannot be reached by any attachment is waited for, within the hold.
// The error may be of Begin's kinds or of Dialer.Dial's.
func (t *Trip) Connect(ctx context.Context) (*dialback.Conn, *route.Route, error) {
	endpoint, r := t.endpoint, t.route()
	for tried := []string{r.Claim.Hostname}; ; tried = append(tried, r.Claim.Hostname) {
		c, err := t.f.Dialer.Dial(ctx, r)
		if !errors.Is(err, dialback.ErrUnreachable) {
			return c, r, err
		}
		if left := untried(endpoint, tried); len(left) > 0 {
			r = t.f.pools.choose(left)
			continue
		}
		t.Started()
		if endpoint, err = t.wait(ctx, endpoint); err != nil {
			return nil, nil, err
		}
		if r, tried = endpoint, nil; len(endpoint.Members()) > 0 {
			r = t.f.pools.choose(endpoint.Members())
		}
	}
}

func (t *Trip) find(ctx context.Context) error {
	t.Route, t.Source = t.f.Table.Lookup(t.hostname), Memory
	if t.Route == nil {
		t.Route, t.Source = t.f.Miss(ctx, t.hostname), Lookup
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.Route == nil || t.Route.Claim.Parked:
		return route.ErrNotFound
	}
	if lost := t.Route.LostAt(); !lost.IsZero() {
		t.until = lost.Add(t.f.Hold)
		if !time.Now().Before(t.until) {
			return route.ErrOffline
		}
	}
	return nil
}

// wait holds the visitor until the endpoint has a route other than seen.
func (t *Trip) wait(ctx context.Context, seen *route.Route) (*route.Route, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, t.until, route.ErrOffline)
	defer cancel()
	started, err := t.f.Room.Wait(ctx, t.endpoint.Claim.Agent.ID, t.endpoint.Claim.Hostname, seen)
	now := t.f.Table.Lookup(t.hostname)
	gone := now == nil || now.Claim.Parked // it was closed meanwhile
	switch {
	case err == nil && gone:
		started()
		return nil, route.ErrNotFound
	case errors.Is(err, route.ErrOffline) && gone:
		return nil, route.ErrNotFound
	case err != nil:
		return nil, err
	}
	t.mu.Lock()
	t.started = started
	t.mu.Unlock()
	return now, nil
}
