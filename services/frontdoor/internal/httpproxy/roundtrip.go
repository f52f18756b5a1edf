package httpproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	maxInformational = 16 // 1xx replies to one request
	// continueWait is how long a service has to answer "Expect: 100-continue"
	// before it gets the body without.
	continueWait = time.Second
	// writeGrace is how long behind an answer the request may still be on its way
	// before its connection is given up.
	writeGrace = 50 * time.Millisecond
)

var (
	errHeadTooLong   = errors.New("the head of the answer is too long")
	errInformational = errors.New("too many informational answers")
	errNoUpgrade     = errors.New("the answer switches protocols, which was not asked for")
	errAnswerTimeout = errors.New("no answer came in time")
	errIdleTimeout   = errors.New("the service's idle timeout crossed the request")
	errBodyUnwanted  = errors.New("answered without waiting for the body")
)

// failure is why an attempt has failed.
type failure struct {
	err error
	// delivered is false only if there is proof that no byte of the request has
	// reached the service.
	delivered bool
	// unsent says that the connection had ended before the request began.
	unsent bool
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// passage is one request on a private connection, and its answer.
type passage struct {
	p       *private
	req     *outbound
	engine  *Standard
	call    *carriedCall
	unhook  func() bool   // takes the visitor's context off
	proceed chan struct{} // closed when a body that is held back may go; nil: there is none
	final   chan struct{} // closed when the answer's head is there; nil as well
	written chan error    // holds what writing a body came to; nil: there is none
	sent    error         // what writing came to, if there is none
	once    sync.Once     // of end

	mu       sync.Mutex
	patience *time.Timer // until the answer's head; nil: none
	timedOut bool
	answered bool
}

// roundTrip sends the request and reads the head of its answer. The answer's
// body must be read to its end or closed. With an error, a *failure, the
// connection has been given up.
func (p *private) roundTrip(ctx context.Context, req *outbound, rq *proxyv1.Req, e *Standard, call *carriedCall) (*http.Response, error) {
	p.served++
	err := p.prove(ctx, req)
	if err == nil {
		err = p.ex.BeginRequest(rq)
	}
	if err != nil {
		p.release()
		return nil, &failure{err: err, unsent: true}
	}
	g := &passage{p: p, req: req, engine: e, call: call}
	g.unhook = context.AfterFunc(ctx, func() { p.ex.Reset(proxyv1.Code_CODE_VISITOR_GONE) })
	g.send()
	res, err := g.receive()
	err = g.judge(err)
	if g.final != nil {
		close(g.final)
	}
	if err != nil {
		f := &failure{err: err, delivered: p.ex.RequestDelivered()}
		g.end(false)
		return nil, f
	}
	if challenges(res.Header) {
		p.key = call.Visitor.tie(p.key)
	}
	g.adopt(res)
	return res, nil
}

// prove waits for the agent on a connection that may have died unnoticed, if the
// request could not be repeated. One that could finds out by itself: it does not
// pay a round trip for the few that are dead.
func (p *private) prove(ctx context.Context, req *outbound) error {
	unproven := p.unproven
	p.unproven = false
	if !unproven || harmlessTwice(req) {
		return nil
	}
	return p.ex.AwaitAck(ctx) // not for long: ErrAckTimeout
}

// judge ends the wait for the head, and tells its timeout from other errors.
func (g *passage) judge(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered = true
	if g.patience != nil {
		g.patience.Stop()
	}
	if err != nil && g.timedOut {
		return errAnswerTimeout
	}
	return err
}

// send writes the request, its body beside whatever the answer does.
func (g *passage) send() {
	if g.req.body == nil {
		g.sent = g.write()
		return
	}
	if len(g.req.header["Expect"]) > 0 {
		g.proceed, g.final = make(chan struct{}), make(chan struct{})
		g.req.body = &gated{ReadCloser: g.req.body, open: g.proceed, deny: g.final}
	}
	g.written = make(chan error, 1)
	go func() { g.written <- g.write() }()
}

func (g *passage) write() error {
	err := g.req.write(g.p.out)
	var visitors *bodyError
	switch {
	case err == nil:
		g.await()
	case errors.As(err, &visitors):
		// The visitor's side has failed: nobody will want the answer.
		g.p.ex.Reset(proxyv1.Code_CODE_VISITOR_GONE)
	}
	return err
}

// await bounds the wait for the head that begins when the request has gone.
func (g *passage) await() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.answered || g.engine.answerTimeout <= 0 {
		return
	}
	g.patience = time.AfterFunc(g.engine.answerTimeout, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.answered {
			g.timedOut = true
			g.p.ex.Reset(proxyv1.Code_CODE_LIMIT)
		}
	})
}

// receive reads heads up to the final one.
func (g *passage) receive() (*http.Response, error) {
	proceeded := false
	for range maxInformational {
		g.p.head.left = maxReplyHead
		res, err := http.ReadResponse(g.p.in, g.req.in)
		g.p.head.left = -1
		if err != nil {
			return nil, err
		}
		removeOwn(res.Header)
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			if g.req.upgrade == "" {
				return nil, errNoUpgrade
			}
			return res, nil
		case res.StatusCode == http.StatusRequestTimeout && g.p.served > 1 && harmlessTwice(g.req):
			return nil, errIdleTimeout // meant for the silence before this request
		case res.StatusCode >= 200:
			return res, nil
		}
		g.call.informational(res)
		if res.StatusCode == http.StatusContinue && g.proceed != nil && !proceeded {
			// Now, not before the visitor was told: reading the body would tell him again.
			proceeded = true
			close(g.proceed)
		}
	}
	return nil, errInformational
}

// adopt puts the passage's end at the end of the answer's body.
func (g *passage) adopt(res *http.Response) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &upgraded{passage: g}
		return
	}
	framed := !res.Close
	if res.Body == http.NoBody || res.Body == nil {
		g.end(framed)
		return
	}
	a := &answer{ReadCloser: res.Body, passage: g, framed: framed}
	if res.ContentLength < 0 {
		a.surely = chunkFraming
	}
	res.Body = a
}

// end settles what becomes of the connection. It may be used again only if
// everything of this request has gone, everything of its answer has come, and
// nothing has come behind it: else one visitor's bytes become another's answer.
func (g *passage) end(whole bool) {
	g.once.Do(func() {
		clean := whole && g.allWritten() && g.p.in.Buffered() == 0 && !g.stopped()
		if !g.unhook() {
			clean = false
		}
		if clean {
			g.p.ex.EndRequest()
		}
		g.engine.settled(g.p, clean)
	})
}

func (g *passage) allWritten() bool {
	if g.written == nil {
		return g.sent == nil
	}
	select {
	case err := <-g.written:
		return err == nil
	default:
	}
	timer := time.NewTimer(writeGrace)
	defer timer.Stop()
	select {
	case err := <-g.written:
		return err == nil
	case <-timer.C:
		return false
	}
}

func (g *passage) stopped() bool {
	select {
	case <-g.p.ex.OnStop():
		return true
	default:
		return false
	}
}

// chunkFraming is more than stands around the bytes of a chunk.
const chunkFraming = 32

// answer is the body of an answer.
type answer struct {
	io.ReadCloser
	*passage
	framed bool
	surely int // with more than so many bytes at hand a read does not wait
}

// Read lets what has come go on to the visitor before it waits for more. A short
// answer, which came whole, so leaves in one piece, and an event as soon as it is
// there.
func (a *answer) Read(b []byte) (int, error) {
	if a.p.in.Buffered() <= a.surely {
		a.call.flush()
	}
	n, err := a.ReadCloser.Read(b)
	if err != nil {
		a.end(err == io.EOF && a.framed)
	}
	return n, err
}

// Close aborts what has not been read. The body below is not closed: it would
// read on to its end.
func (a *answer) Close() error {
	a.end(false)
	return nil
}

// upgraded is the connection behind a 101: bytes both ways, in pairs of halves.
type upgraded struct{ *passage }

func (u *upgraded) Read(b []byte) (int, error)  { return u.p.in.Read(b) }
func (u *upgraded) Write(b []byte) (int, error) { return u.p.ex.Write(b) }
func (u *upgraded) CloseWrite() error           { return u.p.ex.CloseWrite() }

func (u *upgraded) Close() error {
	u.end(false)
	return nil
}

// gated holds a body back until the service asks for it.
type gated struct {
	io.ReadCloser
	open, deny <-chan struct{}
	waited     bool
}

func (b *gated) Read(p []byte) (int, error) {
	if b.waited {
		return b.ReadCloser.Read(p)
	}
	timer := time.NewTimer(continueWait)
	defer timer.Stop()
	select {
	case <-b.open:
	case <-timer.C:
	case <-b.deny:
		return 0, errBodyUnwanted
	}
	b.waited = true
	return b.ReadCloser.Read(p)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
