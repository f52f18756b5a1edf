// Package burst measures what visitors wait who come all at once, to an agent far
// away: first with nothing but what a fresh agent keeps warm, and again a second later.
package burst

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/dialback/dialback/bench/internal/dialback"
	"github.com/dialback/dialback/bench/internal/nginx"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
	"github.com/dialback/dialback/test/netsim"
)

const (
	roundTrip = 40 * time.Millisecond
	visitors  = 50
	// repetitions, each with an agent of its own; odd, for their medians.
	repetitions = 3
	// between is from one burst to the next, and from an agent's start to the first.
	between = time.Second
	// upstream is where the service listens, on the agent's host.
	upstream = "127.0.0.1:8080"
)

const name = "burst"

// Scenario is this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Quick, Run: run}
}

func run(ctx context.Context, env scenario.Env) (section report.Section, err error) {
	network, err := netsim.New(ctx, netsim.Config{RTT: roundTrip})
	if err != nil {
		return section, err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	timing, err := network.Check(ctx)
	if err != nil {
		return section, err
	}
	env.Log.Info("the line is checked", "round_trip", roundTrip, "connect", timing.Connect, "echo", timing.Echo)

	service, err := nginx.StartService(ctx, network.B.Command, filepath.Join(env.Dir, "service"), upstream)
	if err != nil {
		return section, err
	}
	defer service.Stop()
	server, err := dialback.StartServer(ctx, dialback.ServerConfig{
		Command: network.A.Command, Bin: env.Bin, Dir: filepath.Join(env.Dir, "server"), Host: network.A.Addr().String(),
	})
	if err != nil {
		return section, err
	}
	defer server.Stop()

	var first, again []waits
	for i := range repetitions {
		m := measurement{network: network, server: server, dir: filepath.Join(env.Dir, "agent-"+strconv.Itoa(i))}
		f, a, err := m.run(ctx)
		if err != nil {
			return section, err
		}
		env.Log.Info("burst", "repetition", i, "first", f.String(), "again", a.String())
		first, again = append(first, f), append(again, a)
	}
	return summarize(first, again), nil
}

// measurement is one repetition.
type measurement struct {
	network *netsim.Network
	server  *dialback.Server
	dir     string
}

func (m measurement) run(ctx context.Context) (first, again waits, err error) {
	agent, err := m.server.StartAgent(ctx, dialback.AgentConfig{Command: m.network.B.Command, Dir: m.dir, Upstream: upstream})
	if err != nil {
		return nil, nil, err
	}
	defer agent.Stop()
	for _, w := range []*waits{&first, &again} {
		if err := pause(ctx, between); err != nil {
			return nil, nil, err
		}
		if *w, err = visitAll(ctx, m.network.A, m.server.HTTP, agent.Host); err != nil {
			return nil, nil, err
		}
	}
	return first, again, errors.Join(agent.Alive(), m.server.Alive())
}

// waits are the visitors' times to the first byte, the shortest first.
type waits []time.Duration

func (w waits) p50() float64   { return trips(w[(len(w)-1)/2]) }
func (w waits) worst() float64 { return trips(w[len(w)-1]) }

func (w waits) String() string {
	return fmt.Sprintf("p50 %.2f, worst %.2f round trips", w.p50(), w.worst())
}

func trips(d time.Duration) float64 { return float64(d) / float64(roundTrip) }

func summarize(first, again []waits) report.Section {
	median := func(of func(waits) float64, all []waits) float64 {
		values := make([]float64, len(all))
		for i, w := range all {
			values[i] = of(w)
		}
		return scenario.Median(values)
	}
	table := report.Table{Header: []string{"50 new visitors at once", "p50", "worst"}}
	for _, row := range []struct {
		name string
		all  []waits
	}{{"first", first}, {"one second later", again}} {
		table.Rows = append(table.Rows, []string{
			row.name, fmt.Sprintf("%.2f", median(waits.p50, row.all)), fmt.Sprintf("%.2f", median(waits.worst, row.all)),
		})
	}
	return report.Section{
		Scenario: name,
		Goals: []report.Goal{
			{Name: "burst-50-first", Value: median(waits.worst, first), Limit: 4.5, AtMost: true},
			{Name: "burst-50-one-second-later", Value: median(waits.worst, again), Limit: 1.3, AtMost: true},
		},
		Tables: []report.Table{table},
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sorted returns the times in order.
func sorted(times []time.Duration) waits { return slices.Sorted(slices.Values(times)) }
