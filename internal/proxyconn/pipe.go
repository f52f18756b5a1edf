package proxyconn

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Pipe moves the bytes of an accepted exchange to and from the private
// connection, which it takes over, and returns when the exchange has ended: nil
// if cleanly, else a *ResetError, *LostError or *ProtocolError. obs may be nil.
//
// The bytes for the local service are written by the goroutine of Serve, the
// service's are read in the caller's; nothing is handed over in between.
func (e *ClientExchange) Pipe(private net.Conn, obs RequestObserver) error {
	if err := e.attach(private, obs); err != nil {
		abort(private)
		return err
	}
	drained := e.pump(private)
	<-e.end
	e.watch.stop()
	e.c.mu.Lock()
	err := e.err
	stats := RequestStats{In: e.delivered, Err: err}
	e.c.mu.Unlock()
	e.report.finish(stats)
	switch {
	case err != nil:
		abort(private)
	case drained:
		_ = private.Close()
	default:
		e.c.tasks.Go(func() { _ = DrainClose(private) })
	}
	return err
}

// attach makes private the place where the frontdoor's bytes go. Those that have
// come already go there in a goroutine that keeps the sink: the service may have
// to be heard before it listens.
func (e *ClientExchange) attach(private net.Conn, obs RequestObserver) error {
	e.sink.Lock()
	early, err := e.setPrivate(private)
	if err != nil {
		e.sink.Unlock()
		return err
	}
	e.watch = newWatchdog(e.c)
	e.report.observer = obs
	close(e.piped)
	if req := e.waitingReq; req != nil {
		e.waitingReq = nil
		e.beginRequest(req)
	}
	if early {
		e.c.tasks.Go(e.forwardEarly)
	} else {
		e.sink.Unlock()
	}
	return nil
}

// setPrivate says whether anything has come early.
func (e *ClientExchange) setPrivate(private net.Conn) (early bool, err error) {
	c := e.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.resetErr != nil:
		return false, e.resetErr
	case e.ended:
		return false, asLost(c.err)
	case !e.accepted || e.private != nil:
		return false, errors.New("proxyconn: Pipe is called once, after Accept")
	}
	e.private = private
	e.forwarding = len(e.early) > 0 || e.finReceived
	return e.forwarding, nil
}

// forwardEarly takes over the sink.
func (e *ClientExchange) forwardEarly() {
	defer e.sink.Unlock()
	e.forward(e.early)
	e.early = nil
	c := e.c
	c.mu.Lock()
	ended := e.finReceived
	c.mu.Unlock()
	if ended {
		e.closePrivateWrite()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.forwarding = false
	c.settleLocked(e)
}

// forward writes to the private connection; the caller holds sink.
func (e *ClientExchange) forward(p []byte) {
	if len(p) == 0 {
		return
	}
	if e.fresh {
		e.fresh = false
		e.checkPending()
	}
	if !e.claim(len(p)) {
		return
	}
	e.watch.begin()
	_, err := e.private.Write(p)
	e.watch.end()
	if err != nil {
		e.privateWriteFailed(err)
	}
}

// checkPending looks at the private connection before a later request's first
// byte goes there. What can be read from it now answers no request: bytes that
// would become this visitor's answer, or the service's farewell, behind which
// the request would be lost though it could be repeated elsewhere.
func (e *ClientExchange) checkPending() {
	if !pending(e.private) {
		return
	}
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.abortLocked(proxyv1.Code_CODE_UPSTREAM_RESET)
}

// claim counts n bytes as delivered, before they are: a count that comes too
// late could let a request be executed twice.
func (e *ClientExchange) claim(n int) bool {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if e.discardingLocked() {
		return false
	}
	e.delivered += uint64(n)
	e.announce = true
	return true
}

// privateWriteFailed ends one direction only: the local service may have closed
// its ear and still be speaking.
func (e *ClientExchange) privateWriteFailed(err error) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	// The kernel tells of a reset once. Who reads will see a plain end of
	// input, and must know better.
	e.truncated = e.truncated || isReset(err)
	e.stopLocked()
}

func (e *ClientExchange) endPrivateWrites() {
	e.sink.Lock()
	defer e.sink.Unlock()
	if e.watch != nil {
		e.closePrivateWrite()
	}
}

func (e *ClientExchange) closePrivateWrite() {
	e.c.mu.Lock()
	stopped := e.stopPosted || e.resetPosted
	e.c.mu.Unlock()
	if stopped {
		return
	}
	e.watch.begin()
	_ = closeWrite(e.private)
	e.watch.end()
}

// pump moves the local service's bytes to the frontdoor. It answers true if
// there is nothing unread behind it.
func (e *ClientExchange) pump(private net.Conn) bool {
	buf := frames.Get().(*[maxFrame]byte)
	defer frames.Put(buf)
	const room = headerLen + deliveredLen
	for {
		n, err := private.Read(buf[room:])
		if n > 0 {
			if e.sendData(buf, n) != nil {
				return false
			}
		}
		if err != nil {
			return e.privateEnded(err)
		}
	}
}

// sendData sends buf[12:12+n] as one frame, and drops it if the frontdoor no
// longer wants it.
func (e *ClientExchange) sendData(buf *[maxFrame]byte, n int) error {
	c := e.c
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.flush(); err != nil {
		return err
	}
	c.mu.Lock()
	drop, announce, delivered := e.writeEnded, e.announce, e.delivered
	e.announce = false
	c.mu.Unlock()
	if drop {
		return nil
	}
	e.report.reply(n)
	at := deliveredLen
	kind := proxyv1.FrameType_FRAME_TYPE_DATA
	if announce {
		at, kind = 0, proxyv1.FrameType_FRAME_TYPE_DATA_DELIVERED
		binary.BigEndian.PutUint64(buf[headerLen:], delivered)
	}
	end := headerLen + deliveredLen + n
	putHeader(buf[at:], kind, end-at-headerLen)
	return c.write(buf[at:end])
}

// privateEnded tells the frontdoor how the local service's direction has ended.
func (e *ClientExchange) privateEnded(err error) (drained bool) {
	c := e.c
	c.mu.Lock()
	if e.ended || e.resetPosted {
		c.mu.Unlock()
		return false
	}
	clean := errors.Is(err, io.EOF) && !e.truncated
	if !clean {
		e.abortLocked(proxyv1.Code_CODE_UPSTREAM_RESET)
	}
	c.mu.Unlock()
	if clean {
		_ = e.sendFin()
	}
	return clean
}

// isReset recognizes a TCP reset, which Windows numbers differently.
func isReset(err error) bool {
	const wsaECONNRESET = syscall.Errno(10054)
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, wsaECONNRESET)
}
