package proxyconn

import (
	"context"
	"io"
	"net"
	"testing"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Both benchmarks measure the whole way, visitor's end to local service over a
// private connection, beside the same bytes over the same hops without frames:
// TLS, and a copy to a TCP connection.

const benchBuffer = 64 << 10

// hops is the visitor's end of a way to a local service, and that service.
type hops func(b *testing.B) (visitor net.Conn, service *net.TCPConn)

func framed(b *testing.B) (net.Conn, *net.TCPConn) {
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(b, pipeTo(b, services))
	return start(b, s, proxyv1.Protocol_PROTOCOL_TCP), <-services
}

func plain(b *testing.B) (net.Conn, *net.TCPConn) {
	near, far := tlsPair(b)
	private, service := tcpPair(b)
	go func() { _, _ = io.CopyBuffer(struct{ io.Writer }{private}, far, make([]byte, 32<<10)) }()
	go func() { _, _ = io.CopyBuffer(far, struct{ io.Reader }{private}, make([]byte, 32<<10)) }()
	return near, service
}

func eachWay(b *testing.B, run func(b *testing.B, h hops)) {
	b.Run("framed", func(b *testing.B) { run(b, framed) })
	b.Run("plain", func(b *testing.B) { run(b, plain) })
}

func BenchmarkDownload(b *testing.B) {
	eachWay(b, func(b *testing.B, h hops) {
		visitor, service := h(b)
		stream(b, service, visitor)
	})
}

func BenchmarkUpload(b *testing.B) {
	eachWay(b, func(b *testing.B, h hops) {
		visitor, service := h(b)
		stream(b, visitor, service)
	})
}

func stream(b *testing.B, w io.Writer, r io.Reader) {
	buf, into := make([]byte, benchBuffer), make([]byte, benchBuffer)
	b.SetBytes(benchBuffer)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	}()
	for range b.N {
		if _, err := io.ReadFull(r, into); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
}

func BenchmarkPingPong(b *testing.B) {
	eachWay(b, func(b *testing.B, h hops) {
		visitor, service := h(b)
		go func() { _, _ = io.Copy(struct{ io.Writer }{service}, struct{ io.Reader }{service}) }()
		buf := make([]byte, 100)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = visitor.Write(buf)
			if _, err := io.ReadFull(visitor, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkExchange is the price of a whole exchange on a warm connection,
// without a private connection.
func BenchmarkExchange(b *testing.B) {
	s, _ := pair(b, func(_ context.Context, e *ClientExchange) {
		_ = e.Refuse(proxyv1.Code_CODE_AGENT_LIMIT)
	})
	b.ReportAllocs()
	for b.Loop() {
		e := start(b, s, protoTCP)
		<-e.End()
	}
}
