package proxyconn

import (
	"io"
	"net"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// What the frames of an exchange do to the frontdoor's state. All of it runs
// with the connection's mu held.

func (e *ServerExchange) onAck(*proxyv1.Ack) error {
	if e.hasAck || e.resetReceived {
		return violation("an ACK out of turn")
	}
	e.hasAck = true
	e.s.measuredLocked(time.Since(e.begun))
	close(e.acked)
	if !e.resetPosted {
		e.s.armLocked(e.patienceLocked())
	}
	return nil
}

func (e *ServerExchange) onResp(r *proxyv1.Resp) error {
	if !e.hasAck || e.hasResp || e.resetReceived {
		return violation("a RESP out of turn")
	}
	e.hasResp = true
	if r.GetCode() == proxyv1.Code_CODE_OK {
		e.dialTime = max(0, r.GetDialTime().AsDuration())
		e.replay = nil
		close(e.answered)
		return nil
	}
	if err := e.deliveredLocked(r.GetDelivered()); err != nil {
		return err
	}
	e.final = true
	e.refusal = &RefusedError{Code: r.GetCode(), Delivered: r.GetDelivered()}
	e.stopReadingLocked(e.refusal)
	e.endWritingLocked(e.refusal)
	close(e.answered)
	e.s.settleLocked(e)
	return nil
}

func (e *ServerExchange) onFin(f *proxyv1.Fin) error {
	if !e.streamingLocked() {
		return violation("a FIN out of turn")
	}
	if err := e.deliveredLocked(f.GetDelivered()); err != nil {
		return err
	}
	// On an HTTP exchange the agent delivers nothing of a request that it has
	// said not to have delivered. Half of a byte stream goes on behind a FIN.
	e.final, e.finReceived = e.http, true
	e.stopReadingLocked(io.EOF)
	if e.closed {
		e.endWritingLocked(net.ErrClosed)
	}
	e.s.settleLocked(e)
	if !e.ended {
		e.s.keepLocked()
	}
	return nil
}

// onStop ends our direction, for the agent throws away what it gets.
func (e *ServerExchange) onStop(*proxyv1.Stop) error {
	if !e.hasResp || e.refusal != nil || e.stopped || e.resetReceived {
		return violation("a STOP out of turn")
	}
	e.stopped = true
	close(e.stop)
	e.endWritingLocked(nil)
	return nil
}

func (e *ServerExchange) onReset(r *proxyv1.Reset) error {
	if e.resetReceived {
		return violation("a second RESET")
	}
	if err := e.deliveredLocked(r.GetDelivered()); err != nil {
		return err
	}
	e.resetReceived, e.final = true, true
	e.resetLocked(r.GetCode(), false)
	e.s.settleLocked(e)
	return nil
}

// streamingLocked says that bytes of the local service may come.
func (e *ServerExchange) streamingLocked() bool {
	return e.hasResp && e.refusal == nil && !e.finReceived && !e.resetReceived
}

func (e *ServerExchange) deliveredLocked(n uint64) error {
	if n < e.delivered || n > e.sent {
		return violation("%d bytes delivered of %d, after %d", n, e.sent, e.delivered)
	}
	e.delivered = n
	return nil
}

func (e *ServerExchange) admitDataLocked(kind proxyv1.FrameType, delivered *uint64) error {
	if !e.streamingLocked() {
		return violation("%v out of turn", kind)
	}
	if delivered != nil {
		if err := e.deliveredLocked(*delivered); err != nil {
			return err
		}
	}
	e.frameRequest = e.request
	if !e.http || e.resetPosted {
		return nil
	}
	if e.request == 0 || e.requestDone {
		return e.s.failLocked(ErrUnsolicited)
	}
	if e.unanswered {
		if delivered == nil || *delivered <= e.requestAt {
			return e.s.failLocked(ErrUnsolicited)
		}
		e.unanswered = false
	}
	return nil
}

// readableLocked says that reading is up to the callers of Read.
func (e *ServerExchange) readableLocked() bool {
	return e != nil && e.hasResp && e.readErr == nil
}

// patienceLocked is until when the agent has to say the next thing that keep
// waits for. Zero: for ever.
func (e *ServerExchange) patienceLocked() time.Time {
	switch {
	case e == nil:
		return time.Time{}
	case e.resetPosted:
		return e.resetBy
	case !e.hasAck:
		return e.ackBy
	default:
		return e.closeBy
	}
}

// impatienceLocked is what it means that the patience has ended.
func (e *ServerExchange) impatienceLocked() error {
	if e.resetPosted {
		return ErrAbortTimeout
	}
	if !e.hasAck {
		return &LostError{Err: ErrAckTimeout}
	}
	return ErrAbortTimeout
}

// overLocked says that both directions have ended: what ends ours has been
// written, what ends the agent's has been read. An abort is over once each end
// has sent a RESET and seen the other's.
func (e *ServerExchange) overLocked() bool {
	if e.resetPosted {
		return e.resetWritten && e.resetReceived
	}
	return e.finWritten && (e.finReceived || e.refusal != nil)
}

// stopReadingLocked makes err the answer of every Read from now on.
func (e *ServerExchange) stopReadingLocked(err error) {
	if e.readErr == nil {
		e.readErr = err
		close(e.unread)
	}
}

// endWritingLocked posts our FIN, unless our direction has ended. err is what
// Write returns from now on; nil: it goes on and its bytes are dropped.
func (e *ServerExchange) endWritingLocked(err error) {
	if e.writeErr == nil {
		e.writeErr = err
	}
	if e.writeEnded {
		return
	}
	e.writeEnded = true
	e.s.postLocked(proxyv1.FrameType_FRAME_TYPE_FIN, &proxyv1.Fin{Exchange: e.n}, e.finWrittenLocked)
}

func (e *ServerExchange) finWrittenLocked() {
	e.finWritten = true
	e.s.settleLocked(e)
}

// resetLocked aborts, or answers the agent's abort.
func (e *ServerExchange) resetLocked(code proxyv1.Code, local bool) {
	if e.resetPosted || e.ended {
		return
	}
	e.resetPosted, e.writeEnded = true, true
	e.resetErr = &ResetError{Code: code, Local: local}
	e.resetBy = time.Now().Add(e.s.opt.AbortTimeout)
	e.stopReadingLocked(e.resetErr)
	if e.writeErr == nil {
		e.writeErr = e.resetErr
	}
	e.wakeWritersLocked()
	e.s.postLocked(proxyv1.FrameType_FRAME_TYPE_RESET, &proxyv1.Reset{Exchange: e.n, Code: code}, func() {
		e.resetWritten = true
		e.s.settleLocked(e)
	})
	e.s.interruptLocked()
}

// finishLocked ends the exchange. lost is nil, or why the connection died.
func (e *ServerExchange) finishLocked(lost error) {
	e.ended = true
	e.s.bytes += e.sent + e.received.Load()
	e.outcome = e.judgeLocked(lost)
	end := e.outcome.Err
	if end == nil {
		end = io.EOF
	}
	e.stopReadingLocked(end)
	switch {
	case e.writeErr != nil:
	case lost != nil:
		e.writeErr = e.outcome.Err
	case !e.stopped: // behind a STOP writes succeed, until Close
		e.writeErr = net.ErrClosed
	}
	e.wakeWritersLocked()
	close(e.end)
}
