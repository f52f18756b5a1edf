//go:build linux

package netsim

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

const benchRTT = 40 * time.Millisecond

func benchNetwork(b *testing.B) *Network {
	b.Helper()
	if err := Supported(); err != nil {
		b.Skip(err)
	}
	n, err := New(b.Context(), Config{RTT: benchRTT})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
	})
	return n
}

// BenchmarkThroughput tells what one connection moves across 40 ms.
func BenchmarkThroughput(b *testing.B) {
	n := benchNetwork(b)
	const size = 16 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	transfer(b, n, int64(b.N)*size)
}

// BenchmarkDelay tells how much longer than a round trip a byte and its echo take
// that share the line with 100 Mbit/s.
func BenchmarkDelay(b *testing.B) {
	n := benchNetwork(b)
	listener, err := n.B.Listen(b.Context(), "tcp", net.JoinHostPort(n.B.Addr().String(), "0"))
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var bulk sync.WaitGroup
	bulk.Go(func() { pace(ctx, n.A, listener.Addr().String()) })
	conn, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	bulk.Go(func() { io.Copy(io.Discard, conn) }) //nolint:errcheck // it ends with pace
	defer bulk.Wait()
	defer cancel()

	late := make([]time.Duration, b.N)
	for i := range late {
		t, err := n.measure(ctx)
		if err != nil {
			b.Fatal(err)
		}
		late[i] = t.Echo - benchRTT
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds()), "µs-late-p50")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "µs-late-p99")
}

// pace sends 100 Mbit/s until ctx ends.
func pace(ctx context.Context, from *Host, address string) {
	conn, err := from.Dial(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	const every = 2 * time.Millisecond
	chunk := make([]byte, 100_000_000/8/int(time.Second/every))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}
