package proxyconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// A visitor's abort reaches the local service as a reset, and costs neither
// end the connection.
func TestResetIsRecyclableAndReachesTheService(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(t, pipeTo(t, services))
	for range 5 {
		e := start(t, s, protoTCP)
		service := await(t, services, "private connection")
		if _, err := service.Write(bytes.Repeat([]byte("unread"), 10_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = e.Close()
		if o := ended(t, e); o.Kind != Reset || !o.Reusable || o.Code != proxyv1.Code_CODE_VISITOR_GONE {
			t.Fatalf("%+v", o)
		}
		if _, err := e.Read(make([]byte, 1)); err == nil {
			t.Fatal("read behind the end")
		}
		if _, err := e.Write([]byte("x")); err == nil {
			t.Fatal("write behind the end")
		}
		if _, err := io.ReadAll(service); !isReset(err) {
			t.Fatalf("the service read %v, want a reset", err)
		}
	}
}

// Close wakes a Read, before and behind RESP.
func TestCloseInterruptsRead(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	for n, first := range [][]byte{nil, accepted(2)} {
		e := start(t, s, protoTCP)
		agent.expect(fStart, nil)
		agent.send(first)
		read := make(chan error, 1)
		go func() {
			_, err := e.Read(make([]byte, 1))
			read <- err
		}()
		if first != nil {
			_, _ = e.AwaitResp(t.Context())
		}
		_ = e.Close()
		var aborted *ResetError
		if err := await(t, read, "end of Read"); !errors.As(err, &aborted) || !aborted.Local {
			t.Fatal(err)
		}
		agent.expect(fReset, nil)
		agent.send(reset(uint64(n+1), 0))
		if o := ended(t, e); !o.Reusable {
			t.Fatalf("%+v", o)
		}
	}
}

// The agent learns of an abort while it still dials.
func TestResetWhileDialling(t *testing.T) {
	t.Parallel()
	s, _ := pair(t, func(ctx context.Context, e *ClientExchange) {
		<-ctx.Done()
		if err := e.Accept(0); err == nil {
			panic("accepted an aborted exchange")
		}
	})
	for range 3 {
		e := start(t, s, protoTCP)
		if _, err := e.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		e.Reset(proxyv1.Code_CODE_LIMIT)
		if o := ended(t, e); o.Kind != Reset || !o.Reusable || o.Code != proxyv1.Code_CODE_LIMIT {
			t.Fatalf("%+v", o)
		}
	}
}

func TestUnansweredResetClosesTheConnection(t *testing.T) {
	t.Parallel()
	short := Options{AckTimeout: patience, AbortTimeout: 20 * time.Millisecond}
	s, agent := rawAgent(t, short)
	e := start(t, s, protoTCP)
	agent.send(accepted(1))
	e.Reset(proxyv1.Code_CODE_VISITOR_GONE)
	if o := ended(t, e); o.Kind != Reset || o.Reusable {
		t.Fatalf("%+v", o)
	}
	if err := s.Err(); !errors.Is(err, ErrAbortTimeout) {
		t.Fatal(err)
	}
	agent.expectEnd()

	exchanges := make(chan *ClientExchange, 1)
	_, served, frontdoor := rawFrontdoor(t, short, func(_ context.Context, e *ClientExchange) { exchanges <- e; <-e.end })
	frontdoor.send(begin(1, protoTCP))
	await(t, exchanges, "exchange").Reset(proxyv1.Code_CODE_TUNNEL_CLOSED)
	if err := await(t, served, "end of Serve"); !errors.Is(err, ErrAbortTimeout) {
		t.Fatal(err)
	}
}

// Discarding is bounded: 256 KiB are, more are not worth it.
func TestDiscardIsBounded(t *testing.T) {
	t.Parallel()
	chunk := data(strings.Repeat("x", 16<<10-4))
	for _, tc := range []struct {
		chunks int
		dies   bool
	}{{16, false}, {17, true}} {
		s, agent := rawAgent(t, long)
		e := start(t, s, protoTCP)
		agent.send(accepted(1))
		_, _ = e.AwaitResp(t.Context())
		e.Reset(proxyv1.Code_CODE_VISITOR_GONE)
		agent.expect(fStart, nil)
		agent.expect(fReset, nil)
		for range tc.chunks {
			_, _ = agent.c.Write(chunk)
		}
		_, _ = agent.c.Write(reset(1, 0))
		if o := ended(t, e); o.Reusable == tc.dies {
			t.Errorf("%d chunks: %+v", tc.chunks, o)
		}

		exchanges := make(chan *ClientExchange, 1)
		_, served, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) { exchanges <- e; <-e.end })
		frontdoor.send(begin(1, protoTCP))
		await(t, exchanges, "exchange").Reset(proxyv1.Code_CODE_TUNNEL_CLOSED)
		frontdoor.expect(fAck, nil)
		frontdoor.expect(fReset, nil)
		for range tc.chunks {
			_, _ = frontdoor.c.Write(chunk)
		}
		_, _ = frontdoor.c.Write(join(reset(1, 0), begin(2, protoTCP)))
		if tc.dies {
			_ = await(t, served, "end of Serve")
		} else {
			await(t, exchanges, "next exchange")
		}
	}
}

// The frontdoor's RESET may reach an agent for whom the exchange is over.
func TestLateResetIsAnswered(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	_, _, frontdoor := rawFrontdoor(t, long, pipeTo(t, services))
	for n := uint64(1); n <= 3; n++ {
		frontdoor.send(begin(n, protoTCP), fin(n, 0))
		_ = await(t, services, "private connection").Close()
		frontdoor.expect(fAck, nil)
		frontdoor.expect(fResp, nil)
		frontdoor.expect(fFin, nil)
		frontdoor.send(stop(n), reset(n, 0)) // STOP: late as well, and ignored
		var r proxyv1.Reset
		frontdoor.expect(fReset, &r)
		if r.GetExchange() != n {
			t.Fatalf("%v", &r)
		}
	}
}

// Behind its FIN the agent does not send RESET, which could reach the frontdoor
// in the next exchange, but STOP; and that may.
func TestLateStopIsIgnored(t *testing.T) {
	t.Parallel()
	exchanges := make(chan *ClientExchange, 1)
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		private, service := tcpPair(t)
		_ = service.CloseWrite()
		_ = e.Accept(0)
		exchanges <- e
		_ = e.Pipe(private, nil)
	})
	frontdoor.send(begin(1, protoTCP))
	e := await(t, exchanges, "exchange")
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.expect(fFin, nil)
	e.Reset(proxyv1.Code_CODE_TUNNEL_CLOSED)
	frontdoor.expect(fStop, nil)

	s, agent := rawAgent(t, long)
	first := start(t, s, protoTCP)
	agent.send(accepted(1), fin(1, 0))
	_, _ = first.Read(make([]byte, 1))
	_ = first.CloseWrite()
	ended(t, first)
	agent.send(stop(1))
	second := start(t, s, protoTCP)
	agent.send(stop(1), accepted(2), stop(1), data("fine"), fin(2, 0))
	if got, err := io.ReadAll(second); string(got) != "fine" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

// An agent blocked in a write to a service that does not read still learns that
// the frontdoor has given up.
func TestBlockedAgentSeesTheAbort(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the state of a socket")
	}
	services, done := make(chan *net.TCPConn, 1), make(chan error, 1)
	near, far := tlsPair(t)
	opt := Options{AckTimeout: patience, AbortTimeout: 50 * time.Millisecond}
	cl, err := Register(t.Context(), far, &proxyv1.RegProxy{Ticket: ticket}, opt)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := Accept(t.Context(), near, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = cl.Serve(t.Context(), func(_ context.Context, e *ClientExchange) {
			private, service := tcpPair(t)
			services <- service
			_ = e.Accept(0)
			done <- e.Pipe(private, nil)
		})
	}()
	e := start(t, s, protoTCP)
	service := await(t, services, "private connection")
	go func() { _, _ = e.Write(make([]byte, 64<<20)) }()
	eventually(t, "a blocked write", func() bool {
		before := e.Sent()
		<-time.After(50 * time.Millisecond)
		return before > 1<<20 && e.Sent() == before
	})
	_ = e.Close()
	var lost *LostError
	if err := await(t, done, "end of Pipe"); !errors.As(err, &lost) {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, service); !isReset(err) {
		t.Fatalf("the service read %v, want a reset", err)
	}
	await(t, served, "end of Serve")
}
