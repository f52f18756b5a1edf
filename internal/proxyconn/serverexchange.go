package proxyconn

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// ServerExchange is one visitor's use of a proxy connection, as the frontdoor
// sees it: a net.Conn whose other end is the local service. Once the agent has
// answered, somebody has to call Read until it fails, or Close: that is how the
// end of the exchange, and of the connection, is noticed. A Write deadline that
// passes in mid-write costs the connection, for half a TLS record cannot be
// taken back.
type ServerExchange struct {
	s    *Server
	n    uint64
	http bool

	acked    chan struct{} // closed by ACK
	answered chan struct{} // closed by RESP
	stop     chan struct{} // closed by STOP
	unread   chan struct{} // closed when readErr is set
	end      chan struct{} // closed when the exchange has ended

	readTimer  timer // for waits before the connection itself can be read
	writeTimer timer
	received   atomic.Uint64

	// The rest is guarded by s.mu.
	hasAck, hasResp, finReceived, resetReceived, stopped bool // from the agent
	finWritten, resetPosted, resetWritten, stopPosted    bool // to the agent
	writeEnded                                           bool // no more DATA
	closed, ended                                        bool

	begun, ackBy, resetBy, closeBy time.Time
	readBy, writeBy                time.Time // the caller's deadlines
	discarded                      int       // bytes thrown away since our RESET
	writing                        int       // calls of Write under way

	readErr, writeErr error
	refusal           *RefusedError
	resetErr          *ResetError
	outcome           Outcome
	dialTime          time.Duration

	sent      uint64
	replay    []byte // what has been sent, until RESP
	delivered uint64
	final     bool // delivered will not change

	request      uint64 // number of the newest HTTP request
	requestAt    uint64 // sent when it was begun
	unanswered   bool   // nothing came since
	requestDone  bool
	frameRequest uint64 // request when the open DATA frame was admitted
	noted        []byte // a REQ frame that precedes the next DATA
}

func newServerExchange(s *Server, st *proxyv1.Start) *ServerExchange {
	return &ServerExchange{
		s:          s,
		http:       st.GetProtocol() == proxyv1.Protocol_PROTOCOL_HTTP,
		acked:      make(chan struct{}),
		answered:   make(chan struct{}),
		stop:       make(chan struct{}),
		unread:     make(chan struct{}),
		end:        make(chan struct{}),
		readTimer:  newTimer(),
		writeTimer: newTimer(),
	}
}

// Number is the exchange's number on its connection.
func (e *ServerExchange) Number() uint64 { return e.n }

// Started is closed when the agent has acknowledged the START.
func (e *ServerExchange) Started() <-chan struct{} { return e.acked }

// AwaitAck waits for Started. A connection whose agent does not acknowledge in
// time is dead; then it returns a *LostError with ErrAckTimeout.
func (e *ServerExchange) AwaitAck(ctx context.Context) error {
	return e.await(ctx, e.acked)
}

// AwaitResp waits until the agent's private connection stands and says how long
// that took; or why it does not: *RefusedError, *ResetError or *LostError.
func (e *ServerExchange) AwaitResp(ctx context.Context) (time.Duration, error) {
	err := e.await(ctx, e.answered)
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if err == nil && e.refusal != nil {
		err = e.refusal
	}
	return e.dialTime, err
}

func (e *ServerExchange) await(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	default:
	}
	select {
	case <-c:
		return nil
	case <-e.unread:
		return e.readError(nil)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OnStop is closed when the agent throws away what it is sent, because the
// local service has closed. Writes go on to succeed; stop when convenient.
func (e *ServerExchange) OnStop() <-chan struct{} { return e.stop }

// End is closed when the exchange has ended and Outcome says how.
func (e *ServerExchange) End() <-chan struct{} { return e.end }

// Outcome is how the exchange ended.
func (e *ServerExchange) Outcome() Outcome {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.outcome
}

// Sent is how many bytes were written.
func (e *ServerExchange) Sent() uint64 {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.sent
}

// Received is how many bytes were read.
func (e *ServerExchange) Received() uint64 { return e.received.Load() }

// Replay is a copy of what was sent before the agent answered, at most MaxEarly
// bytes; nil once it has accepted.
func (e *ServerExchange) Replay() []byte {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return append([]byte(nil), e.replay...)
}

// Delivered is how many bytes of the exchange the agent says that it has handed
// to the local service. known: that is its last word (a refusal, FIN or RESET).
// A connection that was lost without one may have delivered everything.
func (e *ServerExchange) Delivered() (n uint64, known bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.delivered, e.final
}

// RequestDelivered is false only if there is proof that no byte of the current
// HTTP request (of the exchange, if none was begun) has reached the local
// service. Only then may it be repeated elsewhere whatever its method.
func (e *ServerExchange) RequestDelivered() bool {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.sent > e.requestAt && !(e.final && e.delivered <= e.requestAt)
}

// LocalAddr is the connection's.
func (e *ServerExchange) LocalAddr() net.Addr { return e.s.LocalAddr() }

// RemoteAddr is the agent's.
func (e *ServerExchange) RemoteAddr() net.Addr { return e.s.RemoteAddr() }
