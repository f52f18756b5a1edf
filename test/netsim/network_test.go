//go:build linux

package netsim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a network that ends with the test, or skips the test.
func start(t *testing.T, cfg Config) *Network {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		for _, h := range []*Host{n.A, n.B} {
			if exists(h.Name()) {
				t.Errorf("namespace %s is left", h.Name())
			}
		}
	})
	return n
}

// The one test whose assertion is a timing: the package's purpose is one. It takes
// the best of several tries, which a busy machine does not spoil.
func TestConnectTakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	n := start(t, Config{RTT: 40 * time.Millisecond})
	timing, err := n.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("connect %v, echo %v", timing.Connect, timing.Echo)
}

func TestCheckFindsAWrongLine(t *testing.T) {
	t.Parallel()
	n := start(t, Config{RTT: 40 * time.Millisecond})
	n.config.RTT = 20 * time.Millisecond
	if _, err := n.Check(t.Context()); err == nil {
		t.Error("a line of 40 ms passes for one of 20 ms")
	}
}

func TestProcessesMeetAcrossTheLine(t *testing.T) {
	t.Parallel()
	n := start(t, Config{RTT: 4 * time.Millisecond})
	listener, err := n.A.Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	script := `exec 3<>/dev/tcp/$0/$1; echo hello from the other side >&3; cat <&3`
	cmd := n.B.Command(t.Context(), "bash", "-c", script, n.A.Addr().String(), port)
	out := make(chan string, 1)
	go func() {
		b, err := cmd.CombinedOutput()
		if err != nil {
			b = append(b, err.Error()...)
		}
		out <- string(b)
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(conn, conn, int64(len("hello from the other side\n"))) //nolint:errcheck // the process tells
	conn.Close()
	if got := <-out; got != "hello from the other side\n" {
		t.Errorf("the process says %q", got)
	}
}

func TestHostsAreApart(t *testing.T) {
	t.Parallel()
	n := start(t, Config{})
	for _, h := range []*Host{n.A, n.B} { // both can have the same address on loopback
		listener, err := h.Listen(t.Context(), "tcp", "127.0.0.1:7")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
	}
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if conn, err := n.A.Dial(t.Context(), "tcp", outside.Addr().String()); err == nil {
		conn.Close()
		t.Error("a host reaches the loopback of this process")
	}
}

// Bulk through a line that loses packets arrives whole.
func TestLossIsRepaired(t *testing.T) {
	t.Parallel()
	n := start(t, Config{RTT: 2 * time.Millisecond, Loss: 0.01, Jitter: time.Millisecond})
	const size = 4 << 20
	if got := transfer(t, n, size); got != size {
		t.Errorf("%d bytes arrived, want %d", got, size)
	}
	if n.Stats().Lost == 0 {
		t.Error("nothing was lost")
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	n := start(t, Config{RTT: 20 * time.Millisecond, Queue: 8})
	const size = 1 << 20
	if got := transfer(t, n, size); got != size {
		t.Errorf("%d bytes arrived, want %d", got, size)
	}
	if n.Stats().Overflowed == 0 {
		t.Error("a queue of 8 packets never overflowed")
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{RTT: -1}, {Jitter: -1}, {Loss: 1}, {Loss: -0.1}, {Rate: -1}, {Queue: -1}} {
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

// A network whose process died is removed by the next, one whose process lives is not.
func TestStaleNamespacesAreRemoved(t *testing.T) {
	t.Parallel()
	living := start(t, Config{})
	// This process's id with another start: it was used again.
	dead := namespacePrefix + strings.Replace(strings.TrimPrefix(living.A.Name(), namespacePrefix), "-", "-1", 1)
	if err := addNamespace(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	start(t, Config{})
	if exists(dead) {
		t.Errorf("%s is left", dead)
	}
	if !exists(living.A.Name()) {
		t.Errorf("%s is gone, though its process runs", living.A.Name())
	}
}

func TestStaleReadsNames(t *testing.T) {
	t.Parallel()
	self, err := owner()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"netsim-" + self + "-Xa":                               false,
		"netsim-" + self + "1-Xa":                              true,
		"netsim-" + strconv.Itoa(ended.Process.Pid) + "-12-Xa": true,
		"netsim-x-1-Xa":                                        false,
		"other-1-1-Xa":                                         false,
		"netsim-1":                                             false,
	} {
		if got := stale(name); got != want {
			t.Errorf("stale(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	n := start(t, Config{})
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
}

// transfer sends size bytes from A to B and returns how many arrived.
func transfer(t testing.TB, n *Network, size int64) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	listener, err := n.B.Listen(ctx, "tcp", net.JoinHostPort(n.B.Addr().String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sent := make(chan error, 1)
	go func() { sent <- send(ctx, n.A, listener.Addr().String(), size) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	setDeadline(ctx, conn)
	got, err := io.Copy(io.Discard, conn)
	if err := errors.Join(err, <-sent); err != nil {
		t.Error(err)
	}
	return got
}

func send(ctx context.Context, from *Host, address string, size int64) error {
	conn, err := from.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	setDeadline(ctx, conn)
	chunk := make([]byte, 1<<20)
	for left := size; left > 0; {
		n, err := conn.Write(chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
