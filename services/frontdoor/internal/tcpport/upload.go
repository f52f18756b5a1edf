package tcpport

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
)

// bufferSize is a frame's payload, or less.
const bufferSize = 16 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

var past = time.Unix(1, 0)

// upload is the visitor's direction. It begins before the agent has answered, and
// may have to begin again on another connection, with what nobody has got.
type upload struct {
	conn *ingress.Conn
	done chan struct{} // closed when it is over, on this exchange

	ahead  []byte // what comes before what is still to be read
	sent   int    // bytes on this exchange, as far as they can be sent again
	eof    bool   // the visitor has ended its direction
	failed bool   // the visitor's connection is broken
}

func (u *upload) begin(ex *proxyconn.ServerExchange) {
	u.done, u.sent = make(chan struct{}), 0
	go func() {
		defer close(u.done)
		u.run(ex)
	}()
}

func (u *upload) run(ex *proxyconn.ServerExchange) {
	if len(u.ahead) > 0 && !u.write(ex, u.ahead) {
		return
	}
	u.ahead = nil
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for !u.eof {
		n, err := u.conn.Read(buf[:])
		if n > 0 && !u.write(ex, buf[:n]) {
			u.ahead = append([]byte(nil), u.ahead...) // it is in the buffer
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			u.eof = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			return // see stop
		case err != nil:
			u.failed = true
			ex.Reset(proxyv1.Code_CODE_VISITOR_GONE)
			return
		}
	}
	_ = ex.CloseWrite() // the exchange's end says why it failed
}

// write sends b, or leaves ahead what was not sent.
func (u *upload) write(ex *proxyconn.ServerExchange, b []byte) bool {
	n, err := ex.Write(b)
	u.sent += n
	if err != nil {
		u.ahead = b[n:]
	}
	return err == nil
}

// stop ends the upload and waits for its end.
func (u *upload) stop() {
	_ = u.conn.SetReadDeadline(past)
	<-u.done
	_ = u.conn.SetReadDeadline(time.Time{})
}

// rewind takes back what was sent on an exchange that has come to nothing.
func (u *upload) rewind(ex *proxyconn.ServerExchange) {
	replay := ex.Replay()
	u.ahead = append(replay[:min(u.sent, len(replay))], u.ahead...)
}
