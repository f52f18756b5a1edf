// Package failover measures what the death of a connector with many tunnels costs
// the control plane.
package failover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const (
	name = "failover"
	// tunnels are how many the connector has, each of an agent of its own.
	tunnels  = 100_000
	accounts = 64
	// workers are how many binds are on their way at once.
	workers    = 512
	probeEvery = 50 * time.Millisecond
)

// Scenario returns this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Scale, Run: measure}
}

func measure(ctx context.Context, env scenario.Env) (section report.Section, err error) {
	plane, err := controlplane.Start(ctx, controlplane.Config{Bin: env.Bin, Tools: env.Tools, Dir: env.Dir})
	if err != nil {
		return section, err
	}
	defer plane.Stop()
	dying, err := plane.Connector(ctx, "c1")
	if err != nil {
		return section, err
	}
	other, err := plane.Connector(ctx, "c2")
	if err != nil {
		return section, errors.Join(err, dying.Kill())
	}
	defer func() { err = errors.Join(err, other.Kill(), plane.Alive()) }()
	first, again, err := sessions(plane)
	if err != nil {
		return section, errors.Join(err, dying.Kill())
	}
	if _, err := bindAll(ctx, dying, first); err != nil {
		return section, errors.Join(err, dying.Kill())
	}
	if err := dying.Kill(); err != nil {
		return section, err
	}
	return comeBack(ctx, plane, other, again)
}

// comeBack binds all again, while others go on.
func comeBack(ctx context.Context, plane *controlplane.Plane, c *controlplane.Connector, again []controlplane.Tunnel) (section report.Section, err error) {
	probing, end := context.WithCancel(ctx)
	defer end()
	var probes []time.Duration
	var pause time.Duration
	var beside errgroup.Group
	beside.Go(func() (err error) { probes, err = probe(probing, plane, c); return err })
	beside.Go(func() (err error) { pause, err = plane.Etcd.Pauses(probing); return err })
	begun := time.Now()
	took, err := bindAll(ctx, c, again)
	all := time.Since(begun)
	end()
	if err := errors.Join(err, beside.Wait()); err != nil {
		return section, err
	}
	slowest := scenario.Percentile(probes, 0.99)
	return report.Section{
		Scenario: name,
		Goals:    []report.Goal{{Name: "failover-100000-seconds", Value: all.Seconds(), Limit: 20, AtMost: true}},
		Tables: []report.Table{{
			Header: []string{"", "p50 ms", "p99 ms"},
			Rows: [][]string{
				{"an agent that comes back", report.Milliseconds(scenario.Percentile(took, 0.5)), report.Milliseconds(scenario.Percentile(took, 0.99))},
				{"another account's agent", report.Milliseconds(scenario.Percentile(probes, 0.5)), report.Milliseconds(slowest)},
				{"etcd's worst pause", "", report.Milliseconds(pause)},
			},
		}},
	}, nil
}

// sessions are the agents' tunnels at the connector that dies, and at the other.
func sessions(plane *controlplane.Plane) (first, again []controlplane.Tunnel, err error) {
	for i := range tunnels {
		agent := controlplane.Agent{
			Account: fmt.Sprintf("account-%d", i%accounts), ID: "agent-" + controlplane.RandomHex(16),
			Instance: []byte(controlplane.RandomHex(8)),
		}
		t := controlplane.Tunnel{ID: controlplane.RandomHex(16), Hostname: fmt.Sprintf("f%d.%s", i, controlplane.Domain)}
		for connector, list := range map[string]*[]controlplane.Tunnel{"c1": &first, "c2": &again} {
			if t.Assertion, err = plane.Assert(agent, connector); err != nil {
				return nil, nil, err
			}
			t.Session = "s-" + controlplane.RandomHex(8)
			*list = append(*list, t)
		}
	}
	return first, again, nil
}

// bindAll binds each, and returns how long each took.
func bindAll(ctx context.Context, c *controlplane.Connector, list []controlplane.Tunnel) ([]time.Duration, error) {
	took := make([]time.Duration, len(list))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(workers)
	for i, t := range list {
		all.Go(func() error {
			begun := time.Now()
			if _, err := c.Bind(ctx, t); err != nil {
				return fmt.Errorf("bind %s: %w", t.Hostname, err)
			}
			took[i] = time.Since(begun)
			return nil
		})
	}
	return took, all.Wait()
}

// probe binds new names of an account of its own, one after the other.
func probe(ctx context.Context, plane *controlplane.Plane, c *controlplane.Connector) (took []time.Duration, err error) {
	assertion, err := plane.Assert(controlplane.Agent{Account: "probe", ID: "agent-probe"}, c.Name)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		begun := time.Now()
		_, err := c.Bind(ctx, controlplane.Tunnel{
			Assertion: assertion, ID: controlplane.RandomHex(16), Session: "s-probe",
			Hostname: fmt.Sprintf("probe%d.%s", len(took), controlplane.Domain),
		})
		switch {
		case ctx.Err() != nil:
			return took, nil
		case err != nil:
			return took, fmt.Errorf("probe: %w", err)
		}
		took = append(took, time.Since(begun))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return took, nil
		}
	}
}
