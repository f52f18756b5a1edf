// Package testkit is what tests of several packages share. Only tests import it.
package testkit

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

// pollEvery is the pause between two looks at a condition.
const pollEvery = 5 * time.Millisecond

// Eventually waits until cond holds, and fails the test with msg when it does not
// within limit. Be generous: the limit is for machines that are busy, not a figure
// to assert.
func Eventually(t testing.TB, limit time.Duration, cond func() bool, msg string) {
	t.Helper()
	for deadline := time.Now().Add(limit); !cond(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, msg)
		}
	}
}

// CA returns a fresh certificate authority.
func CA(t testing.TB) *tlsconf.CA {
	t.Helper()
	ca, err := tlsconf.NewCA("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Prefix returns a key prefix of the test's own, which ends in a slash, so that tests
// can share a store.
func Prefix(t testing.TB) string {
	return fmt.Sprintf("/%s/%d/", strings.Trim(t.Name(), "/"), time.Now().UnixNano())
}

// Logger returns a logger into the test's output, from level debug on. What is logged
// after the test's end is dropped, where testing itself would panic.
func Logger(t testing.TB) *slog.Logger {
	w := &output{t: t}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type output struct {
	mu sync.Mutex
	t  testing.TB // nil once the test has ended
}

func (w *output) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t == nil {
		return len(p), nil
	}
	return w.t.Output().Write(p)
}

func (w *output) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
