package portrange_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/portrange"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"20000-20999": "20000-20999", "443": "443-443", "": "", "1-65535": "1-65535"} {
		var r portrange.Range
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%q is read as %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"0", "0-5", "5-4", "x", "1-65536", "1-2-3", "-5", "5-", " 1-2", "1 - 2"} {
		if r, err := portrange.Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, r)
		}
	}
	r := portrange.Range{First: 10, Last: 12}
	if !r.Contains(10) || !r.Contains(12) || r.Contains(9) || r.Contains(13) || (portrange.Range{}).Contains(0) {
		t.Error("the ends of a range are not where they are")
	}
}

func TestPortsOfOutgoingConnectionsAreRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "range")
	if err := os.WriteFile(file, []byte("32768\t60999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		"20000-20999": true, "32767": true, "61000-61999": true, "": true,
		"32768": false, "20000-32768": false, "60999-61500": false, "1-65535": false, "40000-40100": false,
	} {
		var r portrange.Range
		if err := r.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		err := r.CheckEphemeral(file)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "32768-60999") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (portrange.Range{First: 40000, Last: 40001}).CheckEphemeral(file + ".none"); err != nil {
		t.Errorf("without the file: %v", err)
	}
}
