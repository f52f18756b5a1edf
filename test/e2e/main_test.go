// Package e2e runs Dialback as its users do: real processes, real clients.
package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dialback-e2e")
	if err == nil {
		err = harness.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := harness.EndShared(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared cluster:", err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
