package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

const (
	readBuffer  = 4 << 10
	writeBuffer = 4 << 10
)

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}
)

// conn is a visitor's connection. One goroutine reads its requests and runs the
// handler; see source for who reads while that one does not.
type conn struct {
	server *Server
	raw    net.Conn
	remote string
	tls    *tls.ConnectionState // nil: clear text
	ctx    context.Context      // of its requests; it ends when the visitor has gone
	cancel context.CancelFunc
	since  time.Time // when it came

	src *source
	in  *bufio.Reader
	out *bufio.Writer
	// afterPost: the newest request was a POST, and old clients send an empty line
	// behind its body.
	afterPost bool
	lent      bool // a handler has taken buffers and connection over
	shared    bool // somebody may still read from in

	mu     sync.Mutex
	active bool // a request is under way
	used   bool // one has been
}

func (c *conn) serve() {
	c.remote = c.raw.RemoteAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if secure, ok := c.raw.(*tls.Conn); ok && !c.handshake(ctx, secure) {
		return
	}
	ctx, gone := c.server.deps.Arrived(ctx, c.raw)
	c.ctx, c.cancel = ctx, cancel
	c.src = &source{conn: c.raw}
	c.in, c.out = readers.Get().(*bufio.Reader), writers.Get().(*bufio.Writer)
	c.in.Reset(c.src)
	c.out.Reset(c.raw)
	defer func() {
		gone()
		if c.lent {
			return
		}
		_ = c.raw.Close()
		if !c.shared {
			c.recycle()
		}
	}()
	for c.await() && c.next() {
	}
}

func (c *conn) recycle() {
	c.in.Reset(nil)
	c.out.Reset(nil)
	readers.Put(c.in)
	writers.Put(c.out)
}

// handshake reports whether the visitor speaks HTTP/1.1 here. If not, the
// connection is closed or somebody else's.
func (c *conn) handshake(ctx context.Context, secure *tls.Conn) bool {
	_ = secure.SetDeadline(deadline(c.server.cfg.HeaderTimeout))
	if err := secure.HandshakeContext(ctx); err != nil {
		c.server.deps.Log.Debug("TLS with a visitor failed", "remote", c.remote, "error", err)
		_ = secure.Close()
		return false
	}
	_ = secure.SetDeadline(time.Time{})
	state := secure.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		c.server.deps.HTTP2(secure)
		return false
	}
	c.tls = &state
	return true
}

// deadline is d from now; d <= 0: never.
func deadline(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// await waits for a request to begin.
func (c *conn) await() bool {
	cfg := &c.server.cfg
	c.src.limit(cfg.MaxHeaderBytes + slop)
	enough, wait := 1, cfg.HeaderTimeout
	if c.used {
		enough, wait = 4, cfg.IdleTimeout // what is shorter than a method and behind an answer is no request
	}
	if c.in.Buffered() < enough {
		_ = c.raw.SetReadDeadline(deadline(wait))
		if _, err := c.in.Peek(enough); err != nil {
			return false
		}
	}
	c.begin()
	// Most heads have come whole.
	if head, _ := c.in.Peek(c.in.Buffered()); !bytes.Contains(head, []byte("\r\n\r\n")) {
		_ = c.raw.SetReadDeadline(deadline(cfg.HeaderTimeout))
	}
	return true
}

func (c *conn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active, c.used = true, true
}

// closeIdle closes the connection if no request is under way, nor likely to be.
func (c *conn) closeIdle(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.active && (c.used || now.Sub(c.since) > firstWait) {
		_ = c.raw.Close()
	}
}

// next serves a request and reports whether another may follow.
func (c *conn) next() bool {
	req, body, err := c.readRequest()
	if err != nil {
		c.refuse(err)
		return false
	}
	w := &response{c: c, req: req.WithContext(c.ctx), header: http.Header{}, length: unknown, close: req.Close}
	w.watched = watched{source: c.src, gone: c.cancel, body: body}
	if body != nil && expectsContinue(req) && req.ProtoMinor > 0 {
		w.hold()
	}
	whole := c.run(w)
	if !whole || c.lent {
		return false
	}
	again := w.finish()
	if !w.drained() {
		c.shared = true
		c.linger()
		return false
	}
	c.mu.Lock()
	c.active = false
	c.mu.Unlock()
	return again && !c.server.closing()
}

// run runs the handler, and reports false if it has given up.
func (c *conn) run(w *response) (whole bool) {
	watch := &c.server.watch
	watch.enter(&w.watched)
	defer func() {
		watch.leave(&w.watched)
		crash := recover()
		if crash == nil {
			return
		}
		if crash != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
			c.server.deps.Log.Error("a request has crashed", "remote", c.remote, "panic", crash, "stack", string(debug.Stack()))
		}
		if c.shared = w.body != nil; !c.lent {
			w.begin()
			_ = c.out.Flush() // what there is of the answer
		}
		whole = false
	}()
	c.server.deps.Handler.ServeHTTP(w, w.req)
	return true
}
