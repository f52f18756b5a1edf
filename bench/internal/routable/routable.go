// Package routable measures how long it takes from the acknowledgement of a bind
// until every one of several frontdoors knows the way.
package routable

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/report"
	"github.com/dialback/dialback/bench/internal/scenario"
)

const (
	name       = "routable"
	frontdoors = 4
	perSecond  = 500
	warmUp     = 3 * time.Second
	run        = 20 * time.Second
	// followed is the share of binds that frontdoors are asked about, one in so many:
	// to ask about all would be a larger load than the binds.
	followed = 10
	// giveUp is when a frontdoor is taken for one that will never know.
	giveUp = 10 * time.Second
	// askAgain is the pause between two questions.
	askAgain = time.Millisecond
)

var crowd = controlplane.Crowd{Size: int((warmUp + run).Seconds() * perSecond), Accounts: 64, Prefix: "r"}

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
	c, err := plane.Connector(ctx, "c1")
	if err != nil {
		return section, err
	}
	defer func() { err = errors.Join(err, c.Kill(), plane.Alive()) }()
	l := &load{connector: c}
	defer l.stop()
	for i := range frontdoors {
		f, err := plane.Frontdoor(ctx, fmt.Sprintf("f%d", i+1))
		if err != nil {
			return section, err
		}
		l.frontdoors = append(l.frontdoors, f)
	}
	if l.tunnels, err = plane.Tunnels(crowd, "c1"); err != nil {
		return section, err
	}
	if err := l.run(ctx); err != nil {
		return section, err
	}
	return l.section(), nil
}

// load binds tunnels at a steady rate, whatever becomes of those before.
type load struct {
	connector  *controlplane.Connector
	frontdoors []*controlplane.Frontdoor
	tunnels    []controlplane.Tunnel

	mu       sync.Mutex
	bound    []time.Duration // from the request to the acknowledgement
	routable []time.Duration // from there until the last frontdoor has answered that it knows
}

func (l *load) stop() {
	for _, f := range l.frontdoors {
		f.Stop()
	}
}

// run ends with the last bind, or the first that fails.
func (l *load) run(ctx context.Context) error {
	return scenario.Steady(ctx, len(l.tunnels), perSecond, func(ctx context.Context, i int) error {
		return l.follow(ctx, l.tunnels[i], i >= int(warmUp.Seconds())*perSecond && i%followed == 0)
	})
}

// follow binds one tunnel and waits for every frontdoor.
func (l *load) follow(ctx context.Context, t controlplane.Tunnel, measured bool) error {
	begun := time.Now()
	if _, err := l.connector.Bind(ctx, t); err != nil {
		return fmt.Errorf("bind of %s: %w", t.Hostname, err)
	}
	bound := time.Now()
	if !measured {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	answers := make(chan error, len(l.frontdoors))
	for _, f := range l.frontdoors {
		go func() { answers <- knows(ctx, f, t.Hostname) }()
	}
	var errs []error
	for range l.frontdoors {
		errs = append(errs, <-answers)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound, l.routable = append(l.bound, bound.Sub(begun)), append(l.routable, time.Since(bound))
	return nil
}

// knows asks a frontdoor until it has an attachment of the endpoint.
func knows(ctx context.Context, f *controlplane.Frontdoor, hostname string) error {
	for {
		answer, err := f.InspectEndpoint(ctx, &frontdoorv1.InspectEndpointRequest{Hostname: hostname})
		if err != nil {
			return fmt.Errorf("ask for %s: %w", hostname, err)
		}
		if answer.GetState().GetAttachments() > 0 {
			return nil
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return fmt.Errorf("%s does not become routable: %w", hostname, ctx.Err())
		}
	}
}

func (l *load) section() report.Section {
	table := report.Table{Header: []string{"500 binds a second, 4 frontdoors", "p50 ms", "p99 ms", "worst ms"}}
	for _, row := range []struct {
		what string
		took []time.Duration
	}{{"from the request to its acknowledgement", l.bound}, {"from there until all frontdoors know the way", l.routable}} {
		table.Rows = append(table.Rows, []string{row.what,
			report.Milliseconds(scenario.Percentile(row.took, 0.5)),
			report.Milliseconds(scenario.Percentile(row.took, 0.99)), report.Milliseconds(scenario.Percentile(row.took, 1))})
	}
	return report.Section{
		Scenario: name,
		Goals: []report.Goal{
			{Name: "routable-p99-ms", Value: scenario.Percentile(l.routable, 0.99).Seconds() * 1e3, Limit: 25, AtMost: true},
		},
		Tables: []report.Table{table},
	}
}
