package proxyconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

func refuse(code proxyv1.Code) Handler {
	return func(_ context.Context, e *ClientExchange) { _ = e.Refuse(code) }
}

// A refusal is a clean end: it costs no connection, whatever was sent early,
// and what was sent can be repeated elsewhere.
func TestRefusalIsCleanAndReplayable(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	for n := uint64(1); n <= 3; n++ {
		e := start(t, s, protoTCP)
		agent.expect(fStart, nil)
		body := bytes.Repeat([]byte{byte(n)}, MaxEarly+1)
		written := make(chan int, 1)
		go func() {
			n, _ := e.Write(body)
			written <- n
		}()
		// The 64 KiB before RESP and not a byte more.
		for got := 0; got < MaxEarly; {
			got += len(agent.expect(fData, nil))
			if got > MaxEarly {
				t.Fatalf("%d bytes before RESP", got)
			}
		}
		agent.send(ack(n))
		if err := e.AwaitAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Replay(), body[:MaxEarly]) {
			t.Fatal("the replay is not what was sent")
		}
		agent.send(resp(n, proxyv1.Code_CODE_UPSTREAM_REFUSED))
		var refused *RefusedError
		if _, err := e.AwaitResp(t.Context()); !errors.As(err, &refused) || refused.Code != proxyv1.Code_CODE_UPSTREAM_REFUSED {
			t.Fatalf("AwaitResp: %v", err)
		}
		if got := await(t, written, "end of Write"); got != MaxEarly {
			t.Fatalf("Write sent %d", got)
		}
		agent.expect(fFin, nil) // at once, without CloseWrite
		if o := ended(t, e); o.Kind != Refused || !o.Reusable {
			t.Fatalf("%+v", o)
		}
		if e.RequestDelivered() || len(e.Replay()) != MaxEarly {
			t.Fatal("a refused request must be repeatable")
		}
		_ = e.Close()
	}
}

func TestAgentDiscardsEarlyBytesBehindItsRefusal(t *testing.T) {
	t.Parallel()
	_, _, frontdoor := rawFrontdoor(t, long, refuse(proxyv1.Code_CODE_TUNNEL_UNKNOWN))
	for n := uint64(1); n <= 3; n++ {
		frontdoor.send(begin(n, protoTCP), data("early"))
		frontdoor.expect(fAck, nil)
		var r proxyv1.Resp
		frontdoor.expect(fResp, &r)
		if r.GetCode() != proxyv1.Code_CODE_TUNNEL_UNKNOWN || r.GetDelivered() != 0 {
			t.Fatalf("%v", &r)
		}
		frontdoor.send(data("late"), fin(n, 0))
	}
}

// A handler that returns without a word has refused.
func TestSilentHandlerRefuses(t *testing.T) {
	t.Parallel()
	s, _ := pair(t, func(context.Context, *ClientExchange) {})
	if o := ended(t, start(t, s, protoTCP)); o.Kind != Refused || !o.Reusable {
		t.Fatalf("%+v", o)
	}
}

func TestDialTimeArrives(t *testing.T) {
	t.Parallel()
	s, _ := pair(t, func(_ context.Context, e *ClientExchange) { _ = e.Accept(1234 * time.Microsecond) })
	e := start(t, s, protoTCP)
	if d, err := e.AwaitResp(t.Context()); err != nil || d != 1234*time.Microsecond {
		t.Fatal(d, err)
	}
	// The handler has accepted and returned without Pipe: that is an abort.
	if _, err := e.Read(make([]byte, 1)); err == nil {
		t.Fatal("read something")
	}
	if o := ended(t, e); o.Kind != Reset || !o.Reusable {
		t.Fatalf("%+v", o)
	}
}

func TestNoAckMeansDead(t *testing.T) {
	t.Parallel()
	s, _ := rawAgent(t, Options{AckTimeout: 20 * time.Millisecond})
	e := start(t, s, protoTCP)
	if err := e.AwaitAck(t.Context()); !errors.Is(err, ErrAckTimeout) {
		t.Fatal(err)
	}
	if o := ended(t, e); o.Kind != Lost || o.Reusable {
		t.Fatalf("%+v", o)
	}
	await(t, s.Done(), "end of the connection")
	if AckTimeout(time.Millisecond) != 500*time.Millisecond || AckTimeout(time.Second) != 4*time.Second {
		t.Error("AckTimeout is not max(500 ms, 4 round trips)")
	}
}

// An ACK ends that deadline; dialling may take as long as it does.
func TestAckEndsTheDeadline(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, Options{AckTimeout: 200 * time.Millisecond})
	e := start(t, s, protoTCP)
	agent.send(ack(1))
	if err := e.AwaitAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
		t.Fatal(s.Err())
	case <-time.After(400 * time.Millisecond): // well behind it
	}
}

// gate lets a connection's writes wait.
type gate struct {
	net.Conn
	shut atomic.Pointer[chan struct{}]
	held chan struct{} // receives when a write has met the shut gate
}

func (g *gate) Write(b []byte) (int, error) {
	if c := g.shut.Load(); c != nil {
		g.held <- struct{}{}
		<-*c
	}
	return g.Conn.Write(b)
}

// The exchange must not be over while our FIN is still to be written: it would
// land in the next exchange and truncate it.
func TestDirectionEndsOnlyWhenTheFinIsWritten(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	b, _ := appendRegProxy(&proxyv1.RegProxy{Ticket: ticket})
	_, _ = far.Write(b)
	g := &gate{Conn: near, held: make(chan struct{}, 1)}
	s, _, err := Accept(t.Context(), g, long)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	agent := newRaw(t, far)
	e := start(t, s, protoTCP)
	open := make(chan struct{})
	g.shut.Store(&open)
	go func() { _ = e.CloseWrite() }()
	await(t, g.held, "FIN at the gate")
	g.shut.Store(nil)
	agent.send(accepted(1), fin(1, 0))
	if _, err := e.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if s.Idle() {
		t.Fatal("idle before the FIN was written")
	}
	close(open)
	if o := ended(t, e); o.Kind != Clean {
		t.Fatalf("%+v", o)
	}
	eventually(t, "idle", s.Idle)
}

// A START that follows a FIN in one segment belongs to the next exchange.
func TestNothingIsReadAheadIntoAnExchange(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	_, _, frontdoor := rawFrontdoor(t, long, pipeTo(t, services))
	frontdoor.send(begin(1, protoTCP))
	service := await(t, services, "private connection")
	_ = service.CloseWrite()
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.expect(fFin, nil)
	frontdoor.send(join(data("one"), fin(1, 0), begin(2, protoTCP), data("two")))
	if got, _ := io.ReadAll(service); string(got) != "one" {
		t.Fatalf("service 1 got %q", got)
	}
	second := await(t, services, "second private connection")
	b := make([]byte, 10)
	if n, _ := second.Read(b); string(b[:n]) != "two" {
		t.Fatalf("service 2 got %q", b[:n])
	}
}

// RETIRE on an idle connection closes it; one that crosses a START does not
// harm the exchange.
func TestRetire(t *testing.T) {
	t.Parallel()
	s, cl := pair(t, refuse(proxyv1.Code_CODE_AGENT_LIMIT))
	cl.Retire()
	await(t, s.Done(), "end of the idle connection")
	await(t, cl.Done(), "end at the agent")
	if err := s.Err(); !errors.Is(err, ErrRetired) {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), &proxyv1.Start{}); !errors.Is(err, ErrRetired) {
		t.Fatal(err)
	}

	services := make(chan *net.TCPConn, 1)
	_, served, frontdoor := rawFrontdoor(t, long, pipeTo(t, services))
	frontdoor.send(begin(1, protoTCP)) // as if it crossed
	service := await(t, services, "private connection")
	_ = service.Close()
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.expect(fFin, nil)
	frontdoor.send(fin(1, 0))
	_ = frontdoor.c.Close()
	if err := await(t, served, "end of Serve"); err != nil {
		t.Fatal(err)
	}
}

func TestRetireDuringAnExchangeWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, cl := pair(t, pipeTo(t, services))
	e := start(t, s, protoTCP)
	service := await(t, services, "private connection")
	cl.Retire()
	if _, err := service.Write([]byte("still served")); err != nil {
		t.Fatal(err)
	}
	_ = service.CloseWrite()
	if got, err := io.ReadAll(e); string(got) != "still served" || err != nil {
		t.Fatal(got, err)
	}
	_ = e.CloseWrite()
	if o := ended(t, e); o.Kind != Clean || o.Reusable {
		t.Fatalf("%+v", o)
	}
	await(t, s.Done(), "end of the connection")
}

func TestPing(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, cl := pair(t, pipeTo(t, services))
	if _, err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := start(t, s, protoTCP)
	if _, err := s.Ping(t.Context()); !errors.Is(err, ErrBusy) {
		t.Fatalf("ping during an exchange: %v", err)
	}
	_ = e.Close()
	<-services
}

// One who sends PINGs and reads nothing must not stop us from reading: else two
// such ends would wait for each other for ever. The connection holds nothing, so
// the first answer's write does not return before it is read.
func TestReadersNeverWrite(t *testing.T) {
	t.Parallel()
	pings := func(t *testing.T, far net.Conn) {
		block := append(bytes.Repeat(frame(fPing, "12345678"), 1000), frame(fPing, "the last")...)
		if _, err := far.Write(block); err != nil { // or nobody reads, and all sleep for ever
			t.Fatal(err)
		}
		in := frameReader{src: far}
		for b := []byte(nil); string(b) != "the last"; {
			if err := in.next(); err != nil || in.kind != fPong {
				t.Fatal(in.kind, err)
			}
			b, _ = in.all()
		}
	}
	t.Run("server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() { _, _ = Register(t.Context(), far, &proxyv1.RegProxy{Ticket: ticket}, Options{}) }()
			s, _, err := Accept(t.Context(), near, Options{})
			if err != nil {
				t.Fatal(err)
			}
			pings(t, far)
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
		})
	})
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() { _, _ = readRegProxy(far) }()
			cl, err := Register(t.Context(), near, &proxyv1.RegProxy{Ticket: ticket}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = cl.Serve(t.Context(), refuse(proxyv1.Code_CODE_AGENT_LIMIT)) }()
			pings(t, far)
			if err := cl.Err(); err != nil {
				t.Fatal(err)
			}
			_ = cl.Close()
		})
	})
}

func TestBusyServerRefusesStart(t *testing.T) {
	t.Parallel()
	s, _ := rawAgent(t, long)
	start(t, s, protoTCP)
	if _, err := s.Start(t.Context(), &proxyv1.Start{}); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
}

func TestLossIsNoticedWhileIdle(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	_ = agent.c.Close()
	await(t, s.Done(), "end")
}
