// Package routes measures a frontdoor that knows a million routes: how long it
// takes to learn them, what they cost in memory, and how fast one is found.
package routes

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const (
	name = "routes"
	many = 1_000_000
)

// Scenario returns this measurement.
func Scenario() scenario.Scenario {
	return scenario.Scenario{Name: name, Group: scenario.Scale, Run: measure}
}

func measure(ctx context.Context, env scenario.Env) (section report.Section, err error) {
	lookups, err := benchmark(ctx)
	if err != nil {
		return section, err
	}
	plane, err := controlplane.Start(ctx, controlplane.Config{
		Bin: env.Bin, Tools: env.Tools, Dir: env.Dir,
		Fill: func(ctx context.Context, etcd *clientv3.Client) error {
			begun := time.Now()
			defer func() { env.Log.Info("etcd is filled", "after", time.Since(begun)) }()
			return fill(ctx, etcd)
		},
	})
	if err != nil {
		return section, err
	}
	defer plane.Stop()
	env.Log.Info("a registry has read it")
	f, err := learn(ctx, plane)
	if err != nil {
		return section, err
	}
	return report.Section{
		Scenario: name,
		Goals: []report.Goal{
			{Name: "route-heap-bytes", Value: f.heap / many, Limit: 400, AtMost: true},
			{Name: "routes-snapshot-seconds", Value: f.took.Seconds(), Limit: 10, AtMost: true},
			{Name: "route-lookup-ns", Value: lookups[0].nanoseconds, Limit: 200, AtMost: true},
		},
		Tables: []report.Table{f.table(), tableOf(lookups)},
	}, plane.Alive()
}

// learned is what a frontdoor has taken to learn all routes.
type learned struct {
	took          time.Duration // from the start of its process until it serves them
	frontdoor     time.Duration // of its processor time until then
	registry      time.Duration // of the registry's
	heap          float64       // bytes, with the garbage collected
	resident      int64         // bytes, just behind the snapshot
	residentLater int64         // of the registry
}

// learn measures a second frontdoor: the first one waits until the registry has
// read its store.
func learn(ctx context.Context, plane *controlplane.Plane) (l learned, err error) {
	first, err := plane.Frontdoor(ctx, "f1")
	if err != nil {
		return l, err
	}
	first.Stop()
	before, err := plane.Registry.Usage()
	if err != nil {
		return l, err
	}
	begun := time.Now()
	f, err := plane.Frontdoor(ctx, "f2")
	if err != nil {
		return l, err
	}
	defer f.Stop()
	l.took = time.Since(begun)
	own, err := f.Usage()
	after, err2 := plane.Registry.Usage()
	if err := errors.Join(err, err2); err != nil {
		return l, err
	}
	l.frontdoor, l.registry, l.resident, l.residentLater = own.CPU, after.CPU-before.CPU, own.Resident, after.Resident
	l.heap, err = f.Heap(ctx)
	return l, errors.Join(err, f.Alive())
}

func (l learned) table() report.Table {
	const mib = 1 << 20
	return report.Table{
		Header: []string{"a frontdoor learns 1,000,000 routes", "seconds", "its CPU seconds", "the registry's", "its heap, MiB", "resident, MiB", "the registry's"},
		Rows: [][]string{{
			"from the start of its process", fmt.Sprintf("%.1f", l.took.Seconds()), fmt.Sprintf("%.1f", l.frontdoor.Seconds()), fmt.Sprintf("%.1f", l.registry.Seconds()),
			fmt.Sprintf("%.0f", l.heap/mib), fmt.Sprint(l.resident / mib), fmt.Sprint(l.residentLater / mib),
		}},
	}
}
