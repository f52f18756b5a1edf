package proxyconn

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Handler serves one exchange. It opens the private connection and calls
// Accept and Pipe, or Refuse. Its context ends with the exchange. Returning
// without an answer refuses the exchange; the next exchange's handler is called
// only once it has returned.
type Handler func(ctx context.Context, e *ClientExchange)

// Client is the agent's end of a proxy connection.
type Client struct {
	link
	opt Options

	// Guarded by mu.
	ex      *ClientExchange // nil while idle
	last    uint64          // the newest exchange's number
	retired bool
	// lateReset is the exchange whose RESET came when it had ended here, and
	// lastDelivered what was delivered of the newest one that has.
	lateReset, lastDelivered uint64

	// Used by Serve alone.
	handler  Handler
	ctx      context.Context
	previous <-chan struct{} // closed when the newest handler has returned
}

// Register introduces the agent on c, which the Client takes over.
func Register(ctx context.Context, c net.Conn, reg *proxyv1.RegProxy, opt Options) (*Client, error) {
	opt = opt.withDefaults()
	b, err := appendRegProxy(reg)
	if err == nil {
		err = bounded(ctx, c, opt.RegisterTimeout, func() error {
			_, err := c.Write(b)
			return err
		})
	}
	if err != nil {
		abort(c)
		return nil, err
	}
	keepAlive(c)
	cl := &Client{opt: opt}
	cl.init(c, cl.dying)
	return cl, nil
}

// Serve reads the connection and calls h for each exchange, one after another,
// until the connection has ended and all handlers have returned. It returns nil
// if the frontdoor closed the connection while it was idle. The end of ctx
// ends the connection at once; see Retire for an orderly end.
func (c *Client) Serve(ctx context.Context, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.fail(context.Cause(ctx)) })
	defer stop()
	ready := make(chan struct{})
	close(ready)
	c.handler, c.ctx, c.previous = h, ctx, ready
	var err error
	for err == nil {
		err = c.step()
	}
	cancel()
	c.tasks.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Retire asks the frontdoor for no new exchange. One that crosses this is still
// served; then the frontdoor closes the connection. The agent never closes an
// idle one itself: a visitor may be on his way.
func (c *Client) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired || c.err != nil {
		return
	}
	c.retired = true
	frame := make([]byte, headerLen)
	putHeader(frame, proxyv1.FrameType_FRAME_TYPE_RETIRE, 0)
	c.posted = append(c.posted, control{frame: frame})
	c.kickLocked()
}

// Idle says that no exchange is under way.
func (c *Client) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && c.ex == nil
}

// Ping measures the round trip of an idle connection.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	return c.roundTrip(ctx, func() bool { return c.ex == nil })
}

// Close ends the connection at once. Serve returns.
func (c *Client) Close() error {
	_ = c.fail(net.ErrClosed)
	return nil
}

func (c *Client) dying() {
	if c.ex != nil {
		c.ex.finishLocked(c.err)
	}
}

// step reads one frame and acts on it.
func (c *Client) step() error {
	kind, err := c.advance()
	if err != nil {
		return c.ended(err)
	}
	switch kind {
	case proxyv1.FrameType_FRAME_TYPE_START:
		err = c.onStart()
	case proxyv1.FrameType_FRAME_TYPE_DATA:
		err = c.onData()
	case proxyv1.FrameType_FRAME_TYPE_REQ:
		err = onClient(c, (*ClientExchange).onReq)
	case proxyv1.FrameType_FRAME_TYPE_FIN:
		err = onClient(c, (*ClientExchange).onFin)
	case proxyv1.FrameType_FRAME_TYPE_STOP:
		err = onClient(c, (*ClientExchange).onStop)
	case proxyv1.FrameType_FRAME_TYPE_RESET:
		err = onClient(c, (*ClientExchange).onReset)
	case proxyv1.FrameType_FRAME_TYPE_RETIRE:
		err = c.onRetire()
	default:
		err = violation("the frontdoor sent %v", kind)
	}
	if err != nil {
		return c.ended(err)
	}
	return nil
}

// ended says whether the connection has outlived an error of a read. io.EOF:
// it was closed while idle.
func (c *Client) ended(err error) error {
	c.mu.Lock()
	idle := c.ex == nil && !c.in.open && c.in.have == 0
	c.mu.Unlock()
	if idle && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		// With or without a TLS farewell: nobody waits for anything.
		_ = c.fail(io.EOF)
		return io.EOF
	}
	if err = c.broken(err); !errors.Is(err, errTimeout) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.ex; c.err == nil && e != nil && e.resetPosted && !time.Now().Before(e.resetBy) {
		_ = c.failLocked(ErrAbortTimeout)
	}
	return c.err
}

func (c *Client) onRetire() error {
	b, err := c.in.all()
	if err == nil && len(b) > 0 {
		err = violation("RETIRE with a payload")
	}
	return err
}

// onStart begins an exchange: its ACK goes out before the handler can dial.
func (c *Client) onStart() error {
	st, err := decode[proxyv1.Start](&c.link)
	if err != nil {
		return err
	}
	c.awaitEnd()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.ex != nil:
		return violation("START %d during exchange %d", st.GetExchange(), c.last)
	case st.GetExchange() != c.last+1:
		return violation("START %d after %d", st.GetExchange(), c.last)
	}
	c.last++
	e := newClientExchange(c, st)
	e.ctx, e.cancel = context.WithCancel(c.ctx)
	c.ex = e
	c.postLocked(proxyv1.FrameType_FRAME_TYPE_ACK, &proxyv1.Ack{Exchange: e.n}, nil)
	previous, handled := c.previous, make(chan struct{})
	c.previous = handled
	c.tasks.Go(func() {
		defer close(handled)
		defer e.cancel()
		<-previous
		c.handler(e.ctx, e)
		e.handled()
	})
	return nil
}

// awaitEnd lets the end of the exchange be noticed here. The frontdoor has both
// ends of it and may begin the next, while the write of ours is returning.
func (c *Client) awaitEnd() {
	c.mu.Lock()
	e := c.ex
	ending := e != nil && e.writeEnded && e.finReceived
	if e != nil && e.resetPosted {
		ending = e.resetReceived // else there is nothing to wait for but a frame that nobody would read
	}
	c.mu.Unlock()
	if ending {
		<-e.end
	}
}

// onClient reads a control frame and hands it to the exchange that it names.
func onClient[T any, M numbered[T]](c *Client, f func(*ClientExchange, M) error) error {
	kind := c.in.kind
	m, err := decode[T, M](&c.link)
	if err != nil {
		return err
	}
	c.mu.Lock()
	n, e := m.GetExchange(), c.ex
	if e == nil && n == c.last && n > 0 {
		// The abort of an exchange that has just ended here crossed our FIN. The
		// frontdoor waits for an answer before it begins the next.
		switch kind {
		case proxyv1.FrameType_FRAME_TYPE_STOP:
			c.mu.Unlock()
			return nil
		case proxyv1.FrameType_FRAME_TYPE_RESET:
			defer c.mu.Unlock()
			return c.lateResetLocked(n)
		}
	}
	c.mu.Unlock()
	if e == nil || e.n != n {
		return violation("%v of exchange %d", kind, n)
	}
	return f(e, m)
}
