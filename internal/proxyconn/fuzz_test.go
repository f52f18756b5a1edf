package proxyconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// FuzzRegProxy feeds the reader of an agent's first bytes, which nobody has
// vouched for yet.
func FuzzRegProxy(f *testing.F) {
	good, _ := appendRegProxy(&proxyv1.RegProxy{Ticket: ticket, Capabilities: []string{"dgram"}, AgentVersion: "1"})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{0x81, 0x20})       // 4097
	f.Add([]byte{0x80, 0x80, 0x01}) // three bytes of length
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		rest := bytes.NewReader(b)
		reg, err := readRegProxy(rest)
		if err != nil {
			return
		}
		if n := len(reg.GetTicket()); n < minTicket || n > maxTicket {
			t.Fatalf("accepted a ticket of %d bytes", n)
		}
		if used := len(b) - rest.Len(); used > maxRegProxy+2 {
			t.Fatalf("read %d bytes", used)
		}
	})
}

// FuzzFrames cuts bytes into frames in two ways, with and without
// interruptions; both must agree.
func FuzzFrames(f *testing.F) {
	f.Add(join(accepted(1), delivered(3, "abc"), fin(1, 0)), uint8(3))
	f.Add(join(frame(0x40, "skip"), data("")), uint8(1))
	f.Add([]byte{1, 0xff, 0xff, 0xff}, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, err1 := cut(&frameReader{src: bytes.NewReader(b)})
		parts, err2 := cut(&frameReader{src: &stutter{b: b, step: int(step%7) + 1}})
		if !bytes.Equal(whole, parts) || errors.Is(err1, io.EOF) != errors.Is(err2, io.EOF) {
			t.Fatalf("%x (%v) and %x (%v)", whole, err1, parts, err2)
		}
	})
}

// cut reads frames to the end and writes them again.
func cut(r *frameReader) ([]byte, error) {
	var out []byte
	for {
		err := r.next()
		if err == nil {
			kind := r.kind
			var b []byte
			if b, err = r.all(); err == nil {
				out = append(out, frame(kind, b)...)
			}
		}
		if err != nil && !errors.Is(err, errTimeout) {
			return out, err
		}
	}
}

// stutter gives a few bytes at a time, with a timeout between.
type stutter struct {
	b    []byte
	step int
	stop bool
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.stop = !s.stop; s.stop {
		return 0, errTimeout
	}
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(s.step, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}

// memConn is a connection whose far end says b and then goes, and hears all.
type memConn struct {
	net.Conn // a closed pipe: addresses
	r        *bytes.Reader
}

func newMemConn(b []byte) *memConn {
	near, far := net.Pipe()
	_ = far.Close()
	return &memConn{Conn: near, r: bytes.NewReader(b)}
}

func (c *memConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *memConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memConn) SetDeadline(time.Time) error      { return nil }

// FuzzServer lets a hostile agent say anything: the frontdoor must come to an
// end, without a panic, and never read bytes that it has not been sent.
func FuzzServer(f *testing.F) {
	for _, seed := range [][]byte{
		join(accepted(1), data("hello"), fin(1, 0)),
		join(accepted(1), delivered(5, "hello"), reset(1, 5)),
		join(ack(1), resp(1, proxyv1.Code_CODE_UPSTREAM_REFUSED)),
		join(accepted(1), stop(1), data("x"), fin(1, 0), accepted(2), data("y")),
		join(frame(fPing, "12345678"), frame(fRetire, ""), frame(0x50, "?")),
		data("idle"), fin(7, 7),
	} {
		f.Add(seed, true, false)
		f.Add(seed, false, true)
	}
	reg, _ := appendRegProxy(&proxyv1.RegProxy{Ticket: ticket})
	f.Fuzz(func(t *testing.T, b []byte, http, half bool) {
		s, _, err := Accept(context.Background(), newMemConn(append(reg[:len(reg):len(reg)], b...)), long)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		protocol := protoTCP
		if http {
			protocol = protoHTTP
		}
		for {
			e, err := s.Start(context.Background(), &proxyv1.Start{Protocol: protocol})
			if err != nil {
				break
			}
			_ = e.BeginRequest(&proxyv1.Req{})
			_, _ = e.Write([]byte("hello"))
			if half {
				_ = e.CloseWrite()
			}
			if n, _ := io.Copy(io.Discard, e); n > int64(len(b)) {
				t.Fatalf("read %d bytes of %d", n, len(b))
			}
			_ = e.Close()
			await(t, e.End(), "end of the exchange")
		}
		if s.Err() == nil {
			await(t, s.Done(), "end of the connection")
		}
	})
}

// FuzzClient lets a hostile frontdoor say anything.
func FuzzClient(f *testing.F) {
	for _, seed := range [][]byte{
		join(begin(1, protoTCP), data("hello"), fin(1, 0), begin(2, protoTCP), reset(2, 0)),
		join(begin(1, protoHTTP), req(1, 1), data("hello"), req(1, 2), data("again"), fin(1, 0)),
		join(begin(1, protoTCP), stop(1), data("x"), fin(1, 0), reset(1, 0), stop(1)),
		join(begin(1, protoTCP), data("early"), fin(1, 0), begin(2, protoTCP), data("early"), fin(2, 0)),
		join(frame(fPing, "12345678"), frame(fRetire, ""), frame(0x50, "?")),
		data("idle"),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, refuse bool) {
		cl, err := Register(context.Background(), newMemConn(b), &proxyv1.RegProxy{Ticket: ticket}, long)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() {
			served <- cl.Serve(context.Background(), func(_ context.Context, e *ClientExchange) {
				if refuse {
					_ = e.Refuse(proxyv1.Code_CODE_AGENT_LIMIT)
					return
				}
				near, far := net.Pipe()
				go func() {
					_, _ = far.Write([]byte("reply"))
					_, _ = io.Copy(io.Discard, far)
					_ = far.Close()
				}()
				if e.Accept(0) != nil {
					_ = near.Close()
					return
				}
				_ = e.Pipe(near, nil)
			})
		}()
		_ = await(t, served, "end of Serve")
	})
}
