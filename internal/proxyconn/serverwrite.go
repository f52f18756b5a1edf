package proxyconn

import (
	"fmt"
	"net"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Write sends p to the local service, at once. Before the agent has accepted it
// blocks behind MaxEarly bytes. Behind a STOP it drops p and succeeds, as the
// agent would.
func (e *ServerExchange) Write(p []byte) (int, error) {
	if drop, err := e.enterWrite(); drop || err != nil {
		return dropped(p, err)
	}
	defer e.leaveWrite()
	buf := frames.Get().(*[maxFrame]byte)
	defer frames.Put(buf)
	done := 0
	for done < len(p) {
		n, err := e.writeFrame(buf, p[done:])
		done += n
		if err != nil {
			return done, err
		}
		if n == 0 {
			if err := e.awaitWindow(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// enterWrite counts a Write in, unless it is to fail or to be dropped.
func (e *ServerExchange) enterWrite() (drop bool, err error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.writeErr == nil && !e.stopped {
		e.writing++
	}
	return e.stopped, e.writeErr
}

func dropped(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (e *ServerExchange) leaveWrite() {
	e.s.mu.Lock()
	e.writing--
	e.s.mu.Unlock()
}

// writeFrame sends the beginning of p as one frame with one write. Zero without
// an error: the window before RESP is used up.
func (e *ServerExchange) writeFrame(buf *[maxFrame]byte, p []byte) (int, error) {
	s := e.s
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.flush(); err != nil {
		return 0, e.writeError(err)
	}
	n, head, err := e.claim(buf, p)
	if head == 0 || err != nil {
		return n, err
	}
	putHeader(buf[head-headerLen:], proxyv1.FrameType_FRAME_TYPE_DATA, n)
	copy(buf[head:], p[:n])
	if err := s.write(buf[:head+n]); err != nil {
		return 0, e.writeError(err)
	}
	return n, nil
}

// claim decides how much of p goes into the next frame, counts it as sent, and
// puts a REQ that is due before it. head is where the payload begins in buf;
// 0: nothing is to be written.
func (e *ServerExchange) claim(buf *[maxFrame]byte, p []byte) (n, head int, err error) {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.writeErr != nil:
		return 0, 0, e.writeErr
	case e.stopped:
		return len(p), 0, nil
	case e.http && (e.request == 0 || e.requestDone):
		return 0, 0, ErrNoRequest
	}
	head = copy(buf[:], e.noted) + headerLen
	n = min(len(p), maxFrame-head)
	if !e.hasResp {
		n = min(n, MaxEarly-int(e.sent))
		if n <= 0 {
			return 0, 0, nil
		}
		e.replay = append(e.replay, p[:n]...)
	}
	e.noted = nil
	e.sent += uint64(n)
	return n, head, nil
}

// awaitWindow waits for RESP.
func (e *ServerExchange) awaitWindow() error {
	select {
	case <-e.answered:
		return nil
	case <-e.writeTimer.wait():
		return e.writeError(errTimeout)
	}
}

// writeError prefers the exchange's own reason to the connection's.
func (e *ServerExchange) writeError(err error) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.writeErr != nil {
		return e.writeErr
	}
	return err
}

// wakeWritersLocked lets a Write that waits for RESP see writeErr.
func (e *ServerExchange) wakeWritersLocked() { e.writeTimer.set(past) }

// BeginRequest says that an HTTP request begins with the next Write. It sets
// req's exchange and number. An error means that nothing was sent: the request
// may go elsewhere.
func (e *ServerExchange) BeginRequest(req *proxyv1.Req) error {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.writeErr != nil:
		return e.writeErr
	case e.readErr != nil:
		return e.readErr
	case e.writeEnded:
		return errWriteClosed
	case e.unanswered || !e.hasResp && e.request > 0:
		return fmt.Errorf("proxyconn: request %d has no answer yet", e.request)
	}
	req.Exchange, req.Number = e.n, e.request+1
	frame, err := appendControl(nil, proxyv1.FrameType_FRAME_TYPE_REQ, req)
	if err != nil {
		return err
	}
	if len(frame) > maxFrame/2 {
		return fmt.Errorf("proxyconn: REQ of %d bytes", len(frame))
	}
	e.request++
	e.requestAt, e.unanswered, e.requestDone = e.sent, true, false
	e.noted = frame
	return nil
}

// EndRequest says that the answer to the current request was read whole. From
// now on to the next BeginRequest every byte of the agent is unsolicited, and
// Close is an orderly end.
func (e *ServerExchange) EndRequest() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.requestDone = e.request > 0 && !e.unanswered
}

// CloseWrite ends our direction; the local service reads EOF.
func (e *ServerExchange) CloseWrite() error {
	var ended error
	err := e.s.send(proxyv1.FrameType_FRAME_TYPE_FIN, &proxyv1.Fin{Exchange: e.n}, func() error {
		if e.writeEnded {
			ended = errWriteClosed
			return ended
		}
		e.writeEnded, e.writeErr = true, errWriteClosed
		return nil
	}, e.finWrittenLocked)
	if ended != nil {
		return nil
	}
	return err
}

// CloseRead says that what the agent sends from now on is thrown away; our own
// direction goes on.
func (e *ServerExchange) CloseRead() {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.readErr != nil || e.stopPosted {
		return
	}
	e.stopPosted = true
	e.stopReadingLocked(net.ErrClosed)
	s.postLocked(proxyv1.FrameType_FRAME_TYPE_STOP, &proxyv1.Stop{Exchange: e.n}, nil)
	s.interruptLocked()
}

// Reset aborts the exchange. The connection survives it if the agent answers in
// time.
func (e *ServerExchange) Reset(code proxyv1.Code) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.resetLocked(code, true)
}

// Close ends the exchange. It waits for nothing. If the agent has ended its
// direction, or an HTTP exchange is between two requests, that is a FIN; else it
// is an abort because the visitor has gone.
func (e *ServerExchange) Close() error {
	s := e.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	if e.ended || e.resetPosted {
		if e.writeErr == nil {
			e.writeErr = net.ErrClosed
		}
		return nil
	}
	between := e.http && e.requestDone && !e.finReceived
	over := e.finReceived || e.refusal != nil
	if e.writing > 0 || !over && !between {
		e.resetLocked(proxyv1.Code_CODE_VISITOR_GONE, true)
		return nil
	}
	e.closeBy = time.Now().Add(s.opt.AbortTimeout)
	e.stopReadingLocked(net.ErrClosed)
	e.endWritingLocked(net.ErrClosed)
	s.interruptLocked()
	return nil
}

// interruptLocked takes the turn to read away from a caller of Read.
func (s *Server) interruptLocked() {
	if s.err == nil && s.ex != nil {
		s.armLocked(past)
		s.keepLocked()
	}
}

// SetDeadline sets both deadlines.
func (e *ServerExchange) SetDeadline(t time.Time) error {
	if err := e.SetReadDeadline(t); err != nil {
		return err
	}
	return e.SetWriteDeadline(t)
}

// SetReadDeadline sets a deadline for Read, which may go on behind it.
func (e *ServerExchange) SetReadDeadline(t time.Time) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.ended || e.closed {
		return net.ErrClosed
	}
	e.readBy = t
	e.readTimer.set(t)
	if e.readableLocked() {
		e.s.armLocked(t)
	}
	return nil
}

// SetWriteDeadline sets a deadline for Write. A write that was begun and is not
// done by then costs the connection.
func (e *ServerExchange) SetWriteDeadline(t time.Time) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.ended || e.closed {
		return net.ErrClosed
	}
	e.writeBy = t
	e.writeTimer.set(t)
	return e.s.conn.SetWriteDeadline(t)
}

var _ interface {
	net.Conn
	CloseWrite() error
} = (*ServerExchange)(nil)
