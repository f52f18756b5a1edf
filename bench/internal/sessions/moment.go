package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dialback/dialback/bench/internal/controlplane"
	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/bench/internal/report"
)

// moment is what the connector has, and has used until then.
type moment struct {
	at                      time.Time
	connector, load         process.Usage
	goroutines, heap, stack float64
}

func take(ctx context.Context, c *controlplane.ConnectorProcess) (m moment, err error) {
	var errs [2]error
	m.connector, errs[0] = c.Usage()
	m.load, errs[1] = process.Own()
	m.at = time.Now()
	for metric, to := range map[string]*float64{
		"go_goroutines": &m.goroutines, "go_memstats_heap_inuse_bytes": &m.heap, "go_memstats_stack_inuse_bytes": &m.stack,
	} {
		s, err := controlplane.Scrape(ctx, c.Metrics, metric)
		if err != nil {
			return m, err
		}
		*to = s.Sum
	}
	return m, errors.Join(errs[:]...)
}

// cores is how many a process has used between two moments, on average.
func cores(before, after moment, of func(moment) process.Usage) float64 {
	return (of(after).CPU - of(before).CPU).Seconds() / after.at.Sub(before.at).Seconds()
}

// sectionOf compares the moments before all sessions but one, and at the beginning
// and the end of a time in which nothing happened.
func sectionOf(before, calm, after moment, took time.Duration) report.Section {
	connector := func(m moment) process.Usage { return m.connector }
	load := func(m moment) process.Usage { return m.load }
	each := func(of func(moment) float64) float64 { return (of(after) - of(before)) / (many - 1) }
	kib := func(of func(moment) float64) string { return fmt.Sprintf("%.1f", each(of)/1024) }
	resident := each(func(m moment) float64 { return float64(m.connector.Resident) }) / 1024
	busy := cores(calm, after, connector)
	return report.Section{
		Scenario: name,
		Goals: []report.Goal{
			{Name: "session-resident-kib", Value: resident, Limit: 56, AtMost: true},
			{Name: "sessions-idle-cores", Value: busy, Limit: 0.2, AtMost: true},
		},
		Tables: []report.Table{
			{
				Header: []string{"15,000 sessions on one connector", "resident KiB", "heap KiB", "stacks KiB", "goroutines"},
				Rows: [][]string{{
					"each", fmt.Sprintf("%.1f", resident), kib(func(m moment) float64 { return m.heap }),
					kib(func(m moment) float64 { return m.stack }), fmt.Sprintf("%.1f", each(func(m moment) float64 { return m.goroutines })),
				}},
			},
			{
				Header: []string{"seconds for all to connect and bind", "connector, CPU ms each", "load, CPU ms each", "idle connector, cores", "idle load, cores"},
				Rows: [][]string{{
					fmt.Sprintf("%.0f", took.Seconds()), perSession(before, calm, connector), perSession(before, calm, load),
					fmt.Sprintf("%.2f", busy), fmt.Sprintf("%.2f", cores(calm, after, load)),
				}},
			},
		},
	}
}

func perSession(before, after moment, of func(moment) process.Usage) string {
	return fmt.Sprintf("%.2f", (of(after).CPU-of(before).CPU).Seconds()*1e3/(many-1))
}
