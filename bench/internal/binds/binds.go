// Package binds measures how many tunnels a second a registry takes in.
package binds

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const (
	name = "binds"
	// accounts are how many the agents belong to.
	accounts = 64
	// workers are how many binds are on their way at once.
	workers = 512
	warmUp  = 3 * time.Second
	run     = 12 * time.Second
	// agents are signed for before the load begins: auth's work is not the registry's.
	agents = 150_000
)

// Scenario returns this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Scale, Run: measure}
}

// kind is whose binds these are.
type kind struct {
	name     string
	accounts int
	limit    uint32 // of endpoints an account; 0: none
}

var kinds = []kind{
	{"64 accounts without limits", accounts, 0},
	{"64 accounts with limits", accounts, 1_000_000},
	{"1 account with a limit", 1, 1_000_000},
}

// found is what one kind's run has shown.
type found struct {
	rate                 float64
	p50, p99             time.Duration
	registry, etcd, load float64 // cores
	fsync, fsyncs        float64 // seconds each; a second
}

func measure(ctx context.Context, env scenario.Env) (report.Section, error) {
	section := report.Section{Scenario: name}
	table := report.Table{Header: []string{"binds of", "a second", "p50 ms", "p99 ms", "registry, cores", "etcd, cores", "load, cores", "fsyncs a second", "ms each"}}
	for i, k := range kinds {
		f, err := measureKind(ctx, env, filepath.Join(env.Dir, fmt.Sprint(i)), k)
		if err != nil {
			return section, fmt.Errorf("%s: %w", k.name, err)
		}
		if i == 0 {
			section.Goals = []report.Goal{{Name: "binds-a-second", Value: f.rate, Limit: 5000}}
		}
		table.Rows = append(table.Rows, append([]string{k.name}, f.row()...))
	}
	section.Tables = []report.Table{table}
	return section, nil
}

func (f found) row() []string {
	row := []string{fmt.Sprintf("%.0f", f.rate), report.Milliseconds(f.p50), report.Milliseconds(f.p99)}
	for _, v := range []float64{f.registry, f.etcd, f.load} {
		row = append(row, fmt.Sprintf("%.2f", v))
	}
	return append(row, fmt.Sprintf("%.0f", f.fsyncs), fmt.Sprintf("%.2f", f.fsync*1e3))
}

func measureKind(ctx context.Context, env scenario.Env, dir string, k kind) (f found, err error) {
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
	tunnels, err := plane.Tunnels(controlplane.Crowd{Size: agents, Accounts: k.accounts, MaxEndpoints: k.limit, Prefix: "b"}, "c1")
	if err != nil {
		return f, err
	}
	l := &load{connector: c, tunnels: tunnels}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	select {
	case <-time.After(warmUp):
	case err := <-ended:
		return f, errors.Join(err, errors.New("the load ended early"))
	}
	before, err := take(ctx, plane)
	if err != nil {
		return f, err
	}
	l.measuring.Store(true)
	select {
	case <-time.After(run):
	case err := <-ended:
		return f, errors.Join(err, errors.New("the load ended early"))
	}
	l.measuring.Store(false)
	after, err := take(ctx, plane)
	cancel()
	if err := errors.Join(err, <-ended); err != nil {
		return f, err
	}
	return after.since(before, l.times()), nil
}

// load binds tunnels as fast as they are taken.
type load struct {
	connector *controlplane.Connector
	tunnels   []controlplane.Tunnel
	next      atomic.Int64
	measuring atomic.Bool

	mu   sync.Mutex
	took []time.Duration
}

// run ends with ctx, or with the first bind that fails.
func (l *load) run(ctx context.Context) error {
	var all sync.WaitGroup
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	for range workers {
		all.Go(func() {
			if err := l.work(ctx); err != nil {
				fail(err)
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (l *load) work(ctx context.Context) error {
	var took []time.Duration
	defer func() {
		l.mu.Lock()
		l.took = append(l.took, took...)
		l.mu.Unlock()
	}()
	for ctx.Err() == nil {
		i := l.next.Add(1) - 1
		if i >= int64(len(l.tunnels)) {
			return errors.New("more binds were taken than there are agents")
		}
		begun := time.Now()
		if _, err := l.connector.Bind(ctx, l.tunnels[i]); err != nil && ctx.Err() == nil {
			return fmt.Errorf("bind %d: %w", i, err)
		}
		if l.measuring.Load() {
			took = append(took, time.Since(begun))
		}
	}
	return nil
}

func (l *load) times() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// moment is what everybody has used until then.
type moment struct {
	at                   time.Time
	registry, etcd, load process.Usage
	fsync                controlplane.Sample
}

func take(ctx context.Context, plane *controlplane.Plane) (m moment, err error) {
	var errs [4]error
	m.registry, errs[0] = plane.Registry.Usage()
	m.etcd, errs[1] = plane.Etcd.Usage()
	m.load, errs[2] = process.Own()
	m.fsync, errs[3] = plane.Etcd.Fsync(ctx)
	m.at = time.Now()
	return m, errors.Join(errs[:]...)
}

func (m moment) since(before moment, took []time.Duration) found {
	seconds := m.at.Sub(before.at).Seconds()
	cores := func(now, then process.Usage) float64 { return (now.CPU - then.CPU).Seconds() / seconds }
	return found{
		rate: float64(len(took)) / run.Seconds(), p50: scenario.Percentile(took, 0.5), p99: scenario.Percentile(took, 0.99),
		registry: cores(m.registry, before.registry), etcd: cores(m.etcd, before.etcd), load: cores(m.load, before.load),
		fsync: m.fsync.Mean(before.fsync), fsyncs: (m.fsync.Count - before.fsync.Count) / seconds,
	}
}
