package proxyconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// ClientExchange is one visitor's use of a proxy connection, as the agent sees
// it.
type ClientExchange struct {
	c      *Client
	n      uint64
	start  *proxyv1.Start
	ctx    context.Context // ends with the exchange, or its abort
	cancel context.CancelFunc
	piped  chan struct{} // closed by Pipe
	end    chan struct{} // closed when the exchange has ended

	// sink is held while bytes go to the private connection; before c.mu.
	sink  sync.Mutex
	early []byte // what came before there was one
	// waitingReq is a Req that did.
	waitingReq *proxyv1.Req
	watch      *watchdog
	fresh      bool // the next byte begins an HTTP request
	report     reporter

	// The rest is guarded by c.mu.
	private net.Conn // set with sink held as well

	accepted, refused                        bool // RESP
	finReceived, resetReceived, stopReceived bool
	finWritten, resetPosted, resetWritten    bool
	writeEnded                               bool // no more DATA to the frontdoor
	stopPosted                               bool // what comes is thrown away
	ended                                    bool

	resetBy   time.Time
	discarded int // bytes thrown away since our RESET
	resetErr  *ResetError
	err       error // the outcome; nil: clean or refused

	received  uint64 // from the frontdoor
	delivered uint64 // to write() on the private connection
	// frozen says that delivered is final: the frontdoor has been told it and may
	// repeat elsewhere what is not among it.
	frozen    bool
	announce  bool   // the next DATA carries delivered
	truncated bool   // a private write took the news of a reset
	request   uint64 // number of the newest Req
	requestAt uint64 // received when it came
	// forwarding says that what came early is not written yet: from Accept on,
	// for Pipe has yet to write it. The frontdoor may have ended both directions
	// by then, and without this the exchange would end with bytes undelivered.
	forwarding bool
}

func newClientExchange(c *Client, st *proxyv1.Start) *ClientExchange {
	return &ClientExchange{c: c, n: st.GetExchange(), start: st, piped: make(chan struct{}), end: make(chan struct{})}
}

// Start is what the frontdoor said about the visitor.
func (e *ClientExchange) Start() *proxyv1.Start { return e.start }

// Accept says that the private connection stands and how long that took. Pipe
// has to follow.
func (e *ClientExchange) Accept(dialTime time.Duration) error {
	return e.respond(&proxyv1.Resp{
		Exchange: e.n, Code: proxyv1.Code_CODE_OK, DialTime: durationpb.New(dialTime),
	})
}

// Refuse says why there is no private connection. It ends the exchange cleanly.
func (e *ClientExchange) Refuse(code proxyv1.Code) error {
	return e.respond(&proxyv1.Resp{Exchange: e.n, Code: code})
}

func (e *ClientExchange) respond(r *proxyv1.Resp) error {
	ok := r.GetCode() == proxyv1.Code_CODE_OK
	return e.c.send(proxyv1.FrameType_FRAME_TYPE_RESP, r, func() error {
		switch {
		case e.resetErr != nil:
			return e.resetErr
		case e.accepted || e.refused:
			return violation("a second answer to START")
		}
		e.accepted, e.refused = ok, !ok
		e.forwarding = ok
		e.frozen = !ok
		e.writeEnded = !ok
		return nil
	}, func() {
		if !ok {
			e.finWrittenLocked() // a refusal is the agent's FIN
		} else if e.stopReceived {
			e.stoppedLocked()
		}
	})
}

// Reset aborts the exchange and the private connection.
func (e *ClientExchange) Reset(code proxyv1.Code) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.abortLocked(code)
}

// abortLocked aborts from this side. Behind our FIN a RESET could cross the
// frontdoor's own FIN and reach it in the next exchange; a STOP, which is then
// all that is left to say, is harmless there.
func (e *ClientExchange) abortLocked(code proxyv1.Code) {
	if e.writeEnded && !e.resetPosted {
		e.stopLocked()
		e.killLocked()
		e.cancel()
		return
	}
	e.resetLocked(code, true)
}

// stopLocked says that what the frontdoor sends is thrown away.
func (e *ClientExchange) stopLocked() {
	e.frozen = true
	if e.stopPosted || e.resetPosted || e.ended || !e.accepted || e.finReceived {
		return
	}
	e.stopPosted = true
	e.c.postLocked(proxyv1.FrameType_FRAME_TYPE_STOP, &proxyv1.Stop{Exchange: e.n}, nil)
}

// resetLocked aborts, or answers the frontdoor's abort.
func (e *ClientExchange) resetLocked(code proxyv1.Code, local bool) {
	if e.resetPosted || e.ended {
		return
	}
	e.resetPosted, e.writeEnded, e.frozen = true, true, true
	e.resetErr = &ResetError{Code: code, Local: local}
	e.resetBy = time.Now().Add(e.c.opt.AbortTimeout)
	e.killLocked()
	e.cancel()
	reset := &proxyv1.Reset{Exchange: e.n, Code: code, Delivered: e.delivered}
	e.c.postLocked(proxyv1.FrameType_FRAME_TYPE_RESET, reset, func() {
		e.resetWritten = true
		e.c.settleLocked(e)
	})
	if !e.ended {
		e.c.armLocked(e.resetBy)
	}
}

// killLocked resets the private connection, which also wakes whoever is blocked
// on it.
func (e *ClientExchange) killLocked() {
	if e.private != nil {
		abort(e.private)
	}
}

// settleLocked ends the exchange if both directions have ended. It is the one
// place that decides so.
func (c *Client) settleLocked(e *ClientExchange) {
	over := e.finWritten && e.finReceived && !e.forwarding
	if e.resetPosted {
		over = e.resetWritten && e.resetReceived
	}
	if c.ex != e || c.err != nil || !over {
		return
	}
	c.ex, c.lastDelivered = nil, e.delivered
	e.finishLocked(nil)
	c.armLocked(time.Time{})
}

// finishLocked ends the exchange; lost is why the connection died, if it did.
func (e *ClientExchange) finishLocked(lost error) {
	e.ended, e.frozen, e.writeEnded = true, true, true
	switch {
	case e.resetErr != nil:
		e.err = e.resetErr
	case lost != nil:
		e.err = asLost(lost)
		e.killLocked()
	case e.private != nil:
		_ = e.private.SetReadDeadline(past) // Pipe may still be reading
	}
	e.cancel()
	close(e.end)
}

// handled makes sure that a handler which has returned leaves nothing open.
func (e *ClientExchange) handled() {
	e.c.mu.Lock()
	answered, piped := e.accepted || e.refused, e.private != nil
	e.c.mu.Unlock()
	if !answered {
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
	} else if !piped {
		e.c.mu.Lock()
		defer e.c.mu.Unlock()
		if !e.refused {
			e.abortLocked(proxyv1.Code_CODE_UPSTREAM_RESET)
			e.forwarding = false
			e.c.settleLocked(e)
		}
	}
}

// sendFin ends our direction. What has not been delivered of a request that is
// told to be undelivered never will be.
func (e *ClientExchange) sendFin() error {
	fin := &proxyv1.Fin{Exchange: e.n}
	err := e.c.send(proxyv1.FrameType_FRAME_TYPE_FIN, fin, func() error {
		if e.writeEnded {
			return io.ErrClosedPipe
		}
		e.writeEnded = true
		fin.Delivered = e.settleDeliveredLocked()
		return nil
	}, e.finWrittenLocked)
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

func (e *ClientExchange) finWrittenLocked() {
	e.finWritten = true
	e.c.settleLocked(e)
}

// settleDeliveredLocked is delivered as a FIN tells it. If nothing of the
// newest HTTP request is among it, the frontdoor may repeat that request
// elsewhere, so from now on nothing of it may be delivered here.
func (e *ClientExchange) settleDeliveredLocked() uint64 {
	if e.request > 0 && e.delivered <= e.requestAt {
		e.stopLocked()
	}
	return e.delivered
}

// discardingLocked says that what the frontdoor sends is thrown away.
func (e *ClientExchange) discardingLocked() bool {
	return e.frozen || e.stopPosted || e.refused || e.resetPosted
}
