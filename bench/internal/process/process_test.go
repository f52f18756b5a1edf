package process

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Local, Spec{Name: "script", Path: "sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func TestWaitLine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p := shell(t, "echo one; echo two >&2; exec sleep 60")
	for _, line := range []string{"two", "one"} { // what was printed before counts, each time
		if err := p.WaitLine(ctx, Contains(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
	p.Stop()
	if p.Alive() == nil {
		t.Error("alive behind Stop")
	}
}

func TestWaitLineEndsWithTheProgram(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo the reason; exit 3")
	err := p.WaitLine(t.Context(), Contains("never"))
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want exit code and last words", err)
	}
}

func TestWaitLineEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := shell(t, "echo begun; exec sleep 60")
	err := p.WaitLine(ctx, func(line string) bool {
		if line == "begun" {
			cancel()
		}
		return false
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutput()
	for range 3 * keptLines {
		if _, err := o.Write([]byte("a li")); err != nil {
			t.Fatal(err)
		}
		o.Write([]byte("ne\nlast"))           //nolint:errcheck // it never fails
		o.Write([]byte(" and another one\n")) //nolint:errcheck // it never fails
	}
	lines, count, _ := o.since(0)
	if len(lines) != keptLines || count != 6*keptLines || lines[keptLines-1] != "last and another one" {
		t.Errorf("%d lines of %d, the last %q", len(lines), count, lines[len(lines)-1])
	}
	o.Write([]byte(strings.Repeat("x", 10*maxLine))) //nolint:errcheck // it never fails
	if len(o.partial) > maxLine {
		t.Errorf("a line of %d bytes is remembered", len(o.partial))
	}
}
