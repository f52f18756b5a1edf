package proxyconn

import (
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// What the frontdoor's frames do to an exchange. All of it runs in the
// goroutine of Serve.

func (e *ClientExchange) onReq(r *proxyv1.Req) error {
	e.c.mu.Lock()
	legal := !e.finReceived && !e.resetReceived && r.GetNumber() == e.request+1 &&
		e.start.GetProtocol() == proxyv1.Protocol_PROTOCOL_HTTP &&
		(e.accepted || e.refused || e.request == 0)
	if !legal {
		defer e.c.mu.Unlock()
		return violation("REQ %d out of turn", r.GetNumber())
	}
	e.request++
	e.requestAt = e.received
	if e.writeEnded {
		e.stopLocked() // our FIN has told what is delivered; this is not among it
	}
	e.c.mu.Unlock()

	e.sink.Lock()
	defer e.sink.Unlock()
	if e.watch == nil { // no private connection yet
		e.waitingReq = r
	} else {
		e.beginRequest(r)
	}
	return nil
}

func (e *ClientExchange) onFin(*proxyv1.Fin) error {
	e.c.mu.Lock()
	if e.finReceived || e.resetReceived {
		defer e.c.mu.Unlock()
		return violation("a second end of the frontdoor's direction")
	}
	e.finReceived = true
	e.c.mu.Unlock()

	e.endPrivateWrites()

	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.c.settleLocked(e)
	return nil
}

// onStop ends our direction; the private connection is read on, to nowhere, so
// that the local service is not blocked by a visitor who has stopped reading.
func (e *ClientExchange) onStop(*proxyv1.Stop) error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if e.stopReceived || e.resetReceived {
		return violation("a STOP out of turn")
	}
	e.stopReceived = true
	if !e.accepted {
		return nil // Accept sees it
	}
	e.stoppedLocked()
	return nil
}

func (e *ClientExchange) stoppedLocked() {
	if e.writeEnded {
		return
	}
	e.writeEnded = true
	fin := &proxyv1.Fin{Exchange: e.n, Delivered: e.settleDeliveredLocked()}
	e.c.postLocked(proxyv1.FrameType_FRAME_TYPE_FIN, fin, e.finWrittenLocked)
}

func (e *ClientExchange) onReset(r *proxyv1.Reset) error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if e.resetReceived {
		return violation("a second RESET")
	}
	e.resetReceived = true
	e.resetLocked(r.GetCode(), false)
	e.c.settleLocked(e)
	return nil
}

// lateResetLocked answers the abort of an exchange that was clean here already.
func (c *Client) lateResetLocked(n uint64) error {
	if c.lateReset == n {
		return violation("a second RESET")
	}
	c.lateReset = n
	c.postLocked(proxyv1.FrameType_FRAME_TYPE_RESET, &proxyv1.Reset{
		Exchange: n, Code: proxyv1.Code_CODE_VISITOR_GONE, Delivered: c.lastDelivered,
	}, nil)
	return nil
}

// onData moves a DATA frame's payload to the private connection.
func (c *Client) onData() error {
	e, err := c.admitData()
	if err != nil {
		return err
	}
	buf := frames.Get().(*[maxFrame]byte)
	defer frames.Put(buf)
	for c.in.open {
		n, err := c.in.read(buf[:])
		if err != nil {
			return err
		}
		if err := e.take(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) admitData() (*ClientExchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.ex
	switch {
	case c.err != nil:
		return nil, c.err
	case e == nil:
		return nil, violation("DATA on an idle connection")
	case e.finReceived || e.resetReceived:
		return nil, violation("DATA behind the end of its direction")
	case e.request == 0 && e.start.GetProtocol() == proxyv1.Protocol_PROTOCOL_HTTP:
		return nil, violation("HTTP without a REQ")
	}
	return e, nil
}

// take counts bytes of the frontdoor and passes them on, keeps them until there
// is a private connection, or throws them away.
func (e *ClientExchange) take(p []byte) error {
	c := e.c
	c.mu.Lock()
	e.received += uint64(len(p))
	if e.resetPosted {
		e.discarded += len(p)
	}
	drop := e.discardingLocked()
	var err error
	switch {
	case e.discarded > abortBudget:
		err = errTooLong
	case !e.accepted && !e.resetPosted && e.received > MaxEarly:
		err = violation("more than %d bytes before RESP", MaxEarly)
	}
	c.mu.Unlock()
	if err != nil || drop {
		return err
	}
	e.sink.Lock()
	defer e.sink.Unlock()
	if e.watch == nil && len(e.early)+len(p) <= MaxEarly {
		e.early = append(e.early, p...)
		return nil
	}
	if e.watch == nil && !e.awaitPipe() {
		return nil
	}
	e.forward(p)
	return nil
}

// awaitPipe waits, without the sink, for a handler that has accepted and is
// about to call Pipe.
func (e *ClientExchange) awaitPipe() bool {
	e.sink.Unlock()
	defer e.sink.Lock()
	select {
	case <-e.piped:
		return true
	case <-e.ctx.Done():
		return false
	}
}
