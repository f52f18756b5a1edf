package proxyconn

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	fData      = proxyv1.FrameType_FRAME_TYPE_DATA
	fDelivered = proxyv1.FrameType_FRAME_TYPE_DATA_DELIVERED
	fStart     = proxyv1.FrameType_FRAME_TYPE_START
	fAck       = proxyv1.FrameType_FRAME_TYPE_ACK
	fResp      = proxyv1.FrameType_FRAME_TYPE_RESP
	fReq       = proxyv1.FrameType_FRAME_TYPE_REQ
	fFin       = proxyv1.FrameType_FRAME_TYPE_FIN
	fStop      = proxyv1.FrameType_FRAME_TYPE_STOP
	fReset     = proxyv1.FrameType_FRAME_TYPE_RESET
	fRetire    = proxyv1.FrameType_FRAME_TYPE_RETIRE
	fPing      = proxyv1.FrameType_FRAME_TYPE_PING
	fPong      = proxyv1.FrameType_FRAME_TYPE_PONG
	fDgram     = proxyv1.FrameType_FRAME_TYPE_DGRAM
)

// raw is one end of a connection played by hand, frame by frame.
type raw struct {
	t  testing.TB
	c  *net.TCPConn
	in frameReader
}

func newRaw(t testing.TB, c *net.TCPConn) *raw {
	return &raw{t: t, c: c, in: frameReader{src: c}}
}

// frame is the bytes of a frame whose payload is a message, bytes or nothing.
func frame(kind proxyv1.FrameType, payload any) []byte {
	var b []byte
	switch p := payload.(type) {
	case proto.Message:
		b, _ = proto.Marshal(p)
	case string:
		b = []byte(p)
	case []byte:
		b = p
	}
	out := make([]byte, headerLen, headerLen+len(b))
	putHeader(out, kind, len(b))
	return append(out, b...)
}

// delivered is the frame DATA_DELIVERED.
func delivered(n uint64, data string) []byte {
	return frame(fDelivered, append(binary.BigEndian.AppendUint64(nil, n), data...))
}

func ack(n uint64) []byte    { return frame(fAck, &proxyv1.Ack{Exchange: n}) }
func stop(n uint64) []byte   { return frame(fStop, &proxyv1.Stop{Exchange: n}) }
func fin(n, d uint64) []byte { return frame(fFin, &proxyv1.Fin{Exchange: n, Delivered: d}) }
func data(s string) []byte   { return frame(fData, s) }

func req(n, number uint64) []byte {
	return frame(fReq, &proxyv1.Req{Exchange: n, Number: number})
}

func reset(n, d uint64) []byte {
	return frame(fReset, &proxyv1.Reset{Exchange: n, Code: proxyv1.Code_CODE_UPSTREAM_RESET, Delivered: d})
}

func resp(n uint64, code proxyv1.Code) []byte {
	return frame(fResp, &proxyv1.Resp{Exchange: n, Code: code})
}

func accepted(n uint64) []byte {
	return append(ack(n), resp(n, proxyv1.Code_CODE_OK)...)
}

func begin(n uint64, protocol proxyv1.Protocol) []byte {
	return frame(fStart, &proxyv1.Start{Exchange: n, Protocol: protocol})
}

func (r *raw) send(frames ...[]byte) {
	r.t.Helper()
	for _, f := range frames {
		if _, err := r.c.Write(f); err != nil {
			r.t.Fatalf("write: %v", err)
		}
	}
}

// next is the next frame that is no PING or PONG.
func (r *raw) next() (proxyv1.FrameType, []byte, error) {
	_ = r.c.SetReadDeadline(time.Now().Add(patience))
	if err := r.in.next(); err != nil {
		return 0, nil, err
	}
	b, err := r.in.all()
	return r.in.kind, append([]byte(nil), b...), err
}

// expect reads one frame of the kind; its payload goes into m if that is not nil.
func (r *raw) expect(kind proxyv1.FrameType, m proto.Message) []byte {
	r.t.Helper()
	got, b, err := r.next()
	if err != nil || got != kind {
		r.t.Fatalf("got %v %x, %v; want %v", got, b, err, kind)
	}
	if m != nil {
		if err := proto.Unmarshal(b, m); err != nil {
			r.t.Fatal(err)
		}
	}
	return b
}

// expectEnd reads until the other end has closed, and wants a TCP reset.
func (r *raw) expectEnd() {
	r.t.Helper()
	_ = r.c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, r.c)
	if err == nil || errors.Is(err, errTimeout) {
		r.t.Fatalf("the connection ended with %v, want a reset", err)
	}
}

// rawAgent is a Server and the agent's end played by hand.
func rawAgent(t testing.TB, opt Options) (*Server, *raw) {
	t.Helper()
	near, far := tcpPair(t)
	b, _ := appendRegProxy(&proxyv1.RegProxy{Ticket: ticket})
	_, _ = far.Write(b)
	s, _, err := Accept(t.Context(), near, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, newRaw(t, far)
}

// rawFrontdoor is a Client, the channel on which Serve's error comes, and the
// frontdoor's end played by hand.
func rawFrontdoor(t testing.TB, opt Options, h Handler) (*Client, <-chan error, *raw) {
	t.Helper()
	near, far := tcpPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	cl, err := Register(ctx, far, &proxyv1.RegProxy{Ticket: ticket}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readRegProxy(near); err != nil {
		t.Fatal(err)
	}
	served, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		served <- cl.Serve(ctx, h)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return cl, served, newRaw(t, near)
}

var long = Options{AckTimeout: patience, AbortTimeout: patience}
