// Package daemontest starts commands as their users do, for their tests.
package daemontest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

// Run is a command with its arguments, until ctx ends.
type Run func(ctx context.Context, args []string) error

// Identity writes a service's certificate of a role to files, and returns the
// flags that name them.
func Identity(t testing.TB, ca *tlsconf.CA, role string) []string {
	t.Helper()
	dir := t.TempDir()
	cert, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: role + "-1"}, Client: true, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, caFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	if err := errors.Join(tlsconf.WritePair(cert, certFile, keyFile), os.WriteFile(caFile, ca.CertPEM(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return []string{"--cert", certFile, "--key", keyFile, "--ca", caFile}
}

// Start runs a command on a free port, given with a flag such as "--listen",
// until the test's end. It returns the address, which takes connections.
func Start(t testing.TB, run Run, flag string, args ...string) (address string) {
	t.Helper()
	for {
		// Below the range from which outgoing connections take theirs.
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)) // #nosec G404 -- no secret
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx, append([]string{flag, address}, args...)) }()
		err := listening(address, done)
		if err == nil {
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("run() = %v", err)
				}
			})
			return address
		}
		cancel()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("run() = %v", err)
		}
	}
}

// listening waits until the address takes connections, or the command has ended.
func listening(address string, done <-chan error) error {
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
	}
}

// Refuses runs a command with good arguments and others behind them, which take
// precedence, and wants an error that says what is wrong: wrong maps that to
// the others.
func Refuses(t testing.TB, run Run, good []string, wrong map[string][]string) {
	t.Helper()
	for want, more := range wrong {
		if err := run(t.Context(), append(good[:len(good):len(good)], more...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a complaint about %s", more, err, want)
		}
	}
	if err := run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--") {
		t.Errorf("without flags: %v, want the names of those that are needed", err)
	}
}
