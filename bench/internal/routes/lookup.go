package routes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/dialback/dialback/bench/internal/report"
)

// table is the package with the table of routes and its benchmarks; the command is
// run in the root of the repository.
const table = "./services/frontdoor/internal/route"

// lookup is a benchmark's line.
type lookup struct {
	what        string
	nanoseconds float64
	bytes       float64 // of the heap that a route takes; 0: not measured
	allocations float64
}

// measured are the lines that are looked for: the first one is the goal's.
var measured = []struct{ benchmark, what string }{
	{"BenchmarkLookup", "any of 1,000,000, 1 core"},
	{"BenchmarkLookup-2", "any of 1,000,000, 2 cores"},
	{"BenchmarkLookupOfOne", "always the same, 1 core"},
	{"BenchmarkLookupOfOne-2", "always the same, 2 cores"},
}

func benchmark(ctx context.Context) ([]lookup, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkLookup", "-cpu", "1,2", table).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return parse(string(out))
}

func parse(out string) ([]lookup, error) {
	var list []lookup
	for _, m := range measured {
		line := regexp.MustCompile(`(?m)^` + m.benchmark + `\s+\d+\s.*$`).FindString(out)
		l := lookup{what: m.what}
		var err error
		if l.nanoseconds, err = value(line, "ns/op"); err != nil {
			return nil, errors.Join(fmt.Errorf("%s has not run:\n%s", m.benchmark, out), err)
		}
		l.bytes, _ = value(line, "B/route") // some lines have none
		if l.allocations, err = value(line, "allocs/op"); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

func value(line, unit string) (float64, error) {
	found := regexp.MustCompile(`([\d.]+) ` + unit).FindStringSubmatch(line)
	if found == nil {
		return 0, fmt.Errorf("%q has no %s", line, unit)
	}
	return strconv.ParseFloat(found[1], 64)
}

func tableOf(lookups []lookup) report.Table {
	t := report.Table{Header: []string{"lookup of a name", "ns", "allocations", "heap of a route, bytes"}}
	for _, l := range lookups {
		bytes := ""
		if l.bytes > 0 {
			bytes = fmt.Sprintf("%.0f", l.bytes)
		}
		t.Rows = append(t.Rows, []string{l.what, fmt.Sprintf("%.0f", l.nanoseconds), fmt.Sprintf("%.0f", l.allocations), bytes})
	}
	return t
}
