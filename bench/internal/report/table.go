package report

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Table is rows below a header.
type Table struct {
	Header []string
	Rows   [][]string
}

// String is the table in Markdown, aligned for those who read the source: the
// first column to the left, numbers to the right.
func (t Table) String() string {
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), len("--:"))
		}
	}
	var b strings.Builder
	writeRow(&b, t.Header, widths)
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width-1) + ":"
	}
	rule[0] = strings.Repeat("-", widths[0])
	writeRow(&b, rule, widths)
	for _, row := range t.Rows {
		writeRow(&b, row, widths)
	}
	return b.String()
}

func writeRow(b *strings.Builder, row []string, widths []int) {
	for i, cell := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			b.WriteString("| " + cell + pad)
		} else {
			b.WriteString(" | " + pad + cell)
		}
	}
	b.WriteString(" |\n")
}

// Milliseconds is a cell: the milliseconds, to a tenth.
func Milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }
