// Package watchers measures what it costs a registry that many nodes watch it, and
// whether one that does not read delays the others.
package watchers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const (
	name      = "watchers"
	many      = 100
	perSecond = 500
	run       = 10 * time.Second
)

var crowd = controlplane.Crowd{Size: int(run.Seconds() * perSecond), Accounts: 64, Prefix: "w"}

// Scenario returns this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Scale, Run: measure}
}

// setting is who watches during a run; one of them is looked at.
type setting struct {
	name            string
	reading, silent int
}

var settings = []setting{
	{"1 watcher", 1, 0},
	{"100 watchers", many, 0},
	{"100 watchers, and 1 that does not read", many, 1},
}

// found is what a run has shown: the registry's cores, and the time from a bind's
// answer to its change at a watcher.
type found struct {
	rate   float64 // binds a second: fewer than were to be on a machine that is too slow
	cores  float64
	delays []time.Duration
}

func measure(ctx context.Context, env scenario.Env) (report.Section, error) {
	section := report.Section{Scenario: name}
	table := report.Table{Header: []string{"", "binds a second", "registry, cores", "delay p50 ms", "p99 ms"}}
	var all []found
	for i, s := range settings {
		f, err := measureSetting(ctx, env, filepath.Join(env.Dir, fmt.Sprint(i)), s)
		if err != nil {
			return section, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, f)
		table.Rows = append(table.Rows, []string{s.name, fmt.Sprintf("%.0f", f.rate), fmt.Sprintf("%.2f", f.cores),
			report.Milliseconds(scenario.Percentile(f.delays, 0.5)), report.Milliseconds(scenario.Percentile(f.delays, 0.99))})
	}
	section.Goals = []report.Goal{
		{Name: "watchers-100-cores", Value: all[1].cores - all[0].cores, Limit: 1, AtMost: true},
		{Name: "watchers-beside-slow-p99-ms", Value: scenario.Percentile(all[2].delays, 0.99).Seconds() * 1e3, Limit: 25, AtMost: true},
	}
	section.Tables = []report.Table{table}
	return section, nil
}

func measureSetting(ctx context.Context, env scenario.Env, dir string, s setting) (f found, err error) {
	plane, err := controlplane.Start(ctx, controlplane.Config{Bin: env.Bin, Tools: env.Tools, Dir: dir})
	if err != nil {
		return f, err
	}
	defer plane.Stop()
	c, err := plane.Connector(ctx, "c1")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, c.Kill(), plane.Alive()) }()
	tunnels, err := plane.Tunnels(crowd, "c1")
	if err != nil {
		return f, err
	}
	watching, end := context.WithCancel(ctx)
	defer end()
	group, watching := errgroup.WithContext(watching)
	w, err := watch(watching, plane, group, s)
	if err != nil {
		end()
		return f, errors.Join(err, group.Wait())
	}
	before, err := plane.Registry.Usage()
	if err != nil {
		return f, err
	}
	begun := time.Now()
	answered, err := bindSteadily(ctx, c, tunnels)
	took := time.Since(begun)
	after, usage := plane.Registry.Usage()
	if err := errors.Join(err, usage); err != nil {
		return f, err
	}
	f.rate = float64(len(tunnels)) / took.Seconds()
	f.cores = (after.CPU - before.CPU).Seconds() / took.Seconds()
	f.delays, err = w.delays(ctx, answered)
	end()
	return f, errors.Join(err, group.Wait())
}

// bindSteadily binds at a steady rate, whatever becomes of those before, and
// returns when each was answered.
func bindSteadily(ctx context.Context, c *controlplane.Connector, tunnels []controlplane.Tunnel) (map[string]time.Time, error) {
	answered := make([]time.Time, len(tunnels))
	err := scenario.Steady(ctx, len(tunnels), perSecond, func(ctx context.Context, i int) error {
		_, err := c.Bind(ctx, tunnels[i])
		answered[i] = time.Now()
		return err
	})
	if err != nil {
		return nil, err
	}
	times := make(map[string]time.Time, len(tunnels))
	for i, t := range tunnels {
		times[t.Hostname] = answered[i]
	}
	return times, nil
}
