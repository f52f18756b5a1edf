package report

import (
	"fmt"
	"os"
	"strings"
)

// Section is what one scenario found.
type Section struct {
	Scenario string // a word; names the section's markers in the document
	Goals    []Goal
	Tables   []Table
}

// Text is the section in Markdown. setting says in words where it was measured.
func (s Section) Text(setting string) string {
	goals := Table{Header: []string{"goal", "value", "wanted", ""}}
	for _, g := range s.Goals {
		goals.Rows = append(goals.Rows, g.row())
	}
	parts := []string{setting + "\n", goals.String()}
	for _, t := range s.Tables {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, "\n")
}

// Update replaces what the document at path has between the section's markers,
// "<!-- bench:NAME -->" and "<!-- /bench:NAME -->".
func (s Section) Update(path, setting string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := "<!-- bench:"+s.Scenario+" -->", "<!-- /bench:"+s.Scenario+" -->"
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s lacks the markers %s and %s", path, begin, end)
	}
	text := before + begin + "\n\n" + s.Text(setting) + "\n" + end + after
	return os.WriteFile(path, []byte(text), 0o644) //nolint:gosec // a document for everyone
}
