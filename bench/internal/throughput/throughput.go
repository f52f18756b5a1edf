// Package throughput measures requests a second and their latency, on one machine
// and in one run: straight to a service, through nginx as a reverse proxy, and
// through Dialback.
package throughput

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dialback/dialback/bench/internal/nginx"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
	"github.com/dialback/dialback/bench/internal/wrk"
)

const (
	// slice is how long one target is loaded at a stretch. Targets take turns in
	// slices this short so that a drift of the machine meets all of them.
	slice = time.Second
	// goalRounds and rounds are how often a shape is measured that has a goal, and
	// one that has none; odd, for their medians.
	goalRounds, rounds = 5, 3
	goalConnections    = 32
)

const name = "throughput"

// Scenario is this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Quick, Run: run}
}

// shape is how visitors come.
type shape struct {
	connections int
	close       bool
}

func (s shape) rounds() int {
	if s.connections == goalConnections {
		return goalRounds
	}
	return rounds
}

func (s shape) String() string {
	if s.close {
		return fmt.Sprintf("`Connection: close`, %d", s.connections)
	}
	return fmt.Sprintf("keep-alive, %d", s.connections)
}

var shapes = []shape{{1, false}, {32, false}, {256, false}, {1, true}, {32, true}, {256, true}}

// series is the results of one target in one shape, by round.
type series []wrk.Result

// results are all series by shape and name of the target.
type results map[shape]map[string]series

func run(ctx context.Context, env scenario.Env) (report.Section, error) {
	site := &site{}
	defer site.stop()
	if err := site.start(ctx, env); err != nil {
		return report.Section{}, err
	}
	runner, err := wrk.New(env.Dir)
	if err != nil {
		return report.Section{}, err
	}
	m := &measurement{site: site, runner: runner, env: env, results: results{}}
	if err := m.all(ctx); err != nil {
		return report.Section{}, err
	}
	return report.Section{Scenario: name, Goals: m.results.goals(), Tables: []report.Table{m.results.table()}}, nil
}

// measurement is one run of the scenario.
type measurement struct {
	site    *site
	runner  *wrk.Runner
	env     scenario.Env
	results results
}

func (m *measurement) all(ctx context.Context) error {
	for _, t := range m.site.targets { // the first slice of a program is slower: it is not counted
		if _, err := m.load(ctx, t, shape{goalConnections, false}); err != nil {
			return err
		}
	}
	for round := range goalRounds {
		for _, s := range shapes {
			if round >= s.rounds() {
				continue
			}
			if err := m.round(ctx, round, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// round loads each target in turn; which is the first changes with the round.
func (m *measurement) round(ctx context.Context, round int, s shape) error {
	if m.results[s] == nil {
		m.results[s] = map[string]series{}
	}
	first := round % len(m.site.targets)
	for _, t := range slices.Concat(m.site.targets[first:], m.site.targets[:first]) {
		r, err := m.load(ctx, t, s)
		if err != nil {
			return err
		}
		m.env.Log.Info("slice", "round", round, "shape", s.String(), "target", t.name, "rate", int(r.Rate), "p50", r.P50, "p99", r.P99)
		m.results[s][t.name] = append(m.results[s][t.name], r)
	}
	return nil
}

func (m *measurement) load(ctx context.Context, t target, s shape) (wrk.Result, error) {
	r, err := m.runner.Run(ctx, wrk.Load{
		URL: t.url, Host: t.host, Connections: s.connections, Close: s.close, Duration: slice, MinBytes: nginx.FileSize,
	})
	if err == nil {
		err = m.site.alive()
	}
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w", t.name, s, err)
	}
	return r, nil
}

// goals compare with nginx in the same place, round by round.
func (r results) goals() []report.Goal {
	ratio := func(s shape) float64 {
		ours, theirs := r[s][viaTunnel], r[s][viaNginx]
		ratios := make([]float64, len(ours))
		for i := range ours {
			ratios[i] = ours[i].Rate / theirs[i].Rate
		}
		return scenario.Median(ratios)
	}
	return []report.Goal{
		{Name: "keepalive-32-vs-nginx-proxy", Value: ratio(shape{goalConnections, false}), Limit: 0.33},
		{Name: "close-32-vs-nginx-proxy", Value: ratio(shape{goalConnections, true}), Limit: 0.50},
	}
}

func (r results) table() report.Table {
	t := report.Table{Header: []string{"connections", "through", "requests/s", "p50 ms", "p99 ms"}}
	for _, s := range shapes {
		for _, through := range []string{direct, viaNginx, viaTunnel} {
			m := r[s][through].median()
			t.Rows = append(t.Rows, []string{s.String(), through, fmt.Sprintf("%.0f", m.Rate), millis(m.P50), millis(m.P99)})
		}
	}
	return t
}

// median is of each number by itself.
func (s series) median() wrk.Result {
	var rates []float64
	var p50, p99 []time.Duration
	for _, r := range s {
		rates, p50, p99 = append(rates, r.Rate), append(p50, r.P50), append(p99, r.P99)
	}
	return wrk.Result{Rate: scenario.Median(rates), P50: scenario.Median(p50), P99: scenario.Median(p99)}
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
