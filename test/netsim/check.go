//go:build linux

package netsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	checkTries = 10
	// checkLimit bounds each try beyond its round trips.
	checkLimit = 10 * time.Second
)

// Timing is what a connection from A to B took.
type Timing struct {
	Connect time.Duration // a bare TCP connect: one round trip
	Echo    time.Duration // one byte there and back: one more
}

// Check makes sure that the line is what Config says: of several tries the fastest
// takes 0.98 to 1.1 round trips for a TCP connect, and as much for an echo. It
// returns that try. Measure nothing on a line that fails it.
func (n *Network) Check(ctx context.Context) (Timing, error) {
	best := Timing{Connect: checkLimit, Echo: checkLimit}
	for range checkTries {
		t, err := n.measure(ctx)
		if err != nil {
			return Timing{}, fmt.Errorf("netsim: check: %w", err)
		}
		best.Connect, best.Echo = min(best.Connect, t.Connect), min(best.Echo, t.Echo)
	}
	low := time.Duration(0.98 * float64(n.config.RTT))
	high := time.Duration(1.1*float64(n.config.RTT)) + 2*n.config.Jitter
	for name, took := range map[string]time.Duration{"connect": best.Connect, "echo": best.Echo} {
		if took < low || took > high {
			return best, fmt.Errorf("netsim: check: a %s took %v across a round trip of %v", name, took, n.config.RTT)
		}
	}
	return best, nil
}

func (n *Network) measure(ctx context.Context) (Timing, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*n.config.RTT+checkLimit)
	defer cancel()
	listener, err := n.B.Listen(ctx, "tcp", net.JoinHostPort(n.B.addr.String(), "0"))
	if err != nil {
		return Timing{}, err
	}
	echoed := make(chan error, 1)
	go func() { echoed <- echo(ctx, listener) }()
	t, err := n.connect(ctx, listener.Addr().String())
	listener.Close()
	if echoErr := <-echoed; err == nil {
		err = echoErr
	}
	return t, err
}

// echo sends the first byte of one connection back.
func echo(ctx context.Context, listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	setDeadline(ctx, conn)
	_, err = io.CopyN(conn, conn, 1)
	return err
}

func (n *Network) connect(ctx context.Context, address string) (Timing, error) {
	begin := time.Now()
	conn, err := n.A.Dial(ctx, "tcp", address)
	if err != nil {
		return Timing{}, err
	}
	connected := time.Now()
	defer conn.Close()
	setDeadline(ctx, conn)
	b := []byte{'x'}
	if _, err := conn.Write(b); err != nil {
		return Timing{}, err
	}
	if _, err := io.ReadFull(conn, b); err != nil {
		return Timing{}, errors.Join(err, ctx.Err())
	}
	return Timing{Connect: connected.Sub(begin), Echo: time.Since(connected)}, nil
}

func setDeadline(ctx context.Context, conn net.Conn) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline) //nolint:errcheck // a connection that is closed already tells at the next byte
	}
}
