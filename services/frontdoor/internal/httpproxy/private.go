package httpproxy

import (
	"bufio"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
)

const (
	readBuffer  = 8 << 10
	writeBuffer = 8 << 10
	// maxReplyHead bounds the head of a service's answer.
	maxReplyHead = 256 << 10
	// listenFor is how long it takes to read what has arrived.
	listenFor = 5 * time.Millisecond
)

// private is a private connection at the far end of an exchange. One request
// has it at a time.
type private struct {
	key    key
	conn   *dialback.Conn
	ex     *proxyconn.ServerExchange
	head   *headLimit
	in     *bufio.Reader
	out    *bufio.Writer
	born   trace.SpanContext // of the request that it was dialled for
	served int
	// unproven: the proxy connection was idle for long, and the agent has not been
	// heard on it since.
	unproven bool
	keep     func(*dialback.Conn) // takes the connection when the exchange has ended

	// While it is idle:
	idleSince time.Time
	timer     *time.Timer // nil: nobody watches it
	awake     chan bool   // what the watch has found: true if the connection lives
}

func newPrivate(k key, conn *dialback.Conn, ex *proxyconn.ServerExchange, born trace.SpanContext, keep func(*dialback.Conn)) *private {
	head := &headLimit{src: ex}
	return &private{
		key: k, conn: conn, ex: ex, head: head, born: born, keep: keep,
		in: bufio.NewReaderSize(head, readBuffer), out: bufio.NewWriterSize(ex, writeBuffer),
	}
}

// watch looks at an idle connection: its end, and bytes that nobody asked for,
// end it. gone is called then, and when it has been idle for long.
func (p *private) watch(limit time.Duration, gone func()) {
	p.awake = make(chan bool, 1)
	p.timer = time.AfterFunc(limit, gone)
	go func() {
		alive := p.silent()
		p.awake <- alive
		if !alive {
			gone()
		}
	}()
}

func (p *private) watched() bool { return p.timer != nil }

// silent reads up to the deadline and reports whether there was nothing.
func (p *private) silent() bool {
	var b [1]byte
	_, err := p.ex.Read(b[:])
	return isTimeout(err)
}

// wake ends the idle time and reports whether the connection lives.
func (p *private) wake() bool {
	if !p.watched() {
		return !p.ex.Pending() || p.listen()
	}
	p.timer.Stop()
	p.timer = nil
	_ = p.ex.SetReadDeadline(time.Unix(1, 0))
	return <-p.awake && p.ex.SetReadDeadline(time.Time{}) == nil
}

// listen hears what the agent has said: its end, or what needs no attention.
func (p *private) listen() bool {
	_ = p.ex.SetReadDeadline(time.Now().Add(listenFor))
	return p.silent() && p.ex.SetReadDeadline(time.Time{}) == nil
}

// release gives the connection up: in order if it is between two requests, else
// by an abort. The proxy connection may survive it.
func (p *private) release() {
	_ = p.ex.Close()
	go func() {
		<-p.ex.End()
		p.keep(p.conn)
	}()
}

// headLimit bounds what is read for the head of an answer.
type headLimit struct {
	src  io.Reader
	left int // bytes; negative: no limit
}

func (h *headLimit) Read(b []byte) (int, error) {
	if h.left < 0 {
		return h.src.Read(b)
	}
	if h.left == 0 {
		return 0, errHeadTooLong
	}
	n, err := h.src.Read(b[:min(len(b), h.left)])
	h.left -= n
	return n, err
}
