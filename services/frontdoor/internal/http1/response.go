package http1

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	unknown = -1 // length
	// holdBack is how much of an answer whose length is not known waits for the
	// handler's end, to be sent with its length.
	holdBack = 2 << 10
	// drainWithin bounds the reading of a request that its handler did not read.
	drainWithin = 5 * time.Second
)

// response is the answer to a request. Only the handler's goroutine uses it, but
// for proceed.
type response struct {
	watched
	c      *conn
	req    *http.Request
	header http.Header

	status  int   // 0: there is none yet
	length  int64 // of the body, as the header says
	written int64
	empty   bool   // no body goes out, whatever is written
	framed  bool   // the head is complete
	chunked bool   // the body goes in chunks
	held    []byte // what was written of it before that was decided
	close   bool   // no request may follow
	timed   bool   // a handler has set the deadline for writes

	mu      sync.Mutex // held while 1xx answers are written
	holding bool       // the visitor holds the request's body back
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// TakeHeader puts a whole header in the place of the answer's. The caller gives it
// away.
func (w *response) TakeHeader(header http.Header) { w.header = header }

// hold notes that the visitor waits for "100 Continue".
func (w *response) hold() {
	w.holding = true
	w.body.proceed = w.proceed
}

// proceed tells the visitor to send the body, once. Readers of the body call it,
// from any goroutine.
func (w *response) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holding {
		w.holding = false
		writeAll(w.c.out, "HTTP/1.1 100 Continue\r\n\r\n")
		_ = w.c.out.Flush() // the writer keeps an error
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	switch {
	case w.status != 0 || w.c.lent:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.informational(status)
		return
	}
	w.begin()
	w.status = status
	w.empty = w.req.Method == http.MethodHead || !hasBody(status)
	w.judgeHeader()
	w.writeHead()
}

// begin says that the final answer has the connection from now on.
func (w *response) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holding { // he may send the body or not: nobody could tell it from a request
		w.holding, w.close = false, true
	}
}

func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *response) informational(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == http.StatusContinue {
		w.holding = false
	}
	if w.req.ProtoMinor == 0 {
		return // HTTP/1.0 knows none
	}
	writeStatus(w.c.out, status)
	writeFields(w.c.out, w.header, func(name string) bool { return name == "Content-Length" || name == "Transfer-Encoding" })
	writeAll(w.c.out, "\r\n")
	_ = w.c.out.Flush() // the writer keeps an error
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	if w.c.lent {
		return 0, http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !hasBody(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.length != unknown && w.written > w.length {
		w.written -= int64(len(p))
		return 0, http.ErrContentLength
	}
	switch {
	case w.empty:
		return len(p), nil
	case w.framed:
	case len(w.held)+len(p) <= holdBack:
		w.held = append(w.held, p...)
		return len(p), nil
	default:
		if err := w.release(); err != nil {
			return 0, err
		}
	}
	return w.writeBody(p)
}

// release sends what was held back on its way, in chunks.
func (w *response) release() error {
	w.frame()
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.writeBody(w.held)
	w.held = nil
	return err
}

func (w *response) writeBody(p []byte) (int, error) {
	out := w.c.out
	if !w.chunked {
		return out.Write(p)
	}
	var digits [16]byte
	_, _ = out.Write(strconv.AppendInt(digits[:0], int64(len(p)), 16)) // the writer keeps an error
	writeAll(out, "\r\n")
	n, err := out.Write(p)
	writeAll(out, "\r\n")
	return n, err
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	if w.c.lent {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		if err := w.release(); err != nil {
			return err
		}
	}
	return w.c.out.Flush()
}

// EnableFullDuplex is for http.ResponseController: it always is.
func (w *response) EnableFullDuplex() error { return nil }

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error { return w.c.raw.SetReadDeadline(t) }

// SetWriteDeadline is for http.ResponseController. It holds for this answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.timed = true
	return w.c.raw.SetWriteDeadline(t)
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := w.c
	switch {
	case c.lent:
		return nil, nil, http.ErrHijacked
	case w.status != 0:
		return nil, nil, errors.New("http1: the answer has begun")
	}
	c.server.watch.leave(&w.watched)
	if c.src.has { // it stands behind what is buffered, and the connection has lost it
		_, _ = c.in.Peek(c.in.Buffered() + 1)
	}
	_ = c.raw.SetDeadline(time.Time{})
	c.lent = true
	return c.raw, bufio.NewReadWriter(c.in, c.out), nil
}

// finish sends what is left of the answer and reports whether the visitor may be
// sent another one behind it.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	trailer := w.trailer()
	if !w.framed && len(trailer) == 0 && w.written <= holdBack && (w.written > 0 || !w.empty) {
		w.length = w.written // of what was held back, or would have been sent but for HEAD
	}
	if !w.framed && w.release() != nil {
		return false
	}
	if w.chunked {
		writeAll(w.c.out, "0\r\n")
		writeFields(w.c.out, trailer, func(string) bool { return false })
		writeAll(w.c.out, "\r\n")
	}
	err := w.c.out.Flush()
	if w.timed {
		_ = w.c.raw.SetWriteDeadline(time.Time{})
	}
	return err == nil && !w.close && (w.empty || w.length == unknown || w.written == w.length)
}

// trailer is what the handler wants to follow its body.
func (w *response) trailer() http.Header {
	var trailer http.Header
	add := func(name string, values []string) {
		if trailer == nil {
			trailer = http.Header{}
		}
		trailer[name] = values
	}
	for _, list := range w.header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values := w.header[name]; len(values) > 0 && httpguts.ValidTrailerHeader(name) {
				add(name, values)
			}
		}
	}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(name, values)
		}
	}
	return trailer
}

// drained reports whether the next byte of the connection is a next request's.
func (w *response) drained() bool {
	switch {
	case w.body == nil || w.body.ended.Load():
		return true
	case w.close:
		return false
	}
	_ = w.c.raw.SetReadDeadline(deadline(drainWithin))
	w.body.drain()
	return w.body.ended.Load()
}
