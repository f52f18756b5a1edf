package proxyconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// deaf is a private connection whose service has closed its ear.
type deaf struct {
	*net.TCPConn
	hears int
	err   error
}

func (c *deaf) Write(b []byte) (int, error) {
	if c.hears -= len(b); c.hears < 0 {
		return 0, c.err
	}
	return c.TCPConn.Write(b)
}

// A service that replies and closes its ear while bytes still come has said all
// that it had to say: its words arrive whole and the connection is recycled.
func TestClosedEarDoesNotLoseTheReply(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(t, func(_ context.Context, e *ClientExchange) {
		private, service := tcpPair(t)
		services <- service
		_ = e.Accept(0)
		_ = e.Pipe(&deaf{private, 100_000, syscall.EPIPE}, nil)
	})
	reply := bytes.Repeat([]byte("no! "), 100_000)
	for range 3 {
		e := start(t, s, protoTCP)
		service := await(t, services, "private connection")
		go func() { _, _ = io.Copy(io.Discard, service) }()
		go func() {
			<-e.OnStop()
			_, _ = service.Write(reply)
			_ = service.CloseWrite()
		}()
		written := make(chan error, 1)
		go func() {
			var err error
			for stopped := false; err == nil && !stopped; {
				_, err = e.Write(make([]byte, 10_000))
				select {
				case <-e.OnStop():
					stopped = true
				default:
				}
			}
			written <- err
		}()
		got, err := io.ReadAll(e)
		if err != nil || !bytes.Equal(got, reply) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(reply), err)
		}
		if err := await(t, written, "STOP"); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte("into the void")); err != nil {
			t.Fatalf("write behind STOP: %v", err)
		}
		if o := ended(t, e); o.Kind != Clean || !o.Reusable {
			t.Fatalf("%+v", o)
		}
		_ = e.Close()
	}
}

// A service's reset is not an end: who reads must not take half a reply for a
// whole one, even if the writer has been told of the reset first.
func TestServiceResetIsNoEOF(t *testing.T) {
	t.Parallel()
	for name, writerToo := range map[string]bool{"reader is told": false, "writer is told": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			services := make(chan *net.TCPConn, 1)
			s, _ := pair(t, func(_ context.Context, e *ClientExchange) {
				private, service := tcpPair(t)
				services <- service
				_ = e.Accept(0)
				_ = e.Pipe(&deaf{private, 0, syscall.ECONNRESET}, nil)
			})
			for range 3 {
				e := start(t, s, protoTCP)
				service := await(t, services, "private connection")
				_, _ = service.Write([]byte("half a reply"))
				got := make([]byte, 12)
				if _, err := io.ReadFull(e, got); err != nil {
					t.Fatal(err)
				}
				if writerToo {
					_, _ = e.Write([]byte("more"))
					go func() {
						<-e.OnStop()
						_ = service.CloseWrite()
					}()
				} else {
					_ = service.SetLinger(0)
					_ = service.Close()
				}
				var aborted *ResetError
				if _, err := io.ReadAll(e); !errors.As(err, &aborted) || aborted.Code != proxyv1.Code_CODE_UPSTREAM_RESET {
					t.Fatalf("read %v", err)
				}
				if o := ended(t, e); o.Kind != Reset || !o.Reusable {
					t.Fatalf("%+v", o)
				}
			}
		})
	}
}

// The frontdoor's STOP ends the agent's direction and leaves its own alone.
func TestCloseReadLeavesTheOtherDirection(t *testing.T) {
	t.Parallel()
	const talk = 16 << 20 // more than sockets hold
	services := make(chan *net.TCPConn, 1)
	var heard atomic.Int64
	s, _ := pair(t, func(_ context.Context, e *ClientExchange) {
		private, service := tcpPair(t)
		heard.Store(0)
		services <- service
		_ = e.Accept(0)
		_ = e.Pipe(&counted{private, &heard}, nil)
	})
	for range 3 {
		e := start(t, s, protoTCP)
		service := await(t, services, "private connection")
		go func() { _, _ = service.Write(make([]byte, talk)) }()
		if _, err := e.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		e.CloseRead()
		if _, err := e.Read(make([]byte, 10)); err == nil {
			t.Fatal("read behind CloseRead")
		}
		eventually(t, "end of the service's talk", func() bool { return heard.Load() == talk })
		body := bytes.Repeat([]byte("still "), 50_000)
		go func() {
			_, _ = e.Write(body)
			_ = e.CloseWrite()
		}()
		if got, err := io.ReadAll(service); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if o := ended(t, e); o.Kind != Clean || !o.Reusable {
			t.Fatalf("%+v", o)
		}
	}
}

// counted is a private connection that counts what was read.
type counted struct {
	*net.TCPConn
	n *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	e := start(t, s, protoTCP)
	b := make([]byte, 10)
	// Before RESP, when another goroutine reads the connection.
	_ = e.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := e.Read(b); !errors.Is(err, errTimeout) {
		t.Fatal(err)
	}
	// Before RESP with the window used up.
	if n, err := e.Write(make([]byte, MaxEarly)); err != nil {
		t.Fatal(n, err)
	}
	_ = e.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := e.Write(b); n != 0 || !errors.Is(err, errTimeout) {
		t.Fatal(n, err)
	}
	_ = e.SetDeadline(time.Time{})
	// Behind RESP, in the middle of a frame; reading goes on where it was.
	whole := data("0123456789")
	agent.send(accepted(1), whole[:2])
	if _, err := e.AwaitResp(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = e.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := e.Read(b); n > 0 || !errors.Is(err, errTimeout) {
		t.Fatal(n, err)
	}
	_ = e.SetReadDeadline(time.Time{})
	agent.send(whole[2:])
	if _, err := io.ReadFull(e, b); err != nil || string(b) != "0123456789" {
		t.Fatalf("%q, %v", b, err)
	}
	// A deadline does not outlive its exchange.
	agent.send(fin(1, 0))
	_ = e.CloseWrite()
	for err := errTimeout; errors.Is(err, errTimeout); {
		_ = e.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err = e.Read(b)
	}
	ended(t, e)
	select {
	case <-s.Done():
		t.Fatal(s.Err())
	case <-time.After(50 * time.Millisecond):
	}
}

// Closing with unread input must not destroy what is still to be delivered.
func TestDrainCloseDelivers(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	_, _ = far.Write(make([]byte, 100_000)) // unread
	body := bytes.Repeat([]byte("answer"), 10_000)
	_, _ = near.Write(body)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = DrainClose(near)
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	_ = far.Close()
	await(t, done, "end of DrainClose")
}

// A service may have to be heard before it listens, also by a visitor who spoke
// first; and all of what he said early arrives, though his FIN came with it.
func TestEarlyBytesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	services := make(chan net.Conn, 1)
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		private, service := net.Pipe() // which buffers nothing
		services <- service
		_ = e.Accept(0)
		_ = e.Pipe(private, nil)
	})
	for n := uint64(1); n <= 3; n++ {
		frontdoor.send(join(begin(n, protoTCP), data("early"), fin(n, 0)))
		service := await(t, services, "private connection")
		_ = service.SetDeadline(time.Now().Add(patience))
		if _, err := service.Write([]byte("banner")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(service, b); err != nil || string(b) != "early" {
			t.Fatalf("%q, %v", b, err)
		}
		_ = service.Close()
		frontdoor.expect(fAck, nil)
		frontdoor.expect(fResp, nil)
		_, _, _ = frontdoor.next() // DATA or DATA_DELIVERED
		frontdoor.expect(fFin, nil)
	}
}
