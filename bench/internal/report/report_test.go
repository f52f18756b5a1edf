package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGoal(t *testing.T) {
	t.Parallel()
	for want, g := range map[string]Goal{
		"bench: rate 0.33 0.33 ok":    {Name: "rate", Value: 0.33, Limit: 0.33},
		"bench: rate 0.32 0.33 short": {Name: "rate", Value: 0.32, Limit: 0.33},
		"bench: wait 4.50 4.50 ok":    {Name: "wait", Value: 4.5, Limit: 4.5, AtMost: true},
		"bench: wait 4.51 4.50 short": {Name: "wait", Value: 4.51, Limit: 4.5, AtMost: true},
	} {
		if got := g.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := Table{Header: []string{"who", "µs"}, Rows: [][]string{{"nginx", "1"}, {"us", "12345"}}}.String()
	want := `| who   |    µs |
| ----- | ----: |
| nginx |     1 |
| us    | 12345 |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	write(t, path, "before\n<!-- bench:other -->\nkept\n<!-- /bench:other -->\n<!-- bench:it -->\nold\n<!-- /bench:it -->\nafter\n")
	s := Section{
		Scenario: "it",
		Goals:    []Goal{{Name: "rate", Value: 1, Limit: 2}},
		Tables:   []Table{{Header: []string{"head"}, Rows: [][]string{{"cell"}}}},
	}
	for range 2 { // the second finds its markers again
		if err := s.Update(path, "Two cores."); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "\nafter\n") || !strings.Contains(got, "\nkept\n") || strings.Contains(got, "old") {
		t.Errorf("the text around is not kept, or the old one is:\n%s", got)
	}
	for _, want := range []string{"Two cores.", "| `rate` |", "| cell |"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, strings.Count(got, want), got)
		}
	}
}

func TestUpdateNeedsItsMarkers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "<!-- bench:it -->", "<!-- /bench:it --><!-- bench:it -->"} {
		path := filepath.Join(t.TempDir(), "doc.md")
		write(t, path, text)
		if err := (Section{Scenario: "it"}).Update(path, ""); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
