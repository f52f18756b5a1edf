package tcpport

import (
	"errors"
	"io"
	"strings"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
)

// stream is a visitor's connection and the exchange that it is joined with.
type stream struct {
	conn  *ingress.Conn
	proxy *dialback.Conn
	ex    *proxyconn.ServerExchange
	up    upload
	keep  func(*dialback.Conn)
	leave func() // the account's quota
}

// run moves bytes until both directions have ended, or one is broken, and closes
// the visitor's connection in the same way as the service has closed its own.
func (s *stream) run() {
	s.download()
	select {
	case <-s.up.done:
	case <-s.ex.End(): // the service hears nobody any more
	}
	s.up.stop()
	<-s.ex.End()
	switch outcome := s.ex.Outcome(); {
	case outcome.Kind != proxyconn.Clean:
		reset(s.conn)
	case s.up.eof:
		_ = s.conn.Close()
	default:
		_ = proxyconn.DrainClose(s.conn)
	}
	s.keep(s.proxy)
}

// download is the service's direction.
func (s *stream) download() {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := s.ex.Read(buf[:])
		if n > 0 {
			if _, err := s.conn.Write(buf[:n]); err != nil {
				s.ex.Reset(proxyv1.Code_CODE_VISITOR_GONE)
				return
			}
		}
		if err != nil {
			if err == io.EOF { //nolint:errorlint // a loss wraps one, and is none
				_ = s.conn.CloseWrite() // a visitor who has gone is noticed by the upload
			}
			return
		}
	}
}

// giveUp ends an exchange that has come to nothing. The connection may be as good
// as before.
func (s *stream) giveUp() {
	_ = s.ex.Close() // first: the upload may wait for the agent's answer
	s.up.stop()
	go func(ex *proxyconn.ServerExchange, proxy *dialback.Conn) {
		<-ex.End()
		s.keep(proxy)
	}(s.ex, s.proxy)
}

// repeatable holds if another connection may be tried, and then has the visitor's
// words ready for it: if there is proof that none of them has reached the service.
func (s *stream) repeatable(err error) bool {
	var stop final
	var aborted *proxyconn.ResetError
	switch {
	case errors.As(err, &stop), reach.Unwilling(err):
		return false
	case errors.As(err, &aborted) && (aborted.Local || aborted.Code == proxyv1.Code_CODE_LIMIT):
		return false
	case s.ex == nil:
		return true
	case s.ex.RequestDelivered():
		return false
	}
	s.up.rewind(s.ex)
	s.ex = nil
	return true
}

// abort cuts the visitor off, and the exchange with it.
func (s *stream) abort() {
	reset(s.conn)
	s.ex.Reset(proxyv1.Code_CODE_SHUTDOWN)
}

// reason is how the stream broke off; empty: it did not.
func (s *stream) reason() string {
	switch o := s.ex.Outcome(); o.Kind {
	case proxyconn.Clean:
		return ""
	case proxyconn.Reset, proxyconn.Refused:
		return strings.TrimPrefix(o.Code.String(), "CODE_")
	}
	return "LOST"
}

// reset closes a visitor's connection so that it sees that something is wrong: an
// end in order would be taken for the whole of what the service had to say.
func reset(c *ingress.Conn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
