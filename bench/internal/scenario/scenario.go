// Package scenario is what all measurements have in common.
package scenario

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"

	"github.com/dialback/dialback/bench/internal/report"
)

// Env is what a scenario is given.
type Env struct {
	Bin   string // folder of the built programs
	Tools string // folder of the tools that others wrote: etcd
	Dir   string // for the scenario's files alone; removed behind it
	Log   *slog.Logger
}

// Group is the scenarios that one make target runs.
type Group string

// The groups.
const (
	Quick Group = "quick" // a comparison in two minutes
	Scale Group = "scale" // how far the control plane carries, in ten
)

// Scenario is one measurement. Run starts what it needs, ends it again, and fails
// when anything that it measured went wrong, for a number from a broken run means nothing.
type Scenario struct {
	Name  string // a word
	Group Group
	Run   func(ctx context.Context, env Env) (report.Section, error)
}

// Median returns the middle of values, of which there is one at least; of an even
// number the lower middle.
func Median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// Percentile returns the smallest of values that a share of them does not exceed;
// 0 of none.
func Percentile[T cmp.Ordered](values []T, share float64) (none T) {
	if len(values) == 0 {
		return none
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}
