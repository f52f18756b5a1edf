// Package sessions measures a connector that holds as many agents as it may: what
// each costs in memory, and all of them in processor time while nothing happens.
package sessions

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	name = "sessions"
	many = 15_000
	// startLimit is how long the connector has to get ready.
	startLimit = 30 * time.Second
	// atOnce is how many agents are connecting at the same time.
	atOnce = 32
	// again is how long an agent waits, on average, that is told to try again.
	again = time.Second
	// tooMany attempts that fail are no crowd any more.
	tooMany = many / 5
	// settle is from the last session's bind until the measurement begins, idle is
	// how long that takes: several heartbeats.
	settle = 20 * time.Second
	idle   = 30 * time.Second
)

// Scenario returns this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Scale, Run: measure}
}

func measure(ctx context.Context, env scenario.Env) (section report.Section, err error) {
	plane, err := controlplane.Start(ctx, controlplane.Config{Bin: env.Bin, Tools: env.Tools, Dir: env.Dir, Auth: true})
	if err != nil {
		return section, err
	}
	defer plane.Stop()
	token, err := plane.Authtoken(ctx)
	if err != nil {
		return section, err
	}
	c, err := plane.ConnectorProcess(ctx, "c1")
	if err != nil {
		return section, err
	}
	defer c.Stop()
	agents := &agents{connector: c, token: token}
	defer agents.close()
	if err := agents.first(ctx); err != nil {
		return section, err
	}
	before, err := take(ctx, c)
	if err != nil {
		return section, err
	}
	begun := time.Now()
	for missing := many - 1; missing > 0; missing = agents.missing() {
		if err := agents.open(ctx, missing); err != nil {
			return section, err
		}
	}
	took := time.Since(begun)
	env.Log.Info("all sessions are open", "after", took, "repeated", agents.again.Load())
	if err := pause(ctx, settle); err != nil {
		return section, err
	}
	calm, err := take(ctx, c)
	if err != nil {
		return section, err
	}
	if err := pause(ctx, idle); err != nil {
		return section, err
	}
	after, err := take(ctx, c)
	if err := errors.Join(err, agents.alive(), c.Alive(), plane.Alive()); err != nil {
		return section, err
	}
	return sectionOf(before, calm, after, took), nil
}

// agents are sessions of agents, each with a tunnel: what the agent's program has,
// without its services.
type agents struct {
	connector *controlplane.ConnectorProcess
	token     string
	again     atomic.Int64 // attempts that have failed

	mu       sync.Mutex
	sessions []*session.Session
}

// first waits until the connector serves, and has all that it has once.
func (a *agents) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := a.add(ctx)
		if err == nil {
			return nil
		}
		if pause(ctx, time.Second/10) != nil {
			return err
		}
	}
}

// open adds n.
func (a *agents) open(ctx context.Context, n int) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for range n {
		all.Go(func() error { return a.persist(ctx) })
	}
	return all.Wait()
}

// persist adds one as an agent does: what fails, because so many come at once, it
// tries again.
func (a *agents) persist(ctx context.Context) error {
	for {
		err := a.add(ctx)
		if err == nil || a.again.Add(1) > tooMany {
			return err
		}
		if err := pause(ctx, rand.N(2*again)); err != nil { // #nosec G404 -- spreads load
			return err
		}
	}
}

func (a *agents) add(ctx context.Context) error {
	instance := make([]byte, 16)
	_, _ = cryptorand.Read(instance) // never fails: crypto/rand ends the process instead
	s, err := session.Open(ctx, session.Target{Address: a.connector.Agents, ServerName: a.connector.ServerName, Pins: []tlsconf.Pin{a.connector.Pin}},
		&agentv1.Auth{AgentVersion: "bench", Authtoken: a.token, Instance: instance}, session.Deaf{})
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	if _, err := s.Bind(ctx, &agentv1.ReqTunnel{TunnelId: controlplane.RandomHex(16), Protocol: proxyv1.Protocol_PROTOCOL_HTTP}); err != nil {
		s.Close()
		return fmt.Errorf("bind: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, s)
	return nil
}

// missing forgets the sessions that have ended, in the crowd of those that came, and
// returns how many are to come again.
func (a *agents) missing() int {
	a.sessions = slices.DeleteFunc(a.sessions, func(s *session.Session) bool {
		if s.Err() == nil {
			return false
		}
		a.again.Add(1)
		return true
	})
	return many - len(a.sessions)
}

// alive returns an error when a session has ended.
func (a *agents) alive() error {
	for _, s := range a.sessions {
		if err := s.Err(); err != nil {
			return fmt.Errorf("a session has ended: %w", err)
		}
	}
	return nil
}

// close ends the sessions, which is not measured.
func (a *agents) close() {
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, s := range a.sessions {
		places <- struct{}{}
		all.Go(func() {
			s.Close()
			<-places
		})
	}
	all.Wait()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
