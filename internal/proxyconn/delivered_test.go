package proxyconn

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Only the agent's word proves that a request was not delivered.
func TestRequestDelivered(t *testing.T) {
	t.Parallel()
	answered := join(accepted(1), delivered(9, "reply one")) // 9 bytes of request 1
	for name, tc := range map[string]struct {
		last  []byte // what the agent says once request 2 has been sent
		close bool
		want  bool
	}{
		"FIN before it":   {last: fin(1, 9), want: false},
		"FIN inside it":   {last: fin(1, 10), want: true},
		"RESET before it": {last: reset(1, 9), want: false},
		"RESET behind it": {last: reset(1, 18), want: true},
		"lost in silence": {close: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, agent := rawAgent(t, long)
			e := start(t, s, protoHTTP)
			if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
				t.Fatal(err)
			}
			if e.RequestDelivered() {
				t.Fatal("delivered before anything was sent")
			}
			if _, err := e.Write([]byte("request 1")); err != nil {
				t.Fatal(err)
			}
			agent.send(answered)
			b := make([]byte, 100)
			if n, err := io.ReadFull(e, b[:9]); err != nil || string(b[:n]) != "reply one" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			if err := e.BeginRequest(&proxyv1.Req{}); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Write([]byte("request 2")); err != nil {
				t.Fatal(err)
			}
			agent.send(tc.last)
			if tc.close {
				_ = agent.c.Close()
			}
			if n, err := e.Read(b); n > 0 || err == nil {
				t.Fatalf("%q, %v", b[:n], err)
			}
			if got := e.RequestDelivered(); got != tc.want {
				t.Errorf("RequestDelivered is %v", got)
			}
			if _, known := e.Delivered(); known == tc.close {
				t.Errorf("Delivered known: %v", known)
			}
		})
	}
}

// A reply has to prove that it answers the request.
func TestRepliesThatAnswerNoRequest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reply []byte
		bad   bool
	}{
		"proven":                   {reply: delivered(18, "reply 2")},
		"proven by one byte":       {reply: delivered(10, "reply 2")},
		"proven, then plain":       {reply: join(delivered(10, "rep"), data("ly 2"))},
		"plain DATA":               {reply: data("reply 2"), bad: true},
		"of the request before":    {reply: delivered(9, "reply 2"), bad: true},
		"empty, then proven":       {reply: join(data(""), delivered(18, "reply 2")), bad: true},
		"proven empty, then plain": {reply: join(delivered(18, ""), data("reply 2"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, agent := rawAgent(t, long)
			e := start(t, s, protoHTTP)
			_ = e.BeginRequest(&proxyv1.Req{})
			_, _ = e.Write([]byte("request 1"))
			agent.send(accepted(1), delivered(9, "reply 1"))
			b := make([]byte, 7)
			if _, err := io.ReadFull(e, b); err != nil {
				t.Fatal(err)
			}
			_ = e.BeginRequest(&proxyv1.Req{})
			_, _ = e.Write([]byte("request 2"))
			agent.send(tc.reply)
			n, err := io.ReadFull(e, b)
			if tc.bad {
				if n > 0 || !errors.Is(err, ErrUnsolicited) || !errors.Is(s.Err(), ErrUnsolicited) {
					t.Fatalf("%q, %v", b[:n], err)
				}
				return
			}
			if err != nil || string(b) != "reply 2" {
				t.Fatalf("%q, %v", b[:n], err)
			}
		})
	}
}

// The rest of a frame that came before the request was begun answers another.
func TestSurplusInTheSameFrame(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	e := start(t, s, protoHTTP)
	_ = e.BeginRequest(&proxyv1.Req{})
	_, _ = e.Write([]byte("request 1"))
	agent.send(accepted(1), delivered(9, "reply 1 and surplus"))
	b := make([]byte, 7)
	if _, err := io.ReadFull(e, b); err != nil {
		t.Fatal(err)
	}
	_ = e.BeginRequest(&proxyv1.Req{})
	if n, err := e.Read(b); n > 0 || !errors.Is(err, ErrUnsolicited) {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

// Behind EndRequest everything is surplus.
func TestEndRequest(t *testing.T) {
	t.Parallel()
	s, agent := rawAgent(t, long)
	e := start(t, s, protoHTTP)
	if _, err := e.Write([]byte("x")); !errors.Is(err, ErrNoRequest) {
		t.Fatalf("write without a request: %v", err)
	}
	_ = e.BeginRequest(&proxyv1.Req{})
	_, _ = e.Write([]byte("request 1"))
	agent.send(accepted(1), delivered(9, "reply 1"))
	b := make([]byte, 7)
	_, _ = io.ReadFull(e, b)
	e.EndRequest()
	if _, err := e.Write([]byte("x")); !errors.Is(err, ErrNoRequest) {
		t.Fatalf("write between requests: %v", err)
	}
	agent.send(data("surplus"))
	if n, err := e.Read(b); n > 0 || !errors.Is(err, ErrUnsolicited) {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

// Having said that nothing of a request was delivered, the agent must never
// deliver it: the frontdoor may have repeated it elsewhere. Nor anything else
// behind its RESET.
func TestAgentKeepsItsWordAboutDelivered(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	_, _, frontdoor := rawFrontdoor(t, long, pipeTo(t, services))
	frontdoor.send(begin(1, protoHTTP), req(1, 1), data("request 1"))
	service := await(t, services, "private connection")
	b := make([]byte, 9)
	if _, err := io.ReadFull(service, b); err != nil {
		t.Fatal(err)
	}
	_, _ = service.Write([]byte("reply 1"))
	_ = service.CloseWrite() // and the service still listens
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	got := frontdoor.expect(fDelivered, nil)
	if n := binary.BigEndian.Uint64(got); n != 9 || string(got[8:]) != "reply 1" {
		t.Fatalf("%d %q", n, got[8:])
	}
	var f proxyv1.Fin
	frontdoor.expect(fFin, &f)
	if f.GetDelivered() != 9 {
		t.Fatalf("%v", &f)
	}
	frontdoor.send(req(1, 2), data("request 2, a POST"))
	frontdoor.expect(fStop, nil)
	frontdoor.send(fin(1, 0))
	if rest, err := io.ReadAll(service); len(rest) > 0 {
		t.Fatalf("the service got %q, %v", rest, err)
	}
}

// An HTTP upgrade lives on behind the service's half-close: its request has
// been delivered in part, so nothing has been promised.
func TestStartedRequestGoesOnBehindTheAgentsFin(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	s, _ := pair(t, pipeTo(t, services))
	e := start(t, s, protoHTTP)
	_ = e.BeginRequest(&proxyv1.Req{})
	_, _ = e.Write([]byte("begun "))
	service := await(t, services, "private connection")
	b := make([]byte, 6)
	_, _ = io.ReadFull(service, b)
	_ = service.CloseWrite()
	if _, err := e.Read(b); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, _ = e.Write([]byte("and ended"))
	_ = e.CloseWrite()
	if got, err := io.ReadAll(service); string(got) != "and ended" {
		t.Fatalf("%q, %v", got, err)
	}
	if o := ended(t, e); o.Kind != Clean {
		t.Fatalf("%+v", o)
	}
}

// A request is not written to a private connection from which something can be
// read already: that would become its answer, or is the service's farewell.
func TestAgentLooksBeforeItDeliversTheNextRequest(t *testing.T) {
	t.Parallel()
	private, service := tcpPair(t)
	if pending(private) {
		t.Fatal("pending on a silent connection")
	}
	_, _ = service.Write([]byte("HTTP/1.1 408 "))
	eventually(t, "pending bytes", func() bool { return pending(private) })
	closed, far := tcpPair(t)
	_ = far.Close()
	eventually(t, "pending end", func() bool { return pending(closed) })

	// blind hides the bytes from the reading side, as a scheduler may.
	blind := &blindConn{TCPConn: private, until: make(chan struct{})}
	_, _, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
		_ = e.Accept(0)
		_ = e.Pipe(blind, nil)
	})
	t.Cleanup(func() { close(blind.until) })
	frontdoor.send(begin(1, protoHTTP), req(1, 1), data("request 1"))
	frontdoor.expect(fAck, nil)
	frontdoor.expect(fResp, nil)
	frontdoor.send(req(1, 2), data("request 2"))
	var r proxyv1.Reset
	frontdoor.expect(fReset, &r)
	if r.GetCode() != proxyv1.Code_CODE_UPSTREAM_RESET || r.GetDelivered() != 9 {
		t.Fatalf("%v", &r)
	}
	all, _ := io.ReadAll(service)
	if bytes.Contains(all, []byte("request 2")) {
		t.Fatalf("the service got %q", all)
	}
}

type blindConn struct {
	*net.TCPConn
	until chan struct{}
}

func (c *blindConn) Read(b []byte) (int, error) {
	<-c.until
	return c.TCPConn.Read(b)
}
