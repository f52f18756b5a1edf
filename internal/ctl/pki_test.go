package ctl_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/ctl"
)

// pki runs `dialbackctl pki` on a folder.
func pki(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, notes strings.Builder
	code = ctl.Run(t.Context(), append([]string{"pki", "--dir", dir}, args...), &out, &notes)
	return code, out.String(), notes.String()
}

func TestPinsAreHandedOutBeforeAndAfterASwitch(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	for _, step := range []struct {
		args string
		pins int
	}{
		{"init --domain example.com", 1},
		{"rotate proxy-ca prepare", 2},
		{"rotate proxy-ca switch", 2},
		{"rotate proxy-ca finish", 1},
		{"pins", 1},
	} {
		code, stdout, stderr := pki(t, dir, strings.Fields(step.args)...)
		if pins := strings.Fields(stdout); code != 0 || len(pins) != step.pins {
			t.Fatalf("%s: exit %d, prints %q\n%s", step.args, code, pins, stderr)
		}
	}
	if _, stdout, _ := pki(t, dir, "show"); !strings.Contains(stdout, "proxy-ca    settled") || !strings.Contains(stdout, "in 90 days") {
		t.Errorf("show prints\n%s", stdout)
	}
}

func TestPKICommandsThatCannotWork(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	if code, _, stderr := pki(t, dir, "issue", "auth", "a1"); code != 1 || !strings.Contains(stderr, "pki init") {
		t.Errorf("issue without authorities: exit %d, %s", code, stderr)
	}
	if code, _, stderr := pki(t, dir, "init", "--domain", "example.com"); code != 0 {
		t.Fatal(stderr)
	}
	for args, want := range map[string]string{
		"issue visitor v1":       "want one of auth",
		"rotate proxy-ca":        "name the step",
		"rotate leaf switch":     "no steps",
		"rotate proxy-ca switch": "prepare it first",
	} {
		if code, _, stderr := pki(t, dir, strings.Fields(args)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}
