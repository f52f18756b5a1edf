// Package report says what was measured: as lines for programs, and as a document.
package report

import "fmt"

// Goal is a value that was measured, and what it is to be.
type Goal struct {
	Name   string
	Value  float64
	Limit  float64
	AtMost bool // Limit is the largest good value; else the smallest
}

// Met says whether the goal is reached.
func (g Goal) Met() bool {
	if g.AtMost {
		return g.Value <= g.Limit
	}
	return g.Value >= g.Limit
}

func (g Goal) verdict() string {
	if g.Met() {
		return "ok"
	}
	return "short"
}

// String is the line for programs: "bench: NAME VALUE GOAL ok|short".
func (g Goal) String() string {
	return fmt.Sprintf("bench: %s %.2f %.2f %s", g.Name, g.Value, g.Limit, g.verdict())
}

// row is the goal's row in a table.
func (g Goal) row() []string {
	bound := "at least"
	if g.AtMost {
		bound = "at most"
	}
	return []string{"`" + g.Name + "`", fmt.Sprintf("%.2f", g.Value), fmt.Sprintf("%s %.2f", bound, g.Limit), g.verdict()}
}
